# pyright: reportPrivateUsage=false
"""Offers that ask for stake: who bids, who takes part, who may start, and whose protest counts."""

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from protocol.identity import Address, Digest
from protocol.market.objects import Award
from protocol.signing.signed import Signed
from protocol.stake.terms import BackingRefused
from protocol.units import Amount
from tests.node.market.fake_bank import Bank, FakePayerRails, FakeStakes
from tests.node.market.fake_hub import Hub
from tests.node.market.market_lab import LabNode, make_wish, market_terms, open_hub, open_node, wait_over
from tests.node.market.test_market_services import PURSE, task_row

BOND, LEAST = Amount(40), Amount(100)
ASKING = replace(market_terms(), bond=BOND, min_stake=LEAST)


class PickyRails(FakePayerRails):
    """The money's side of a requester that sees no lock of some providers."""

    def __init__(self, bank: Bank, unlocked: set[Address]) -> None:
        super().__init__(bank)
        self.unlocked = unlocked

    async def wait_backed(self, award: Signed[Award], award_id: Digest) -> None:
        await trio.sleep(0.5)
        if award.value.provider in self.unlocked:
            raise BackingRefused("the provider did not lock its liability")


async def open_stage(
    stack: AsyncExitStack, folder: Path, sees: FakeStakes, payer: FakePayerRails | None = None, bank: Bank | None = None
) -> tuple[Hub, Bank, LabNode]:
    hub, bank = await stack.enter_async_context(open_hub()), bank or Bank()
    node = open_node(hub, bank, folder, "requester", terms=ASKING, stakes=sees, payer=payer)
    requester = await stack.enter_async_context(node)
    bank.purses[requester.wallet] = PURSE
    return hub, bank, requester


async def add_provider(
    stack: AsyncExitStack, hub: Hub, bank: Bank, folder: Path, name: str, price: int, free: int
) -> tuple[LabNode, FakeStakes]:
    """Open a provider that believes to have `free` at stake."""
    sees = FakeStakes()
    node = await stack.enter_async_context(open_node(hub, bank, folder, name, gfuel=price, stakes=sees))
    sees.free[node.wallet] = free
    return node, sees


@pytest.mark.parametrize("has_staked", [False, True])
async def test_who_has_too_little_stake_is_left_out_and_its_protest_counts_for_nothing(
    autojump_clock: MockClock, tmp_path: Path, *, has_staked: bool
) -> None:
    async with AsyncExitStack() as stack:
        sees, bystanders = FakeStakes(), FakeStakes()
        hub, bank, requester = await open_stage(stack, tmp_path, sees)
        cheap, _ = await add_provider(stack, hub, bank, tmp_path, "cheap", 100_000, LEAST)
        backed, _ = await add_provider(stack, hub, bank, tmp_path, "backed", 120_000, LEAST)
        bystander = await stack.enter_async_context(open_node(hub, bank, tmp_path, "bystander", stakes=bystanders))
        sees.free |= {backed.wallet: LEAST, cheap.wallet: LEAST - 1}
        # The cheap one lies about its stake; or else the requester does.
        bystanders.free[cheap.wallet] = LEAST if has_staked else LEAST - 1
        offer_id = await requester.requester.submit(await make_wish(requester))
        with trio.fail_after(60):
            await wait_over(requester, offer_id)
        row = await task_row(requester)
        assert (row.state, row.provider) == ("done", backed.wallet)
        await trio.sleep(30)  # of virtual time: protests have come by then
        assert bystander.gossip.strikes_of(requester.wallet) == int(has_staked)


async def test_without_any_backed_bidder_the_task_fails_and_says_what_was_missing(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        hub, bank, requester = await open_stage(stack, tmp_path, FakeStakes())
        await add_provider(stack, hub, bank, tmp_path, "provider", 100_000, LEAST)
        offer_id = await requester.requester.submit(await make_wish(requester))
        with trio.fail_after(60):
            await wait_over(requester, offer_id)
        row = await task_row(requester)
        assert row.state == "failed"
        assert "no provider bid with a free stake of" in row.reason
        assert bank.purses[requester.wallet] == PURSE


async def test_while_the_chain_cant_tell_there_is_no_roll_and_nobody_has_a_reason_to_protest(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        hub, bank, requester = await open_stage(stack, tmp_path, FakeStakes(away=True))
        provider, _ = await add_provider(stack, hub, bank, tmp_path, "provider", 100_000, LEAST)
        offer_id = await requester.requester.submit(await make_wish(requester))
        with trio.fail_after(60):
            await wait_over(requester, offer_id)
        row = await task_row(requester)
        assert row.state == "failed"
        assert "stakes could not be looked up" in row.reason
        await trio.sleep(30)
        assert provider.gossip.strikes_of(requester.wallet) == 0


async def test_a_provider_promises_no_stake_twice_and_says_why_it_does_not_bid(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        sees = FakeStakes()
        hub, bank, requester = await open_stage(stack, tmp_path, sees)
        poor, poor_sees = await add_provider(stack, hub, bank, tmp_path, "poor", 100_000, LEAST - 1)
        sees.free[poor.wallet] = LEAST - 1
        with trio.fail_after(60):
            await wait_over(requester, await requester.requester.submit(await make_wish(requester)))
        assert not poor.provider.bids
        (reason,) = poor.provider.reasons
        assert "the offer wants bidders with a free stake of" in reason

        # Enough for either of two offers, by minStake, and for both by room, but not for the bonds of both.
        poor.provider._parts = replace(poor.provider._parts, workers=4)  # room is no matter here
        poor_sees.free[poor.wallet] = sees.free[poor.wallet] = 2 * BOND - 1
        requester.requester._parts = replace(requester.requester._parts, terms=replace(ASKING, min_stake=BOND))
        wishes = [await make_wish(requester), await make_wish(requester, budget=390_000)]
        offers = [await requester.requester.submit(wish) for wish in wishes]
        with trio.fail_after(60):
            while len(poor.provider.reasons) < 2:
                await trio.sleep(0.05)
        assert len(set(offers) & set(poor.provider.bids)) == 1
        assert any("promised to other bids" in reason for reason in poor.provider.reasons)


async def test_a_provider_that_locked_nothing_is_not_started_and_a_standby_does_the_work(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        sees, bank, unlocked = FakeStakes(), Bank(), set[Address]()
        hub, bank, requester = await open_stage(stack, tmp_path, sees, PickyRails(bank, unlocked), bank)
        cheap, _ = await add_provider(stack, hub, bank, tmp_path, "cheap", 100_000, LEAST)
        backed, _ = await add_provider(stack, hub, bank, tmp_path, "backed", 120_000, LEAST)
        sees.free |= {cheap.wallet: LEAST, backed.wallet: LEAST}
        unlocked.add(cheap.wallet)
        offer_id = await requester.requester.submit(await make_wish(requester, parts=2, budget=800_000))
        with trio.fail_after(120):
            await wait_over(requester, offer_id)
        row = await task_row(requester)
        assert (row.state, row.provider, row.paid_parts) == ("done", backed.wallet, 2)
        assert bank.purses[cheap.wallet] == 0
        assert bank.total() == PURSE
