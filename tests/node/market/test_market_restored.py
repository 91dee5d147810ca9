"""Requester and provider after a restore: nothing is signed that may be signed once per auction."""

from contextlib import AsyncExitStack
from pathlib import Path

import trio
from trio.testing import MockClock

from node.market.provider import LONGEST_WINDOW_S
from node.market.task_table import TaskRow, list_tasks
from node.storage.restoration import Restored, entry_of
from tests.node.market.fake_bank import Bank
from tests.node.market.market_lab import LabNode, make_wish, open_hub, open_node, wait_over

PURSE = 10_000_000


async def mark_as_restored(node: LabNode) -> None:
    """Write what `stoa restore` writes; the node reads it at its next start."""
    now = node.storage.clock.now()
    restored = Restored(at=now, made_at=now, last=node.storage.journal.head.seq)
    await node.storage.journal.append([entry_of(restored)])


async def task_row(node: LabNode) -> TaskRow:
    (row,) = await node.storage.read.query(lambda connection: list_tasks(connection, limit=1, open_only=False))
    return row


async def test_a_restored_requester_awards_no_task_of_before_and_any_task_of_after(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        hub, bank = await stack.enter_async_context(open_hub()), Bank()
        provider = await stack.enter_async_context(open_node(hub, bank, tmp_path, "provider", gfuel=100_000))
        async with open_node(hub, bank, tmp_path, "requester") as requester:
            bank.purses[requester.wallet] = PURSE
            offer_id = await requester.requester.submit(await make_wish(requester))
            await mark_as_restored(requester)
        async with open_node(hub, bank, tmp_path, "requester") as requester:  # the windows are still open
            with trio.fail_after(60):
                await wait_over(requester, offer_id)
            row = await task_row(requester)
            assert (row.state, row.spent) == ("failed", 0)
            assert "restored from a backup" in row.reason
            assert not provider.provider.deliveries
            await trio.sleep(60)  # the provider counts on the first auction until its windows are over
            offer_id = await requester.requester.submit(await make_wish(requester))
            with trio.fail_after(60):
                await wait_over(requester, offer_id)
            assert (await task_row(requester)).state == "done"


async def test_a_task_of_before_the_restore_that_was_awarded_goes_on(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        hub, bank = await stack.enter_async_context(open_hub()), Bank()
        await stack.enter_async_context(open_node(hub, bank, tmp_path, "provider", gfuel=100_000))
        async with open_node(hub, bank, tmp_path, "requester") as requester:
            bank.purses[requester.wallet] = PURSE
            offer_id = await requester.requester.submit(await make_wish(requester, parts=3))
            with trio.fail_after(60):
                while (await task_row(requester)).paid_parts < 1:
                    await trio.sleep(0.05)
            await mark_as_restored(requester)
        async with open_node(hub, bank, tmp_path, "requester") as requester:
            with trio.fail_after(60):
                await wait_over(requester, offer_id)
            row = await task_row(requester)
            assert (row.state, row.paid_parts) == ("done", 3)
        assert bank.total() == PURSE


async def test_a_restored_provider_bids_on_nothing_that_it_may_have_bid_on_before(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        hub, bank = await stack.enter_async_context(open_hub()), Bank()
        async with open_node(hub, bank, tmp_path, "provider", gfuel=100_000) as provider:
            await mark_as_restored(provider)
        provider = await stack.enter_async_context(open_node(hub, bank, tmp_path, "provider", gfuel=100_000))
        requester = await stack.enter_async_context(open_node(hub, bank, tmp_path, "requester"))
        bank.purses[requester.wallet] = PURSE
        offer_id = await requester.requester.submit(await make_wish(requester))
        with trio.fail_after(60):
            await wait_over(requester, offer_id)
        assert (await task_row(requester)).state == "failed"
        assert provider.provider.reasons == {"the node was restored, and may have bid on it before": 1}
        await trio.sleep(LONGEST_WINDOW_S)
        offer_id = await requester.requester.submit(await make_wish(requester))
        with trio.fail_after(60):
            await wait_over(requester, offer_id)
        assert (await task_row(requester)).state == "done"
