"""Writing one blob: hashed as it comes, visible only when it is whole and on disk."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import trio
from blake3 import blake3

from node.storage.blob_files import Keep, Space, publish
from node.storage.blocking import RunBlocking
from node.storage.errors import BlobMismatch, BlobTooLarge, DiskFull, is_no_room
from protocol.identity import ContentDigest
from protocol.units import UnixTime

T = TypeVar("T")

BUFFER_BYTES: Final = 262_144
"""Bytes collected before a thread is asked to hash and write them: a thread's round trip costs 0.1 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a finished blob goes.

    Attributes:
        path: Gives the final path of a digest.
        keep: Makes the retention of a digest durable; called before the blob becomes visible.
        run: Runs what blocks.
        limiter: Bounds how many at a time.
        time: Stamped on the file, in Unix seconds.
    """

    path: Callable[[ContentDigest], Path]
    keep: Keep
    run: RunBlocking
    limiter: trio.CapacityLimiter
    time: UnixTime


class BlobWriter:
    """A blob that is being written. Made by `BlobStore.open_writer`; without `commit` nothing remains of it."""

    def __init__(
        self, temporary: Path, *, target: Target, space: Space, max_bytes: int, expected: ContentDigest | None
    ) -> None:
        self._temporary, self._target, self._space = temporary, target, space
        self._max_bytes, self._expected = max_bytes, expected
        self._file = temporary.open("xb", buffering=0)
        self._hasher = blake3()
        self._buffer = bytearray()
        self._reserved = 0
        self._committed = False

    @property
    def size(self) -> int:
        """Bytes taken so far."""
        return self._reserved

    async def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes.

        Raises:
            BlobTooLarge: More than `max_bytes` in all.
            BlobQuotaExceeded: The store has no room by its own quota.
            DiskFull: The disk has none.
        """
        if self._reserved + len(data) > self._max_bytes:
            raise BlobTooLarge(limit=self._max_bytes)
        self._space.reserve(len(data))
        self._reserved += len(data)
        self._buffer += data
        if len(self._buffer) >= BUFFER_BYTES:
            await self._flush()
        else:
            await trio.lowlevel.checkpoint()

    async def commit(self, *, keep_until: UnixTime) -> ContentDigest:
        """Make the blob durable and visible under its digest, kept at least until `keep_until`.

        Raises:
            BlobMismatch: It is not the blob that was expected.
            DiskFull: The disk has no room.
        """
        await self._flush()
        digest = ContentDigest(self._hasher.digest())
        if self._expected is not None and digest != self._expected:
            raise BlobMismatch(expected=self._expected, found=digest)
        # First the retention: a crash in between leaves a note without a blob, never a blob that nobody keeps.
        await self._target.keep(digest, keep_until)
        final = self._target.path(digest)
        existed = await self._in_thread(lambda: publish(self._file.fileno(), self._temporary, final, self._target.time))
        self._committed = True
        if existed:
            self._space.release(self._reserved)
        return digest

    def discard(self) -> None:
        """Close; remove everything unless it was committed."""
        self._file.close()
        if not self._committed:
            self._temporary.unlink(missing_ok=True)
            self._space.release(self._reserved)

    async def _flush(self) -> None:
        data, self._buffer = bytes(self._buffer), bytearray()
        await self._in_thread(lambda: self._append(data))

    def _append(self, data: bytes) -> None:
        self._hasher.update(data)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    async def _in_thread(self, run: Callable[[], T]) -> T:
        try:
            return await self._target.run(run, limiter=self._target.limiter)
        except OSError as error:
            if is_no_room(error):
                raise DiskFull(f"a blob of at least {self._reserved} bytes") from error
            raise
