"""What a crash or a flood would leave behind: money held for an award that is over, a hire whose offer is forgotten."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.market.direct_offers import OFFERS_KEPT, DirectOffers
from protocol.errors import ProtocolError
from protocol.identity import Address, Digest
from protocol.market.messages import OfferAnnouncement
from protocol.market.objects import AuctionFormat
from protocol.signing.keccak import keccak256
from protocol.units import UnixTime
from tests.node.market.fake_bank import FakePayerRails
from tests.node.market.fake_hub import EPOCH
from tests.node.market.mallory_lab import PURSE, check_books, finish, open_stage, run_for_a_while, wait_idle, wait_until
from tests.node.market.market_lab import LabNode, make_wish

PRICES = (100_000, 120_000)


@pytest.mark.parametrize("ended_by", ["a provider that failed", "a cancellation", "a purse that is empty"])
async def test_a_crash_right_after_an_award_ended_leaves_no_money_held(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended_by: str
) -> None:
    reached = trio.Event()

    async def crash_here(*_arguments: object) -> None:
        reached.set()
        await trio.sleep_forever()

    async with open_stage(tmp_path, prices=PRICES, buys=False) as stage:
        first, standby = stage.honest
        buys = partial(run_for_a_while, stage, "requester", None)
        started: tuple[LabNode, trio.CancelScope] = await stage.hub.nursery.start(buys)
        requester, scope = started
        stage.bank.purses[requester.wallet] = PURSE
        if ended_by == "a provider that failed":
            first.sandbox.fails = ProtocolError("the machine broke down")
        with monkeypatch.context() as patched:
            patched.setattr(FakePayerRails, "close", crash_here)
            offer_id = await requester.requester.submit(await make_wish(requester))
            if ended_by == "a cancellation":
                await wait_until(lambda: bool(first.sandbox.runs))
                requester.requester.cancel(offer_id)
            elif ended_by == "a purse that is empty":
                await wait_until(lambda: bool(stage.bank.held))
                stage.bank.refuses = True
                scope.cancel()  # found out only after a restart: until then the money stands
                await wait_until(lambda: requester.wallet not in stage.hub.nodes)
                requester, scope = await stage.hub.nursery.start(buys)
            with trio.fail_after(120):
                await reached.wait()
            scope.cancel()
            await wait_until(lambda: requester.wallet not in stage.hub.nodes)
        assert stage.bank.held
        requester, _ = await stage.hub.nursery.start(buys)
        row = await finish(requester, offer_id)
        stage.honest.insert(0, requester)
        await wait_idle(stage)
        await check_books(stage)
        assert not any(stage.bank.held.values())
        assert stage.bank.purses[requester.wallet] == PURSE - row.spent
        assert (row.state == "done") == (ended_by == "a provider that failed")
        assert (stage.bank.purses[standby.wallet] > 0) == (row.state == "done")


async def test_a_hired_provider_that_starts_again_before_the_award_takes_it(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path) as stage:
        requester = stage.honest[0]
        sells = partial(run_for_a_while, stage, "provider", PRICES[0])
        started: tuple[LabNode, trio.CancelScope] = await stage.hub.nursery.start(sells)
        provider, scope = started
        wish = await make_wish(requester)
        hired = replace(wish, hire=provider.wallet, format=AuctionFormat.DIRECT)
        offer_id = await requester.requester.submit(hired)
        await wait_until(lambda: offer_id in provider.gossip.observed.auctions)
        assert not stage.bank.held, "no award has been made"
        scope.cancel()
        await wait_until(lambda: provider.wallet not in stage.hub.nodes)
        provider, _ = await stage.hub.nursery.start(sells)
        stage.honest.append(provider)
        row = await finish(requester, offer_id)
        assert (row.state, row.reason) == ("done", "")
        await wait_idle(stage)
        await check_books(stage)


async def announced(tmp_path: Path) -> OfferAnnouncement:
    """Return what a node says of a task of its own."""
    async with open_stage(tmp_path) as stage:
        requester = stage.honest[0]
        offer_id = await requester.requester.submit(await make_wish(requester))
        return requester.requester.tasks[offer_id].auction.announcement


def offer_of(announcement: OfferAnnouncement, requester: int, **changed: Any) -> OfferAnnouncement:
    signed = announcement.signed
    wallet = Address(requester.to_bytes(20))
    return replace(announcement, signed=replace(signed, value=replace(signed.value, requester=wallet, **changed)))


def id_of(number: int) -> Digest:
    return keccak256(number.to_bytes(8))


async def test_a_flood_of_one_wallets_offers_flushes_out_only_its_own(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    said, kept = await announced(tmp_path), DirectOffers()
    for number in range(10):
        kept.keep(id_of(number), offer_of(said, number))
    for number in range(10, 10 * OFFERS_KEPT):
        kept.keep(id_of(number), offer_of(said, 99))
        assert len(kept) <= OFFERS_KEPT
    assert all(kept.get(id_of(number)) is not None for number in range(10))
    assert kept.get(id_of(10)) is None
    assert kept.get(id_of(10 * OFFERS_KEPT - 1)) is not None


async def test_offers_are_forgotten_when_they_expire_and_no_sooner(autojump_clock: MockClock, tmp_path: Path) -> None:
    said, kept = await announced(tmp_path), DirectOffers()
    for number in range(3):
        kept.keep(id_of(number), offer_of(said, 1, expires=UnixTime(EPOCH + number)))
    kept.forget_expired(UnixTime(EPOCH + 1))
    assert [kept.get(id_of(number)) is not None for number in range(3)] == [False, True, True]
