"""What this node serves of its blobs, to how many at once: shared by both versions of the protocol."""

from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final, Protocol, TypeVar, TypeVarTuple

import trio

from node.networking.settings import NetworkSettings
from node.storage.blake3_tree import GROUP_BYTES, group_count, group_cv
from protocol.errors import StorageError, TransientError
from protocol.identity import ContentDigest, PeerId

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

CACHED_CVS_BYTES: Final = 8 * 1024 * 1024


class NotServed(TransientError):
    """Raised by a source: the blob is not here, or not for this peer."""


class NoPlace(TransientError):
    """As many blobs are being served, to this peer or to all, as may be."""


class BlobReader(Protocol):
    """A blob that is open for reading."""

    @property
    def size(self) -> int:
        """Bytes in all."""
        ...

    async def read_at(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; fewer only at the end of the blob."""
        ...


class BlobSource(Protocol):
    """Where blobs come from, and who may have them."""

    def open(self, digest: ContentDigest, peer: PeerId) -> AbstractAsyncContextManager[BlobReader]:
        """Open a blob for `peer`, for as long as the context lasts.

        Raises:
            NotServed: On entering: there is no such blob, or `peer` may not have it.
        """
        ...


class Hashing:
    """Runs what takes milliseconds per MiB: beside the main loop, on one core's worth whatever peers ask for."""

    def __init__(self, settings: NetworkSettings) -> None:
        self._in_threads = settings.hash_in_threads
        self._limiter = trio.CapacityLimiter(1)
        self.one_window = trio.Lock()

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Return `function(*args)`."""
        if self._in_threads:
            return await trio.to_thread.run_sync(function, *args, limiter=self._limiter)
        return function(*args)


class Serving:
    """Blobs that are being served now."""

    def __init__(self, settings: NetworkSettings, hashing: Hashing) -> None:
        self.source: BlobSource | None = None
        self._settings, self._hashing = settings, hashing
        self._places: Counter[PeerId] = Counter()
        self._cvs: OrderedDict[ContentDigest, bytes] = OrderedDict()

    @asynccontextmanager
    async def open(self, digest: ContentDigest, peer: PeerId) -> AsyncGenerator[BlobReader]:
        """Open a blob for a peer.

        Raises:
            NotServed: On entering: it is not here, or not for this peer.
            NoPlace: On entering: too many are being served.
        """
        if self.source is None:
            raise NotServed(digest.hex())
        if (
            self._places[peer] >= self._settings.max_blob_streams_per_peer
            or self._places.total() >= self._settings.max_blob_streams
        ):
            raise NoPlace(peer)
        self._places[peer] += 1
        try:
            async with self.source.open(digest, peer) as reader:
                yield reader
        finally:
            self._places[peer] -= 1
            if not self._places[peer]:
                del self._places[peer]

    @asynccontextmanager
    async def open_bases(
        self, digests: Sequence[ContentDigest], peer: PeerId
    ) -> AsyncGenerator[Sequence[BlobReader | None]]:
        """Open those of an asker's bases that it may have of us; the others are None, for whatever reason."""
        async with AsyncExitStack() as stack:
            bases: list[BlobReader | None] = []
            for digest in digests:
                try:
                    assert self.source is not None, "only what is being served has bases"
                    bases.append(await stack.enter_async_context(self.source.open(digest, peer)))
                except NotServed:
                    bases.append(None)
            yield bases

    async def cvs_of(self, reader: BlobReader, digest: ContentDigest) -> bytes:
        """Return the chaining values of a blob's groups, none if it has but one. Reads it all the first time."""
        if reader.size <= GROUP_BYTES:
            return b""
        known = self._cvs.get(digest)
        if known is None:
            parts: list[bytes] = []
            for index in range(group_count(reader.size)):
                offset = index * GROUP_BYTES
                data = await read_fully(reader, offset, min(GROUP_BYTES, reader.size - offset))
                parts.append(await self._hashing.run(group_cv, data, index))
            known = self._cvs[digest] = b"".join(parts)
            while len(self._cvs) > 1 and sum(map(len, self._cvs.values())) > CACHED_CVS_BYTES:
                self._cvs.popitem(last=False)
        self._cvs.move_to_end(digest)
        return known


async def read_fully(reader: BlobReader, offset: int, length: int) -> bytes:
    """Return exactly `length` bytes.

    Raises:
        StorageError: The blob is shorter on disk than it should be.
    """
    data = await reader.read_at(offset, length)
    while len(data) < length:
        more = await reader.read_at(offset + len(data), length - len(data))
        if not more:
            raise StorageError(
                f"a blob of {reader.size} bytes ends at {offset + len(data)}",
                advice="Check the disk of the blob store.",
            )
        data += more
    return data
