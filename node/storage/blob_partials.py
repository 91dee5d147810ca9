"""Blobs of which only some groups are here: a transfer that was interrupted goes on after a restart.

In `blobs/incoming`, for a blob of more than one group (node/storage/blake3_tree.py):

    <digest>.part     as long as the blob; groups that have not come are holes
    <digest>.tree     "stoaprt1" | u64 size | chaining values, 32 each | u32 number of each group that was written

The list at the end only says where to look: a group counts after it was read back and checked against its chaining
value, and these against the digest. So nothing here needs an order of writes: what a power cut tears is fetched again
(docs/adr/1331).
"""

import os
import struct
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import structlog
import trio

from node.operations.clock import Clock
from node.storage.blake3_tree import CV_BYTES, GROUP_BYTES, BlobTree, group_count
from node.storage.blob_files import Keep, Space, publish
from node.storage.blocking import RunBlocking
from node.storage.errors import BlobTooLarge, DiskFull, is_no_room
from protocol.identity import ContentDigest
from protocol.units import UnixTime

log = structlog.get_logger(__name__)

T = TypeVar("T")

KEEP_PARTIAL_S: Final = 24 * 3600
"""A transfer that nobody went on with for a day is given up, and its room with it."""
SYNC_GROUPS: Final = 64
"""Groups after which the disk is told to write: what a power cut costs at most, and what the end has left to flush."""
_MAGIC: Final = b"stoaprt1"
_HEAD: Final = struct.Struct("!8sQ")
_NUMBER: Final = struct.Struct("!I")
_DIGEST_CHARS: Final = 64


@dataclass(frozen=True, slots=True)
class _Names:
    """The files of one transfer."""

    part: Path
    tree: Path

    def unlink(self) -> None:
        self.tree.unlink(missing_ok=True)
        self.part.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Yard:
    """What a partial blob needs of the store.

    Attributes:
        incoming: The folder of unfinished blobs.
        path: Gives the final path of a digest.
        keep: Makes the retention of a digest durable; called before the blob becomes visible.
        space: Counts the bytes of the store.
        run: Runs what blocks.
        limiter: Bounds how many at a time.
        clock: Stamps files.
    """

    incoming: Path
    path: Callable[[ContentDigest], Path]
    keep: Keep
    space: Space
    run: RunBlocking
    limiter: trio.CapacityLimiter
    clock: Clock

    async def in_thread(self, run: Callable[[], T]) -> T:
        """Run what touches the disk. Raises `DiskFull` for want of room."""
        try:
            return await self.run(run, limiter=self.limiter)
        except OSError as error:
            if is_no_room(error):
                raise DiskFull("a part of a blob") from error
            raise


class PartialBlob:
    """A blob that comes in groups, in any order. Made by `BlobStore.open_partial`.

    Attributes:
        tree: Size and chaining values, once they are known and proven.
    """

    def __init__(self, yard: Yard, names: _Names, digest: ContentDigest, *, max_bytes: int, may_resume: bool) -> None:
        self.tree: BlobTree | None = None
        self._yard, self._names, self._digest = yard, names, digest
        self._max_bytes, self._may_resume = max_bytes, may_resume
        self._missing: set[int] = set()
        self._part = self._log = -1
        self._unsynced = 0
        self._committed = False

    @property
    def missing(self) -> frozenset[int]:
        """Numbers of the groups that are not here; empty before `begin`."""
        return frozenset(self._missing)

    async def begin(self, tree: BlobTree) -> None:
        """Make room for the blob of which `tree` is proven; harmless if it has begun.

        Raises:
            BlobTooLarge: It has more bytes than were allowed for.
            BlobQuotaExceeded: The store has no room for the whole of it by its own quota.
            DiskFull: The disk has none for its first byte.
        """
        assert tree.digest == self._digest
        if self.tree is not None:
            return
        if tree.size > self._max_bytes:
            raise BlobTooLarge(limit=self._max_bytes)
        self._yard.space.reserve(tree.size)
        self.tree, self._missing = tree, set(range(tree.groups))
        await self._yard.in_thread(lambda: self._create(tree))

    async def put(self, index: int, data: bytes) -> None:
        """Write a group that was checked; one that is here is left alone.

        Raises:
            DiskFull: The disk has no room; the group is still missing.
        """
        assert self.tree is not None
        assert len(data) == self.tree.length_of(index)
        if index in self._missing:
            await self._yard.in_thread(lambda: self._write(index, data))
            self._missing.discard(index)

    async def commit(self, *, keep_until: UnixTime) -> None:
        """Make the blob durable and visible under its digest, kept at least until `keep_until`.

        Raises:
            DiskFull: The disk has no room.
        """
        assert self.tree is not None, "nothing has come"
        assert not self._missing, "groups are missing"
        # First the retention, as for every blob: node/storage/blob_writer.py.
        await self._yard.keep(self._digest, keep_until)
        final, now = self._yard.path(self._digest), self._yard.clock.now()
        existed = await self._yard.in_thread(lambda: publish(self._part, self._names.part, final, now))
        self._committed = True
        self._names.tree.unlink(missing_ok=True)
        if existed:
            self._yard.space.release(self.tree.size)

    async def resume(self) -> None:
        """Take up what an earlier transfer left; without it, or if it is damaged, begin anew."""
        tree, numbers = await self._yard.in_thread(self._load)
        if tree is None:
            await self._yard.in_thread(self._names.unlink)
            return
        self.tree, self._missing = tree, set(range(tree.groups))
        for index in numbers:
            if await self._yard.in_thread(lambda index=index: self._is_here(tree, index)):
                self._missing.discard(index)
        log.info("blob.resumed", digest=self._digest.hex(), groups=tree.groups, missing=len(self._missing))

    def close(self) -> None:
        """Close the files. What has come is kept for a later transfer, if there may be one."""
        for descriptor in (self._part, self._log):
            if descriptor >= 0:
                os.close(descriptor)
        if self._committed:
            return
        if self.tree is not None and self._may_resume and self._log >= 0 and len(self._missing) < self.tree.groups:
            now = self._yard.clock.now()
            with suppress(OSError):  # only the age of what is left depends on it
                os.utime(self._names.tree, (now, now))
            return
        self._names.unlink()
        if self.tree is not None:
            self._yard.space.release(self.tree.size)

    def _create(self, tree: BlobTree) -> None:
        self._part = os.open(self._names.part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.ftruncate(self._part, tree.size)
        if tree.groups > 1 and self._may_resume:
            self._log = os.open(self._names.tree, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
            _write_all(self._log, _HEAD.pack(_MAGIC, tree.size) + tree.cvs)

    def _write(self, index: int, data: bytes) -> None:
        view, offset = memoryview(data), index * GROUP_BYTES
        while view:
            written = os.pwrite(self._part, view, offset)
            view, offset = view[written:], offset + written
        if self._log >= 0:
            _write_all(self._log, _NUMBER.pack(index))
        self._unsynced += 1
        if self._unsynced >= SYNC_GROUPS:
            self._unsynced = 0
            os.fdatasync(self._part)

    def _load(self) -> tuple[BlobTree | None, list[int]]:
        size = _declared_size(self._names)
        if size is None:
            return None, []
        raw = self._names.tree.read_bytes()
        end = _HEAD.size + group_count(size) * CV_BYTES
        tree = BlobTree.prove(self._digest, size, raw[_HEAD.size : end])
        if tree is None or size > self._max_bytes:
            self._yard.space.release(size)
            return None, []
        whole = (len(raw) - end) // _NUMBER.size
        self._part = os.open(self._names.part, os.O_RDWR)
        self._log = os.open(self._names.tree, os.O_RDWR | os.O_APPEND)
        os.ftruncate(self._log, end + whole * _NUMBER.size)  # a number that was torn would shift all that follow
        listed = {number for (number,) in _NUMBER.iter_unpack(raw[end : end + whole * _NUMBER.size])}
        return tree, sorted(number for number in listed if number < tree.groups)

    def _is_here(self, tree: BlobTree, index: int) -> bool:
        data = os.pread(self._part, tree.length_of(index), index * GROUP_BYTES)
        return len(data) == tree.length_of(index) and tree.matches(index, data)


class Partials:
    """The unfinished blobs of a store."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard
        self._open: set[ContentDigest] = set()
        self._number = 0

    @asynccontextmanager
    async def open(self, digest: ContentDigest, *, max_bytes: int) -> AsyncGenerator[PartialBlob]:
        """See `BlobStore.open_partial`."""
        # Two transfers of one blob don't wait for each other: one of them may depend on a peer that stalls.
        may_resume = digest not in self._open
        self._number += 1
        name = digest.hex() if may_resume else f"{digest.hex()}-{os.getpid()}-{self._number}"
        partial = PartialBlob(
            self._yard, _names(self._yard.incoming, name), digest, max_bytes=max_bytes, may_resume=may_resume
        )
        if may_resume:
            self._open.add(digest)
        try:
            if may_resume:
                await partial.resume()
            yield partial
        finally:
            partial.close()
            if may_resume:
                self._open.discard(digest)

    async def expire(self, now: UnixTime) -> int:
        """Give up transfers that nobody went on with for `KEEP_PARTIAL_S`; return the bytes of quota that are free."""
        freed = 0
        for digest, size, touched in await self._yard.in_thread(lambda: list(_unfinished(self._yard.incoming))):
            if digest not in self._open and touched + KEEP_PARTIAL_S < now:
                _names(self._yard.incoming, digest.hex()).unlink()
                freed += size
        self._yard.space.release(freed)
        return freed


def sweep_and_count(incoming: Path, path: Callable[[ContentDigest], Path]) -> int:
    """Delete what can't be gone on with, and return the bytes that the rest will have when it is complete."""
    incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept: dict[str, int] = {
        digest.hex(): size for digest, size, _ in _unfinished(incoming) if not path(digest).exists()
    }
    for leftover in incoming.iterdir():
        if leftover.stem not in kept or leftover.suffix not in (".part", ".tree"):
            leftover.unlink()
    return sum(kept.values())


def _names(incoming: Path, name: str) -> _Names:
    return _Names(incoming / f"{name}.part", incoming / f"{name}.tree")


def _unfinished(incoming: Path) -> Generator[tuple[ContentDigest, int, float]]:
    """Give digest, declared size and time of last use of each transfer that may go on."""
    for tree in incoming.glob("*.tree"):
        names = _names(incoming, tree.stem)
        size = _declared_size(names) if len(tree.stem) == _DIGEST_CHARS else None
        if size is not None:
            with suppress(ValueError):  # no hexadecimal name: not ours
                yield ContentDigest(bytes.fromhex(tree.stem)), size, tree.stat().st_mtime


def _declared_size(names: _Names) -> int | None:
    """Return the size of the blob, or None if the two files do not belong together."""
    try:
        with names.tree.open("rb") as file:
            magic, size = _HEAD.unpack(file.read(_HEAD.size))
        part_size, tree_size = names.part.stat().st_size, names.tree.stat().st_size
    except (FileNotFoundError, struct.error):
        return None
    whole = magic == _MAGIC and size == part_size and tree_size >= _HEAD.size + group_count(size) * CV_BYTES
    return size if whole else None


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
