# pyright: reportUnknownMemberType=false, reportPrivateUsage=false
"""Rates and turns, on a virtual clock."""

from collections import Counter

import pytest
import trio
from trio.testing import MockClock

from node.networking.bandwidth import MAX_PIECE_BYTES, Bandwidth, FairGate
from node.networking.limits import Rate
from node.networking.settings import NetworkSettings
from protocol.identity import PeerId

ONE, TWO, THREE = PeerId("one"), PeerId("two"), PeerId("three")
PIECE = MAX_PIECE_BYTES
RATE = 10 * PIECE


async def test_without_limits_nothing_waits(mock_clock: MockClock) -> None:
    bandwidth = Bandwidth(NetworkSettings())
    for _ in range(1000):
        await bandwidth.up(ONE, PIECE)
        await bandwidth.down(ONE, PIECE)


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_all_peers_together_keep_to_the_rate(direction: str, autojump_clock: MockClock) -> None:
    settings = NetworkSettings(upload_bytes_per_s=RATE, download_bytes_per_s=RATE)
    take = getattr(Bandwidth(settings), direction)

    async def move(peer: PeerId) -> None:
        for _ in range(50):
            await take(peer, PIECE)

    async with trio.open_nursery() as nursery:
        for peer in (ONE, TWO):
            nursery.start_soon(move, peer)
    assert trio.current_time() == pytest.approx(100 / 10, abs=0.2)


async def test_up_and_down_do_not_wait_for_each_other(autojump_clock: MockClock) -> None:
    bandwidth = Bandwidth(NetworkSettings(upload_bytes_per_s=RATE))
    await bandwidth.up(ONE, PIECE)
    for _ in range(100):
        await bandwidth.down(ONE, PIECE)
    assert trio.current_time() == 0


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_a_peer_keeps_to_its_own_rate_and_others_do_not_wait_for_it(
    direction: str, autojump_clock: MockClock
) -> None:
    settings = NetworkSettings(upload_bytes_per_s_per_peer=RATE, download_bytes_per_s_per_peer=RATE)
    take = getattr(Bandwidth(settings), direction)
    ended: dict[PeerId, float] = {}

    async def move(peer: PeerId, pieces: int) -> None:
        for _ in range(pieces):
            await take(peer, PIECE)
        ended[peer] = trio.current_time()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(move, ONE, 100)
        nursery.start_soon(move, TWO, 10)
    assert ended[ONE] == pytest.approx(10, abs=0.2)
    assert ended[TWO] == pytest.approx(1, abs=0.2)


async def test_a_peer_with_many_streams_gets_what_one_with_a_single_stream_gets(autojump_clock: MockClock) -> None:
    gate: FairGate[PeerId] = FairGate(Rate(per_s=RATE, burst=PIECE))
    moved: Counter[PeerId] = Counter()

    async def move(peer: PeerId) -> None:
        while True:
            await gate.take(peer, PIECE)
            moved[peer] += 1

    with trio.move_on_after(30):
        async with trio.open_nursery() as nursery:
            for peer, streams in ((ONE, 20), (TWO, 1), (THREE, 3)):
                for _ in range(streams):
                    nursery.start_soon(move, peer)
    assert sum(moved.values()) == pytest.approx(300, abs=3)
    assert max(moved.values()) - min(moved.values()) <= 3


async def test_who_was_away_is_not_owed_what_it_did_not_take(autojump_clock: MockClock) -> None:
    gate: FairGate[PeerId] = FairGate(Rate(per_s=RATE, burst=PIECE))
    moved: Counter[PeerId] = Counter()
    before = 0

    async def move(peer: PeerId) -> None:
        while True:
            await gate.take(peer, PIECE)
            moved[peer] += 1

    with trio.move_on_after(20):
        async with trio.open_nursery() as nursery:
            for _ in range(2):  # so that the spell never ends
                nursery.start_soon(move, ONE)
            await trio.sleep(10)
            before = moved[ONE]
            nursery.start_soon(move, TWO)
    assert moved[TWO] == pytest.approx(50, abs=2)
    assert moved[ONE] - before == pytest.approx(50, abs=2)


async def test_who_gives_up_while_waiting_holds_nobody_up(autojump_clock: MockClock) -> None:
    gate: FairGate[PeerId] = FairGate(Rate(per_s=RATE, burst=PIECE))
    await gate.take(ONE, PIECE)
    with trio.move_on_after(1) as impatient:
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(gate.take, ONE, PIECE)
    assert impatient.cancelled_caught
    assert not gate._turns
    start = trio.current_time()
    for _ in range(10):
        await gate.take(TWO, PIECE)
    assert trio.current_time() - start <= 1.2
