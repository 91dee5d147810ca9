"""The demo: a network of processes does three tasks before your eyes, and the books are balanced at the end."""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import trio
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from node.api.client import NodeClient, open_client
from node.api.errors import RemoteError
from node.api.facade import NodeFacade
from node.api.views import PartDelivered, TaskEnded, WinnerChosen
from node.chain.chain import open_chain
from node.chain.profile import LOCAL
from node.cli.order import make_order, prepare, upload
from node.cli.output import dollars
from node.cli.results import save_results
from node.cli.task_file import load_task_file
from node.cli.watch_view import WatchView
from node.devnet.balances import Snapshot, find_discrepancies
from node.devnet.devnet import Devnet, open_devnet
from node.devnet.story import TASKS, DemoTask, run_check, snapshot, supply
from protocol.identity import Address
from protocol.units import Amount

SETTLE_TIMEOUT_S: Final = 90.0
SEE_EACH_OTHER_S: Final = 20.0
WEI: Final = 10**18


class DemoFailed(Exception):
    """Something that the demo promises did not hold."""


async def run_demo(folder: Path, checkout: Path, console: Console) -> None:
    """Tell the whole story.

    Raises:
        DemoFailed: One of its promises did not hold.
    """
    console.print("Starting a local chain, its contracts, one requester and three providers, each its own process ...")
    async with open_devnet(folder) as devnet, open_chain(LOCAL, devnet.rpc_url, devnet.deployment) as chain:
        names = {place.wallet: place.name for place in devnet.places}
        async with open_client(devnet.requester.socket) as client:
            await _wait_for_providers(client, len(devnet.providers))
        before, all_tokens = await snapshot(devnet, chain), await supply(chain)
        for number, task in enumerate(TASKS, 1):
            console.print()
            console.print(Panel(f"[bold]{number}. {task.title}[/]", expand=False))
            await _run_task(devnet, checkout, task, names, console)
        console.print()
        console.print(Panel("[bold]Settling: channels close, escrows pay out, the money is counted[/]", expand=False))
        await _settle(devnet, console)
        after = await snapshot(devnet, chain, before.block)
        _show_books(before, after, console)
        wrong = find_discrepancies(before, after, all_tokens)
        if wrong:
            raise DemoFailed("; ".join(wrong))
        console.print(
            f"All {_tokens(all_tokens)} are accounted for to the base unit, and every fee to the wei.", style="green"
        )


async def _wait_for_providers(client: NodeClient, count: int) -> None:
    with trio.move_on_after(SEE_EACH_OTHER_S):
        while True:
            peers = await client.call(NodeFacade.peer_list)
            if sum(peer.connected and peer.sells for peer in peers) >= count:
                return
            await trio.sleep(0.1)
    raise DemoFailed(f"the requester does not see its {count} providers")


async def _run_task(
    devnet: Devnet, checkout: Path, task: DemoTask, names: Mapping[Address, str], console: Console
) -> None:
    file = load_task_file(checkout / task.file)
    prepared = prepare(file)
    offer = file.offer if task.budget is None else replace(file.offer, budget=task.budget)
    async with open_client(devnet.requester.socket) as client:
        await upload(client, prepared, lambda _count: None)
        view = await client.call(NodeFacade.task_submit, order=make_order(prepared, offer))
        ended = await _follow(devnet, client, view.task.hex(), task, names)
        if ended.state != "done":
            raise DemoFailed(f"the task {ended.state}: {ended.reason}")
        detail = await client.call(NodeFacade.task_show, task=view.task.hex())
        if ended.spent > detail.task.budget:
            raise DemoFailed(f"{dollars(ended.spent)} was paid, the budget is {dollars(detail.task.budget)}")
        destination = devnet.folder / "results" / file.name
        destination.mkdir(parents=True)
        outputs = await save_results(client, detail, destination, file.output)
    if task.kill_at:
        providers = [names[award.provider] for award in detail.awards]
        shares = {name: sum(names[part.provider] == name for part in detail.parts) for name in providers}
        parts = ", ".join(f"{name} did {count}" for name, count in shares.items())
        console.print(f"{parts} parts; {dollars(ended.spent)} paid in all, within {dollars(detail.task.budget)}")
        if len(shares) < 2:
            raise DemoFailed("no standby was needed: the provider was killed too late")
    equal, said = await run_check(checkout, task, outputs)
    verdict = "[green]the same result[/]" if equal else "[red]another result[/]"
    console.print(f"Checked with another program ({task.check[0]}): {verdict} ({said})")
    console.print(f"Saved in {destination}", soft_wrap=True)
    if not equal:
        raise DemoFailed(f"{task.file}: {said}")


async def _follow(
    devnet: Devnet, client: NodeClient, task_id: str, task: DemoTask, names: Mapping[Address, str]
) -> TaskEnded:
    """Show the task as it happens, and kill its provider at the receipt that the story names."""
    winner, receipts, killed = "", 0, False
    with WatchView(json_output=False, names=names) as view:
        async with client.stream(NodeFacade.task_watch, task=task_id) as events:
            async for event in events:
                view.show(event)
                match event:
                    case WinnerChosen():
                        winner = names[event.provider]
                    case PartDelivered():
                        receipts += 1
                        if receipts == task.kill_at and not killed:
                            killed = True
                            await devnet.processes[winner].kill()
                            view.say(f"[red]{winner} is killed with SIGKILL at receipt {receipts}[/]")
                    case _:
                        pass
    if view.ended is None:
        raise DemoFailed("the requester stopped telling before the task was over")
    return view.ended


async def _settle(devnet: Devnet, console: Console) -> None:
    """Bring everything on chain: the killed provider comes back for what it is owed, channels close, escrows end."""
    for process in devnet.processes.values():
        if not process.is_running:
            console.print(f"{process.place.name} is started again, to claim what it was paid before it was killed")
            await process.start()
    with trio.move_on_after(SETTLE_TIMEOUT_S):
        for place in devnet.providers:
            async with open_client(place.socket) as client:
                await client.call(NodeFacade.provide_drain)
        async with open_client(devnet.requester.socket) as client:
            while channels := await client.call(NodeFacade.channel_list):
                for channel in channels:
                    # Refused while a hold is in it; the provider that came back lets go of its own.
                    with contextlib.suppress(RemoteError):
                        await client.call(NodeFacade.channel_close, channel=channel.channel.hex())
                await trio.sleep(0.5)
            while await client.call(NodeFacade.escrow_list):
                await trio.sleep(0.5)
        return
    raise DemoFailed(f"not everything was settled within {SETTLE_TIMEOUT_S:.0f} s")


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
