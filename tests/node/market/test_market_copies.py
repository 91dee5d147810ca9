"""Several copies of one task: equal ones are all paid, a liar among them is not, and money adds up whatever happens."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.market import comparing
from node.market.case_book import PREFIX
from node.market.comparing import Comparer
from node.market.task_table import TaskRow, list_copies
from node.reputation.conduct import Reputations
from node.storage.machine_log import select_open_streams
from protocol.errors import ProtocolError, StorageError
from protocol.identity import Digest
from protocol.market.transcript import verify_transcript
from protocol.reputation.beta import NEWCOMER, Record, compute_reputation
from protocol.signing.keccak import keccak256
from protocol.task import purchase
from protocol.task.audit import Finding
from protocol.task.messages import RECEIPT_METHOD
from protocol.task.verification import Copies
from tests.node.market.fake_bank import DOMAIN
from tests.node.market.fake_sandbox import output_of
from tests.node.market.mallory_lab import (
    PURSE,
    Stage,
    check_books,
    finish,
    holds_outputs,
    lose,
    open_stage,
    run_for_a_while,
    trade_honestly,
    wait_idle,
    wait_until,
)
from tests.node.market.market_lab import LabNode, make_wish

PRICES = (100_000, 105_000, 110_000)


def made_up(part: int) -> bytes:
    return b"made up result of %d" % part


async def buy(stage: Stage, copies: int = 3, *, parts: int = 1) -> Digest:
    requester = stage.honest[0]
    wish = await make_wish(requester, parts=parts, budget=150_000 * parts)
    return await requester.requester.submit(replace(wish, verification=Copies(count=copies)))


def events_of(stage: Stage, offer_id: Digest, kind: type[Any]) -> list[Any]:
    return [event for event in stage.hub.purchases[offer_id] if isinstance(event, kind)]


async def reputation_of(node: LabNode, provider: LabNode) -> int:
    return (await Reputations(node.storage.journal, node.storage.read).of([provider.wallet]))[provider.wallet]


async def settle(stage: Stage, requester: LabNode, row: TaskRow) -> None:
    """Wait until all is quiet, and see that every base unit is where it belongs."""
    await wait_idle(stage)
    await check_books(stage)
    assert not any(stage.bank.held.values()), "what was promised and not paid is asked back"
    assert stage.bank.purses[requester.wallet] == PURSE - row.spent
    for each in await requester.storage.read.query(lambda connection: list_copies(connection, row.offer)):
        assert each.state in ("done", "failed", "cancelled")
    assert await requester.storage.read.query(lambda connection: select_open_streams(connection, "auction/")) == ()
    assert await requester.storage.read.query(lambda connection: select_open_streams(connection, "purchase/")) == ()
    assert await requester.storage.read.query(lambda connection: select_open_streams(connection, "comparison/")) == ()


async def count_cases(requester: LabNode) -> int:
    return len(list(await requester.storage.journal.streams(PREFIX)))


def runs_another_engine(node: LabNode) -> None:
    node.sandbox.engine = keccak256(b"another engine")


async def test_equal_copies_are_all_paid_and_none_before_all_are_in(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, prices=PRICES) as stage:
        requester, *providers = stage.honest
        providers[1].sandbox.part_s = 2.0  # a receipt for the first part waits as long as two runs may take more
        offer_id = await buy(stage, parts=2)
        auction = requester.requester.tasks[offer_id].auction
        row = await finish(requester, offer_id)
        assert (row.state, row.paid_parts, row.copies) == ("done", 2, 3)
        assert requester.sandbox.runs == [], "who agree need no referee"
        steps = stage.hub.purchases[offer_id]
        for part in range(2):
            drawn = [i for i, each in enumerate(steps) if _is_about(each, purchase.AuditDrawn, part)]
            accepted = [i for i, each in enumerate(steps) if _is_about(each, purchase.PartReceived, part)]
            assert len(drawn) == len(accepted) == 3
            assert max(drawn) < min(accepted)
        assert {each.finding for each in events_of(stage, offer_id, purchase.AuditPassed)} == {Finding.EQUAL}
        await settle(stage, requester, row)
        assert all(stage.bank.purses[each.wallet] > 0 for each in providers)
        assert sum(stage.bank.purses[each.wallet] for each in providers) == row.spent
        for each in providers:
            assert await reputation_of(requester, each) == compute_reputation(Record(settled=2))
        verified = verify_transcript(DOMAIN, await auction.transcript())
        assert [award.slot for award in verified.awards] == [0, 1, 2]
        for each in stage.honest:
            assert not each.gossip.observed.auctions[offer_id].conflicts
        await trade_honestly(stage)


def _is_about(event: purchase.Event, kind: type, part: int) -> bool:
    receipt = getattr(event, "receipt", None)
    return isinstance(event, kind) and receipt is not None and receipt.value.part == part


@pytest.mark.parametrize("by", ["a referee", "the majority"])
async def test_one_liar_among_three_is_not_paid_struck_and_taken_to_court(
    autojump_clock: MockClock, tmp_path: Path, by: str
) -> None:
    async with open_stage(tmp_path, prices=PRICES[1:]) as stage:
        mallory = await stage.join("mallory", gfuel=PRICES[0])
        mallory.sandbox.writes = made_up
        requester, *honest = stage.honest
        if by == "the majority":
            runs_another_engine(requester)
        row = await finish(requester, offer_id := await buy(stage))
        assert (row.state, row.paid_parts) == ("done", 1)
        assert requester.sandbox.runs == ([0] if by == "a referee" else [])
        await settle(stage, requester, row)
        assert stage.bank.purses[mallory.wallet] == 0
        assert sum(stage.bank.purses[each.wallet] for each in honest) == row.spent
        assert all(stage.bank.purses[each.wallet] > 0 for each in honest)
        assert await holds_outputs(requester, 1)
        assert await count_cases(requester) == 1
        assert await reputation_of(requester, mallory) == compute_reputation(Record(refuted=1))
        (refuted,) = events_of(stage, offer_id, purchase.AuditRefuted)
        assert "2 of 3 copies" in refuted.reason
        copies = await requester.storage.read.query(lambda connection: list_copies(connection, offer_id))
        assert sorted(each.state for each in copies) == ["done", "done", "failed"]
        (failed,) = [each for each in copies if each.state == "failed"]
        assert (failed.provider, failed.spent) == (mallory.wallet, 0)
        assert "no standby is needed" in failed.reason
        await trade_honestly(stage)


async def test_a_standby_does_only_the_parts_that_are_not_decided_yet(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=PRICES) as stage:
        mallory = await stage.join("mallory", gfuel=90_000)
        mallory.sandbox.writes = made_up
        requester, *honest = stage.honest
        for each in honest:
            each.sandbox.part_s = 2.0  # they are still at the second part when the standby is found
        row = await finish(requester, offer_id := await buy(stage, parts=3))
        assert (row.state, row.paid_parts) == ("done", 3)
        standby = [each.award.value for each in events_of(stage, offer_id, purchase.WinnerChosen)][-1]
        assert (standby.attempt, standby.first_part, standby.parts) == (1, 1, 2)
        assert standby.provider == honest[2].wallet
        await settle(stage, requester, row)
        assert sum(stage.bank.purses[each.wallet] for each in honest) == row.spent
        assert stage.bank.purses[mallory.wallet] == 0
        assert requester.sandbox.runs == [0]


async def test_two_that_differ_without_a_referee_are_both_not_paid_and_neither_is_struck(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=PRICES[:1]) as stage:
        mallory = await stage.join("mallory", gfuel=PRICES[1])
        mallory.sandbox.writes = made_up
        requester, honest = stage.honest
        runs_another_engine(requester)
        row = await finish(requester, offer_id := await buy(stage, 2))
        assert (row.state, row.paid_parts, row.spent) == ("failed", 0, 0)
        await settle(stage, requester, row)
        assert await count_cases(requester) == 2
        assert len(events_of(stage, offer_id, purchase.ReceiptContested)) == 2
        for each in (honest, mallory):
            assert await reputation_of(requester, each) == compute_reputation(NEWCOMER)


async def test_a_third_one_breaks_the_tie_of_two(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, prices=(100_000, 120_000, 125_000)) as stage:
        mallory = await stage.join("mallory", gfuel=PRICES[1])
        mallory.sandbox.writes = made_up
        requester, *honest = stage.honest
        runs_another_engine(requester)
        row = await finish(requester, offer_id := await buy(stage, 2))
        assert row.state == "done"
        assert await holds_outputs(requester, 1)
        await settle(stage, requester, row)
        assert stage.bank.purses[mallory.wallet] == 0
        assert sum(stage.bank.purses[each.wallet] for each in honest) == row.spent > 0
        assert len(events_of(stage, offer_id, purchase.ReceiptContested)) == 2


async def test_a_copy_that_is_late_is_not_waited_for_too_long_and_judged_by_the_same_finding(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=PRICES[:2]) as stage:
        requester, fast, slow = stage.honest
        slow.sandbox.part_s = 8.0  # `pace` is 10 s, half of which a receipt waits
        row = await finish(requester, offer_id := await buy(stage, 2))
        assert row.state == "done"
        assert requester.sandbox.runs == [0], "the referee judges who is alone"
        assert len(events_of(stage, offer_id, purchase.PartReceived)) == 2
        await settle(stage, requester, row)
        assert min(stage.bank.purses[each.wallet] for each in (fast, slow)) > 0


async def test_a_provider_that_vanishes_leaves_the_others_to_be_compared(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=PRICES[:2]) as stage:
        mute = await stage.join("mute", gfuel=90_000)
        lose(stage, mute, RECEIPT_METHOD)
        requester, *honest = stage.honest
        row = await finish(requester, await buy(stage))
        assert row.state == "done"
        await settle(stage, requester, row)
        assert stage.bank.purses[mute.wallet] == 0
        assert sum(stage.bank.purses[each.wallet] for each in honest) == row.spent


async def test_fewer_bidders_than_copies_are_no_comparison_so_nobody_is_hired(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=PRICES[:2]) as stage:
        requester = stage.honest[0]
        row = await finish(requester, offer_id := await buy(stage))
        assert (row.state, row.spent, row.attempt) == ("failed", 0, 0)
        assert "3 that count were needed" in row.reason
        assert not events_of(stage, offer_id, purchase.WinnerChosen)
        await settle(stage, requester, row)


async def test_who_cancels_pays_what_is_compared_then_and_nothing_more(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=PRICES) as stage:
        requester, first, *rest = stage.honest
        for each in rest:
            each.sandbox.part_s = 4.0
        offer_id = await buy(stage)
        slots = requester.requester.tasks[offer_id].purchases
        await wait_until(lambda: any(isinstance(each.state, purchase.Auditing) for each in slots))
        requester.requester.cancel(offer_id)
        row = await finish(requester, offer_id)
        assert row.state == "done", "one was delivered, and the referee found it right"
        await settle(stage, requester, row)
        assert stage.bank.purses[first.wallet] == row.spent > 0
        assert all(stage.bank.purses[each.wallet] == 0 for each in rest)


async def test_each_copy_tells_how_far_it_is(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, prices=PRICES) as stage:
        requester, *providers = stage.honest
        for each in providers:
            each.sandbox.part_s = 8.0
        offer_id = await buy(stage)
        told = requester.requester.progress
        await wait_until(lambda: len(told[offer_id]) == len(providers))
        assert {each.provider for each in told[offer_id].values()} == {each.wallet for each in providers}
        await finish(requester, offer_id)
        assert offer_id not in told


async def test_a_slot_that_an_error_stopped_for_good_is_not_waited_for(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_arguments: object) -> None:
        await trio.lowlevel.checkpoint()
        raise StorageError("the disk gives nothing back")

    def breaks_down(part: int) -> bytes:
        if part:
            raise ProtocolError("the machine broke down")
        return output_of(part)

    async with open_stage(tmp_path, prices=PRICES, buys=False) as stage:
        mallory = await stage.join("mallory", gfuel=90_000)
        mallory.sandbox.writes = made_up
        broken, honest, standby = stage.honest
        broken.sandbox.writes = breaks_down
        buys = partial(run_for_a_while, stage, "requester", None)
        started: tuple[LabNode, trio.CancelScope] = await stage.hub.nursery.start(buys)
        requester, scope = started
        stage.bank.purses[requester.wallet] = PURSE
        with monkeypatch.context() as patched:
            patched.setattr(comparing, "keep_evidence", fail)  # stops Mallory's slot amid its answer
            wish = await make_wish(requester, parts=2, budget=300_000)
            offer_id = await requester.requester.submit(replace(wish, verification=Copies(count=3)))
            await finish(requester, offer_id)
        slots = await requester.storage.read.query(lambda connection: list_copies(connection, offer_id))
        assert {each.provider for each in slots if each.state == "done"} == {honest.wallet, standby.wallet}
        assert stage.bank.purses[standby.wallet] > 0
        scope.cancel()
        await wait_until(lambda: requester.wallet not in stage.hub.nodes)
        requester, _ = await stage.hub.nursery.start(buys)
        row = await finish(requester, offer_id)
        assert (row.state, row.paid_parts) == ("done", 2)
        stage.honest.insert(0, requester)
        await settle(stage, requester, row)
        assert stage.bank.purses[mallory.wallet] == 0


@dataclass(kw_only=True)
class Moment:
    """When to crash."""

    name: str
    is_now: Callable[[LabNode, Digest], bool]


def _some(kind: type[Any]) -> Callable[[LabNode, Digest], bool]:
    return lambda node, offer_id: any(isinstance(each.state, kind) for each in node.requester.tasks[offer_id].purchases)


def _half_awarded(node: LabNode, offer_id: Digest) -> bool:
    states = [each.state for each in node.requester.tasks[offer_id].purchases]
    return any(isinstance(each, purchase.Seeking) for each in states) and not _all_seek(states)


def _all_seek(states: list[purchase.State]) -> bool:
    return all(isinstance(each, purchase.Seeking) for each in states)


def _some_passed(node: LabNode, offer_id: Digest) -> bool:
    states = [each.state for each in node.requester.tasks[offer_id].purchases]
    return any(each.progress.paid_parts for each in states) and not all(each.progress.paid_parts for each in states)


def _referee_works(node: LabNode, _offer_id: Digest) -> bool:
    return bool(node.sandbox.runs)


MOMENTS = (
    Moment(name="some slots awarded", is_now=_half_awarded),
    Moment(name="some running", is_now=_some(purchase.Running)),
    Moment(name="a first receipt", is_now=_some(purchase.Auditing)),
    Moment(name="the referee at work", is_now=_referee_works),
    Moment(name="one accepted, others not", is_now=_some_passed),
    Moment(name="one done", is_now=_some(purchase.Done)),
)


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.name)
async def test_a_crash_at_any_step_leaves_the_same_end(
    autojump_clock: MockClock, tmp_path: Path, moment: Moment
) -> None:
    async with open_stage(tmp_path, prices=PRICES[1:], buys=False) as stage:
        mallory = await stage.join("mallory", gfuel=PRICES[0])
        mallory.sandbox.writes = made_up
        requester, scope = await stage.hub.nursery.start(partial(run_for_a_while, stage), "requester", None)
        stage.bank.purses[requester.wallet] = PURSE
        wish = await make_wish(requester, parts=2, budget=300_000)
        offer_id = await requester.requester.submit(replace(wish, verification=Copies(count=3)))
        with trio.fail_after(120):
            while not moment.is_now(requester, offer_id):
                await trio.sleep(0.001)
        scope.cancel()
        await wait_until(lambda: requester.wallet not in stage.hub.nodes)
        requester, _ = await stage.hub.nursery.start(partial(run_for_a_while, stage), "requester", None)
        row = await finish(requester, offer_id)
        assert (row.state, row.paid_parts) == ("done", 2)
        stage.honest.insert(0, requester)
        await settle(stage, requester, row)
        assert stage.bank.purses[mallory.wallet] == 0
        assert sum(stage.bank.purses[each.wallet] for each in stage.honest[1:]) == row.spent
        assert await count_cases(requester) == 1
        assert await holds_outputs(requester, 2)


async def test_what_was_found_is_durable_before_any_slot_acts_on_it(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = trio.Event()

    async def never_answer(*_arguments: object) -> None:
        reached.set()
        await trio.sleep_forever()

    async with open_stage(tmp_path, prices=PRICES[1:], buys=False) as stage:
        mallory = await stage.join("mallory", gfuel=PRICES[0])
        mallory.sandbox.writes = made_up
        buys = partial(run_for_a_while, stage, "requester", None)
        requester, scope = await stage.hub.nursery.start(buys)
        stage.bank.purses[requester.wallet] = PURSE
        with monkeypatch.context() as patched:
            patched.setattr(Comparer, "_answer", never_answer)
            wish = await make_wish(requester, budget=150_000)
            offer_id = await requester.requester.submit(replace(wish, verification=Copies(count=3)))
            with trio.fail_after(120):
                await reached.wait()
            assert requester.sandbox.runs == [0]
            scope.cancel()
            await wait_until(lambda: requester.wallet not in stage.hub.nodes)
        requester, _ = await stage.hub.nursery.start(buys)
        row = await finish(requester, offer_id)
        assert row.state == "done"
        assert requester.sandbox.runs == [], "the referee is not asked twice"
        stage.honest.insert(0, requester)
        await settle(stage, requester, row)
        assert stage.bank.purses[mallory.wallet] == 0
