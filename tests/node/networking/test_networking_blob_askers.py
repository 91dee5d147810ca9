# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
"""Askers of blobs that keep to no rule: what a server answers, what it bounds, whom it drops."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.networking.blob_frames import (
    LAST_GROUP,
    MAX_WANTED,
    PROTOCOL,
    Encoding,
    GroupHead,
    Status,
    encode_answer,
)
from node.networking.blob_holder import PIPELINE
from node.networking.blob_receive import STALL_TIMEOUT_S
from tests.node.networking.blob_lab import (
    GREETING_BYTES,
    MIB,
    Crate,
    Shelf,
    blob,
    greeting,
    group,
    leave,
    plain,
    read_all,
    scene,
    want,
)


async def test_groups_are_answered_in_the_order_of_the_orders(lab: Any, autojump_clock: MockClock) -> None:
    data = blob(3 * MIB + 9)
    async with scene(lab, Shelf(data)) as it, lab.attacker(it.holders[0]) as asker:
        stream = await asker.open(PROTOCOL)
        await stream.write(greeting(data) + want(LAST_GROUP) + want(2) + want(0, 2))
        stream.finish()
        answer = encode_answer(Status.OK, len(data))
        assert await read_all(stream) == answer + b"".join(plain(i, group(data, i)) for i in (3, 2, 0, 1))


async def test_a_group_that_was_left_in_time_is_answered_without_its_bytes(lab: Any, autojump_clock: MockClock) -> None:
    data = blob(4 * MIB)
    async with scene(lab, Shelf(data)) as it, lab.attacker(it.holders[0]) as asker:
        stream = await asker.open(PROTOCOL)
        await stream.write(greeting(data) + want(0, 3) + leave(1) + leave(3))
        stream.finish()
        left = GroupHead(1, Encoding.LEFT, 0).encode()
        answer = encode_answer(Status.OK, len(data))
        assert await read_all(stream) == answer + plain(0, group(data, 0)) + left + plain(2, group(data, 2))


BAD_ORDERS = {
    "no kind": bytes([7]) + (0).to_bytes(4) + (1).to_bytes(4),
    "kind 0": bytes(1) + (0).to_bytes(4) + (1).to_bytes(4),
    "no group": want(0, 0),
    "past the end": want(4),
    "over the end": want(3, 2),
    "all numbers": want(1, 2**32 - 1),
    "last and more": want(LAST_GROUP, 2),
    "cut short": want(0)[:-1],
}


@pytest.mark.parametrize("order", BAD_ORDERS.values(), ids=list(BAD_ORDERS))
async def test_an_order_that_no_asker_gives_is_a_strike_and_ends_the_stream(
    order: bytes, lab: Any, autojump_clock: MockClock, logged: Callable[[str], list[Any]]
) -> None:
    data = blob(4 * MIB)
    shelf = Shelf(data)
    async with scene(lab, shelf) as it, lab.attacker(it.holders[0]) as asker:
        stream = await asker.open(PROTOCOL)
        await stream.write(greeting(data) + order)
        stream.finish()
        await trio.sleep(1)
        assert len(logged("network.misconduct")) == 1
        assert shelf.open_now == 0
        assert shelf.served == 0


async def test_more_groups_than_may_be_wanted_at_once_are_a_strike(
    lab: Any, autojump_clock: MockClock, logged: Callable[[str], list[Any]]
) -> None:
    data = bytes((MAX_WANTED + 2) * MIB)
    async with scene(lab, Shelf(data)) as it, lab.attacker(it.holders[0]) as asker:
        honest = await asker.open(PROTOCOL)
        await honest.write(greeting(data) + want(0, MAX_WANTED))
        await trio.sleep(1)
        assert not logged("network.misconduct")
        greedy = await asker.open(PROTOCOL)
        await greedy.write(greeting(data) + want(0, MAX_WANTED) + want(MAX_WANTED, 2))
        await trio.sleep(1)
        assert len(logged("network.misconduct")) == 1


@pytest.mark.parametrize("sent", [b"", bytes(GREETING_BYTES - 1), "greeting", "order"])
async def test_an_asker_that_holds_a_place_and_asks_for_nothing_loses_it(
    sent: Any, lab: Any, autojump_clock: MockClock
) -> None:
    data = blob(3 * MIB)
    shelf = Shelf(data)
    raw = {"greeting": greeting(data), "order": greeting(data) + want(0)[:3]}.get(sent, sent)
    async with scene(lab, shelf) as it, lab.attacker(it.holders[0]) as asker:
        stream = await asker.open(PROTOCOL)
        await stream.write(raw)
        await trio.sleep(STALL_TIMEOUT_S - 1)
        assert not stream.is_reset
        await trio.sleep(2)
        assert stream.is_reset
        assert shelf.open_now == 0


async def test_an_asker_that_does_not_read_is_given_up_and_its_blob_closed(lab: Any, autojump_clock: MockClock) -> None:
    data = blob(4 * MIB)
    shelf = Shelf(data)
    async with scene(lab, shelf) as it, lab.attacker(it.holders[0]) as asker:
        stream = await asker.open(PROTOCOL)
        await stream.write(greeting(data) + want(0, 4))
        await trio.sleep(STALL_TIMEOUT_S - 1)
        assert shelf.open_now == 1
        await trio.sleep(STALL_TIMEOUT_S)
        assert shelf.open_now == 0
        assert shelf.served <= 2 * MIB


async def test_blobs_served_at_once_are_bounded(lab: Any, autojump_clock: MockClock) -> None:
    data = blob(3 * MIB)
    async with scene(lab, Shelf(data), max_blob_streams_per_peer=2) as it, lab.attacker(it.holders[0]) as asker:
        streams = [await asker.open(PROTOCOL) for _ in range(3)]
        for stream in streams:
            await stream.write(greeting(data))
            await trio.sleep(0.1)
        assert await read_all(streams[2]) == encode_answer(Status.BUSY)
        crate = Crate(data)
        await it.gather(crate)  # another peer has places of its own
        assert not crate.missing


@pytest.mark.parametrize(("at", "byte"), [(33, 2), (33, 255), (34, 5), (34, 255)])
async def test_a_greeting_that_no_asker_says_is_a_strike(
    at: int, byte: int, lab: Any, autojump_clock: MockClock, logged: Callable[[str], list[Any]]
) -> None:
    data = blob(3 * MIB)
    async with scene(lab, Shelf(data)) as it, lab.attacker(it.holders[0]) as asker:
        stream = await asker.open(PROTOCOL)
        await stream.write(greeting(data)[:at] + bytes([byte]) + greeting(data)[at + 1 :])
        await trio.sleep(1)
        assert len(logged("network.misconduct")) == 1


async def test_encodings_of_the_future_are_passed_over(lab: Any, autojump_clock: MockClock) -> None:
    data = bytes(2 * MIB)
    async with scene(lab, Shelf(data)) as it, lab.attacker(it.holders[0]) as asker:
        stream = await asker.open(PROTOCOL)
        await stream.write(greeting(data)[:32] + b"\xfe\x00\x00" + want(0))
        stream.finish()
        assert await read_all(stream) == encode_answer(Status.OK, len(data)) + plain(0, data[:MIB])


async def test_the_pipeline_is_within_what_a_server_allows() -> None:
    assert PIPELINE <= MAX_WANTED
