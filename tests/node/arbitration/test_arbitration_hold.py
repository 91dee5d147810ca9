"""A provider and the hold that pays it: to court for what is unpaid; what the verdict gives is taken."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from protocol.dispute.bond import bond_account
from protocol.dispute.objects import Finding
from protocol.dispute.party import Closed, GivenUp
from protocol.identity import Digest
from protocol.settlement.deadlines import deadlines_of
from tests.node.arbitration.party_lab import (
    CrashAt,
    FakeCourt,
    FakeCourthouse,
    FakeHolds,
    FakePapers,
    LabParty,
    brief_about,
    eventually,
    open_court,
    open_lab_party,
)
from tests.protocol.dispute.dispute_samples import AWARD, AWARD_ID, BUYER, SELLER

FEE, PAID, DUE = AWARD.dispute_fee, 900_000, 1_800_000
UNPAID, HELD = DUE - PAID, AWARD.price + FEE - PAID
TIMES = deadlines_of(AWARD)
BRIEF = brief_about(AWARD, SELLER)
DURABLE_STEPS_AND_TRANSACTIONS = 10
"""Held; the hold stands, the case is opened and closed, each told as a fact but the first; enforced; settled."""


def unpaid() -> FakeHolds:
    return FakeHolds(unpaid=UNPAID, held=HELD)


@asynccontextmanager
async def open_seller(
    court: FakeCourt,
    folder: Path,
    *,
    courthouse: FakeCourthouse | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> AsyncGenerator[LabParty, None]:
    """Run the provider of an award whose channel is the court's."""
    papers = FakePapers(briefs={AWARD_ID: BRIEF})
    async with open_lab_party(
        court, folder, SELLER, papers=papers, holds=court.channel, courthouse=courthouse, on_step=on_step
    ) as seller:
        yield seller


async def ended(seller: LabParty) -> Closed:
    await eventually(lambda: AWARD_ID not in seller.files.open)
    file = await seller.files.find(AWARD_ID)
    assert file is not None
    assert isinstance(file.state, Closed)
    return file.state


async def test_an_unpaid_part_is_a_case_once_it_was_to_be_paid_and_the_verdict_is_enforced(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_court() as court:
        court.channel = holds = unpaid()
        async with open_seller(court, tmp_path) as seller:
            await seller.files.hold(BRIEF)
            await eventually(lambda: AWARD_ID in court.cases)
            assert TIMES.claim_by < court.clock.now() <= TIMES.latest_dispute_by
            assert holds.acts == ["secure"], "before the case, so that it can't be put out of reach"
            court.decide(AWARD_ID, Finding.UPHELD, due=DUE)
            state = await ended(seller)
            assert (state.opener, state.taken, state.bonds) == (SELLER, UNPAID, FEE)
            assert holds.acts == ["secure", "ready", "leave"]
            assert court.acts == [("open", SELLER), ("close", SELLER), ("enforce", SELLER)]
            assert bond_account(AWARD_ID, 0) in seller.bonds.closed


async def test_what_is_paid_before_that_is_no_case(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_court() as court:
        court.channel = holds = unpaid()
        async with open_seller(court, tmp_path) as seller:
            await seller.files.hold(BRIEF)
            await trio.sleep(TIMES.claim_by - court.clock.now() - 60)
            holds.sight = FakeHolds(held=HELD - UNPAID).sight
            await eventually(lambda: AWARD_ID not in seller.files.open)
            file = await seller.files.find(AWARD_ID)
            assert file is not None
            assert file.state == GivenUp(reason="what was delivered is paid")
            assert (court.acts, holds.acts) == ([], ["leave"])


@pytest.mark.parametrize("finding", [Finding.WRONG_RESULT, Finding.NONE])
async def test_a_provider_that_gets_nothing_lets_go_of_the_hold(
    autojump_clock: MockClock, tmp_path: Path, finding: Finding
) -> None:
    async with open_court() as court:
        court.channel = holds = unpaid()
        async with open_seller(court, tmp_path) as seller:
            court.open(AWARD, BUYER, Digest(b"\x01" * 32))
            await eventually(lambda: holds.acts == ["secure"])
            if finding is not Finding.NONE:
                court.decide(AWARD_ID, finding, due=PAID)
                await eventually(lambda: court.cases[AWARD_ID].round.number == 1)  # it knows better
                court.decide(AWARD_ID, finding, due=PAID)
                await eventually(lambda: court.cases[AWARD_ID].round.number == 2)
                court.decide(AWARD_ID, finding, due=PAID)
            assert (await ended(seller)).taken == 0
            assert holds.acts == ["secure", "leave"]
            assert ("enforce", SELLER) not in court.acts


async def test_a_hold_is_not_enforced_over_other_work_in_its_channel(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_court() as court:
        court.channel = holds = unpaid()
        holds.is_busy = True
        async with open_seller(court, tmp_path) as seller:
            court.open(AWARD, BUYER, Digest(b"\x01" * 32))
            await eventually(lambda: AWARD_ID in seller.files.open)
            court.decide(AWARD_ID, Finding.UPHELD, due=DUE)
            await eventually(lambda: ("close", BUYER) in court.acts or ("close", SELLER) in court.acts)
            await trio.sleep(2_000)
            assert isinstance(seller.files.open[AWARD_ID].state.state, Closed)
            assert ("enforce", SELLER) not in court.acts
            holds.is_busy = False
            assert (await ended(seller)).taken == UNPAID


@pytest.mark.parametrize("step", range(DURABLE_STEPS_AND_TRANSACTIONS + 1))
async def test_a_crash_after_any_durable_step_or_transaction_takes_the_money_once(
    autojump_clock: MockClock, tmp_path: Path, step: int
) -> None:
    crash = CrashAt(step)
    async with open_court() as court, trio.open_nursery() as nursery:
        court.channel = holds = unpaid()
        holds.after_act = crash
        nursery.start_soon(uphold, court)
        runs = 0
        while True:
            runs += 1
            courthouse = FakeCourthouse(court, SELLER)
            courthouse.after_send = crash
            with trio.CancelScope() as crash.scope:
                async with open_seller(court, tmp_path, courthouse=courthouse, on_step=crash) as seller:
                    await seller.files.hold(BRIEF)
                    state = await ended(seller)
                assert (state.finding, state.taken, state.bonds) == (Finding.UPHELD, UNPAID, FEE)
                break
        nursery.cancel_scope.cancel()
        assert runs == (1 if step == DURABLE_STEPS_AND_TRANSACTIONS else 2)
        assert court.acts == [("open", SELLER), ("close", SELLER), ("enforce", SELLER)]
        assert holds.acts[0] == "secure"
        assert holds.acts[-1] == "leave"


@pytest.mark.parametrize("step", range(DURABLE_STEPS_AND_TRANSACTIONS + 2))
async def test_a_crash_anywhere_leaves_no_newer_voucher_without_its_verdict(
    autojump_clock: MockClock, tmp_path: Path, step: int
) -> None:
    crash = CrashAt(step)
    async with open_court() as court, trio.open_nursery() as nursery:
        court.channel = holds = unpaid()
        holds.after_act, holds.newer = crash, 7
        nursery.start_soon(uphold, court)
        while True:
            courthouse = FakeCourthouse(court, SELLER)
            courthouse.after_send = crash
            with trio.CancelScope() as crash.scope:
                async with open_seller(court, tmp_path, courthouse=courthouse, on_step=crash) as seller:
                    await seller.files.hold(BRIEF)
                    state = await ended(seller)
                assert (state.finding, state.taken) == (Finding.UPHELD, UNPAID + 7)
                break
        nursery.cancel_scope.cancel()
        assert court.acts == [("open", SELLER), ("close", SELLER), ("enforce", SELLER), ("enforce", SELLER)]


async def uphold(court: FakeCourt) -> None:
    """Be a committee that finds for the provider."""
    while True:
        await trio.sleep(1)
        case = court.cases.get(AWARD_ID)
        if case is not None and case.vote is None:
            court.decide(AWARD_ID, Finding.UPHELD, due=DUE)
