"""What demo and trial share: tasks bought and followed, money settled, books shown."""

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import trio
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from node.api.client import NodeClient, open_client
from node.api.errors import RemoteError
from node.api.facade import NodeFacade
from node.api.views import TaskDetail, TaskEvent
from node.cli.order import make_order, prepare, upload
from node.cli.output import dollars
from node.cli.policy import parse_policy
from node.cli.results import save_results
from node.cli.task_file import load_task_file
from node.cli.watch_view import WatchView
from node.devnet.balances import Snapshot, find_discrepancies
from node.devnet.devnet import Devnet
from node.devnet.story import DemoTask, run_check
from protocol.identity import Address
from protocol.units import Amount

SETTLE_TIMEOUT_S: Final = 90.0
SEE_EACH_OTHER_S: Final = 20.0
WEI: Final = 10**18

OnEvent = Callable[[TaskEvent, WatchView], Awaitable[None]]


class StoryFailed(Exception):
    """Something that a story promises did not hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where a story is told.

    Attributes:
        devnet: Its network.
        names: What wallets are called.
        checkout: Where examples/ is.
        console: Where it is shown.
    """

    devnet: Devnet
    names: Mapping[Address, str]
    checkout: Path
    console: Console

    def say(self, line: str, style: str | None = None) -> None:
        """Print a line of rich markup."""
        self.console.print(line, soft_wrap=True, style=style)

    def head(self, title: str) -> None:
        """Begin a chapter."""
        self.console.print()
        self.console.print(Panel(f"[bold]{title}[/]", expand=False))


async def wait_for_providers(stage: Stage) -> None:
    """Wait until the requester sees all providers.

    Raises:
        StoryFailed: It doesn't.
    """
    count = len(stage.devnet.providers)
    async with open_client(stage.devnet.requester.socket) as client:
        with trio.move_on_after(SEE_EACH_OTHER_S):
            while True:
                peers = await client.call(NodeFacade.peer_list)
                if sum(peer.connected and peer.sells for peer in peers) >= count:
                    return
                await trio.sleep(0.1)
    raise StoryFailed(f"the requester does not see its {count} providers")


async def buy(stage: Stage, task: DemoTask, on_event: OnEvent) -> TaskDetail:
    """Buy a task, show it as it happens, save and check its result.

    Args:
        stage: Where.
        task: What.
        on_event: Called after each event was shown.

    Raises:
        StoryFailed: It wasn't done, cost more than its budget, or its result is another than its check's.
    """
    file = load_task_file(stage.checkout / task.file)
    prepared = prepare(file)
    verify = parse_policy(task.verify) if task.verify else file.offer.verify
    offer = replace(file.offer, budget=task.budget or file.offer.budget, verify=verify)
    async with open_client(stage.devnet.requester.socket) as client:
        await upload(client, prepared, lambda _count: None)
        view = await client.call(NodeFacade.task_submit, order=make_order(prepared, offer))
        await _follow(stage, client, view.task.hex(), on_event)
        detail = await client.call(NodeFacade.task_show, task=view.task.hex())
        if detail.task.spent > detail.task.budget:
            raise StoryFailed(f"{dollars(detail.task.spent)} was paid, the budget is {dollars(detail.task.budget)}")
        destination = stage.devnet.folder / "results" / file.name
        destination.mkdir(parents=True)
        outputs = await save_results(client, detail, destination, file.output)
    equal, said = await run_check(stage.checkout, task, outputs)
    verdict = "[green]the same result[/]" if equal else "[red]another result[/]"
    stage.console.print(f"Checked with another program ({task.check[0]}): {verdict} ({said})")
    stage.say(f"Saved in {destination}")
    if not equal:
        raise StoryFailed(f"{task.file}: {said}")
    return detail


async def _follow(stage: Stage, client: NodeClient, task_id: str, on_event: OnEvent) -> None:
    with WatchView(json_output=False, names=stage.names) as view:
        async with client.stream(NodeFacade.task_watch, task=task_id) as events:
            async for event in events:
                view.show(event)
                await on_event(event, view)
    if view.ended is None:
        raise StoryFailed("the requester stopped telling before the task was over")
    if view.ended.state != "done":
        raise StoryFailed(f"the task {view.ended.state}: {view.ended.reason}")


async def settle(stage: Stage) -> None:
    """Bring everything on chain: channels close, escrows end.

    Raises:
        StoryFailed: Not all of it in time.
    """
    with trio.move_on_after(SETTLE_TIMEOUT_S):
        for place in stage.devnet.providers:
            async with open_client(place.socket) as client:
                await client.call(NodeFacade.provide_drain)
        async with open_client(stage.devnet.requester.socket) as client:
            while channels := await client.call(NodeFacade.channel_list):
                for channel in channels:
                    # Refused while a hold is in it; a provider that came back lets go of its own.
                    with contextlib.suppress(RemoteError):
                        await client.call(NodeFacade.channel_close, channel=channel.channel.hex())
                await trio.sleep(0.5)
            while await client.call(NodeFacade.escrow_list):
                await trio.sleep(0.5)
        return
    raise StoryFailed(f"not everything was settled within {SETTLE_TIMEOUT_S:.0f} s")


def balance_books(stage: Stage, before: Snapshot, after: Snapshot, all_tokens: int) -> None:
    """Show who had and has what, and check it.

    Raises:
        StoryFailed: It doesn't add up to the base unit.
    """
    _show_books(before, after, stage.console)
    wrong = find_discrepancies(before, after, all_tokens)
    if wrong:
        raise StoryFailed("; ".join(wrong))
    stage.say(f"All {_tokens(all_tokens)} are accounted for to the base unit, and every fee to the wei.", "green")


def _show_books(before: Snapshot, after: Snapshot, console: Console) -> None:
    table = Table("who", "tokens before", "tokens after", "change", "gas paid (ETH)", title="The books")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, holding in after.holdings.items():
        was = before.holdings[name].tokens
        change = holding.tokens - was
        sign = "+" if change > 0 else ""
        table.add_row(
            name, _tokens(was), _tokens(holding.tokens), f"{sign}{_tokens(change)}", f"{after.fees[name] / WEI:.9f}"
        )
    table.add_section()
    total_before, total_after = before.tokens, after.tokens
    fees = sum(after.fees.values())
    table.add_row(
        "sum", _tokens(total_before), _tokens(total_after), _tokens(total_after - total_before), f"{fees / WEI:.9f}"
    )
    console.print(table)


def _tokens(amount: int) -> str:
    sign = "-" if amount < 0 else ""
    return f"{sign}{dollars(Amount(abs(amount)))}"
