"""The asking side of `/stoa/blobs/3`: one holder, asked for groups as long as there are some for it."""

from collections.abc import Sequence
from typing import Final, Protocol

import trio

from node.networking.bandwidth import Bandwidth
from node.networking.blob_bases import Base, read_window
from node.networking.blob_codec import unpack
from node.networking.blob_frames import LAST_GROUP, Encoding, Greeting, GroupHead, Order, OrderKind, read_group_head
from node.networking.blob_receive import (
    STALL_TIMEOUT_S,
    Wanted,
    lied_about_size,
    receive_exactly,
    receive_size,
    sent_wrong_bytes,
)
from node.networking.blob_source import Hashing
from node.networking.errors import BaseUnfit, BlobCorrupt, PeerMisbehaved
from node.networking.streams import Stream, StreamClosed
from node.networking.together import run_together
from node.storage.blake3_tree import CV_BYTES, BlobTree, group_count
from protocol.errors import StorageError

PIPELINE: Final = 4
"""Groups that a holder is asked for ahead, so that it never waits for an order."""


class Tasks(Protocol):
    """Who hands out work for one holder, and takes what came."""

    @property
    def tree(self) -> BlobTree | None:
        """Size and chaining values, once proven by anybody."""
        ...

    def take(self, *, is_idle: bool) -> int | None:
        """Return the next group to ask for; `is_idle` if nothing is under way."""
        ...

    async def prove(self, tree: BlobTree) -> None:
        """The last group fits these chaining values: size and all are proven. Harmless twice."""
        ...

    async def put(self, index: int, data: bytes) -> None:
        """A group is here and checked."""
        ...


class HolderSession:
    """One stream to one holder."""

    def __init__(
        self,
        stream: Stream,
        wanted: Wanted,
        tasks: Tasks,
        *,
        hashing: Hashing,
        bandwidth: Bandwidth,
        bases: Sequence[Base] = (),
    ) -> None:
        self._stream, self._wanted, self._tasks, self._bases = stream, wanted, tasks, bases
        self._hashing, self._bandwidth = hashing, bandwidth
        self._under_way: dict[int, bool] = {}
        """Groups that were ordered and are not answered, and whether each was left since."""
        self._outbox: list[Order] = []
        self._has_orders = trio.Event()
        self._is_over = False
        self._broken_by: StreamClosed | trio.TooSlowError | PeerMisbehaved | None = None

    async def run(self) -> None:
        """Take groups until there are none for this holder.

        Raises:
            BlobUnavailable: It doesn't have the blob, or not for us.
            BlobCorrupt: It sent other bytes than the digest says.
            BaseUnfit: What came is not what it should be beside our base; either may be at fault.
            MessageTooLarge: The blob is over `max_bytes`.
            PeerBusy: It has no room for us.
            PeerMisbehaved: It broke the protocol.
            trio.TooSlowError: Nothing came for `STALL_TIMEOUT_S`, or too little for too long.
            StreamClosed: The stream ended.
        """
        tree = self._tasks.tree
        bases = tuple(base.digest for base in self._bases)
        start = Greeting(self._wanted.digest, self._wanted.accepts, wants_tree=tree is None, bases=bases).encode()
        if tree is None:
            start += Order(OrderKind.WANT, LAST_GROUP).encode()
        with trio.fail_after(STALL_TIMEOUT_S):
            await self._stream.write(start)
        size = await receive_size(self._stream, self._wanted)
        if tree is None:
            tree = await self._prove(size)
        elif size != tree.size:
            raise BlobCorrupt(f"{self._stream.peer} claims {size} bytes for blob {tree.digest.hex()} of {tree.size}")
        send, receive = trio.open_memory_channel[tuple[GroupHead, bytes]](1)
        await run_together(
            self._write_orders, lambda: self._read_groups(tree, send), lambda: self._check_groups(tree, receive)
        )
        if self._broken_by is not None:
            raise self._broken_by
        self._stream.finish()

    def leave(self, index: int) -> None:
        """Say that another holder was faster with a group: if this one has not begun to send it, it need not."""
        if self._under_way.get(index) is False:
            self._under_way[index] = True
            self._order(Order(OrderKind.LEAVE, index))

    async def _prove(self, size: int) -> BlobTree:
        """Get chaining values and last group: together they prove the size before anything is stored."""
        groups = group_count(size)
        cvs = await receive_exactly(self._stream, groups * CV_BYTES, self._bandwidth) if groups > 1 else b""
        tree = await self._hashing.run(BlobTree.prove, self._wanted.digest, size, cvs)
        if tree is None:
            raise lied_about_size(self._stream, self._wanted.digest)
        with trio.fail_after(STALL_TIMEOUT_S):
            head = await read_group_head(self._stream)
        if head.index != groups - 1:
            raise PeerMisbehaved(f"{self._stream.peer} sends group {head.index}, was asked for {groups - 1}")
        data = await self._open(tree, head, await self._read_body(tree, head))
        await self._tasks.prove(tree)
        await self._tasks.put(head.index, data)
        return tree

    def _order(self, order: Order) -> None:
        self._outbox.append(order)
        self._has_orders.set()

    async def _write_orders(self) -> None:
        while not self._is_over:
            if not self._outbox:
                self._has_orders = trio.Event()
                await self._has_orders.wait()
                continue
            data = b"".join(order.encode() for order in self._outbox)
            self._outbox.clear()
            with trio.fail_after(STALL_TIMEOUT_S):
                await self._stream.write(data)

    async def _read_groups(self, tree: BlobTree, send: "trio.MemorySendChannel[tuple[GroupHead, bytes]]") -> None:
        async with send:
            try:
                while self._fill_pipeline():
                    await self._read_group(tree, send)
            except (StreamClosed, trio.TooSlowError, PeerMisbehaved) as error:
                # Raised once what came before is checked: it may be good, or a lie that counts for more.
                self._broken_by = error
            except trio.BrokenResourceError:
                return  # the check failed, and raises why
        self._is_over = True
        self._has_orders.set()

    async def _read_group(self, tree: BlobTree, send: "trio.MemorySendChannel[tuple[GroupHead, bytes]]") -> None:
        with trio.fail_after(STALL_TIMEOUT_S):
            head = await read_group_head(self._stream)
        is_left = self._under_way.pop(head.index, None)
        if is_left is None or (head.encoding is Encoding.LEFT and not is_left):
            raise PeerMisbehaved(f"{self._stream.peer} answers with group {head.index}, which was not asked for")
        if head.encoding is not Encoding.LEFT:
            await send.send((head, await self._read_body(tree, head)))

    def _fill_pipeline(self) -> bool:
        """Order as much as may be under way; tell whether anything is."""
        while len(self._under_way) < PIPELINE:
            index = self._tasks.take(is_idle=not self._under_way)
            if index is None:
                break
            self._under_way[index] = False
            self._order(Order(OrderKind.WANT, index))
        return bool(self._under_way)

    async def _check_groups(
        self, tree: BlobTree, receive: "trio.MemoryReceiveChannel[tuple[GroupHead, bytes]]"
    ) -> None:
        """Check and store one group while the next is being read."""
        async with receive:
            async for head, body in receive:
                await self._tasks.put(head.index, await self._open(tree, head, body))

    async def _read_body(self, tree: BlobTree, head: GroupHead) -> bytes:
        length = tree.length_of(head.index)
        is_plain = head.encoding is Encoding.PLAIN
        has_base = head.encoding is not Encoding.DELTA or head.base < len(self._bases)
        is_read = is_plain or (self._wanted.accepts and has_base)
        if is_plain != (head.length == length) or head.length > length or not is_read:
            raise PeerMisbehaved(
                f"{self._stream.peer} sends {head.length} bytes in encoding {head.encoding} for {length} of a group"
            )
        return await receive_exactly(self._stream, head.length, self._bandwidth)

    async def _open(self, tree: BlobTree, head: GroupHead, body: bytes) -> bytes:
        window = None
        if head.encoding is Encoding.DELTA:
            window = await self._window(self._bases[head.base], head.index)
        data = await self._hashing.run(_unpack_and_check, tree, head, body, window)
        if data is None and window is not None:
            raise BaseUnfit(self._stream.peer, self._bases[head.base].digest)
        if data is None:
            raise sent_wrong_bytes(self._stream, tree, head.index)
        return data

    async def _window(self, base: Base, index: int) -> bytes:
        try:
            return await read_window(base.reader, index)
        except StorageError as error:
            raise BaseUnfit(self._stream.peer, base.digest) from error


def _unpack_and_check(tree: BlobTree, head: GroupHead, body: bytes, window: bytes | None) -> bytes | None:
    data = body if head.encoding is Encoding.PLAIN else unpack(body, tree.length_of(head.index), window)
    return data if data is not None and tree.matches(head.index, data) else None
