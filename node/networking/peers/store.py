"""Where the peer book is kept: two small tables of this room in the node's database (docs/adr/1341)."""

from pathlib import Path
from typing import Final

from sqlalchemy import Column, Connection, LargeBinary, String, Table, Text, delete, insert, select

from node.networking.peers.stored import StoredBan, StoredPeer, StoredPeers
from node.storage.engine import new_metadata
from node.storage.schema import SchemaPart
from node.storage.storage import Storage
from node.storage.tables import BIG
from protocol.identity import PeerId

metadata = new_metadata()

network_peer = Table(
    "network_peer",
    metadata,
    Column("peer", String(64), primary_key=True),
    Column("place", BIG, nullable=False),
    Column("addresses", Text, nullable=False),
    Column("record", LargeBinary, nullable=False),
    Column("seen_at", BIG, nullable=False),
    Column("successes", BIG, nullable=False),
    Column("failures", BIG, nullable=False),
    Column("score_milli", BIG, nullable=False),
    Column("score_at", BIG, nullable=False),
    Column("anchor", BIG, nullable=False),
)
network_ban = Table(
    "network_ban",
    metadata,
    Column("peer", String(64), primary_key=True),
    Column("until", BIG, nullable=False),
)

NETWORK_SCHEMA: Final = SchemaPart(name="network", metadata=metadata, migrations=Path(__file__).parent / "migrations")
"""Hand this to `open_storage(schema_parts=...)`."""


class SqlPeerStore:
    """A `PeerStore` in the node's database. What it returns is checked again where it is used."""

    def __init__(self, storage: Storage) -> None:
        self._storage: Final = storage

    async def load(self) -> StoredPeers:
        """See `PeerStore`."""
        return await self._storage.read.query(_select)

    async def save(self, peers: StoredPeers) -> None:
        """See `PeerStore`."""
        await self._storage.transact(lambda transaction: _replace(transaction.connection, peers))


def _select(connection: Connection) -> StoredPeers:
    peers = connection.execute(select(network_peer).order_by(network_peer.c.place)).all()
    bans = connection.execute(select(network_ban).order_by(network_ban.c.peer)).all()
    return StoredPeers(
        peers=tuple(
            StoredPeer(
                peer=PeerId(row.peer),
                addresses=tuple(row.addresses.split()),
                record=row.record,
                seen_at=row.seen_at,
                successes=row.successes,
                failures=row.failures,
                score_milli=row.score_milli,
                score_at=row.score_at,
                anchor=row.anchor,
            )
            for row in peers
        ),
        bans=tuple(StoredBan(peer=PeerId(row.peer), until=row.until) for row in bans),
    )


def _replace(connection: Connection, peers: StoredPeers) -> None:
    connection.execute(delete(network_peer))
    connection.execute(delete(network_ban))
    rows = [
        {
            "peer": each.peer,
            "place": place,
            "addresses": " ".join(each.addresses),  # a multiaddress that was parsed has no blanks
            "record": each.record,
            "seen_at": each.seen_at,
            "successes": each.successes,
            "failures": each.failures,
            "score_milli": each.score_milli,
            "score_at": each.score_at,
            "anchor": each.anchor,
        }
        for place, each in enumerate(peers.peers)
    ]
    if rows:
        connection.execute(insert(network_peer), rows)
    if peers.bans:
        connection.execute(insert(network_ban), [{"peer": each.peer, "until": each.until} for each in peers.bans])
