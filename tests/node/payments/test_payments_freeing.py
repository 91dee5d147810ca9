"""Locks that are freed together: one transaction for what is asked for in a moment, and no award in another's way."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import trio
from trio.testing import MockClock

from node.operations.clock import TrioClock
from node.payments.freeing import GATHER_S, MOST, FreeDesk
from node.payments.stake_ports import StakeChain
from protocol.errors import ChainRejected, TransientError
from protocol.market.objects import Award
from protocol.signing.signed import Signed
from protocol.task.objects import Acceptance
from protocol.units import Amount, BasisPoints, Seconds, UnixTime
from tests.samples import sample_award

AWARD = sample_award(
    liability=Amount(1),
    split_bps=BasisPoints(0),
    pace=Seconds(1),
    resolve_within=Seconds(1),
)


class Refused(ChainRejected):
    pass


@dataclass
class Chain:
    """Frees all but the awards in `bad`; is away while `away`. Notes the slots of each transaction."""

    bad: frozenset[int] = frozenset()
    away: bool = False
    sent: list[tuple[int, ...]] = field(default_factory=list[tuple[int, ...]])

    async def free(self, award: Award, acceptance: Signed[Acceptance] | None) -> int:
        return await self.free_batch([(award, acceptance)])

    async def free_batch(self, ended: Sequence[tuple[Award, Signed[Acceptance] | None]]) -> int:
        await trio.sleep(1)
        slots = tuple(sorted(award.slot for award, _ in ended))
        if self.away:
            raise TransientError("the chain is away")
        if self.bad.intersection(slots):
            raise Refused("NotOver")
        self.sent.append(slots)
        return 40 + len(self.sent)


@asynccontextmanager
async def open_desk(chain: Chain) -> AsyncGenerator[FreeDesk, None]:
    desk = FreeDesk(cast("StakeChain", chain), TrioClock.starting_at(UnixTime(1_800_000_000)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.run)
        yield desk
        nursery.cancel_scope.cancel()


async def free(desk: FreeDesk, slots: Sequence[int]) -> dict[int, Any]:
    """Ask for all at once; return the block of each, or why there is none."""
    answers: dict[int, Any] = {}

    async def ask(slot: int) -> None:
        try:
            answers[slot] = await desk.free(replace(AWARD, slot=slot), None)
        except (ChainRejected, TransientError) as error:
            answers[slot] = type(error)

    async with trio.open_nursery() as nursery:
        for slot in slots:
            nursery.start_soon(ask, slot)
    return answers


async def test_what_is_asked_for_in_a_moment_goes_out_together(autojump_clock: MockClock) -> None:
    chain = Chain()
    async with open_desk(chain) as desk:
        began = trio.current_time()
        assert await free(desk, (1, 2, 3)) == {1: 41, 2: 41, 3: 41}
        assert abs(trio.current_time() - began - GATHER_S - 1) < 0.01  # on the test's own clock
        assert await free(desk, (4,)) == {4: 42}
    assert chain.sent == [(1, 2, 3), (4,)]


async def test_an_award_that_can_not_be_freed_stops_no_other(autojump_clock: MockClock) -> None:
    chain = Chain(bad=frozenset((2,)))
    async with open_desk(chain) as desk:
        answers = await free(desk, (1, 2, 3))
    assert answers[2] is Refused
    assert sorted(chain.sent) == [(1,), (3,)]
    assert {answers[1], answers[3]} == {41, 42}


async def test_while_the_chain_is_away_all_are_told_and_may_ask_again(autojump_clock: MockClock) -> None:
    chain = Chain(away=True)
    async with open_desk(chain) as desk:
        assert await free(desk, (1, 2)) == {1: TransientError, 2: TransientError}
        chain.away = False
        assert await free(desk, (1, 2)) == {1: 41, 2: 41}
    assert chain.sent == [(1, 2)]


async def test_a_batch_has_an_end_and_who_gave_up_is_not_in_it(autojump_clock: MockClock) -> None:
    chain = Chain()
    async with open_desk(chain) as desk:
        with trio.move_on_after(GATHER_S / 2):
            await free(desk, (999,))
        await free(desk, range(MOST + 10))
    assert sorted(map(len, chain.sent)) == [10, MOST]
    assert sorted(slot for slots in chain.sent for slot in slots) == list(range(MOST + 10))
