"""Who may fetch which blob: the blob server asks here before it answers a peer."""

from typing import TypeAlias

from sqlalchemy import Connection, delete, insert, select, update

from node.operations.clock import Clock
from node.storage.read_model import ReadModel
from node.storage.tables import blob_grant
from node.storage.writer import Writer
from protocol.identity import Address, ContentDigest, PeerId
from protocol.units import UnixTime

Grantee: TypeAlias = Address | PeerId
"""A wallet, or one host: the blob server knows a stranger's peer id before it knows its wallet."""


def grant_blob(connection: Connection, digest: ContentDigest, grantee: Grantee, until: UnixTime) -> None:
    """Let `grantee` fetch `digest` while time <= `until`; an earlier grant is never shortened."""
    ours = (blob_grant.c.digest == digest) & (blob_grant.c.grantee == _name(grantee))
    known = connection.execute(select(blob_grant.c.until).where(ours)).scalar_one_or_none()
    if known is None:
        connection.execute(insert(blob_grant).values(digest=digest, grantee=_name(grantee), until=until))
    elif known < until:
        connection.execute(update(blob_grant).where(ours).values(until=until))


class AccessList:
    """Grants of blobs to wallets and peers. Nothing is served to anyone without one."""

    def __init__(self, writer: Writer, reader: ReadModel, clock: Clock) -> None:
        self._writer, self._reader, self._clock = writer, reader, clock

    async def grant(self, digest: ContentDigest, grantee: Grantee, until: UnixTime) -> None:
        """Let `grantee` fetch `digest` up to and including `until`. Inside a transaction: `grant_blob`."""
        await self._writer.submit(lambda connection: grant_blob(connection, digest, grantee, until))

    async def revoke(self, digest: ContentDigest, grantee: Grantee | None = None) -> None:
        """Take back the grant of one grantee, or all grants of `digest`."""
        query = delete(blob_grant).where(blob_grant.c.digest == digest)
        if grantee is not None:
            query = query.where(blob_grant.c.grantee == _name(grantee))
        await self._writer.submit(lambda connection: connection.execute(query).rowcount)

    async def is_granted(self, digest: ContentDigest, grantee: Grantee) -> bool:
        """Tell whether `grantee` may fetch `digest` now."""
        query = select(blob_grant.c.until).where(
            blob_grant.c.digest == digest,
            blob_grant.c.grantee == _name(grantee),
            blob_grant.c.until >= self._clock.now(),
        )
        return await self._reader.query(lambda connection: connection.execute(query).first() is not None)

    async def drop_expired(self) -> int:
        """Delete grants that are over; return how many."""
        query = delete(blob_grant).where(blob_grant.c.until < self._clock.now())
        return await self._writer.submit(lambda connection: connection.execute(query).rowcount)


def _name(grantee: Grantee) -> str:
    return f"peer:{grantee}" if isinstance(grantee, str) else f"0x{grantee.hex()}"
