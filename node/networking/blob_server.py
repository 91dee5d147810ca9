"""The serving side of `/stoa/blobs/3`: one stream is one peer that takes groups of one blob, as it orders them."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import trio

from node.networking.bandwidth import Bandwidth
from node.networking.blob_codec import Packer
from node.networking.blob_frames import (
    MAX_WANTED,
    ORDER_BYTES,
    Encoding,
    GroupHead,
    Order,
    OrderKind,
    Status,
    decode_order,
    encode_answer,
    read_greeting,
)
from node.networking.blob_receive import STALL_TIMEOUT_S
from node.networking.blob_source import BlobReader, Hashing, NoPlace, NotServed, Serving, read_fully
from node.networking.errors import PeerMisbehaved
from node.networking.streams import Stream
from node.networking.together import run_together
from node.storage.blake3_tree import GROUP_BYTES, group_count

PIECE_BYTES: Final = 64 * 1024
"""Written at a time: so much must be taken within `STALL_TIMEOUT_S`, and peers take turns after so much."""
READ_BYTES: Final = 256 * 1024
"""Read from the disk at a time, and held for each stream."""


class BlobServer:
    """Answers askers."""

    def __init__(self, serving: Serving, hashing: Hashing, bandwidth: Bandwidth) -> None:
        self._serving, self._hashing, self._bandwidth = serving, hashing, bandwidth

    async def serve_stream(self, stream: Stream) -> None:
        """Serve one asker until it has finished and got all."""
        with trio.fail_after(STALL_TIMEOUT_S):
            greeting = await read_greeting(stream)
        try:
            async with (
                self._serving.open(greeting.digest, stream.peer) as reader,
                self._serving.open_bases(greeting.bases, stream.peer) as bases,
            ):
                cvs = await self._serving.cvs_of(reader, greeting.digest) if greeting.wants_tree else b""
                await self._write(stream, encode_answer(Status.OK, reader.size) + cvs)
                packer = Packer(greeting.accepts, self._hashing, bases)
                orders = _Orders(stream, group_count(reader.size))
                await run_together(orders.read, lambda: self._send(stream, reader, orders, packer))
        except NotServed:
            await stream.write(encode_answer(Status.NOT_FOUND))
        except NoPlace:
            await stream.write(encode_answer(Status.BUSY))

    async def _send(self, stream: Stream, reader: BlobReader, orders: "_Orders", packer: Packer) -> None:
        async with aclosing(orders.groups()) as groups:
            async for index, is_left in groups:
                if is_left:
                    await self._write(stream, GroupHead(index, Encoding.LEFT, 0).encode())
                    continue
                length = min(GROUP_BYTES, reader.size - index * GROUP_BYTES)
                await self._send_group(stream, reader, index, length, packer)

    async def _send_group(self, stream: Stream, reader: BlobReader, index: int, length: int, packer: Packer) -> None:
        data, packed = b"", None
        if packer.wants(length):
            data = await read_fully(reader, index * GROUP_BYTES, length)
            packed = await packer.pack(index, data)
        start = trio.current_time()
        if packed is not None:
            head = GroupHead(index, packed.encoding, len(packed.data), packed.base)
            await self._write(stream, head.encode() + packed.data)
            packer.sent(len(packed.data), trio.current_time() - start, is_packed=True)
            return
        head = GroupHead(index, Encoding.PLAIN, length).encode()
        if data or not length:
            await self._write(stream, head + data)
        else:
            for at in range(0, length, READ_BYTES):
                piece = await read_fully(reader, index * GROUP_BYTES + at, min(READ_BYTES, length - at))
                await self._write(stream, head + piece)
                head = b""
        packer.sent(length, trio.current_time() - start, is_packed=False)

    async def _write(self, stream: Stream, data: bytes) -> None:
        view = memoryview(data)
        while view:
            piece, view = view[:PIECE_BYTES], view[PIECE_BYTES:]
            await self._bandwidth.up(stream.peer, len(piece))
            with trio.fail_after(STALL_TIMEOUT_S):
                await stream.write(piece)


class _Orders:
    """What an asker wants and has not got, in the order in which it asked."""

    def __init__(self, stream: Stream, groups: int) -> None:
        self._stream, self._groups = stream, groups
        self._wanted: dict[int, bool] = {}
        """By number: whether it was left since."""
        self._finished = False
        self._changed = trio.Event()

    async def read(self) -> None:
        """Take orders until the asker says that there are no more.

        Raises:
            PeerMisbehaved: An order for what is not there, for more than may be, or cut short.
        """
        raw = b""
        while chunk := await self._stream.read(ORDER_BYTES - len(raw)):
            raw += chunk
            if len(raw) == ORDER_BYTES:
                self._take(decode_order(raw, groups=self._groups, peer=self._stream.peer))
                raw = b""
        if raw:
            raise PeerMisbehaved(f"{self._stream.peer} finished within an order")
        self._finished = True
        self._changed.set()

    async def groups(self) -> AsyncGenerator[tuple[int, bool]]:
        """Give the groups that are to be answered, and whether each was left, until the asker has finished.

        Raises:
            trio.TooSlowError: It wants nothing for `STALL_TIMEOUT_S` and keeps its place.
        """
        while self._wanted or not self._finished:
            if not self._wanted:
                self._changed = trio.Event()
                with trio.fail_after(STALL_TIMEOUT_S):
                    await self._changed.wait()
                continue
            index = next(iter(self._wanted))
            yield index, self._wanted.pop(index)

    def _take(self, order: Order) -> None:
        for index in range(order.first, order.first + order.count):
            if order.kind is OrderKind.WANT:
                self._wanted[index] = False
            elif index in self._wanted:
                self._wanted[index] = True
        if len(self._wanted) > MAX_WANTED:
            raise PeerMisbehaved(f"{self._stream.peer} wants more than {MAX_WANTED} groups at once")
        self._changed.set()
