"""Copies that differ where this node can't run the part: a third node is hired, and has a voice beside theirs."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
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
from protocol.identity import Digest
from protocol.reputation.beta import NEWCOMER, Record, compute_reputation
from protocol.signing.keccak import keccak256
from protocol.task import purchase
from protocol.task.verification import Copies
from protocol.units import Seconds
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
from tests.node.market.market_lab import Known, LabNode, make_wish, market_terms

ASKS = 100_000
TERMS = replace(market_terms(), pace=Seconds(60))
"""Of which a quarter is for the referee: enough for a hire."""
OTHER_ENGINE = keccak256(b"another engine")


def lies(part: int) -> bytes:
    return b"made up result of %d" % part


def lies_otherwise(part: int) -> bytes:
    return b"another made up result of %d" % part


@dataclass(kw_only=True)
class Cast:
    """One who buys and can't run what it buys, copies in the order of their prices, and a third node, the dearest."""

    requester: LabNode
    scope: trio.CancelScope
    copies: list[LabNode]
    third: LabNode


@asynccontextmanager
async def cast(folder: Path, writes: str) -> AsyncGenerator[tuple[Stage, Cast], None]:
    """Let copies and, last, the third node write the truth (t), a lie (l) or another one (o)."""
    how = {"t": None, "l": lies, "o": lies_otherwise}
    async with open_stage(folder, buys=False) as stage:
        third = await stage.join("third", gfuel=ASKS + 9_000)
        buys = partial(
            run_for_a_while, stage, "requester", None, Known(asked=[(third, ASKS + 9_000)]), OTHER_ENGINE, TERMS
        )
        started: tuple[LabNode, trio.CancelScope] = await stage.hub.nursery.start(buys)
        copies = [await stage.join(f"copy-{i}", gfuel=ASKS + 1_000 * i) for i in range(len(writes) - 1)]
        for node, letter in zip((*copies, third), writes, strict=True):
            lie = how[letter]
            if lie is not None:
                node.sandbox.writes = lie
        stage.bank.purses[started[0].wallet] = PURSE
        stage.honest.extend((*copies, third))
        yield stage, Cast(requester=started[0], scope=started[1], copies=copies, third=third)


async def buy(node: LabNode, copies: int) -> Digest:
    wish = await make_wish(node, budget=250_000)
    return await node.requester.submit(replace(wish, verification=Copies(count=copies)))


def events_of(stage: Stage, offer_id: Digest, kind: type[Any]) -> list[Any]:
    return [event for event in stage.hub.purchases[offer_id] if isinstance(event, kind)]


async def reputation_of(node: LabNode, provider: LabNode) -> int:
    return (await Reputations(node.storage.journal, node.storage.read).of([provider.wallet]))[provider.wallet]


async def count_cases(node: LabNode) -> int:
    return len(list(await node.storage.journal.streams(PREFIX)))


async def settle(stage: Stage, requester: LabNode) -> tuple[TaskRow, ...]:
    """Wait until all is quiet, see that every base unit is where it belongs, and return all tasks."""
    await wait_until(lambda: not requester.requester.tasks)
    await wait_idle(stage)
    stage.honest.insert(0, requester)
    await check_books(stage)
    assert not any(stage.bank.held.values())
    rows = await requester.storage.read.query(lambda connection: list_tasks(connection, limit=9, open_only=False))
    assert stage.bank.purses[requester.wallet] == PURSE - sum(row.spent for row in rows)
    for prefix in ("auction/", "purchase/", "comparison/", hiring.PREFIX):
        assert await requester.storage.read.query(partial(_open_streams, prefix)) == ()
    return rows


def _open_streams(prefix: str, connection: Any) -> tuple[str, ...]:
    return select_open_streams(connection, prefix)


async def test_a_third_voice_breaks_a_tie_of_two_and_strikes_nobody(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with cast(tmp_path, "lt" + "t") as (stage, it):
        liar, honest = it.copies
        row = await finish(it.requester, offer_id := await buy(it.requester, 2))
        assert (row.state, row.paid_parts) == ("done", 1)
        (contested,) = events_of(stage, offer_id, purchase.ReceiptContested)
        assert "a third node's" in contested.reason
        rows = await settle(stage, it.requester)
        assert len(rows) == 2, "one hire"
        assert it.third.sandbox.runs == [0]
        assert stage.bank.purses[liar.wallet] == 0
        assert stage.bank.purses[honest.wallet] == row.spent > 0
        assert stage.bank.purses[it.third.wallet] > 0
        assert await count_cases(it.requester) == 1
        assert await reputation_of(it.requester, liar) == compute_reputation(NEWCOMER)


@pytest.mark.parametrize("third", ["t", "l", "o"])
async def test_a_third_voice_against_the_majority_leaves_everything_contested_and_with_it_changes_nothing(
    autojump_clock: MockClock, tmp_path: Path, third: str
) -> None:
    async with cast(tmp_path, "ltt" + third) as (stage, it):
        liar, *honest = it.copies
        row = await finish(it.requester, offer_id := await buy(it.requester, 3))
        await settle(stage, it.requester)
        if third == "t":
            assert row.state == "done"
            assert len(events_of(stage, offer_id, purchase.AuditRefuted)) == 1
            assert await reputation_of(it.requester, liar) == compute_reputation(Record(refuted=1))
        else:
            assert (row.state, row.spent) == ("failed", 0)
            # The third node stands by, too, and is called: then its voice is a copy's, and not one more.
            assert len(events_of(stage, offer_id, purchase.ReceiptContested)) == 4
            assert await count_cases(it.requester) == 4
        for each in honest:
            assert (stage.bank.purses[each.wallet] > 0) == (third == "t")
            assert await reputation_of(it.requester, each) >= compute_reputation(NEWCOMER)


@pytest.mark.parametrize("third", ["t", "o"])
async def test_two_liars_that_agree_win_neither_money_nor_the_honest_ones_record_if_the_third_node_is_honest(
    autojump_clock: MockClock, tmp_path: Path, third: str
) -> None:
    async with cast(tmp_path, "llt" + third) as (stage, it):
        honest = it.copies[2]
        row = await finish(it.requester, offer_id := await buy(it.requester, 3))
        assert (row.state, row.spent) == ("failed", 0)
        assert not events_of(stage, offer_id, purchase.AuditRefuted)
        await settle(stage, it.requester)
        assert not any(stage.bank.purses[each.wallet] for each in it.copies)
        assert await reputation_of(it.requester, honest) == compute_reputation(NEWCOMER)


@pytest.mark.parametrize("third", ["t", "l"])
async def test_who_is_alone_is_held_against_a_third_node(autojump_clock: MockClock, tmp_path: Path, third: str) -> None:
    async with cast(tmp_path, "tt" + third) as (stage, it):
        alone, slow = it.copies
        slow.sandbox.part_s = 110.0  # a receipt waits half of `pace` for it
        offer_id = await buy(it.requester, 2)
        await wait_until(lambda: bool(it.third.sandbox.runs))
        alone_ended = purchase.PartReceived if third == "t" else purchase.ReceiptContested
        await wait_until(lambda: bool(events_of(stage, offer_id, alone_ended)))
        assert (stage.bank.purses[alone.wallet] > 0) == (third == "t")
        await finish(it.requester, offer_id)
        await settle(stage, it.requester)
        assert it.third.sandbox.runs == [0]


async def test_a_crash_while_the_third_node_works_hires_nobody_twice(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with cast(tmp_path, "lt" + "t") as (stage, it):
        it.third.sandbox.part_s = 4.0
        offer_id = await buy(it.requester, 2)
        await wait_until(lambda: bool(it.third.sandbox.runs))
        it.scope.cancel()
        await wait_until(lambda: it.requester.wallet not in stage.hub.nodes)
        known = Known(asked=[(it.third, ASKS + 9_000)])
        buys = partial(run_for_a_while, stage, "requester", None, known, OTHER_ENGINE, TERMS)
        requester, _ = await stage.hub.nursery.start(buys)
        row = await finish(requester, offer_id)
        assert row.state == "done"
        assert len(await settle(stage, requester)) == 2
        assert it.third.sandbox.runs == [0]
