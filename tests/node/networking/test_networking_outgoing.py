"""Frames on their way out: in order, whether they go at once or have to wait."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from node.networking.outgoing import OUTGOING_FRAMES, Outgoing
from node.networking.streams import StreamClosed
from protocol.identity import PeerId


class GatedStream:
    """A stream that takes bytes only while its gate is open."""

    def __init__(self) -> None:
        self.peer, self.protocol = PeerId("peer"), "test"
        self.written: list[bytes] = []
        self.now: list[bytes] = []
        self.gate = trio.Event()
        self.is_closed = False
        self.held = 0

    async def read(self, limit: int = 0) -> bytes:
        await trio.sleep_forever()
        return b""

    async def read_exactly(self, size: int) -> bytes:
        await trio.sleep_forever()
        return b""

    async def write(self, data: bytes | memoryview) -> None:
        await self.gate.wait()
        if self.is_closed:
            raise StreamClosed
        self.written.append(bytes(data))

    def write_now(self, data: bytes) -> bool:
        if self.is_closed or not self.gate.is_set():
            return False
        self.written.append(data)
        self.now.append(data)
        return True

    def finish(self) -> None:
        pass

    def reset(self) -> None:
        self.is_closed = True
        self.gate.set()

    def hold(self, size: int) -> None:
        self.held += size

    async def spend(self, units: float) -> None:
        pass


@asynccontextmanager
async def sending() -> AsyncGenerator[tuple[GatedStream, Outgoing, trio.CancelScope], None]:
    stream = GatedStream()
    outgoing = Outgoing(stream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outgoing.run, nursery.cancel_scope)
        yield stream, outgoing, nursery.cancel_scope
        nursery.cancel_scope.cancel()


async def test_a_frame_with_nothing_in_its_way_goes_at_once() -> None:
    async with sending() as (stream, outgoing, _):
        stream.gate.set()
        await outgoing.send(b"a")
        assert stream.now == [b"a"]


async def test_no_frame_overtakes_one_that_waits_and_after_it_they_go_at_once_again() -> None:
    async with sending() as (stream, outgoing, _):
        await outgoing.send(b"a")
        await wait_all_tasks_blocked()  # the writer holds it now, and the queue is empty
        await outgoing.send(b"b")
        stream.gate.set()
        await outgoing.send(b"c")  # there is room again, and two are before it
        await outgoing.send(b"d")
        await wait_all_tasks_blocked()
        assert stream.written == [b"a", b"b", b"c", b"d"]
        assert stream.now == []
        await outgoing.send(b"e")
        outgoing.send_nowait(b"f")
        await wait_all_tasks_blocked()
        assert (stream.written[-2:], stream.now) == ([b"e", b"f"], [b"e"])


async def test_a_sender_that_gives_up_leaves_no_trace() -> None:
    async with sending() as (stream, outgoing, _):
        for _each in range(OUTGOING_FRAMES + 1):  # one is in the writer's hand
            await outgoing.send(b"x")
            await wait_all_tasks_blocked()
        with trio.move_on_after(0):
            await outgoing.send(b"given up")
        with pytest.raises(trio.WouldBlock):
            outgoing.send_nowait(b"refused")
        stream.gate.set()
        await wait_all_tasks_blocked()
        assert stream.written == [b"x"] * (OUTGOING_FRAMES + 1)
        await outgoing.send(b"y")
        assert stream.now == [b"y"]


async def test_the_end_of_the_stream_ends_the_writer_and_refuses_what_comes_after() -> None:
    async with sending() as (stream, outgoing, scope):
        stream.reset()
        await outgoing.send(b"a")
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
        assert scope.cancel_called
        with trio.CancelScope(shield=True), pytest.raises(trio.BrokenResourceError):
            await outgoing.send(b"b")
        outgoing.close()
    assert stream.written == []
