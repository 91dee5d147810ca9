"""A node that is killed at any step and comes back: the task is done, and no money is lost or made."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from protocol.identity import Digest
from protocol.market.auction_states import Collecting, Decided, Revealing
from protocol.market.bidding_states import Committed, Lost, Revealed, Won
from protocol.task import delivery, purchase
from tests.node.market.fake_bank import FakePayeeRails
from tests.node.market.mallory_lab import (
    PURSE,
    LabNode,
    check_books,
    finish,
    open_stage,
    run_for_a_while,
    trade_honestly,
    wait_idle,
    wait_until,
)
from tests.node.market.market_lab import make_wish

Moment = Callable[[LabNode], bool]


def bids(kind: type) -> Moment:
    return lambda node: any(isinstance(run.state, kind) for run in node.provider.bids.values())


def works(kind: type, part: int = 0) -> Moment:
    def is_so(node: LabNode) -> bool:
        states = [run.state for run in node.provider.deliveries.values()]
        done = sum(isinstance(state, kind) and _part_of(state) >= part for state in states)
        return done > 0

    return is_so


def _part_of(state: delivery.State) -> int:
    match state:
        case delivery.Working(part=part):
            return part
        case delivery.Unpaid(receipt=receipt):
            return receipt.part
        case _:
            return 0


def auctions(kind: type) -> Moment:
    return lambda node: any(isinstance(task.auction.state, kind) for task in node.requester.tasks.values())


def buys(kind: type, paid: int = 0) -> Moment:
    def is_so(node: LabNode) -> bool:
        states = [task.purchase.state for task in node.requester.tasks.values()]
        return any(isinstance(state, kind) and state.progress.paid_parts >= paid for state in states)

    return is_so


PROVIDER_MOMENTS = {
    "committed": bids(Committed),
    "revealed": bids(Revealed),
    "won": bids(Won),
    "offered the award": works(delivery.Offered),
    "fetching": works(delivery.Fetching),
    "working on the first part": works(delivery.Working),
    "unpaid": works(delivery.Unpaid),
    "working on the second part": works(delivery.Working, 1),
    "unpaid for the last part": works(delivery.Unpaid, 2),
}

REQUESTER_MOMENTS = {
    "collecting": auctions(Collecting),
    "revealing": auctions(Revealing),
    "decided": auctions(Decided),
    "funding": buys(purchase.Funding),
    "awaiting the start": buys(purchase.Awaiting),
    "running": buys(purchase.Running),
    "running with a part paid": buys(purchase.Running, 1),
    "running with two parts paid": buys(purchase.Running, 2),
}


MISSED = {("collecting", 3.0), ("revealing", 3.0)}
"""Away for a whole window: nobody can be chosen any more, and nothing was promised."""


@pytest.mark.parametrize("away_s", [0.1, 20.0])
@pytest.mark.parametrize("moment", PROVIDER_MOMENTS)
async def test_a_provider_that_vanishes_at_any_step_and_comes_back(
    autojump_clock: MockClock, tmp_path: Path, moment: str, away_s: float
) -> None:
    async with open_stage(tmp_path, prices=(110_000,)) as stage, trio.open_nursery() as nursery:
        requester = stage.honest[0]
        node, scope = await nursery.start(run_for_a_while, stage, "unsteady", 100_000)
        offer_id = await requester.requester.submit(await make_wish(requester, parts=3, budget=1_000_000))
        await wait_until(lambda: PROVIDER_MOMENTS[moment](node))
        scope.cancel()
        await trio.sleep(away_s)
        node, scope = await nursery.start(run_for_a_while, stage, "unsteady", 100_000)
        stage.honest.append(node)
        row = await finish(requester, offer_id)
        assert (row.state, row.paid_parts) == ("done", 3)
        assert row.spent <= row.budget
        await wait_idle(stage)
        await check_books(stage)
        await trade_honestly(stage)
        scope.cancel()


async def test_a_part_that_was_never_sent_is_no_evidence_once_somebody_else_has_done_it(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bytes] = []

    async def keep(_rails: FakePayeeRails, _award: object, award_id: Digest, _receipt: object) -> None:
        await trio.lowlevel.checkpoint()
        kept.append(award_id)

    async def die(*_arguments: object) -> None:
        await trio.sleep_forever()

    async with open_stage(tmp_path, prices=(110_000,)) as stage, trio.open_nursery() as nursery:
        requester = stage.honest[0]
        with monkeypatch.context() as patch:
            patch.setattr(FakePayeeRails, "note_receipt", die)
            node, scope = await nursery.start(run_for_a_while, stage, "unsteady", 100_000)
            offer_id = await requester.requester.submit(await make_wish(requester, parts=3, budget=1_000_000))
            await wait_until(lambda: PROVIDER_MOMENTS["unpaid"](node))
            scope.cancel()
        assert (await finish(requester, offer_id)).state == "done"
        monkeypatch.setattr(FakePayeeRails, "note_receipt", keep)
        node, scope = await nursery.start(run_for_a_while, stage, "unsteady", 100_000)
        assert node.provider.deliveries
        stage.honest.append(node)
        await wait_idle(stage)
        assert kept == []
        await check_books(stage)
        scope.cancel()


@pytest.mark.parametrize("away_s", [0.1, 3.0])
@pytest.mark.parametrize("moment", REQUESTER_MOMENTS)
async def test_a_requester_that_vanishes_at_any_step_and_comes_back(
    autojump_clock: MockClock, tmp_path: Path, moment: str, away_s: float
) -> None:
    async with open_stage(tmp_path, prices=(100_000, 110_000), buys=False) as stage, trio.open_nursery() as nursery:
        node, scope = await nursery.start(run_for_a_while, stage, "unsteady", None)
        stage.bank.purses[node.wallet] = PURSE
        offer_id = await node.requester.submit(await make_wish(node, parts=3, budget=1_000_000))
        await wait_until(lambda: REQUESTER_MOMENTS[moment](node))
        scope.cancel()
        await trio.sleep(away_s)
        node, scope = await nursery.start(run_for_a_while, stage, "unsteady", None)
        stage.honest.insert(0, node)
        row = await finish(node, offer_id)
        if (moment, away_s) in MISSED:
            assert (row.state, row.spent) == ("failed", 0)
        else:
            assert (row.state, row.paid_parts, row.attempt) == ("done", 3, 0)
            assert row.spent <= row.budget
        await wait_idle(stage)
        await check_books(stage)
        await trade_honestly(stage)
        scope.cancel()


async def test_a_loser_that_restarts_is_still_called_as_standby(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage, trio.open_nursery() as nursery:
        requester = stage.honest[0]
        winner, winner_scope = await nursery.start(run_for_a_while, stage, "winner", 100_000)
        loser, loser_scope = await nursery.start(run_for_a_while, stage, "loser", 110_000)
        offer_id = await requester.requester.submit(await make_wish(requester, parts=3, budget=1_000_000))
        await wait_until(lambda: bids(Lost)(loser) and works(delivery.Working)(winner))
        loser_scope.cancel()
        await trio.sleep(0.5)
        loser, loser_scope = await nursery.start(run_for_a_while, stage, "loser", 110_000)
        stage.honest.append(loser)
        winner_scope.cancel()
        row = await finish(requester, offer_id)
        assert (row.state, row.paid_parts, row.provider) == ("done", 3, loser.wallet)
        await wait_idle(stage)
        await check_books(stage)
        await trade_honestly(stage)
        loser_scope.cancel()
