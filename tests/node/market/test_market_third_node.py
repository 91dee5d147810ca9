"""Audits of a node that can't run the part itself: a third node is hired, and its word weighs as a stranger's."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.market import hiring
from node.market.case_book import PREFIX
from node.market.task_table import TaskRow, list_tasks
from node.reputation.conduct import Reputations
from node.storage.machine_log import select_open_streams
from protocol.errors import ProtocolError
from protocol.identity import Digest
from protocol.market.objects import AuctionFormat
from protocol.reputation.beta import NEWCOMER, Record, compute_reputation
from protocol.signing.keccak import keccak256
from protocol.task import purchase
from protocol.task.audit import Finding
from protocol.task.verification import Audit
from protocol.units import WHOLE, BasisPoints
from tests.node.market.mallory_lab import (
    PURSE,
    Stage,
    check_books,
    finish,
    open_stage,
    run_for_a_while,
    wait_idle,
    wait_until,
)
from tests.node.market.market_lab import Known, LabNode, make_wish

ALWAYS = Audit(rate=BasisPoints(WHOLE))
PRICE = 100_000
OTHER_ENGINE = keccak256(b"another engine")


@dataclass(kw_only=True)
class Cast:
    """One who buys and can't run what it buys, one who sells it, and a third node."""

    requester: LabNode
    provider: LabNode
    third: LabNode
    known: Known


async def cast(stage: Stage) -> Cast:
    known = Known()
    requester = await stage.join("requester", purse=PURSE, sellers=known)
    stage.honest.append(requester)
    provider = await stage.join("provider", gfuel=PRICE)
    third = await stage.join("third", gfuel=PRICE)
    stage.honest.extend((provider, third))
    requester.sandbox.engine = OTHER_ENGINE
    return Cast(requester=requester, provider=provider, third=third, known=known)


async def buy(node: LabNode, *, hire: LabNode) -> Digest:
    """Hire the provider directly: then it is known beforehand who is not to be asked."""
    wish = await make_wish(node, budget=150_000)
    direct = replace(wish, hire=hire.wallet, format=AuctionFormat.DIRECT, verification=ALWAYS)
    return await node.requester.submit(direct)


def events_of(stage: Stage, offer_id: Digest, kind: type[Any]) -> list[Any]:
    return [event for event in stage.hub.purchases[offer_id] if isinstance(event, kind)]


async def rows_of(node: LabNode) -> tuple[TaskRow, ...]:
    return await node.storage.read.query(lambda connection: list_tasks(connection, limit=9, open_only=False))


async def reputation_of(node: LabNode, provider: LabNode) -> int:
    return (await Reputations(node.storage.journal, node.storage.read).of([provider.wallet]))[provider.wallet]


async def settle(stage: Stage, requester: LabNode) -> None:
    """Wait until all is quiet, and see that every base unit is where it belongs."""
    await wait_until(lambda: not requester.requester.tasks)
    await wait_idle(stage)
    await check_books(stage)
    assert not any(stage.bank.held.values())
    assert stage.bank.purses[requester.wallet] == PURSE - sum(row.spent for row in await rows_of(requester))
    for prefix in ("auction/", "purchase/", hiring.PREFIX):
        assert await requester.storage.read.query(partial(_open_streams, prefix)) == ()


def _open_streams(prefix: str, connection: Any) -> tuple[str, ...]:
    return select_open_streams(connection, prefix)


async def test_a_third_node_runs_what_this_one_cannot_and_both_are_paid(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, buys=False) as stage:
        it = await cast(stage)
        it.known.asked.extend(((it.provider, 50_000), (it.third, PRICE)))
        offer_id = await buy(it.requester, hire=it.provider)
        row = await finish(it.requester, offer_id)
        assert (row.state, row.paid_parts) == ("done", 1)
        passed = events_of(stage, offer_id, purchase.AuditPassed)
        assert [each.finding for each in passed] == [Finding.EQUAL]
        await settle(stage, it.requester)
        assert it.third.sandbox.runs == [0]
        assert stage.bank.purses[it.provider.wallet] == row.spent > 0
        assert 0 < stage.bank.purses[it.third.wallet] <= 150_000
        assert len(await rows_of(it.requester)) == 2


async def test_a_third_node_that_says_otherwise_leaves_the_receipt_contested_and_nobody_struck(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, buys=False) as stage:
        it = await cast(stage)
        it.known.asked.append((it.third, PRICE))
        it.provider.sandbox.writes = lambda part: b"made up result of %d" % part
        offer_id = await buy(it.requester, hire=it.provider)
        row = await finish(it.requester, offer_id)
        assert (row.state, row.spent) == ("failed", 0)
        (contested,) = events_of(stage, offer_id, purchase.ReceiptContested)
        assert "by another provider" in contested.reason
        await settle(stage, it.requester)
        assert stage.bank.purses[it.provider.wallet] == 0
        assert stage.bank.purses[it.third.wallet] > 0
        assert len(list(await it.requester.storage.journal.streams(PREFIX))) == 1
        assert await reputation_of(it.requester, it.provider) == compute_reputation(NEWCOMER)


@pytest.mark.parametrize("why", ["nobody sells", "only the provider sells", "too dear", "refuses", "too slow", "fails"])
async def test_where_nobody_can_be_hired_the_receipt_is_undecided_and_paid(
    autojump_clock: MockClock, tmp_path: Path, why: str
) -> None:
    async with open_stage(tmp_path, buys=False) as stage:
        it = await cast(stage)
        if why == "only the provider sells":
            it.known.asked.append((it.provider, 50_000))
        elif why == "too dear":
            it.known.asked.append((it.third, 200_000))
        elif why == "refuses":
            it.known.asked.append((it.third, 50_000))  # half of what it asks by now
        elif why != "nobody sells":
            it.known.asked.append((it.third, PRICE))
        if why == "too slow":
            it.third.sandbox.part_s = 60.0
        elif why == "fails":
            it.third.sandbox.fails = ProtocolError("no room")
        offer_id = await buy(it.requester, hire=it.provider)
        row = await finish(it.requester, offer_id)
        assert row.state == "done"
        (passed,) = events_of(stage, offer_id, purchase.AuditPassed)
        assert passed.finding is Finding.UNDECIDED
        await settle(stage, it.requester)
        assert stage.bank.purses[it.provider.wallet] == row.spent > 0
        assert stage.bank.purses[it.third.wallet] == 0
        assert await reputation_of(it.requester, it.provider) == compute_reputation(Record(settled=1))


async def test_a_second_seller_is_asked_where_the_first_refuses(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, buys=False) as stage:
        it = await cast(stage)
        other = await stage.join("other", gfuel=PRICE)
        it.known.asked.extend(((other, 50_000), (it.third, PRICE)))
        offer_id = await buy(it.requester, hire=it.provider)
        await finish(it.requester, offer_id)
        (passed,) = events_of(stage, offer_id, purchase.AuditPassed)
        assert passed.finding is Finding.EQUAL
        await settle(stage, it.requester)
        assert (other.sandbox.runs, it.third.sandbox.runs) == ([], [0])


async def test_a_crash_while_the_third_node_works_hires_nobody_twice(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_stage(tmp_path, buys=False) as stage:
        provider, third = await stage.join("provider", gfuel=PRICE), await stage.join("third", gfuel=PRICE)
        known = Known(asked=[(third, PRICE)])
        buys = partial(run_for_a_while, stage, "requester", None, known, OTHER_ENGINE)
        requester, scope = await stage.hub.nursery.start(buys)
        stage.bank.purses[requester.wallet] = PURSE
        offer_id = await buy(requester, hire=provider)
        await wait_until(lambda: bool(third.sandbox.runs))
        scope.cancel()
        await wait_until(lambda: requester.wallet not in stage.hub.nodes)
        requester, _ = await stage.hub.nursery.start(buys)
        stage.honest.extend((requester, provider, third))
        row = await finish(requester, offer_id)
        assert row.state == "done"
        (passed,) = events_of(stage, offer_id, purchase.AuditPassed)
        assert passed.finding is Finding.EQUAL
        await settle(stage, requester)
        assert len(await rows_of(requester)) == 2
        assert third.sandbox.runs == [0]
        assert stage.bank.purses[provider.wallet] > 0
        await trio.lowlevel.checkpoint()
