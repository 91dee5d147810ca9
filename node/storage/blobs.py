"""The blob store: bytes named by their BLAKE3-256 digest (DESIGN, D15), as files that other processes may read.

Files are the truth about what is here; the database knows only how long each is kept. Layout, under the data folder:

    blobs/ab/abcd…            a whole blob, named by 64 hexadecimal digits, in the folder of its first two
    blobs/incoming/…          being written; what a transfer can go on with stays, the rest is swept at open
"""

import functools
import os
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, Protocol, TypeVar

import trio
from blake3 import blake3
from sqlalchemy import Connection, delete, insert, select, update

from node.operations.clock import Clock
from node.storage.blob_partials import PartialBlob, Partials, Yard, sweep_and_count
from node.storage.blob_writer import BlobWriter, Target
from node.storage.blocking import RunBlocking
from node.storage.errors import BlobDamaged, BlobMissing, BlobQuotaExceeded, BlobTooLarge, DataFolderUnusable
from node.storage.tables import blob_retention
from node.storage.writer import Writer
from protocol.identity import ContentDigest
from protocol.units import UnixTime

T = TypeVar("T")

THREADS: Final = 4
CHUNK_BYTES: Final = 1_048_576
GRACE_S: Final = 3600
"""A blob this young is never collected, whatever its retention says: someone may be about to extend it."""
_INCOMING: Final = "incoming"
_DIGEST_CHARS: Final = 64
_SHARD_CHARS: Final = 2


class BlobStore:
    """All blobs of this node. Made by `open_blob_store`."""

    def __init__(
        self,
        folder: Path,
        writer: Writer,
        clock: Clock,
        *,
        quota_bytes: int,
        used_bytes: int,
        run_blocking: RunBlocking,
    ) -> None:
        self._folder, self._writer, self._clock = folder, writer, clock
        self._quota, self._used = quota_bytes, used_bytes
        self._run_blocking = run_blocking
        self._limiter = trio.CapacityLimiter(THREADS)
        self._pins: Counter[ContentDigest] = Counter()
        self._incoming = 0
        self._partials = Partials(
            Yard(
                incoming=folder / _INCOMING,
                path=self.path,
                keep=self.keep,
                space=self,
                run=run_blocking,
                limiter=self._limiter,
                clock=clock,
            )
        )

    @property
    def used_bytes(self) -> int:
        """Bytes of all blobs: of those being written what has come, of those that come in groups the whole."""
        return self._used

    @property
    def quota_bytes(self) -> int:
        """Most that `used_bytes` may become."""
        return self._quota

    def path(self, digest: ContentDigest) -> Path:
        """Return where the blob is or would be. Bytes read from there unverified are the disk's word only."""
        return _place(self._folder, digest)

    async def has(self, digest: ContentDigest) -> bool:
        """Tell whether the whole blob is here."""
        return await self._in_thread(self.path(digest).exists)

    async def size(self, digest: ContentDigest) -> int:
        """Return the blob's size in bytes.

        Raises:
            BlobMissing: It is not here.
        """
        return (await self._in_thread(lambda: self._stat(digest))).st_size

    @asynccontextmanager
    async def open_writer(self, *, max_bytes: int, expected: ContentDigest | None = None) -> AsyncGenerator[BlobWriter]:
        """Write a blob piece by piece; leaving the block without `commit` leaves nothing behind.

        Args:
            max_bytes: Most that this writer takes. With bytes from a peer this is the bound on what it can make us do.
            expected: If given, `commit` refuses any other blob.
        """
        self._incoming += 1
        writer = BlobWriter(
            self._folder / _INCOMING / f"{os.getpid()}-{self._incoming}",
            target=Target(
                path=self.path, keep=self.keep, run=self._run_blocking, limiter=self._limiter, time=self._clock.now()
            ),
            space=self,
            max_bytes=max_bytes,
            expected=expected,
        )
        try:
            yield writer
        finally:
            writer.discard()

    @asynccontextmanager
    async def open_partial(self, digest: ContentDigest, *, max_bytes: int) -> AsyncGenerator[PartialBlob]:
        """Take up the transfer of a blob that comes in checked groups, from where it was interrupted, or begin one.

        What has come when the block is left without `commit` is kept for a day, over restarts. A second transfer of the
        same blob at the same time is on its own and leaves nothing.

        Args:
            digest: Of the blob.
            max_bytes: Most that it may have.
        """
        async with self._partials.open(digest, max_bytes=max_bytes) as partial:
            yield partial

    async def put(self, data: bytes, *, keep_until: UnixTime) -> ContentDigest:
        """Store `data` and return its digest.

        Raises:
            BlobQuotaExceeded: The store's quota is used up.
            DiskFull: The disk has no room.
        """
        async with self.open_writer(max_bytes=len(data)) as writer:
            await writer.write(data)
            return await writer.commit(keep_until=keep_until)

    async def put_file(self, source: Path, *, keep_until: UnixTime, max_bytes: int) -> ContentDigest:
        """Store a copy of `source` and return its digest.

        Raises:
            BlobTooLarge: The file has more than `max_bytes`.
            BlobQuotaExceeded: The store's quota is used up.
            DiskFull: The disk has no room.
            OSError: `source` can't be read.
        """
        file = await self._in_thread(lambda: source.open("rb"))
        with file:
            async with self.open_writer(max_bytes=max_bytes) as writer:
                while chunk := await self._in_thread(lambda: file.read(CHUNK_BYTES)):
                    await writer.write(chunk)
                return await writer.commit(keep_until=keep_until)

    async def read(self, digest: ContentDigest, *, max_bytes: int) -> bytes:
        """Return the blob's bytes, checked against its digest.

        Raises:
            BlobMissing: It is not here.
            BlobTooLarge: It has more than `max_bytes`.
            BlobDamaged: The disk changed it; it was removed.
        """
        data = await self._in_thread(lambda: self._read(digest, max_bytes))
        if data is None:
            raise BlobTooLarge(limit=max_bytes)
        if await self._in_thread(lambda: blake3(data).digest()) != digest:
            await self.delete(digest)
            raise BlobDamaged(digest)
        return data

    @asynccontextmanager
    async def open_reader(self, digest: ContentDigest) -> AsyncGenerator["BlobFile"]:
        """Open the blob for reading by pieces, unverified: who receives them checks them. Not collected meanwhile.

        Raises:
            BlobMissing: It is not here.
        """
        with self.pinned(digest):
            descriptor, size = await self._in_thread(lambda: self._open(digest))
            try:
                yield BlobFile(descriptor, size, self._in_thread)
            finally:
                os.close(descriptor)

    async def verify(self, digest: ContentDigest) -> None:
        """Read the blob once and check it: before a file is handed to a program that won't.

        Raises:
            BlobMissing: It is not here.
            BlobDamaged: The disk changed it; it was removed.
        """
        if await self._in_thread(lambda: self._hash(digest)) != digest:
            await self.delete(digest)
            raise BlobDamaged(digest)

    async def delete(self, digest: ContentDigest) -> None:
        """Remove the blob, pinned or not, and its retention. Processes that have it open keep their copy."""

        def remove(connection: Connection) -> int:
            connection.execute(delete(blob_retention).where(blob_retention.c.digest == digest))
            return self._unlink(digest)

        self.release(await self._writer.submit(remove))

    async def keep(self, digest: ContentDigest, keep_until: UnixTime) -> None:
        """Keep the blob, here already or to come, at least until `keep_until`; never shortens.

        To rely on a blob that may be about to expire, first `keep` it, then ask whether the store `has` it.
        """
        await self._writer.submit(lambda connection: keep_blob(connection, digest, keep_until))

    @contextmanager
    def pinned(self, digest: ContentDigest) -> Generator[Path]:
        """Keep the garbage collector away from the blob during the block; gives its path."""
        self._pins[digest] += 1
        try:
            yield self.path(digest)
        finally:
            self._pins[digest] -= 1
            if not self._pins[digest]:
                del self._pins[digest]

    async def collect_garbage(self) -> int:
        """Delete unpinned blobs whose retention is over and transfers that were given up; return the bytes freed."""
        now = self._clock.now()
        freed = await self._partials.expire(now)
        for digest, modified in await self._in_thread(self._list):
            if digest not in self._pins and modified + GRACE_S < now:
                size = await self._writer.submit(functools.partial(self._collect, digest, now))
                self.release(size)
                freed += size
        return freed

    def reserve(self, count: int) -> None:
        """Take `count` bytes of the quota: for `BlobWriter`."""
        if self._used + count > self._quota:
            raise BlobQuotaExceeded(used=self._used, wanted=count, quota=self._quota)
        self._used += count

    def release(self, count: int) -> None:
        """Give `count` bytes back: for `BlobWriter`."""
        self._used -= count

    def _stat(self, digest: ContentDigest) -> os.stat_result:
        try:
            return self.path(digest).stat()
        except FileNotFoundError as error:
            raise BlobMissing(digest) from error

    def _open(self, digest: ContentDigest) -> tuple[int, int]:
        try:
            descriptor = os.open(self.path(digest), os.O_RDONLY)
        except FileNotFoundError as error:
            raise BlobMissing(digest) from error
        return descriptor, os.fstat(descriptor).st_size

    def _read(self, digest: ContentDigest, max_bytes: int) -> bytes | None:
        if self._stat(digest).st_size > max_bytes:
            return None
        try:
            return self.path(digest).read_bytes()
        except FileNotFoundError as error:
            raise BlobMissing(digest) from error

    def _hash(self, digest: ContentDigest) -> bytes:
        self._stat(digest)
        return blake3().update_mmap(self.path(digest)).digest()

    def _list(self) -> list[tuple[ContentDigest, float]]:
        return [(ContentDigest(bytes.fromhex(path.name)), path.stat().st_mtime) for path in _blob_files(self._folder)]

    def _collect(self, digest: ContentDigest, now: UnixTime, connection: Connection) -> int:
        """On the writer's thread, so that no `keep` comes between the look and the deletion."""
        ours = blob_retention.c.digest == digest
        keep_until = connection.execute(select(blob_retention.c.keep_until).where(ours)).scalar_one_or_none()
        if digest in self._pins or (keep_until is not None and keep_until >= now):
            return 0
        connection.execute(delete(blob_retention).where(ours))
        return self._unlink(digest)

    def _unlink(self, digest: ContentDigest) -> int:
        path = self.path(digest)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        return size

    async def _in_thread(self, run: Callable[[], T]) -> T:
        return await self._run_blocking(run, limiter=self._limiter)


class BlobFile:
    """A blob that is open for reading."""

    def __init__(self, descriptor: int, size: int, run: "_Run") -> None:
        self._descriptor, self._size, self._run = descriptor, size, run

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self._size

    async def read_at(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; fewer only at the end."""
        return await self._run(lambda: os.pread(self._descriptor, length, offset))


class _Run(Protocol):
    async def __call__(self, run: Callable[[], T]) -> T: ...


def keep_blob(connection: Connection, digest: ContentDigest, keep_until: UnixTime) -> None:
    """Keep a blob at least until `keep_until`, within the caller's transaction; never shortens."""
    ours = blob_retention.c.digest == digest
    known = connection.execute(select(blob_retention.c.keep_until).where(ours)).scalar_one_or_none()
    if known is None:
        connection.execute(insert(blob_retention).values(digest=digest, keep_until=keep_until))
    elif known < keep_until:
        connection.execute(update(blob_retention).where(ours).values(keep_until=keep_until))


async def open_blob_store(
    folder: Path, writer: Writer, clock: Clock, *, quota_bytes: int, run_blocking: RunBlocking
) -> BlobStore:
    """Sweep what a crash left that can't be gone on with, count the rest, and return the store.

    Raises:
        DataFolderUnusable: `folder` can't be read or written.
    """
    try:
        used = await run_blocking(lambda: _count(folder), limiter=trio.CapacityLimiter(1))
    except OSError as error:
        raise DataFolderUnusable(folder, error.strerror or str(error)) from error
    return BlobStore(folder, writer, clock, quota_bytes=quota_bytes, used_bytes=used, run_blocking=run_blocking)


def _count(folder: Path) -> int:
    unfinished = sweep_and_count(folder / _INCOMING, lambda digest: _place(folder, digest))
    return unfinished + sum(path.stat().st_size for path in _blob_files(folder))


def _place(folder: Path, digest: ContentDigest) -> Path:
    name = digest.hex()
    return folder / name[:_SHARD_CHARS] / name


def _blob_files(folder: Path) -> Generator[Path]:
    for shard in folder.iterdir():
        if len(shard.name) == _SHARD_CHARS:
            yield from (path for path in shard.iterdir() if len(path.name) == _DIGEST_CHARS)
