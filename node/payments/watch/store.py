"""Where watches are kept: tables that are overwritten, so that no client can fill the disk with updates (ADR 1643).

Only the newest order of a channel counts, and everything about it is signed; so its history is worth nothing, and the
journal, which keeps all history, is the wrong place.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Column, Connection, LargeBinary, String, Table, delete, func, insert, select, update

from node.payments.watch.errors import TooManyWatches
from node.payments.watch.settings import WatchSettings
from node.storage.engine import new_metadata
from node.storage.schema import SchemaPart
from node.storage.storage import Storage
from node.storage.tables import BIG
from protocol.channel.watch import HandedMark, WatchOrder
from protocol.channel.watch_messages import ORDER_MAX_BYTES
from protocol.identity import Address, Digest
from protocol.units import UnixTime
from protocol.wire.codec import decode, encode

metadata = new_metadata()

watch_order = Table(
    "watch_order",
    metadata,
    Column("channel", String(64), primary_key=True),
    Column("client", String(40), nullable=False),
    Column("size", BIG, nullable=False),
    Column("received_at", BIG, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
watch_act = Table(
    "watch_act",
    metadata,
    Column("channel", String(64), primary_key=True),
    Column("voucher", String(64), primary_key=True),
    Column("client", String(40), nullable=False),
    Column("at", BIG, nullable=False),
    Column("block", BIG, nullable=False),
)
watch_handed = Table(
    "watch_handed",
    metadata,
    Column("tower", String(40), primary_key=True),
    Column("channel", String(64), primary_key=True),
    Column("at", BIG, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

WATCH_SCHEMA: Final = SchemaPart(name="watch", metadata=metadata, migrations=Path(__file__).parent / "migrations")
"""Hand this to `open_storage(schema_parts=...)`."""

DAY_S: Final = 86_400
ACTS_KEPT_S: Final = 90 * DAY_S
MARK_MAX_BYTES: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWatch:
    """One channel that is watched."""

    channel: Digest
    client: Address
    size: int
    received_at: UnixTime
    order: WatchOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAct:
    """What was done for a client; `block` is 0 until it is confirmed."""

    channel: Digest
    client: Address
    at: UnixTime
    block: int


class WatchStore:
    """The tables of one node. What a method changes is durable when it returns."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def load(self) -> tuple[StoredWatch, ...]:
        """Return all channels that are watched."""
        return await self._storage.read.query(_select_orders)

    async def find(self, channel: Digest) -> WatchOrder | None:
        """Return the order of a channel, with its holds."""
        query = select(watch_order.c.body).where(watch_order.c.channel == channel.hex())
        body = await self._storage.read.query(lambda connection: connection.execute(query).scalar_one_or_none())
        return None if body is None else decode(WatchOrder, body, max_bytes=ORDER_MAX_BYTES)

    async def put(self, watch: StoredWatch, settings: WatchSettings) -> None:
        """Keep an order in place of the channel's older one.

        Raises:
            TooManyWatches: The client's room is taken; the older one is still there.
            DiskFull: The same.
        """
        body = encode(watch.order)
        await self._storage.transact(lambda transaction: _put(transaction.connection, watch, body, settings))

    async def drop(self, channel: Digest) -> None:
        """Forget a channel."""
        query = delete(watch_order).where(watch_order.c.channel == channel.hex())
        await self._storage.transact(lambda transaction: transaction.connection.execute(query))

    async def begin_act(self, watch: StoredWatch, voucher: Digest, at: UnixTime, most: int) -> bool:
        """Note that a voucher is about to be brought on chain; the same one again counts once.

        Returns:
            False if that would be more than `most` for its client within 24 hours; then nothing is noted.
        """
        return await self._storage.transact(
            lambda transaction: _begin_act(transaction.connection, watch, voucher, at, most)
        )

    async def end_act(self, channel: Digest, voucher: Digest, block: int) -> None:
        """Note that it is confirmed."""
        found = (watch_act.c.channel == channel.hex(), watch_act.c.voucher == voucher.hex())
        query = update(watch_act).where(*found).values(block=block)
        await self._storage.transact(lambda transaction: transaction.connection.execute(query))

    async def acts(self, since: UnixTime) -> tuple[StoredAct, ...]:
        """Return what was done since then, newest first."""
        query = select(watch_act).where(watch_act.c.at >= since).order_by(watch_act.c.at.desc(), watch_act.c.channel)
        rows = await self._storage.read.query(lambda connection: connection.execute(query).all())
        return tuple(
            StoredAct(
                channel=Digest(bytes.fromhex(row.channel)),
                client=Address(bytes.fromhex(row.client)),
                at=UnixTime(row.at),
                block=row.block,
            )
            for row in rows
        )

    # ------------------------------------------------------------------------------------------------ our own towers

    async def marks(self) -> dict[tuple[Address, Digest], HandedMark]:
        """Return what our own towers said that they hold, by tower and channel."""
        rows = await self._storage.read.query(lambda connection: connection.execute(select(watch_handed)).all())
        return {
            (Address(bytes.fromhex(row.tower)), Digest(bytes.fromhex(row.channel))): decode(
                HandedMark, row.body, max_bytes=MARK_MAX_BYTES
            )
            for row in rows
        }

    async def mark(self, tower: Address, channel: Digest, mark: HandedMark | None, at: UnixTime) -> None:
        """Note what a tower holds; None if nothing."""
        body = None if mark is None else encode(mark)

        def run(connection: Connection) -> None:
            place = (watch_handed.c.tower == tower.hex(), watch_handed.c.channel == channel.hex())
            connection.execute(delete(watch_handed).where(*place))
            if body is not None:
                row = {"tower": tower.hex(), "channel": channel.hex(), "at": at, "body": body}
                connection.execute(insert(watch_handed).values(row))

        await self._storage.transact(lambda transaction: run(transaction.connection))


def _select_orders(connection: Connection) -> tuple[StoredWatch, ...]:
    return tuple(
        StoredWatch(
            channel=Digest(bytes.fromhex(row.channel)),
            client=Address(bytes.fromhex(row.client)),
            size=row.size,
            received_at=UnixTime(row.received_at),
            order=decode(WatchOrder, row.body, max_bytes=ORDER_MAX_BYTES),
        )
        for row in connection.execute(select(watch_order).order_by(watch_order.c.channel))
    )


def _put(connection: Connection, watch: StoredWatch, body: bytes, settings: WatchSettings) -> None:
    name, client = watch.channel.hex(), watch.client.hex()
    others = (watch_order.c.client == client, watch_order.c.channel != name)
    count, size = connection.execute(
        select(func.count(), func.coalesce(func.sum(watch_order.c.size), 0)).where(*others)
    ).one()
    if count >= settings.watches_per_client:
        raise TooManyWatches(f"{count} channels of yours are watched, no more than {settings.watches_per_client} are")
    if int(size) + watch.size > settings.bytes_per_client:
        raise TooManyWatches(f"your other orders take {size} bytes, all may take {settings.bytes_per_client}")
    connection.execute(delete(watch_order).where(watch_order.c.channel == name))
    row = {"channel": name, "client": client, "size": watch.size, "received_at": watch.received_at, "body": body}
    connection.execute(insert(watch_order).values(row))


def _begin_act(connection: Connection, watch: StoredWatch, voucher: Digest, at: UnixTime, most: int) -> bool:
    name, client = watch.channel.hex(), watch.client.hex()
    same = (watch_act.c.channel == name, watch_act.c.voucher == voucher.hex())
    if connection.execute(select(func.count()).select_from(watch_act).where(*same)).scalar_one():
        return True
    recent = (watch_act.c.client == client, watch_act.c.at > at - DAY_S)
    if connection.execute(select(func.count()).select_from(watch_act).where(*recent)).scalar_one() >= most:
        return False
    connection.execute(delete(watch_act).where(watch_act.c.at < at - ACTS_KEPT_S))
    row = {"channel": name, "voucher": voucher.hex(), "client": client, "at": at, "block": 0}
    connection.execute(insert(watch_act).values(row))
    return True
