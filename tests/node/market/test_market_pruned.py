"""What both sides know of a task whose records were pruned: nothing, but the opinion that it left."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from node.app.tidying import keep_s
from node.market.earning_table import list_earnings
from node.market.purchase_run import PURCHASE, stream_of
from node.market.task_table import find_purchase_of_award, list_tasks
from node.reputation.conduct import Reputations
from node.storage import pruning
from node.storage.chain import Entry
from node.storage.machine_log import HistoryPruned, load_machine, select_open_streams
from node.storage.pruning import prune
from node.storage.storage import Storage
from protocol.units import UnixTime
from tests.node.market.market_lab import make_wish, open_hub, open_node, wait_over
from tests.node.market.test_market_services import PURSE, Bank

AT_ONCE = dict.fromkeys(keep_s(90), -1)


async def bury(storage: Storage) -> None:
    for _ in range(2):
        await storage.journal.append([Entry(stream="tail", kind="more", body=b"")])


async def prune_now(storage: Storage) -> int:
    await bury(storage)
    return await prune(storage, AT_ONCE)


async def test_a_pruned_task_leaves_no_row_and_no_record_and_its_providers_keep_their_reputation(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "TAIL_RECORDS", 0)
    async with AsyncExitStack() as stack:
        hub, bank = await stack.enter_async_context(open_hub()), Bank()
        requester = await stack.enter_async_context(open_node(hub, bank, tmp_path, "requester"))
        winner = await stack.enter_async_context(open_node(hub, bank, tmp_path, "winner", gfuel=100_000))
        loser = await stack.enter_async_context(open_node(hub, bank, tmp_path, "loser", gfuel=120_000))
        bank.purses[requester.wallet] = PURSE
        offer_id = await requester.requester.submit(await make_wish(requester, parts=2))
        with trio.fail_after(60):
            await wait_over(requester, offer_id)
        await trio.sleep(2 * 3600)  # bids wait for as long as standbys may be hired
        (earned,) = await winner.storage.read.query(lambda c: list_earnings(c, since=UnixTime(0), limit=9))
        assert await requester.storage.read.query(lambda c: find_purchase_of_award(c, earned.award)) == stream_of(
            offer_id
        )
        opinion = await Reputations(requester.storage.journal, requester.storage.read).of([winner.wallet])

        assert await prune_now(requester.storage) == 2  # its auction and its purchase
        assert await prune_now(winner.storage) == 2  # its bid and its delivery
        assert await prune_now(loser.storage) == 1

        storage = requester.storage
        assert await Reputations(storage.journal, storage.read).of([winner.wallet]) == opinion
        assert await storage.read.query(lambda c: find_purchase_of_award(c, earned.award)) is None
        with pytest.raises(HistoryPruned):
            await load_machine(storage.journal, PURCHASE, stream_of(offer_id))
        for each in (requester, winner, loser):
            assert await each.storage.read.query(lambda c: select_open_streams(c, "")) == ()
            assert (await each.storage.journal.verify()).seq == each.storage.journal.head.seq
        for again in (False, True):  # as it stands, and made again from what is left
            if again:
                await requester.storage.rebuild("task")
                await winner.storage.rebuild("earning")
            assert await storage.read.query(lambda c: list_tasks(c, limit=9, open_only=False)) == ()
            assert await winner.storage.read.query(lambda c: list_earnings(c, since=UnixTime(0), limit=9)) == ()

        following = await requester.requester.submit(await make_wish(requester))  # trade goes on
        with trio.fail_after(60):
            await wait_over(requester, following)
        (row,) = await storage.read.query(lambda c: list_tasks(c, limit=9, open_only=False))
        assert row.state == "done"
