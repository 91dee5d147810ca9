"""A chain that stops answering: what was begun off-chain goes on, what is owed on-chain is settled when it is back."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import trio

from node.api.client import open_client
from node.api.facade import NodeFacade
from node.api.views import NodeStatus
from node.devnet.devnet import TERMS as DEVNET_TERMS
from node.devnet.layout import NodePlace
from protocol.identity import format_address
from protocol.units import Seconds
from tests.system.crash_lab import (
    CHANNEL_BUDGET,
    PARTS,
    check_books,
    check_paid_once,
    check_result,
    make_task,
    part_delivered,
)
from tests.system.system_lab import Lab

PROVIDERS = 1
OVERRIDES = {"requester.patience_s": 60.0}
"""A provider that starts again while the chain hangs takes longer than usual."""
TERMS = replace(DEVNET_TERMS, challenge=Seconds(480))
"""A view of the chain may be two minutes old then (M6)."""
OUTAGE_S = 4.0
HALF_BUDGET = "1.50"
"""Twice this fits into the deposit of a new channel."""


@contextmanager
def stopped_chain(lab: Lab) -> Generator[None]:
    """Stop the chain's process: connections stay open, and nothing is answered."""
    process = lab.devnet.chain_process
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


async def test_a_task_over_a_channel_ends_while_the_chain_is_silent_and_is_claimed_afterwards(
    lab: Lab, tmp_path: Path
) -> None:
    before = await lab.snapshot()
    path = make_task(tmp_path / "task", budget=CHANNEL_BUDGET)
    provider = lab.devnet.providers[0]
    task = await lab.submit(path)
    await lab.watch(lab.requester, task, part_delivered(0))
    with stopped_chain(lab):
        detail = await lab.wait_ended(task)
        check_paid_once(detail)
        await check_result(lab, path, detail, tmp_path / "out")

        async def is_promised() -> bool:
            promised = [(each.paid, each.unclaimed) for each in await lab.channels_of(provider)]
            return promised == [(detail.task.spent, detail.task.spent)]

        await lab.until("the provider holds the voucher for all that was spent", is_promised)
        (channel,) = await lab.channels_of(provider)

        async with open_client(provider.socket) as client, trio.open_nursery() as nursery:

            async def claim() -> None:
                await client.call(NodeFacade.channel_close, channel=channel.channel.hex())

            nursery.start_soon(claim)
            await trio.sleep(OUTAGE_S)
            lab.devnet.chain_process.send_signal(signal.SIGCONT)

    async def is_claimed() -> bool:
        return (await lab.snapshot()).holdings[provider.name].tokens == detail.task.spent

    await lab.until("what was earned during the outage is claimed", is_claimed)
    assert len(detail.parts) == PARTS
    await check_books(lab, before, detail)


async def test_providers_found_by_auction_or_hired_while_the_chain_is_silent_are_paid_over_the_open_channel(
    lab: Lab, tmp_path: Path
) -> None:
    seller = format_address(lab.devnet.providers[0].wallet)
    before = await lab.snapshot()
    first = await lab.submit(make_task(tmp_path / "first", budget=HALF_BUDGET))
    opened = await lab.wait_ended(first)
    assert opened.task.state == "done"
    path = make_task(tmp_path / "more", budget=HALF_BUDGET)
    spent = opened.task.spent
    with stopped_chain(lab):
        for hire in (None, seller):
            detail = await lab.wait_ended(await lab.submit(path, hire=hire))
            check_paid_once(detail)
            spent += detail.task.spent
    await lab.settle()
    after = await lab.assert_books_balance(before)
    income = lab.income(before, after)
    assert (income["requester"], income[lab.devnet.providers[0].name]) == (-spent, spent)


async def test_nodes_that_are_killed_and_started_while_the_chain_is_silent_end_their_task_and_say_since_when(
    lab: Lab, tmp_path: Path
) -> None:
    before = await lab.snapshot()
    path = make_task(tmp_path / "task", budget=CHANNEL_BUDGET)
    task = await lab.submit(path)
    await lab.watch(lab.requester, task, part_delivered(0))
    killed = (lab.devnet.providers[0], lab.requester)
    with stopped_chain(lab):
        for place in killed:
            await lab.kill(place)
        async with trio.open_nursery() as nursery:
            for place in killed:
                nursery.start_soon(lab.start, place)
        detail = await lab.wait_ended(task)
        check_paid_once(detail)
        await check_result(lab, path, detail, tmp_path / "out")
        for place in killed:
            status = await status_of(place)
            assert (status.chain_reachable, status.chain_away_since is None) == (False, False)
            assert status.confirmed_at > 0  # what it saw before it died
            assert any("has not answered since" in warning for warning in status.warnings), status.warnings
        ran = await lab.cli(lab.requester, "status")
        assert "away since" in ran.out, ran.text

    async def is_back() -> bool:
        return [(await status_of(place)).chain_away_since for place in killed] == [None, None]

    await lab.until("both have found their chain again", is_back)
    await check_books(lab, before, detail)


async def status_of(place: NodePlace) -> NodeStatus:
    async with open_client(place.socket) as client:
        return await client.call(NodeFacade.node_status)
