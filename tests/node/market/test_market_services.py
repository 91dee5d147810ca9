# pyright: reportPrivateUsage=false
"""Requester and providers as whole services, on a virtual clock."""

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest
import trio
from blake3 import blake3
from trio.testing import MockClock

from node.market.earning_table import list_earnings
from node.market.task_table import TaskRow, list_tasks
from protocol.errors import ProtocolError
from protocol.identity import ContentDigest, Digest, PeerId
from protocol.market import observer
from protocol.market.transcript import verify_transcript
from protocol.task.messages import START_METHOD
from protocol.units import UnixTime
from tests.node.market.fake_bank import DOMAIN, Bank
from tests.node.market.fake_hub import Hub
from tests.node.market.fake_sandbox import output_of
from tests.node.market.market_lab import LabNode, make_wish, open_hub, open_node, wait_over

PURSE = 10_000_000


async def open_market(
    stack: AsyncExitStack, folder: Path, *, prices: tuple[int, ...] = (100_000, 110_000, 120_000)
) -> tuple[Hub, Bank, LabNode, list[LabNode]]:
    hub, bank = await stack.enter_async_context(open_hub()), Bank()
    requester = await stack.enter_async_context(open_node(hub, bank, folder, "requester"))
    providers = [
        await stack.enter_async_context(open_node(hub, bank, folder, f"provider-{index}", gfuel=price))
        for index, price in enumerate(prices)
    ]
    bank.purses[requester.wallet] = PURSE
    return hub, bank, requester, providers


async def task_row(node: LabNode) -> TaskRow:
    (row,) = await node.storage.read.query(lambda connection: list_tasks(connection, limit=10, open_only=False))
    return row


async def test_a_task_is_auctioned_run_and_paid_and_every_balance_adds_up(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        _, bank, requester, providers = await open_market(stack, tmp_path)
        offer_id = await requester.requester.submit(await make_wish(requester, parts=3))
        with trio.fail_after(60):
            await wait_over(requester, offer_id)
        row = await task_row(requester)
        assert (row.state, row.paid_parts, row.reason) == ("done", 3, "")
        cheapest = providers[0]
        assert row.provider == cheapest.wallet
        assert 0 < row.spent == bank.purses[cheapest.wallet] <= row.budget
        assert bank.total() == PURSE
        assert not any(bank.held.values())
        for part in range(3):
            output = output_of(part)
            assert await requester.storage.blobs.has(_digest(output))
        with trio.fail_after(5):
            while cheapest.provider.deliveries:
                await trio.sleep(0.1)
        (earned,) = await cheapest.storage.read.query(
            lambda connection: list_earnings(connection, since=UnixTime(0), limit=10)
        )
        assert (earned.state, earned.earned) == ("delivered", row.spent)
        assert len(cheapest.payee.settled) == 1


async def test_a_bystander_recomputes_the_winner_from_what_it_heard(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        hub, bank, requester, providers = await open_market(stack, tmp_path)
        bystander = await stack.enter_async_context(open_node(hub, bank, tmp_path, "bystander"))
        offer_id = await requester.requester.submit(await make_wish(requester))
        task = requester.requester.tasks[offer_id]
        with trio.fail_after(60):
            await wait_over(requester, offer_id)
        transcript = await task.auction.transcript()
        verified = verify_transcript(DOMAIN, transcript, bystander.gossip.heard_of(offer_id))
        assert verified.initial[0].candidate.bid.bidder == providers[0].wallet
        assert len(verified.ranked) == 3


async def test_a_standby_does_the_missing_parts_when_the_provider_vanishes(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        hub, bank, requester, providers = await open_market(stack, tmp_path, prices=(110_000, 120_000))
        winner_scope = trio.CancelScope()
        winner_ready = trio.Event()
        winner: list[LabNode] = []

        async def run_winner() -> None:
            with winner_scope:
                async with open_node(hub, bank, tmp_path, "winner", gfuel=100_000) as node:
                    winner.append(node)
                    winner_ready.set()
                    await trio.sleep_forever()

        hub.nursery.start_soon(run_winner)
        await winner_ready.wait()
        offer_id = await requester.requester.submit(await make_wish(requester, parts=4, budget=1_000_000))
        with trio.fail_after(120):
            while len(winner[0].sandbox.runs) < 3:
                await trio.sleep(0.05)
            winner_scope.cancel()
            await wait_over(requester, offer_id)
        row = await task_row(requester)
        assert (row.state, row.paid_parts, row.attempt) == ("done", 4, 1)
        assert row.provider == providers[0].wallet
        assert providers[0].sandbox.runs == [2, 3]
        assert row.spent == sum(bank.paid.values()) <= row.budget
        assert bank.total() == PURSE

        async with open_node(hub, bank, tmp_path, "winner", gfuel=100_000) as returned:
            assert returned.provider.deliveries
            with trio.fail_after(30):
                while returned.provider.deliveries:
                    await trio.sleep(0.05)
            assert returned.sandbox.runs == []  # the part that was cut short is done by the standby
            assert bank.paid[next(iter(bank.paid))] == bank.purses[returned.wallet]


async def test_a_standby_that_is_called_while_it_works_takes_the_award_once_it_is_free(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        hub, bank, requester, (standby,) = await open_market(stack, tmp_path, prices=(110_000,))
        winner_scope = trio.CancelScope()

        async def run_winner(task_status: trio.TaskStatus[LabNode]) -> None:
            with winner_scope:
                async with open_node(hub, bank, tmp_path, "winner", gfuel=100_000) as node:
                    task_status.started(node)
                    await trio.sleep_forever()

        winner: LabNode = await hub.nursery.start(run_winner)
        with trio.fail_after(120):
            first = await requester.requester.submit(await make_wish(requester, parts=8, budget=2_000_000))
            while not winner.sandbox.runs:
                await trio.sleep(0.05)
            second = await requester.requester.submit(await make_wish(requester, parts=12, budget=5_000_000))
            while not standby.sandbox.runs:
                await trio.sleep(0.05)
            winner_scope.cancel()
            most = 0
            while requester.requester.tasks:
                most = max(most, sum(run.needs_worker for run in standby.provider.deliveries.values()))
                await trio.sleep(0.05)
        rows = {
            row.offer: row for row in await requester.storage.read.query(partial(list_tasks, limit=10, open_only=False))
        }
        assert most == 1
        assert (rows[second].state, rows[second].provider) == ("done", standby.wallet)
        assert (rows[first].state, rows[first].provider) == ("done", standby.wallet)
        assert standby.sandbox.runs[:12] == list(range(12))
        assert bank.total() == PURSE


async def test_a_provider_that_restarts_goes_on_where_it_was(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        hub, bank, requester, _ = await open_market(stack, tmp_path, prices=())
        offer_id: Digest | None = None
        async with open_node(hub, bank, tmp_path, "only", gfuel=100_000) as only:
            offer_id = await requester.requester.submit(await make_wish(requester, parts=3))
            with trio.fail_after(60):
                while only.sandbox.runs != [0, 1]:
                    await trio.sleep(0.05)
        async with open_node(hub, bank, tmp_path, "only", gfuel=100_000) as only:
            with trio.fail_after(60):
                await wait_over(requester, offer_id)
            row = await task_row(requester)
            assert (row.state, row.attempt) == ("done", 0)
            assert only.sandbox.runs[0] == 1
            assert bank.total() == PURSE


async def test_a_requester_that_restarts_goes_on_where_it_was(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        hub, bank = await stack.enter_async_context(open_hub()), Bank()
        provider = await stack.enter_async_context(open_node(hub, bank, tmp_path, "p", gfuel=100_000))
        async with open_node(hub, bank, tmp_path, "requester") as requester:
            bank.purses[requester.wallet] = PURSE
            await requester.requester.submit(await make_wish(requester, parts=3))
            with trio.fail_after(60):
                while len(provider.sandbox.runs) < 2:
                    await trio.sleep(0.05)
        await trio.sleep(3)
        async with open_node(hub, bank, tmp_path, "requester") as requester:
            (offer_id,) = requester.requester.tasks
            with trio.fail_after(60):
                await wait_over(requester, offer_id)
            row = await task_row(requester)
            assert (row.state, row.paid_parts, row.attempt) == ("done", 3, 0)
            assert provider.sandbox.runs == [0, 1, 2]
            assert row.spent == bank.purses[provider.wallet]
            assert bank.total() == PURSE


@pytest.mark.parametrize("parts", [1, 3])
async def test_a_start_that_was_answered_and_lost_is_told_again(
    autojump_clock: MockClock, tmp_path: Path, parts: int
) -> None:
    async with AsyncExitStack() as stack:
        hub, bank, requester, (provider,) = await open_market(stack, tmp_path, prices=(100_000,))
        peers = hub.nodes[requester.wallet]
        take, swallowed = peers._handlers[START_METHOD], 0

        async def swallow_the_first(peer: PeerId, body: bytes) -> bytes:
            nonlocal swallowed
            if not swallowed:
                swallowed += 1
                return b""  # as if it died before it kept what it answered
            return await take(peer, body)

        peers._handlers[START_METHOD] = swallow_the_first
        offer_id = await requester.requester.submit(await make_wish(requester, parts=parts))
        with trio.fail_after(60):
            await wait_over(requester, offer_id)
        row = await task_row(requester)
        assert swallowed
        assert (row.state, row.paid_parts, row.attempt) == ("done", parts, 0)
        assert provider.sandbox.runs == list(range(parts))
        assert bank.total() == PURSE


async def test_a_provider_that_bid_often_and_restarts_still_hears_the_same_requester(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer, "MAX_PER_REQUESTER", 3)
    async with AsyncExitStack() as stack:
        hub, bank, requester, _ = await open_market(stack, tmp_path, prices=())
        async with open_node(hub, bank, tmp_path, "only", gfuel=100_000) as only:
            for _ in range(3):
                with trio.fail_after(60):
                    await wait_over(requester, await requester.requester.submit(await make_wish(requester)))
            assert len(only.provider.bids) == 3
        async with open_node(hub, bank, tmp_path, "only", gfuel=100_000):
            offer_id = await requester.requester.submit(await make_wish(requester))
            with trio.fail_after(60):
                await wait_over(requester, offer_id)
        rows = await requester.storage.read.query(partial(list_tasks, limit=10, open_only=False))
        assert [row.state for row in rows] == ["done"] * 4


@pytest.mark.parametrize(("where", "first_ends"), [("settle", "done"), ("note_start", "failed")])
async def test_an_error_in_one_award_ends_that_run_alone_and_a_restart_takes_it_up_again(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, first_ends: str
) -> None:
    async with AsyncExitStack() as stack:
        hub, bank, requester, _ = await open_market(stack, tmp_path, prices=())

        async def fail(*_arguments: object) -> None:
            await trio.lowlevel.checkpoint()
            raise ProtocolError("the disk is full")

        with trio.fail_after(120):
            async with open_node(hub, bank, tmp_path, "provider", gfuel=100_000) as provider:
                with monkeypatch.context() as broken:
                    broken.setattr(provider.payee, where, fail)
                    first = await requester.requester.submit(await make_wish(requester))
                    await wait_over(requester, first)
                    while provider.provider.deliveries:
                        await trio.sleep(0.1)
                second = await requester.requester.submit(await make_wish(requester))
                await wait_over(requester, second)
                while provider.provider.deliveries:
                    await trio.sleep(0.1)
                assert len(provider.payee.settled) == 1
            async with open_node(hub, bank, tmp_path, "provider", gfuel=100_000) as provider:
                while provider.provider.deliveries:
                    await trio.sleep(0.1)
                assert len(provider.payee.settled) == 1, "the one that was left open"
        listed = await requester.storage.read.query(partial(list_tasks, limit=10, open_only=False))
        assert {row.offer: row.state for row in listed} == {first: first_ends, second: "done"}
        assert bank.total() == PURSE


async def test_without_providers_the_task_fails_and_says_what_to_change(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        _, bank, requester, _ = await open_market(stack, tmp_path, prices=())
        offer_id = await requester.requester.submit(await make_wish(requester))
        with trio.fail_after(60):
            await wait_over(requester, offer_id)
        row = await task_row(requester)
        assert row.state == "failed"
        assert "no provider bid" in row.reason
        assert bank.purses[requester.wallet] == PURSE


async def test_a_purse_that_is_empty_fails_the_task_and_hires_no_standby(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        _, bank, requester, providers = await open_market(stack, tmp_path)
        bank.refuses = True
        offer_id = await requester.requester.submit(await make_wish(requester))
        with trio.fail_after(60):
            await wait_over(requester, offer_id)
        row = await task_row(requester)
        assert (row.state, row.reason, row.attempt) == ("failed", "the purse is empty", 0)
        assert not any(provider.sandbox.runs for provider in providers)


async def test_a_cancelled_task_pays_what_was_delivered_and_no_more(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        _, bank, requester, providers = await open_market(stack, tmp_path, prices=(100_000,))
        offer_id = await requester.requester.submit(await make_wish(requester, parts=5, budget=1_000_000))
        with trio.fail_after(60):
            while len(providers[0].sandbox.runs) < 3:
                await trio.sleep(0.05)
            requester.requester.cancel(offer_id)
            await wait_over(requester, offer_id)
            while providers[0].provider.deliveries:
                await trio.sleep(0.1)
        row = await task_row(requester)
        assert (row.state, row.paid_parts) == ("cancelled", 2)
        assert row.spent == bank.purses[providers[0].wallet]
        assert bank.total() == PURSE


@pytest.mark.parametrize("lost", ["task/payment", "task/receipt", "task/award", "task/start"])
async def test_a_message_that_is_lost_twice_is_sent_again(autojump_clock: MockClock, tmp_path: Path, lost: str) -> None:
    async with AsyncExitStack() as stack:
        hub, bank, requester, _ = await open_market(stack, tmp_path, prices=(100_000,))
        left = 2

        def is_lost(_source: object, _target: object, what: str) -> bool:
            nonlocal left
            if what != lost or not left:
                return False
            left -= 1
            return True

        hub.is_lost = is_lost
        offer_id = await requester.requester.submit(await make_wish(requester, parts=2))
        with trio.fail_after(60):
            await wait_over(requester, offer_id)
        row = await task_row(requester)
        assert (row.state, row.attempt, left) == ("done", 0, 0)
        assert bank.total() == PURSE


def _digest(data: bytes) -> ContentDigest:
    return ContentDigest(blake3(data).digest())
