"""Version 1 of the blob protocol, `/stoa/blobs/1`: one stream is one transfer, from an offset to the end.

    asker                                   server
    digest, offset  ──────────────────────▶  may this peer have it?
                    ◀──────────────────────  status, size
                    ◀──────────────────────  one chaining value per MiB (more than one MiB only)
    do they give the digest?
                    ◀──────────────────────  bytes from the offset on
    each MiB against its chaining value

Served as it always was. Asked by us only where a holder does not speak version 2.
"""

import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

import trio

from node.networking.bandwidth import Bandwidth
from node.networking.blob_frames import Status, encode_answer
from node.networking.blob_holder import Tasks
from node.networking.blob_receive import (
    STALL_TIMEOUT_S,
    Wanted,
    lied_about_size,
    receive_exactly,
    receive_size,
    sent_wrong_bytes,
)
from node.networking.blob_source import BlobReader, Hashing, NoPlace, NotServed, Serving, read_fully
from node.networking.streams import Stream
from node.storage.blake3_tree import CV_BYTES, GROUP_BYTES, BlobTree, group_count
from protocol.identity import ContentDigest

PROTOCOL: Final = "/stoa/blobs/1"
_REQUEST: Final = struct.Struct("!32sQ")
_PIECE_BYTES: Final = 64 * 1024
_PAST_ALL: Final = 2**63
"""An offset behind every blob: the last group comes all the same."""


async def serve_v1(stream: Stream, serving: Serving, bandwidth: Bandwidth) -> None:
    """Answer one request."""
    with trio.fail_after(STALL_TIMEOUT_S):
        raw, offset = _REQUEST.unpack(await stream.read_exactly(_REQUEST.size))
    digest = ContentDigest(raw)
    try:
        async with serving.open(digest, stream.peer) as reader:
            await _send(stream, reader, await serving.cvs_of(reader, digest), offset, bandwidth)
    except NotServed:
        await stream.write(encode_answer(Status.NOT_FOUND))
    except NoPlace:
        await stream.write(encode_answer(Status.BUSY))


async def _send(stream: Stream, reader: BlobReader, cvs: bytes, offset: int, bandwidth: Bandwidth) -> None:
    async def write(data: bytes) -> None:
        await bandwidth.up(stream.peer, len(data))
        with trio.fail_after(STALL_TIMEOUT_S):
            await stream.write(data)

    await write(encode_answer(Status.OK, reader.size))
    for at in range(0, len(cvs), _PIECE_BYTES):
        await write(cvs[at : at + _PIECE_BYTES])
    for at in range(first_group(offset, reader.size) * GROUP_BYTES, reader.size, _PIECE_BYTES):
        await write(await read_fully(reader, at, min(_PIECE_BYTES, reader.size - at)))


def first_group(offset: int, size: int) -> int:
    """Return the group at which a transfer begins.

    The last one always comes, also if the asker has all: else a peer could claim a size at which nothing is left to
    send, and so nothing to check.
    """
    return min(offset // GROUP_BYTES, group_count(size) - 1)


async def receive_v1(
    stream: Stream, wanted: Wanted, offset: int, *, hashing: Hashing, bandwidth: Bandwidth
) -> AsyncGenerator[tuple[BlobTree, int, bytes]]:
    """Ask for a blob and give its groups, each checked, with their numbers and the tree that they belong to.

    The size in the tree is proven by the last group alone. Raises as `HolderSession.run` does.
    """
    with trio.fail_after(STALL_TIMEOUT_S):
        await stream.write(_REQUEST.pack(wanted.digest, offset))
    stream.finish()
    size = await receive_size(stream, wanted)
    groups = group_count(size)
    cvs = await receive_exactly(stream, groups * CV_BYTES, bandwidth) if groups > 1 else b""
    tree = await hashing.run(BlobTree.prove, wanted.digest, size, cvs)
    if tree is None:
        raise lied_about_size(stream, wanted.digest)
    for index in range(first_group(offset, size), groups):
        data = await receive_exactly(stream, tree.length_of(index), bandwidth)
        if not await hashing.run(tree.matches, index, data):
            raise sent_wrong_bytes(stream, tree, index)
        yield tree, index, data


class OldHolderSession:
    """A holder that speaks version 1 only: a stream for each run of neighbouring groups."""

    def __init__(
        self,
        open_stream: Callable[[], Awaitable[Stream]],
        wanted: Wanted,
        tasks: Tasks,
        *,
        hashing: Hashing,
        bandwidth: Bandwidth,
    ) -> None:
        self._open_stream, self._wanted, self._tasks = open_stream, wanted, tasks
        self._hashing, self._bandwidth = hashing, bandwidth

    async def run(self) -> None:
        """Take groups until there are none for this holder. Raises as `HolderSession.run` does."""
        if self._tasks.tree is None:
            await self._take_run(None)
        index = self._tasks.take(is_idle=True)
        while index is not None:
            index = await self._take_run(index)

    def leave(self, index: int) -> None:
        """There is no way to say it in version 1."""

    async def _take_run(self, index: int | None) -> int | None:
        """Get groups from `index` on as long as the next is to do too; return another that is. None: prove the blob."""
        stream = await self._open_stream()
        offset = _PAST_ALL if index is None else index * GROUP_BYTES
        groups = receive_v1(stream, self._wanted, offset, hashing=self._hashing, bandwidth=self._bandwidth)
        try:
            async with aclosing(groups):
                async for tree, here, data in groups:
                    if index is None:
                        await self._tasks.prove(tree)
                    await self._tasks.put(here, data)
                    following = self._tasks.take(is_idle=True) if index is not None else None
                    if following is None or following != here + 1:
                        return following
        finally:
            stream.reset()
        return None
