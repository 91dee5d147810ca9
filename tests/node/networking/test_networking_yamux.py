# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
import random
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock

from node.networking.libp2p.yamux import (
    MAX_FRAME_BYTES,
    MAX_INBOUND_STREAMS,
    MAX_QUEUED_BYTES,
    SILENCE_S,
    WINDOW_BYTES,
    WRITE_TIMEOUT_S,
    MuxedConnection,
    MuxedStream,
    MuxError,
    StreamReset,
)

DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8


def frame(kind: int, flags: int, stream: int, length: int, body: bytes = b"") -> bytes:
    return struct.pack("!BBHII", 0, kind, flags, stream, length) + body


@dataclass
class PlainWire:
    """The wire below a muxer, without encryption; what is written can be read by the test."""

    incoming: "trio.MemoryReceiveChannel[bytes]"
    outgoing: "trio.MemorySendChannel[bytes]"

    async def read(self) -> bytes:
        try:
            return await self.incoming.receive()
        except trio.EndOfChannel:
            return b""

    async def write(self, data: bytes) -> None:
        await self.outgoing.send(data)


@dataclass
class Side:
    mux: MuxedConnection
    accepted: list[MuxedStream] = field(default_factory=list[MuxedStream])
    failure: MuxError | None = None
    over: trio.Event = field(default_factory=trio.Event)

    async def run(self) -> None:
        try:
            await self.mux.run(self.accepted.append)
        except MuxError as error:
            self.failure = error
        self.over.set()

    async def accept(self) -> MuxedStream:
        with trio.fail_after(60):
            while not self.accepted:
                await trio.sleep(0.001)
        return self.accepted.pop(0)


@asynccontextmanager
async def two_sides() -> AsyncGenerator[tuple[Side, Side], None]:
    there_send, there = trio.open_memory_channel[bytes](4)
    back_send, back = trio.open_memory_channel[bytes](4)
    left = Side(MuxedConnection(PlainWire(back, there_send), is_dialler=True))
    right = Side(MuxedConnection(PlainWire(there, back_send), is_dialler=False))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.run)
        nursery.start_soon(right.run)
        yield left, right
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def against_raw_peer(
    size: int = 4,
) -> AsyncGenerator[tuple[Side, "trio.MemorySendChannel[bytes]", "trio.MemoryReceiveChannel[bytes]"], None]:
    """A listener's muxer, with the test writing and reading its wire as the dialler."""
    there_send, there = trio.open_memory_channel[bytes](size)
    back_send, back = trio.open_memory_channel[bytes](size)
    side = Side(MuxedConnection(PlainWire(there, back_send), is_dialler=False))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(side.run)
        yield side, there_send, back
        nursery.cancel_scope.cancel()


async def read_all(stream: MuxedStream) -> bytes:
    data = b""
    while chunk := await stream.read():
        data += chunk
    return data


async def test_what_is_written_arrives_on_the_same_stream_and_in_order() -> None:
    chance = random.Random(1)
    async with two_sides() as (left, right):

        async def send(stream: MuxedStream, seed: int) -> None:
            data = random.Random(seed).randbytes(3 * WINDOW_BYTES + seed)
            while data:
                size = chance.choice([1, 100, 70_000])
                await stream.write(data[:size])
                data = data[size:]
            stream.finish()

        received: dict[int, bytes] = {}

        async def receive(seed: int) -> None:
            stream = await right.accept()
            received[stream.stream_id] = await read_all(stream)

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for seed in range(4):
                    nursery.start_soon(send, left.mux.open_stream(), seed)
                    nursery.start_soon(receive, seed)
    for seed in range(4):
        assert received[2 * seed + 1] == random.Random(seed).randbytes(3 * WINDOW_BYTES + seed)


async def test_what_needs_no_waiting_is_written_at_once_and_nothing_else_is() -> None:
    async with two_sides() as (left, right):
        stream = left.mux.open_stream()
        assert not stream.write_now(bytes(MAX_FRAME_BYTES + 1))
        pieces = WINDOW_BYTES // MAX_FRAME_BYTES
        for _ in range(pieces):
            assert stream.write_now(bytes(MAX_FRAME_BYTES))
        rest = WINDOW_BYTES - pieces * MAX_FRAME_BYTES
        assert not stream.write_now(bytes(rest + 1))
        assert stream.write_now(bytes(rest))
        assert not stream.write_now(b"x")
        stream.finish()
        with trio.fail_after(60):
            assert len(await read_all(await right.accept())) == WINDOW_BYTES
        again = left.mux.open_stream()
        again.finish()
        assert not again.write_now(b"x")
        gone = left.mux.open_stream()
        gone.reset()
        assert not gone.write_now(b"x")


async def test_nothing_is_written_at_once_while_the_wire_takes_nothing() -> None:
    async with two_sides() as (left, _):
        written = 0
        for _each in range(3 * MAX_QUEUED_BYTES // WINDOW_BYTES):
            stream = left.mux.open_stream()
            while stream.write_now(bytes(MAX_FRAME_BYTES)):
                written += MAX_FRAME_BYTES
        assert MAX_QUEUED_BYTES - MAX_FRAME_BYTES < written < MAX_QUEUED_BYTES + 2 * MAX_FRAME_BYTES


async def test_a_side_that_has_finished_can_still_read() -> None:
    async with two_sides() as (left, right):
        asking = left.mux.open_stream()
        await asking.write(b"question")
        asking.finish()
        answering = await right.accept()
        assert await read_all(answering) == b"question"
        await answering.write(b"answer")
        answering.finish()
        assert await read_all(asking) == b"answer"


async def test_a_writer_waits_for_a_slow_reader_as_long_as_it_takes(autojump_clock: MockClock) -> None:
    async with two_sides() as (left, right):
        stream = left.mux.open_stream()
        written = 0

        async def write() -> None:
            nonlocal written
            for _ in range(3):
                await stream.write(bytes(WINDOW_BYTES))
                written += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            reader = await right.accept()
            await trio.sleep(600)
            assert written == 1
            for _ in range(12 * 8):
                await reader.read(WINDOW_BYTES // 32)
        assert written == 3


async def test_a_cancelled_writer_leaves_the_connection_whole_for_others() -> None:
    async with two_sides() as (left, right):
        stuck, other = left.mux.open_stream(), left.mux.open_stream()
        with trio.move_on_after(0.05) as scope:
            await stuck.write(bytes(10 * WINDOW_BYTES))
        assert scope.cancelled_caught
        stuck.reset()
        await other.write(b"still here")
        await right.accept()
        assert await (await right.accept()).read() == b"still here"


async def test_a_peer_that_overruns_its_window_loses_the_connection() -> None:
    async with against_raw_peer() as (side, send, _):
        await send.send(frame(DATA, SYN, 1, WINDOW_BYTES, bytes(WINDOW_BYTES)))
        await send.send(frame(DATA, 0, 1, 1, b"x"))
        with trio.fail_after(60):
            await side.over.wait()
        assert "overran its window" in str(side.failure)


async def test_a_frame_longer_than_any_window_is_not_even_read() -> None:
    async with against_raw_peer() as (side, send, _):
        await send.send(frame(DATA, SYN, 1, WINDOW_BYTES + 1))
        with trio.fail_after(60):
            await side.over.wait()
        assert side.failure is not None


@pytest.mark.parametrize(
    "frames",
    [
        [frame(WINDOW, SYN, 2, 0)],  # a listener's number
        [frame(WINDOW, SYN, 3, 0), frame(WINDOW, SYN, 1, 0)],  # going back
        [frame(WINDOW, SYN, 1, 0), frame(WINDOW, SYN, 1, 0)],  # twice
        [frame(WINDOW, SYN, 1, 2**32 - 1)],  # more than a window can hold
        [frame(WINDOW, SYN | FIN, 1, 0), frame(DATA, 0, 1, 1, b"x")],  # after its end
        [struct.pack("!BBHII", 1, 0, 0, 1, 0)],  # another version
        [struct.pack("!BBHII", 0, 4, 0, 1, 0)],  # another type
    ],
)
async def test_a_peer_that_breaks_the_protocol_loses_the_connection(frames: list[bytes]) -> None:
    async with against_raw_peer() as (side, send, _):
        for each in frames:
            await send.send(each)
        with trio.fail_after(60):
            await side.over.wait()
        assert side.failure is not None


async def test_streams_beyond_the_limit_are_reset_and_the_rest_go_on() -> None:
    async with against_raw_peer(10_000) as (side, send, receive):
        for index in range(MAX_INBOUND_STREAMS + 1):
            await send.send(frame(WINDOW, SYN, 2 * index + 1, 0))
        answers = b""
        refused = frame(WINDOW, RST, 2 * MAX_INBOUND_STREAMS + 1, 0)
        with trio.fail_after(60):
            while refused not in answers:
                answers += await receive.receive()
        assert len(side.accepted) == MAX_INBOUND_STREAMS
        assert answers.count(frame(WINDOW, RST, 1, 0)) == 0


async def test_a_finished_stream_makes_room_for_the_next() -> None:
    async with two_sides() as (left, right):
        for _ in range(MAX_INBOUND_STREAMS + 10):
            stream = left.mux.open_stream()
            stream.finish()
            accepted = await right.accept()
            accepted.finish()
            assert await accepted.read() == b""
            assert await stream.read() == b""


async def test_a_peer_that_provokes_answers_without_reading_them_loses_the_connection() -> None:
    async with against_raw_peer(0) as (side, send, _):
        pings = frame(PING, SYN, 0, 7) * 10_000
        with trio.move_on_after(10):
            while not side.over.is_set():
                with trio.move_on_after(1):
                    await send.send(pings)
        assert "provokes answers" in str(side.failure)


async def test_pings_are_answered() -> None:
    async with against_raw_peer() as (_, send, receive):
        await send.send(frame(PING, SYN, 0, 77))
        with trio.fail_after(60):
            assert await receive.receive() == frame(PING, ACK, 0, 77)


async def test_a_peer_that_falls_silent_is_given_up(autojump_clock: MockClock) -> None:
    async with against_raw_peer(100) as (side, _, _):
        await side.over.wait()
        assert "silent" in str(side.failure)
        assert SILENCE_S < trio.current_time() <= SILENCE_S + 31


async def test_a_wire_that_takes_nothing_is_given_up(autojump_clock: MockClock) -> None:
    async with against_raw_peer(0) as (side, send, _):
        await send.send(frame(PING, SYN, 0, 1))
        await side.over.wait()
        assert "took no byte" in str(side.failure)
        assert trio.current_time() == pytest.approx(WRITE_TIMEOUT_S)


async def test_two_idle_sides_keep_each_other_alive(autojump_clock: MockClock) -> None:
    async with two_sides() as (left, right):
        await trio.sleep(3600)
        assert not left.over.is_set()
        assert not right.over.is_set()


async def test_the_end_of_the_wire_ends_readers_and_writers() -> None:
    async with against_raw_peer(100) as (side, send, _):
        await send.send(frame(WINDOW, SYN, 1, 0))
        stream = await side.accept()
        await send.aclose()
        with pytest.raises(StreamReset):
            await stream.read()
        with pytest.raises(StreamReset):
            await stream.write(b"x")
        with pytest.raises(StreamReset):
            side.mux.open_stream()
        assert side.failure is None


async def test_a_reset_ends_the_stream_on_both_sides() -> None:
    async with two_sides() as (left, right):
        stream = left.mux.open_stream()
        await stream.write(b"x")
        other = await right.accept()
        assert await other.read() == b"x"
        other.reset()
        with pytest.raises(StreamReset):
            await stream.read()
        assert stream.is_reset


async def test_a_peer_that_goes_away_opens_nothing_more() -> None:
    async with two_sides() as (left, right):
        left.mux.go_away()
        with trio.fail_after(60):
            while not right.mux.is_over:
                await trio.sleep(0.001)
        with pytest.raises(StreamReset):
            right.mux.open_stream()


async def test_frames_cut_at_any_place_are_put_together_again() -> None:
    data = frame(WINDOW, SYN, 1, 0) + frame(DATA, 0, 1, 5, b"hello") + frame(DATA, FIN, 1, 1, b"!")
    async with against_raw_peer(100) as (side, send, _):
        for byte in data:
            await send.send(bytes([byte]))
        assert await read_all(await side.accept()) == b"hello!"
