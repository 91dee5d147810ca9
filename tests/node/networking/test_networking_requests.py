# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from node.networking.errors import (
    MessageTooLarge,
    PeerBusy,
    PeerMisbehaved,
    PeerTimeout,
    PeerUnreachable,
    RemoteRefused,
)
from node.networking.frames import MAX_FRAME_BYTES, decode_named, encode_named, printable
from node.networking.limits import Rate
from node.networking.network import Network
from node.networking.requests import CALL_TIMEOUT_S, PROTOCOL
from protocol.errors import ProtocolError, StorageError, TransientError
from protocol.identity import PeerId


class Overdrawn(ProtocolError):
    """A refusal of some service."""


@dataclass
class Pair:
    caller: Network
    server: Network

    async def call(self, method: str, body: bytes = b"", **options: Any) -> bytes:
        return await self.caller.call(self.server.peer_id, method, body, **options)


@asynccontextmanager
async def connected(lab: Any, **settings: Any) -> AsyncGenerator[Pair, None]:
    async with lab.node(1, **settings) as server, lab.node(2, **settings) as caller:
        await caller.connect(server.addresses[0])
        yield Pair(caller, server)


async def echo(_peer: PeerId, body: bytes) -> bytes:
    return body


async def hang(_peer: PeerId, _body: bytes) -> bytes:
    await trio.sleep_forever()
    raise AssertionError


async def test_a_request_gets_its_answer_and_the_handler_knows_who_asks(lab: Any) -> None:
    async with connected(lab) as pair:

        async def whoami(peer: PeerId, body: bytes) -> bytes:
            return peer.encode() + body

        pair.server.serve("whoami", whoami, max_request=10)
        assert await pair.call("whoami", b"?") == pair.caller.peer_id.encode() + b"?"


async def test_answers_come_in_any_order(lab: Any, autojump_clock: MockClock) -> None:
    async with connected(lab) as pair:

        async def after(_peer: PeerId, body: bytes) -> bytes:
            await trio.sleep(10 - body[0])
            return body

        pair.server.serve("after", after, max_request=1)
        order: list[bytes] = []

        async def ask(number: int) -> None:
            order.append(await pair.call("after", bytes([number])))

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(ask, number)
        assert order == [bytes([number]) for number in reversed(range(10))]


@pytest.mark.parametrize("size", [0, 1, 100_000, 256 * 1024])
async def test_bodies_of_any_size_up_to_the_limit_arrive(lab: Any, size: int) -> None:
    async with connected(lab) as pair:
        pair.server.serve("echo", echo, max_request=256 * 1024)
        assert await pair.call("echo", bytes(size)) == bytes(size)


async def test_a_peer_that_was_dropped_is_dialled_again(lab: Any) -> None:
    async with connected(lab) as pair:
        pair.server.serve("echo", echo, max_request=10)
        assert await pair.call("echo", b"1") == b"1"
        await pair.caller.disconnect(pair.server.peer_id)
        assert await pair.call("echo", b"2") == b"2"


async def test_a_peer_of_which_nothing_is_known_is_unreachable(lab: Any) -> None:
    async with lab.node(1) as one, lab.node(2) as two:
        with pytest.raises(PeerUnreachable, match="no address"):
            await two.call(one.peer_id, "echo", b"")


async def test_a_handlers_refusal_reaches_the_caller_with_its_name_and_text(lab: Any) -> None:
    async with connected(lab) as pair:

        async def refuse(_peer: PeerId, _body: bytes) -> bytes:
            raise Overdrawn("the channel holds \x1b[31m3, the task needs 5" + "!" * 5000)

        pair.server.serve("refuse", refuse, max_request=10)
        with pytest.raises(RemoteRefused) as caught:
            await pair.call("refuse")
        assert caught.value.code == "Overdrawn"
        assert caught.value.text.startswith("the channel holds \N{REPLACEMENT CHARACTER}[31m3")
        assert len(caught.value.text) == 1000


@pytest.mark.parametrize("error", [RuntimeError("secret path"), StorageError("secret path"), KeyError("secret path")])
async def test_a_bug_in_a_handler_is_logged_here_and_says_nothing_there(
    lab: Any, error: Exception, logged: Callable[[str], list[Any]]
) -> None:
    async with connected(lab) as pair:

        async def crash(_peer: PeerId, _body: bytes) -> bytes:
            raise error

        pair.server.serve("crash", crash, max_request=10)
        pair.server.serve("echo", echo, max_request=10)
        with pytest.raises(RemoteRefused) as caught:
            await pair.call("crash")
        assert caught.value.code == "InternalError"
        assert "secret" not in str(caught.value)
        (entry,) = logged("network.handler_crashed")
        assert entry["exc_info"]
        assert await pair.call("echo", b"alive") == b"alive"


async def test_what_may_pass_later_is_busy_to_the_caller(lab: Any) -> None:
    async with connected(lab) as pair:

        async def later(_peer: PeerId, _body: bytes) -> bytes:
            raise TransientError("the chain is away")

        pair.server.serve("later", later, max_request=10)
        with pytest.raises(PeerBusy):
            await pair.call("later")


async def test_an_unknown_method_and_a_request_too_large_are_refused_by_name(lab: Any) -> None:
    async with connected(lab) as pair:
        pair.server.serve("echo", echo, max_request=10)
        with pytest.raises(RemoteRefused, match="UnknownMethod"):
            await pair.call("nonsense")
        with pytest.raises(RemoteRefused, match="MessageTooLarge"):
            await pair.call("echo", bytes(11))
        assert await pair.call("echo", bytes(10)) == bytes(10)


async def test_a_request_over_a_frame_is_not_sent_and_an_answer_over_the_limit_not_taken(lab: Any) -> None:
    async with connected(lab) as pair:
        pair.server.serve("echo", echo, max_request=1000)
        with pytest.raises(MessageTooLarge):
            await pair.call("echo", bytes(MAX_FRAME_BYTES))
        with pytest.raises(MessageTooLarge):
            await pair.call("echo", bytes(101), max_response=100)
        assert await pair.call("echo", bytes(100), max_response=100) == bytes(100)


async def test_an_answer_over_a_frame_is_the_servers_bug(lab: Any, logged: Callable[[str], list[Any]]) -> None:
    async with connected(lab) as pair:

        async def flood(_peer: PeerId, _body: bytes) -> bytes:
            return bytes(MAX_FRAME_BYTES)

        pair.server.serve("flood", flood, max_request=10)
        with pytest.raises(RemoteRefused, match="InternalError"):
            await pair.call("flood")
        assert len(logged("network.answer_too_large")) == 1


async def test_a_handler_that_hangs_is_given_up_before_the_caller_gives_up(lab: Any, autojump_clock: MockClock) -> None:
    async with connected(lab) as pair:
        pair.server.serve("hang", hang, max_request=10)
        start = trio.current_time()
        with pytest.raises(PeerBusy):
            await pair.call("hang")
        assert trio.current_time() - start == pytest.approx(25)


async def test_a_peer_that_never_answers_times_out(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1) as node, lab.attacker(node) as attacker:

        async def negotiate_and_hang() -> None:
            while not attacker.inbound:
                await trio.sleep(0.01)
            for stream in attacker.inbound:
                await stream.write(b"\x13/multistream/1.0.0\n" + bytes([len(PROTOCOL) + 1]) + PROTOCOL.encode() + b"\n")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(negotiate_and_hang)
            (info,) = node.peers()
            start = trio.current_time()
            with pytest.raises(PeerTimeout):
                await node.call(info.peer, "echo", b"")
            assert trio.current_time() - start == pytest.approx(CALL_TIMEOUT_S)


async def test_a_call_that_is_cancelled_cancels_the_handler(
    lab: Any, autojump_clock: MockClock, eventually: Any
) -> None:
    async with connected(lab) as pair:
        ended: list[float] = []

        async def work(_peer: PeerId, _body: bytes) -> bytes:
            try:
                await trio.sleep(20)
            finally:
                ended.append(trio.current_time())
            return b""

        pair.server.serve("work", work, max_request=10)
        with trio.move_on_after(1):
            await pair.call("work")
        await eventually(lambda: ended)
        assert ended[0] == pytest.approx(1, abs=0.1)
        pair.server.serve("echo", echo, max_request=10)
        assert await pair.call("echo", b"x") == b"x"


async def test_handlers_end_when_the_caller_disconnects(lab: Any, autojump_clock: MockClock, eventually: Any) -> None:
    async with connected(lab) as pair, trio.open_nursery() as nursery:
        ended: list[bool] = []

        async def work(_peer: PeerId, _body: bytes) -> bytes:
            try:
                await trio.sleep(20)
            finally:
                ended.append(True)
            return b""

        failed: list[PeerUnreachable] = []

        async def ask() -> None:
            try:
                await pair.call("work")
            except PeerUnreachable as error:
                failed.append(error)

        pair.server.serve("work", work, max_request=10)
        nursery.start_soon(ask)
        await trio.sleep(1)
        await pair.server.disconnect(pair.caller.peer_id)
        await eventually(lambda: ended and failed)
        assert trio.current_time() < 2


async def test_requests_of_one_peer_are_bounded_and_the_rest_wait_their_turn(
    lab: Any, autojump_clock: MockClock
) -> None:
    async with connected(lab, max_requests_per_peer=4) as pair:
        running = peak = 0

        async def work(_peer: PeerId, _body: bytes) -> bytes:
            nonlocal running, peak
            running += 1
            peak = max(peak, running)
            await trio.sleep(1)
            running -= 1
            return b""

        pair.server.serve("work", work, max_request=10)
        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(pair.call, "work")
        assert peak == 4


def request(number: int, method: bytes, body: bytes = b"") -> bytes:
    rest = bytes([len(method)]) + method + body
    return struct.pack("!IBI", 5 + len(rest), 1, number) + rest


async def test_a_peer_that_sends_more_requests_than_it_may_is_told_so(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1, max_requests_per_peer=4) as node, lab.attacker(node) as attacker:
        node.serve("hang", hang, max_request=10)
        stream = await attacker.open(PROTOCOL)
        await stream.write(b"".join(request(number, b"hang") for number in range(10)))
        answers = b""
        while answers.count(b"Busy") < 6:
            answers += await stream.read()
        assert trio.current_time() < 1


async def test_a_request_that_is_done_makes_room_for_one_more_and_not_for_all(
    lab: Any, autojump_clock: MockClock
) -> None:
    async with lab.node(1, max_requests_per_peer=4) as node, lab.attacker(node) as attacker:
        node.serve("hang", hang, max_request=10)
        node.serve("echo", echo, max_request=10)
        stream = await attacker.open(PROTOCOL)
        await stream.write(b"".join(request(number, b"hang") for number in range(3)) + request(3, b"echo"))
        assert await stream.read()
        await stream.write(request(4, b"hang") + request(5, b"hang"))
        assert b"Busy" in await stream.read()
        assert trio.current_time() < 1


async def test_a_peer_that_asks_too_fast_is_told_so(lab: Any, autojump_clock: MockClock) -> None:
    async with connected(lab, request_rate=Rate(per_s=1, burst=3)) as pair:
        pair.server.serve("echo", echo, max_request=10)
        for _ in range(3):
            await pair.call("echo")
        with pytest.raises(PeerBusy):
            await pair.call("echo")
        await trio.sleep(1)
        await pair.call("echo")


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("!I", MAX_FRAME_BYTES + 1),
        struct.pack("!I", 4),
        struct.pack("!IBI", 5, 9, 1),
        struct.pack("!IBI", 5, 1, 1),  # no method
        request(1, b"\xff\xfe"),
        request(1, b"x" * 65),
        struct.pack("!IBI", 8, 1, 1) + b"\x40ab",  # a method longer than its frame
        request(1, b"hang") + request(1, b"hang"),
    ],
)
async def test_a_malformed_frame_costs_the_stream_and_a_strike(
    lab: Any, data: bytes, autojump_clock: MockClock, logged: Callable[[str], list[Any]]
) -> None:
    async with lab.node(1) as node, lab.attacker(node) as attacker:
        node.serve("hang", hang, max_request=10)
        stream = await attacker.open(PROTOCOL)
        await stream.write(data)
        with trio.fail_after(5), pytest.raises(Exception, match="reset"):
            await stream.read()
        assert len(logged("network.misconduct")) == 1
        assert len(node.peers()) == 1


async def test_a_peer_that_does_not_read_its_answers_only_stops_itself(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1) as node, lab.attacker(node) as attacker, lab.node(2) as honest:

        async def big(_peer: PeerId, _body: bytes) -> bytes:
            return bytes(200_000)

        node.serve("big", big, max_request=10)
        stream = await attacker.open(PROTOCOL)
        with trio.move_on_after(5):
            for number in range(1000):
                await stream.write(request(number, b"big"))
        await honest.connect(node.addresses[0])
        assert len(await honest.call(node.peer_id, "big", b"")) == 200_000
        assert sum(node._requests._running.values()) <= 32


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64), st.binary())
def test_names_survive_their_frame(name: str, rest: bytes) -> None:
    assert decode_named(encode_named(name, rest), 64) == (name, rest)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_name_or_a_typed_error(data: bytes) -> None:
    try:
        name, rest = decode_named(data, 64)
    except PeerMisbehaved:
        return
    assert encode_named(name, rest) == data


@given(st.binary(max_size=5000))
def test_a_peers_words_are_always_fit_to_print(raw: bytes) -> None:
    assert printable(raw).isprintable()
    assert len(printable(raw)) <= 1000
