"""Reading a blob's bytes from a peer that may be slow, on purpose or not."""

from dataclasses import dataclass
from math import inf
from typing import Final

import trio

from node.networking.bandwidth import MAX_PIECE_BYTES, Bandwidth
from node.networking.blob_frames import Accepts, Status, read_answer
from node.networking.errors import BlobCorrupt, BlobUnavailable, MessageTooLarge, PeerBusy
from node.networking.streams import Stream, StreamClosed
from node.storage.blake3_tree import BlobTree
from protocol.identity import ContentDigest

STALL_TIMEOUT_S: Final = 30.0
"""A side that waits this long for the next bytes, or for the other to take some, gives up."""
FIRST_TIMEOUT_S: Final = 120.0
"""Until the first answer: a large blob that nobody asked for before is read and hashed once."""
SLOWEST_BYTES_PER_S: Final = 4096
"""A holder that sends a group more slowly is given up, however steadily it drips."""
MAX_BLOB_BYTES: Final = 64 * 1024**3
"""64 GiB: two MiB of chaining values, the most that an asker holds besides its groups."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for.

    Attributes:
        digest: Of the blob.
        max_bytes: Most that it may have.
        accepts: Encodings that we read.
    """

    digest: ContentDigest
    max_bytes: int
    accepts: Accepts = Accepts.ZSTD


async def receive_size(stream: Stream, wanted: Wanted) -> int:
    """Read whether the blob follows, and what size the holder claims.

    Raises:
        BlobUnavailable: It doesn't have the blob, or not for us.
        MessageTooLarge: The blob is over `max_bytes`.
        PeerBusy: It has no room for us.
        PeerMisbehaved: No answer of this protocol.
        StreamClosed: The stream ended.
        trio.TooSlowError: No answer within `FIRST_TIMEOUT_S`.
    """
    with trio.fail_after(FIRST_TIMEOUT_S):
        status, size = await read_answer(stream)
    if status is Status.BUSY:
        raise PeerBusy(f"{stream.peer} serves as many blobs as it can now")
    if status is not Status.OK:
        raise BlobUnavailable(stream.peer, wanted.digest)
    limit = min(wanted.max_bytes, MAX_BLOB_BYTES)
    if size > limit:
        raise MessageTooLarge(f"blob {wanted.digest.hex()} at {stream.peer}", size=size, limit=limit)
    return size


async def receive_exactly(stream: Stream, size: int, bandwidth: Bandwidth) -> bytes:
    """Read `size` bytes at the rate that `bandwidth` allows.

    Raises:
        StreamClosed: The stream ended before.
        trio.TooSlowError: Nothing for `STALL_TIMEOUT_S`, or less than `SLOWEST_BYTES_PER_S` in the long run.
    """
    data, waited_s = bytearray(), 0.0
    with trio.fail_after(STALL_TIMEOUT_S) as stall:  # one scope for all pieces: each costs as much as reading one
        while len(data) < size:
            start = trio.current_time()
            stall.deadline = start + STALL_TIMEOUT_S
            chunk = await stream.read(min(MAX_PIECE_BYTES, size - len(data)))
            if not chunk:
                raise StreamClosed(f"the peer finished after {len(data)} of {size} bytes")
            waited_s += trio.current_time() - start
            if waited_s > STALL_TIMEOUT_S + size / SLOWEST_BYTES_PER_S:
                raise trio.TooSlowError
            data += chunk
            stall.deadline = inf  # our own limit keeps us waiting, not the peer
            await bandwidth.down(stream.peer, len(chunk))
    return bytes(data)


def lied_about_size(stream: Stream, digest: ContentDigest) -> BlobCorrupt:
    """Return the error for chaining values that don't give the digest."""
    return BlobCorrupt(f"{stream.peer} has another blob, or lies about the size of {digest.hex()}")


def sent_wrong_bytes(stream: Stream, tree: BlobTree, index: int) -> BlobCorrupt:
    """Return the error for a group that doesn't fit its chaining value."""
    return BlobCorrupt(f"{stream.peer} sent wrong bytes in MiB {index} of blob {tree.digest.hex()}")
