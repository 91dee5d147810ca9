"""Blobs by digest, checked while they stream (docs/spec/networking.md, section 4).

    asker                                   server
    digest, offset  ──────────────────────▶  may this peer have it?
                    ◀──────────────────────  status, size
                    ◀──────────────────────  one chaining value per MiB (more than one MiB only)
    do they give the digest?
                    ◀──────────────────────  bytes from the offset on
    each MiB against its chaining value, then to the sink

So the asker holds a MiB at a time, whatever the size, and a peer that lies is found out at the end of the MiB in which
it does. What has been checked is right for good: a transfer that breaks goes on at the next MiB, from any peer.

Who may have a blob is the source's decision. A peer that may not gets the same answer as one that asks for a blob that
does not exist. Connections are encrypted between authenticated peers, so nobody else can read along (docs/adr/0303).
"""

import struct
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from enum import IntEnum
from typing import Final, Protocol, TypeAlias, TypeVar, TypeVarTuple

import structlog
import trio
from blake3 import blake3

from node.networking.errors import BlobCorrupt, BlobUnavailable, MessageTooLarge, PeerBusy, PeerTimeout, PeerUnreachable
from node.networking.settings import NetworkSettings
from node.networking.streams import Stream, StreamClosed, Streams
from node.storage.blake3_tree import CV_BYTES, GROUP_BYTES, group_count, group_cv, root_of
from protocol.errors import StorageError, TransientError
from protocol.identity import ContentDigest, PeerId

log = structlog.get_logger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

PROTOCOL: Final = "/stoa/blobs/1"
STALL_TIMEOUT_S: Final = 30.0
"""A side that waits this long for the next bytes, or for the other to take some, gives up."""
FIRST_TIMEOUT_S: Final = 120.0
"""Until the first answer: a large blob that nobody asked for before is read and hashed once, at about 100 MB/s."""
MAX_BLOB_BYTES: Final = 64 * 1024**3
"""64 GiB: two MiB of chaining values, the most that an asker holds besides its group."""
CACHED_CVS_BYTES: Final = 8 * 1024 * 1024
_REQUEST: Final = struct.Struct("!32sQ")
_ANSWER: Final = struct.Struct("!BQ")
_READ_BYTES: Final = 64 * 1024


class _Status(IntEnum):
    OK = 0
    NOT_FOUND = 1
    BUSY = 2


class NotServed(TransientError):
    """Raised by a source: the blob is not here, or not for this peer."""


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


BlobSink: TypeAlias = Callable[[bytes], Awaitable[None]]
"""Gets the blob in order, in checked pieces of a MiB; the last may be shorter."""


class Blobs:
    """Both sides of the blob protocol of one node."""

    def __init__(self, streams: Streams, settings: NetworkSettings) -> None:
        self._streams = streams
        self._settings = settings
        self._source: BlobSource | None = None
        self._serving: Counter[PeerId] = Counter()
        self._cvs: OrderedDict[ContentDigest, bytes] = OrderedDict()
        self._hashing = trio.CapacityLimiter(1)  # one core's worth at most, whatever peers ask for
        streams.handle(PROTOCOL, self._serve_stream)

    def serve(self, source: BlobSource) -> None:
        """Serve the blobs of `source` from now on."""
        self._source = source

    async def fetch(
        self, peer: PeerId, digest: ContentDigest, *, max_bytes: int, sink: BlobSink, offset: int = 0
    ) -> int:
        """Fetch a blob from a connected peer; see `Network.fetch_blob`."""
        assert offset % GROUP_BYTES == 0, "a transfer goes on at a whole MiB"
        try:
            with trio.fail_after(STALL_TIMEOUT_S):
                stream = await self._streams.open_stream(peer, [PROTOCOL])
        except trio.TooSlowError as error:
            raise PeerTimeout(peer, "a blob stream", after_s=STALL_TIMEOUT_S) from error
        try:
            return await self._receive(stream, digest, max_bytes, sink, offset)
        except StreamClosed as error:
            raise PeerUnreachable(peer, f"blob transfer broke: {error}") from error
        except trio.TooSlowError as error:
            raise PeerTimeout(peer, f"blob {digest.hex()}", after_s=STALL_TIMEOUT_S) from error
        except BlobCorrupt as error:
            self._streams.strike(peer, str(error), weight=5)
            raise
        finally:
            stream.reset()

    async def _serve_stream(self, stream: Stream) -> None:
        with trio.fail_after(STALL_TIMEOUT_S):
            raw, offset = _REQUEST.unpack(await stream.read_exactly(_REQUEST.size))
        peer, digest = stream.peer, ContentDigest(raw)
        if self._source is None:
            await stream.write(_ANSWER.pack(_Status.NOT_FOUND, 0))
            return
        if (
            self._serving[peer] >= self._settings.max_blob_streams_per_peer
            or self._serving.total() >= self._settings.max_blob_streams
        ):
            await stream.write(_ANSWER.pack(_Status.BUSY, 0))
            return
        self._serving[peer] += 1
        try:
            async with self._source.open(digest, peer) as reader:
                await self._send(stream, reader, digest, offset)
        except NotServed:
            await stream.write(_ANSWER.pack(_Status.NOT_FOUND, 0))
        finally:
            self._serving[peer] -= 1
            if not self._serving[peer]:
                del self._serving[peer]

    async def _send(self, stream: Stream, reader: BlobReader, digest: ContentDigest, offset: int) -> None:
        cvs = await self._cvs_of(reader, digest) if reader.size > GROUP_BYTES else b""
        await stream.write(_ANSWER.pack(_Status.OK, reader.size))
        while cvs:
            await _write(stream, cvs[:_READ_BYTES])
            cvs = cvs[_READ_BYTES:]
        offset = _first_group(offset, reader.size) * GROUP_BYTES
        while offset < reader.size:
            data = await _read_at(reader, offset, _READ_BYTES)
            await _write(stream, data)
            offset += len(data)

    async def _cvs_of(self, reader: BlobReader, digest: ContentDigest) -> bytes:
        known = self._cvs.get(digest)
        if known is None:
            parts: list[bytes] = []
            for index in range(group_count(reader.size)):
                data = await _read_group(reader, index)
                parts.append(await self._hash(group_cv, data, index))
            known = self._cvs[digest] = b"".join(parts)
            while len(self._cvs) > 1 and sum(map(len, self._cvs.values())) > CACHED_CVS_BYTES:
                self._cvs.popitem(last=False)
        self._cvs.move_to_end(digest)
        return known

    async def _receive(self, stream: Stream, digest: ContentDigest, max_bytes: int, sink: BlobSink, offset: int) -> int:
        peer = stream.peer
        await _write(stream, _REQUEST.pack(digest, offset))
        stream.finish()
        with trio.fail_after(FIRST_TIMEOUT_S):
            status, size = _ANSWER.unpack(await stream.read_exactly(_ANSWER.size))
        if status == _Status.BUSY:
            raise PeerBusy(f"{peer} serves as many blobs as it can now")
        if status != _Status.OK:
            raise BlobUnavailable(peer, digest)
        if size > min(max_bytes, MAX_BLOB_BYTES):
            raise MessageTooLarge(f"blob {digest.hex()} at {peer}", size=size, limit=min(max_bytes, MAX_BLOB_BYTES))
        groups = group_count(size)
        cvs = await self._receive_cvs(stream, digest, groups) if groups > 1 else []
        for index in range(_first_group(offset, size), groups):
            data = await _receive_exactly(stream, min(GROUP_BYTES, size - index * GROUP_BYTES))
            checked = await self._hash(group_cv, data, index) if cvs else blake3(data).digest()
            if checked != (cvs[index] if cvs else digest):
                raise BlobCorrupt(f"{peer} sent wrong bytes in MiB {index} of blob {digest.hex()}")
            if data and index * GROUP_BYTES >= offset:
                await sink(data)
        return size

    async def _receive_cvs(self, stream: Stream, digest: ContentDigest, groups: int) -> list[bytes]:
        raw = await _receive_exactly(stream, groups * CV_BYTES)
        cvs = [raw[start : start + CV_BYTES] for start in range(0, len(raw), CV_BYTES)]
        if await self._hash(root_of, cvs) != digest:
            raise BlobCorrupt(f"{stream.peer} has another blob, or lies about the size of {digest.hex()}")
        return cvs

    async def _hash(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a function that takes milliseconds per MiB."""
        if self._settings.hash_in_threads:
            return await trio.to_thread.run_sync(function, *args, limiter=self._hashing)
        return function(*args)


def _first_group(offset: int, size: int) -> int:
    """Return the group at which a transfer begins.

    The last one always comes, also if the asker has all: else a peer could claim a size at which nothing is left to
    send, and so nothing to check.
    """
    return min(offset // GROUP_BYTES, group_count(size) - 1)


async def _write(stream: Stream, data: bytes) -> None:
    with trio.fail_after(STALL_TIMEOUT_S):
        await stream.write(data)


async def _read_group(reader: BlobReader, index: int) -> bytes:
    parts: list[bytes] = []
    offset, end = index * GROUP_BYTES, min(reader.size, (index + 1) * GROUP_BYTES)
    while offset < end:
        parts.append(await _read_at(reader, offset, end - offset))
        offset += len(parts[-1])
    return b"".join(parts)


async def _read_at(reader: BlobReader, offset: int, length: int) -> bytes:
    data = await reader.read_at(offset, length)
    if not data:
        raise StorageError(
            f"a blob of {reader.size} bytes ends at {offset}", advice="Check the disk of the blob store."
        )
    return data


async def _receive_exactly(stream: Stream, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        with trio.fail_after(STALL_TIMEOUT_S):
            chunk = await stream.read(min(_READ_BYTES, size - len(data)))
        if not chunk:
            raise StreamClosed(f"the peer finished after {len(data)} of {size} bytes")
        data += chunk
    return bytes(data)
