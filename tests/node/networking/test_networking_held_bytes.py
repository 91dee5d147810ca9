# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
"""What peers make a node hold is bounded for all of them together (docs/adr/1512)."""

from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.networking.frames import Kind, encode_frame, encode_named
from node.networking.held_bytes import CHOSEN_WEIGH, MAX_HELD_BYTES, STREAM_BYTES, Account, HeldBytes
from node.networking.libp2p.yamux import MAX_INBOUND_STREAMS, WINDOW_BYTES, StreamReset
from node.networking.outgoing import TAKE_TIMEOUT_S
from node.networking.requests import PROTOCOL

ALMOST = encode_frame(Kind.REQUEST, 1, encode_named("echo", bytes(900_000)))[:-1]
MESHSUB = "/meshsub/1.1.0"


def accounts(held: HeldBytes, count: int, *chosen: int) -> tuple[list[Account], list[int]]:
    ended: list[int] = []
    made = [
        held.open(shed=lambda number=number: ended.append(number), is_chosen=lambda number=number: number in chosen)
        for number in range(count)
    ]
    return made, ended


def test_who_holds_most_goes_when_all_together_hold_too_much() -> None:
    held = HeldBytes(100)
    made, ended = accounts(held, 3)
    for account, size in zip(made, (30, 41, 29), strict=True):
        account.hold(size)
    assert ended == []
    made[0].hold(1)
    assert ended == [1]
    assert held.total == 60
    made[1].hold(1000)  # it is on its way out: what it still does counts no more
    made[1].close()
    assert held.total == 60


def test_a_chosen_peer_weighs_less_but_not_nothing() -> None:
    held = HeldBytes(100)
    made, ended = accounts(held, 2, 0)
    made[1].hold(100 // CHOSEN_WEIGH)
    made[0].hold(80)
    made[0].hold(10)
    assert ended == [1]
    made[0].hold(11)
    assert ended == [1, 0]


def test_what_is_given_back_counts_no_more() -> None:
    held = HeldBytes(100)
    made, ended = accounts(held, 2)
    for _ in range(50):
        for account in made:
            account.hold(50)
        for account in made:
            account.hold(-50)
    assert (held.total, ended) == (0, [])
    made[0].hold(7)
    made[0].close()
    made[0].close()
    assert held.total == 0


async def echo(_peer: str, body: bytes) -> bytes:
    return body


async def deaf(_stream: Any) -> None:
    await trio.sleep_forever()


async def assert_alive(lab: Any, victim: Any) -> None:
    async with lab.node(90) as honest:
        await honest.connect(victim.addresses[0])
        assert await honest.call(victim.peer_id, "echo", b"ok") == b"ok"


async def test_frames_that_lack_their_last_byte_fill_no_memory(
    lab: Any, eventually: Any, autojump_clock: MockClock
) -> None:
    async with lab.node(1) as victim, AsyncExitStack() as stack:
        victim.serve("echo", echo, max_request=900_000)
        memory = victim._switch._memory
        attackers = [await stack.enter_async_context(lab.attacker(victim, number)) for number in range(100, 140)]
        for attacker in attackers:
            try:
                stream = await attacker.open(PROTOCOL)
                await stream.write(ALMOST)
            except StreamReset:
                pass
            await trio.sleep(0.01)
            assert memory.total <= MAX_HELD_BYTES
        await eventually(lambda: any(attacker.ended.is_set() for attacker in attackers))
        await assert_alive(lab, victim)
        assert memory.total > MAX_HELD_BYTES // 2
    assert memory.total == 0


async def test_one_stream_of_requests_a_peer_is_served(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1) as victim, lab.attacker(victim) as attacker:
        victim.serve("echo", echo, max_request=900_000)
        streams = [await attacker.open(PROTOCOL) for _ in range(20)]
        for stream in streams[:-1]:
            with pytest.raises(StreamReset):
                await stream.read()
        await streams[-1].write(encode_frame(Kind.REQUEST, 1, encode_named("echo", b"here")))
        assert b"here" in await streams[-1].read()
        assert victim._switch._memory.total < 4 * STREAM_BYTES


@pytest.mark.parametrize("what", ["streams", "windows", "gossip", "frames of the muxer"])
async def test_all_that_is_held_for_a_peer_is_counted_and_given_back(
    lab: Any, what: str, eventually: Any, autojump_clock: MockClock
) -> None:
    async with lab.node(1) as victim:
        memory = victim._switch._memory
        victim._switch.handle("/deaf", deaf)
        async with lab.attacker(victim) as attacker:
            match what:
                case "streams":
                    for _ in range(100):
                        attacker.mux.open_stream()
                    least = 100 * STREAM_BYTES
                case "windows":
                    for _ in range(8):
                        stream = await attacker.open("/deaf")
                        await stream.write(bytes(WINDOW_BYTES - 100))
                    least = 8 * (WINDOW_BYTES - 1000)
                case "gossip":
                    stream = await attacker.open(MESHSUB)
                    await stream.write(b"\xff\xff\x1f" + bytes(500_000))
                    least = 500_000
                case _:
                    await attacker.wire.write(b"\x00\x00\x00\x00\x00\x00\x00\x01\x00\x04\x00\x00" + bytes(60_000))
                    least = 60_000
            await eventually(lambda: memory.total >= least)
            assert memory.total < 2 * least + MAX_INBOUND_STREAMS * 100
        await eventually(lambda: memory.total == 0)


async def test_answers_that_nobody_takes_are_given_up(lab: Any, eventually: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1) as victim, lab.attacker(victim) as attacker:
        victim.serve("echo", echo, max_request=900_000)
        stream = await attacker.open(PROTOCOL)
        for number in range(4):
            await stream.write(encode_frame(Kind.REQUEST, number, encode_named("echo", bytes(500_000))))
        memory = victim._switch._memory
        await eventually(lambda: memory.total > 4 * 500_000)
        await trio.sleep(TAKE_TIMEOUT_S + 20)
        assert memory.total < 4 * STREAM_BYTES
        await assert_alive(lab, victim)


async def test_refusals_that_nobody_takes_end_their_stream_and_nothing_else(
    lab: Any, logged: Any, autojump_clock: MockClock
) -> None:
    async with lab.node(1) as victim, lab.attacker(victim) as attacker:
        victim.serve("echo", echo, max_request=900_000)
        stream = await attacker.open(PROTOCOL)
        for number in range(8_000):  # of unknown methods, until the refusals fill the window and one waits
            with trio.move_on_after(5) as waited:
                await stream.write(encode_frame(Kind.REQUEST, number, encode_named("m" * 60, b"")))
            if waited.cancelled_caught:
                break
        stream.reset()
        await trio.sleep(TAKE_TIMEOUT_S + 20)
        assert not logged("network.handler_crashed")
        await assert_alive(lab, victim)
