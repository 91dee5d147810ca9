"""Cases that users order, on a real chain with a real court: each is opened once, and brings what was told before."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from node.arbitration.refusals import BondNotCovered, CaseExists, NotDisputable
from node.chain.events import AwardDisputed
from protocol.dispute.case import CaseOpened, Stage
from protocol.dispute.objects import Finding
from protocol.dispute.prospects import prospects_of
from protocol.errors import TransientError
from protocol.settlement.deadlines import deadlines_of
from protocol.units import Amount
from tests.node.arbitration.claim_lab import (
    ATTITUDE,
    ENOUGH,
    Requester,
    claims,
    have_claimed,
    told,
    until_at_rest,
    until_told,
)
from tests.node.arbitration.money_lab import (
    COURT_TERMS,
    FEE,
    FIRST,
    PATIENCE_S,
    PRICE,
    SECOND,
    Demands,
    court_of,
    deliver,
    judge,
    leave,
    money,
    open_court,
    open_provider,
    settled,
)
from tests.node.payments.payments_world import NO_CAPS, Crash, World, open_world

UNWILLING = replace(ATTITUDE, open=False, appeal=False, max_bond=Amount(0))


async def until_claimed(world: World) -> None:
    with trio.fail_after(PATIENCE_S):
        while not await claims(world):
            await trio.sleep(0.05)


async def order(requester: Requester, award: str) -> None:
    """Be a user who orders the case again until there is one, as soon as the claim is confirmed."""
    with trio.fail_after(PATIENCE_S):
        while True:
            assert requester.ordering is not None
            try:
                await requester.ordering.open(award, FEE, anyway=True)
            except CaseExists:
                return
            except (NotDisputable, TransientError):
                await trio.sleep(0.05)


async def test_a_claim_that_its_node_would_pay_is_disputed_and_judged_by_order_once_whatever_crashes(
    tmp_path: Path,
) -> None:
    async with open_world(tmp_path / "nodes", terms=COURT_TERMS, court=True) as world, world.party("payee") as payee:
        requester = Requester(world=world, owes=True)
        async with requester.open(attitude=UNWILLING) as payer:
            award_id = await have_claimed(requester, payer, payee)
            await until_claimed(world)
        crashes = 0
        while not await told(world, CaseOpened):
            assert crashes < ENOUGH
            try:
                async with requester.open(attitude=UNWILLING, crash_after=1):
                    await order(requester, award_id.hex())
            except* Crash:
                crashes += 1
        assert crashes > 2
        assert await until_told(world, CaseOpened) == await until_told(world, AwardDisputed)
        async with requester.open(attitude=UNWILLING) as payer:
            await order(requester, award_id.hex())
            await until_at_rest(payer)
        assert len(await told(world, CaseOpened)) == 1


async def test_a_bond_that_the_wallets_caps_forbid_is_refused_and_the_claim_stays_undisputed(tmp_path: Path) -> None:
    async with open_world(tmp_path / "nodes", terms=COURT_TERMS, court=True) as world, world.party("payee") as payee:
        requester = Requester(world=world, owes=True)
        caps = replace(NO_CAPS, per_day=Amount(PRICE + FEE + FEE - 1))
        async with requester.open(caps=caps) as payer:
            award_id = await have_claimed(requester, payer, payee)
            await until_claimed(world)
        async with requester.open(caps=caps):
            assert requester.ordering is not None
            with pytest.raises(BondNotCovered, match="per day"):
                await order(requester, award_id.hex())
            assert not await told(world, AwardDisputed)


async def test_a_provider_that_orders_a_case_ends_as_it_was_told_before(tmp_path: Path) -> None:
    demands = Demands()
    async with open_court(tmp_path / "nodes", COURT_TERMS) as (world, payer, arbiter):
        async with open_provider(world, demands) as provider:
            work = await deliver(world, payer, provider, demands)
            before = await money(world)
        async with open_provider(world, demands) as provider:
            award = work.award_id.hex()
            quote = await provider.ordering.quoting.opening(award)
            assert (quote.stakes.asked, quote.bond, quote.expected) == (SECOND - FIRST, FEE, Finding.UPHELD)
            ends = {each.finding: each for each in prospects_of(quote.stakes)}
            await provider.ordering.open(award, FEE, anyway=False)
            opened = await court_of(world, payer).round_of(work.award_id)
            assert opened.stage is Stage.DRAWING
            assert opened.began < deadlines_of(work.award.value).claim_by, (
                "by itself the node still waits for a payment"
            )
            await judge(world, arbiter, work.award_id, Finding.UPHELD, SECOND)
            closed = await settled(provider, work.award_id)
            assert (closed.finding, closed.taken, closed.bonds) == (Finding.UPHELD, SECOND - FIRST, FEE)
            await provider.party.payments.payee.drain()
        await leave(world, payer, work.award.value.channel)
        after = await money(world)
        # What the first part was paid stood in a voucher, and was claimed meanwhile.
        assert after["payee"] - before["payee"] == FIRST + ends[Finding.UPHELD].own
        assert ends[Finding.UPHELD].to_provider == SECOND - FIRST
        assert before["channels"] - (after["payer"] - before["payer"]) == SECOND + FEE
