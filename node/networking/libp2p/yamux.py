"""Many streams over one connection: Yamux (https://github.com/hashicorp/yamux/blob/master/spec.md).

This replaces the muxer of py-libp2p 0.8.1, whose faults lie in its structure and not in a line that could be patched
(docs/adr/0302). Each is provoked in tests/node/networking/test_networking_yamux.py:

- It logs a window overrun and goes on buffering: one peer filled 200 MB. Here it ends the connection.
- A writer that is cancelled (a deadline) leaves half a Noise message on the wire, and the connection is lost for every
  other stream. Here one task writes whole frames, and callers only queue them.
- A reader slower than 5 s resets the writer's stream, and while it waits the writer polls. Here writers just wait.
- An end of file that escapes a handler leaves a connection that looks alive. Here the end of `run` is the end of it.
- Nothing bounds the streams that a peer opens, nor the answers it provokes without reading them.

The connection owns no nursery and no socket: `run` is the whole of its life, and who runs it closes the wire.
"""

import struct
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf
from typing import Final, Protocol

import trio

from node.networking.held_bytes import STREAM_BYTES, Hold, hold_nothing
from node.networking.streams import StreamClosed
from node.networking.turns import PER_DROP, PER_FRAME, PER_READ, PER_STREAM, Spend, spend_nothing

WINDOW_BYTES: Final = 256 * 1024
"""What a peer may send on a stream before we read: the initial window of the specification, never changed."""
MAX_INBOUND_STREAMS: Final = 256
MAX_BUFFERED_BYTES: Final = 8 * 1024 * 1024
"""Unread bytes over all streams of a connection. Far above what handlers that read leave; below what hurts."""
MAX_QUEUED_BYTES: Final = 1024 * 1024
"""Above this, writers wait. Answers that can't wait (acknowledgements, pongs) may add half as much, then it ends."""
MAX_FRAME_BYTES: Final = 64 * 1024 - 1024
"""One frame fits one Noise message (65,519 bytes) together with a few control frames."""
KEEPALIVE_S: Final = 30.0
SILENCE_S: Final = 75.0
"""Two pings unanswered, and the connection is over."""
WRITE_TIMEOUT_S: Final = 30.0
"""The wire takes no byte for this long: the peer is gone, or keeps us waiting on purpose."""

_HEADER: Final = struct.Struct("!BBHII")
_UINT32_MAX: Final = 2**32 - 1


class _Type:  # plain numbers: enumerations took a tenth of what a frame costs
    DATA: Final = 0
    WINDOW: Final = 1
    PING: Final = 2
    GO_AWAY: Final = 3


class _Flag:
    NONE: Final = 0
    SYN: Final = 1
    ACK: Final = 2
    FIN: Final = 4
    RST: Final = 8


class Wire(Protocol):
    """Secured bytes, in both directions."""

    async def read(self) -> bytes:
        """Return some bytes, or none at the end.

        Raises:
            MuxError: The wire broke, or carried what does not decrypt.
        """
        ...

    async def write(self, data: bytes) -> None:
        """Write all of `data`. This module cancels it only to end the connection.

        Raises:
            MuxError: The wire broke.
        """
        ...


class MuxError(Exception):
    """The peer broke the protocol of the muxer; the connection is over."""


class StreamReset(StreamClosed):
    """The stream is gone: the peer reset it, we did, or the connection ended."""


@dataclass(slots=True, eq=False)
class _Queue:
    """Frames to write, in order, with room known."""

    frames: deque[bytes]
    size: int
    changed: trio.Event


class MuxedStream:
    """One two-way stream. Reading and writing are independent; each by one task at a time."""

    def __init__(self, connection: "MuxedConnection", stream_id: int) -> None:
        self._connection = connection
        self.stream_id = stream_id
        self._received = bytearray()
        self._receive_window = WINDOW_BYTES
        self._consumed = 0
        self._send_window = WINDOW_BYTES
        self._peer_finished = False
        self._finished = False
        self._reset = False
        self._changed = trio.Event()

    @property
    def is_reset(self) -> bool:
        """Whether nothing more can be read or written."""
        return self._reset

    async def read(self, limit: int = WINDOW_BYTES) -> bytes:
        """Return 1 to `limit` bytes as soon as there are some, or `b""` when the peer has finished.

        Raises:
            StreamReset: The stream or its connection is gone.
        """
        while not self._received:
            if self._reset:
                raise StreamReset(f"stream {self.stream_id} was reset")
            if self._peer_finished:
                return b""
            await self._changed.wait()
        data = bytes(memoryview(self._received)[:limit])
        del self._received[:limit]
        self._connection.consumed(self, len(data))
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._connection.spend(PER_READ)
        return data

    async def write(self, data: bytes | memoryview) -> None:
        """Queue all of `data`, waiting for the peer to read and for the wire to take it.

        A cancelled write may have queued a part; the caller must then reset the stream.

        Raises:
            StreamReset: The stream or its connection is gone, or we have finished writing.
        """
        view = memoryview(data)
        while len(view) > 0:
            if self._reset or self._finished:
                raise StreamReset(f"stream {self.stream_id} is closed for writing")
            if not self._send_window:
                await self._changed.wait()
                continue
            await self._connection.wait_for_room()
            size = min(len(view), self._send_window, MAX_FRAME_BYTES)
            if not size or self._reset or self._finished:
                continue
            self._send_window -= size
            self._connection.send(_Type.DATA, _Flag.NONE, self.stream_id, size, bytes(view[:size]))
            view = view[size:]
        await trio.lowlevel.checkpoint_if_cancelled()

    def write_now(self, data: bytes) -> bool:
        """Queue all of `data` if that needs no waiting; return whether it did. Not while somebody waits in `write`."""
        size = len(data)
        if size > min(self._send_window, MAX_FRAME_BYTES) or self._reset or self._finished:
            return False
        if not self._connection.has_room:
            return False
        self._send_window -= size
        self._connection.send(_Type.DATA, _Flag.NONE, self.stream_id, size, data)
        return True

    def finish(self) -> None:
        """Say that we write no more; reading goes on."""
        if not self._finished and not self._reset:
            self._finished = True
            self._connection.send(_Type.WINDOW, _Flag.FIN, self.stream_id, 0)
            self._wake()
            self._connection.forget_if_done(self)

    def reset(self) -> None:
        """Drop the stream in both directions, now. Harmless if it is gone already."""
        if not self._reset:
            self._connection.send(_Type.WINDOW, _Flag.RST, self.stream_id, 0)
            self.drop()

    # What follows is for the connection alone.

    def drop(self) -> None:
        """Forget the stream without telling the peer."""
        self._reset = True
        self._connection.forget(self, unread=len(self._received))
        self._received.clear()
        self._wake()

    def take(self, data: bytes) -> None:
        """Accept bytes from the peer.

        Raises:
            MuxError: More than the window that we granted, or after the end.
        """
        if len(data) > self._receive_window:
            raise MuxError(f"stream {self.stream_id} overran its window by {len(data) - self._receive_window} bytes")
        if self._peer_finished and data:
            raise MuxError(f"stream {self.stream_id} carries bytes after its end")
        self._receive_window -= len(data)
        self._received += data
        self._wake()

    def grant(self, size: int) -> None:
        """The peer lets us send `size` bytes more."""
        self._send_window += size
        if self._send_window > _UINT32_MAX:
            raise MuxError(f"stream {self.stream_id} was granted more than a window can hold")
        self._wake()

    def peer_finishes(self) -> None:
        """The peer writes no more."""
        self._peer_finished = True
        self._wake()

    def refill(self, consumed: int) -> int:
        """Count bytes read, and return the window to give back: half a window at once, so that updates are rare."""
        self._consumed += consumed
        if self._consumed < WINDOW_BYTES // 2 or self._peer_finished:
            return 0
        given, self._consumed = self._consumed, 0
        self._receive_window += given
        return given

    @property
    def is_done(self) -> bool:
        """Both sides have finished, and all is read."""
        return self._finished and self._peer_finished and not self._received

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class MuxedConnection:
    """One side of a Yamux session over a secured wire."""

    def __init__(self, wire: Wire, *, is_dialler: bool, spend: Spend = spend_nothing) -> None:
        """Speak over `wire`; what the peer makes us do is told to `spend`, and what it makes us keep to `hold`."""
        self._wire = wire
        self.spend = spend
        self.hold: Hold = hold_nothing
        self._next_id = 1 if is_dialler else 2
        self._last_peer_id = 0
        self._peer_parity = 0 if is_dialler else 1
        self._streams: dict[int, MuxedStream] = {}
        self._inbound = 0
        self._buffered = 0
        self._pending = _Queue(deque(), 0, trio.Event())
        self._room = trio.Event()
        self._heard = 0.0
        self._over = False
        self._leaving = False

    @property
    def is_over(self) -> bool:
        """Whether no stream can be opened any more."""
        return self._over or self._leaving

    async def run(self, accept: Callable[[MuxedStream], None]) -> None:
        """Read, write and keep alive until either side ends the connection; every stream is reset then.

        Args:
            accept: Called for each stream that the peer opens; starts a task and returns.

        Raises:
            MuxError: The peer broke the protocol, or fell silent.
        """
        self._heard = trio.current_time()
        failure: MuxError | None = None
        try:
            async with trio.open_nursery() as nursery:

                async def until_end(part: Callable[[], Awaitable[None]]) -> None:
                    nonlocal failure
                    try:
                        await part()
                    except MuxError as error:
                        failure = error
                    nursery.cancel_scope.cancel()

                nursery.start_soon(until_end, lambda: self._read_loop(accept))
                nursery.start_soon(until_end, self._write_loop)
                nursery.start_soon(until_end, self._keep_alive)
        finally:
            self._over = True
            self._room.set()
            await self._drop_streams()
        if failure is not None:
            raise failure

    async def _drop_streams(self) -> None:
        """Drop all, in turns: a task waits on each, and all of them at once would keep the loop for milliseconds."""
        with trio.CancelScope(shield=True):
            for stream in list(self._streams.values()):
                stream.drop()
                await self.spend(PER_DROP)

    def open_stream(self) -> MuxedStream:
        """Open a stream; the peer learns of it with the first bytes that go out.

        Raises:
            StreamReset: The connection is over, or is out of stream numbers.
        """
        if self.is_over or self._next_id > _UINT32_MAX:
            raise StreamReset("the connection is over")
        stream = MuxedStream(self, self._next_id)
        self._next_id += 2
        self._streams[stream.stream_id] = stream
        self.send(_Type.WINDOW, _Flag.SYN, stream.stream_id, 0)
        return stream

    def go_away(self) -> None:
        """Tell the peer that we leave: it opens no more streams. The runner then ends `run` by cancelling it."""
        if not self._leaving:
            self._leaving = True
            self.send(_Type.GO_AWAY, _Flag.NONE, 0, 0)

    # What follows is for the streams of this connection alone.

    def send(self, kind: int, flags: int, stream_id: int, length: int, body: bytes = b"") -> None:
        """Queue one frame."""
        if self._over:
            return
        frame = _HEADER.pack(0, kind, flags, stream_id, length) + body
        self._pending.frames.append(frame)
        self._pending.size += len(frame)
        self.hold(len(frame))
        self._pending.changed.set()

    @property
    def has_room(self) -> bool:
        """Whether a writer need not wait."""
        return self._pending.size <= MAX_QUEUED_BYTES

    async def wait_for_room(self) -> None:
        """Wait while as many bytes are queued as may be."""
        while not self.has_room and not self._over:
            await self._room.wait()

    def consumed(self, stream: MuxedStream, size: int) -> None:
        """Bytes were read from `stream`: give the peer its window back."""
        self._buffered -= size
        self.hold(-size)
        given = stream.refill(size)
        if given:
            self.send(_Type.WINDOW, _Flag.NONE, stream.stream_id, given)
        self.forget_if_done(stream)

    def forget_if_done(self, stream: MuxedStream) -> None:
        """Drop the books of a stream that both sides have finished."""
        if stream.is_done and stream.stream_id in self._streams:
            self.forget(stream, unread=0)

    def forget(self, stream: MuxedStream, *, unread: int) -> None:
        """Drop the books of a stream."""
        if self._streams.pop(stream.stream_id, None) is not None:
            is_theirs = stream.stream_id % 2 == self._peer_parity
            self._inbound -= is_theirs
            self._buffered -= unread
            self.hold(-unread - is_theirs * STREAM_BYTES)

    async def _write_loop(self) -> None:
        queue = self._pending
        with trio.CancelScope() as stall:  # one for all writes: entering and leaving one costs as much as a write
            while True:
                if not queue.frames:
                    queue.changed = trio.Event()
                    await queue.changed.wait()
                batch = [queue.frames.popleft()]
                size = len(batch[0])
                while queue.frames and size + len(queue.frames[0]) <= MAX_FRAME_BYTES:
                    batch.append(queue.frames.popleft())
                    size += len(batch[-1])
                stall.deadline = trio.current_time() + WRITE_TIMEOUT_S
                await self._wire.write(b"".join(batch) if len(batch) > 1 else batch[0])
                stall.deadline = inf
                queue.size -= size
                self.hold(-size)
                self._room.set()
                self._room = trio.Event()
        raise MuxError(f"the peer took no byte for {WRITE_TIMEOUT_S:g} s")

    async def _keep_alive(self) -> None:
        nonce = 0
        while True:
            await trio.sleep(KEEPALIVE_S)
            if trio.current_time() - self._heard > SILENCE_S:
                raise MuxError(f"the peer was silent for {SILENCE_S:g} s")
            nonce += 1
            self.send(_Type.PING, _Flag.SYN, 0, nonce)

    async def _read_loop(self, accept: Callable[[MuxedStream], None]) -> None:
        buffer = bytearray()
        counted = 0
        while True:
            start = 0
            while len(buffer) - start >= _HEADER.size:
                version, kind, flags, stream_id, length = _HEADER.unpack_from(buffer, start)
                body = length if kind == _Type.DATA else 0
                if version != 0 or kind > _Type.GO_AWAY or body > WINDOW_BYTES:
                    raise MuxError(f"no frame of this protocol: version {version}, type {kind}, {length} bytes")
                end = start + _HEADER.size + body
                if len(buffer) < end:
                    break
                self._handle(
                    kind, flags, stream_id, length, bytes(memoryview(buffer)[start + _HEADER.size : end]), accept
                )
                start = end
                await self.spend(PER_STREAM if flags & _Flag.SYN and kind != _Type.PING else PER_FRAME)
            del buffer[:start]
            data = await self._wire.read()
            if not data:
                return
            self._heard = trio.current_time()
            buffer += data
            self.hold(len(buffer) - counted)
            counted = len(buffer)

    def _handle(
        self, kind: int, flags: int, stream_id: int, length: int, body: bytes, accept: Callable[[MuxedStream], None]
    ) -> None:
        if self._pending.size > MAX_QUEUED_BYTES * 3 // 2:
            raise MuxError("the peer provokes answers and does not read them")
        if kind in (_Type.PING, _Type.GO_AWAY):
            self._leaving = self._leaving or kind == _Type.GO_AWAY
            if kind == _Type.PING and flags & _Flag.SYN:
                self.send(_Type.PING, _Flag.ACK, 0, length)
            return
        opened = self._accept(stream_id) if flags & _Flag.SYN else None
        stream = self._streams.get(stream_id)
        if stream is None:  # reset by us, while the peer's frames were under way
            return
        if kind == _Type.DATA:
            stream.take(body)
            self._buffered += len(body)
            self.hold(len(body))
            if self._buffered > MAX_BUFFERED_BYTES:
                raise MuxError(f"more than {MAX_BUFFERED_BYTES} bytes unread")
        else:
            stream.grant(length)
        if flags & _Flag.RST:
            stream.drop()
        elif flags & _Flag.FIN:
            stream.peer_finishes()
            self.forget_if_done(stream)
        if opened is not None and not opened.is_reset:
            accept(opened)

    def _accept(self, stream_id: int) -> MuxedStream | None:
        if stream_id % 2 != self._peer_parity or stream_id <= self._last_peer_id:
            raise MuxError(f"the peer can't open stream {stream_id}")
        self._last_peer_id = stream_id
        if self._inbound >= MAX_INBOUND_STREAMS or self._leaving:
            self.send(_Type.WINDOW, _Flag.RST, stream_id, 0)
            return None
        stream = MuxedStream(self, stream_id)
        self._streams[stream_id] = stream
        self._inbound += 1
        self.hold(STREAM_BYTES)
        self.send(_Type.WINDOW, _Flag.ACK, stream_id, 0)
        return stream
