"""The demo: a network of processes does three tasks before your eyes, and the books are balanced at the end."""

from pathlib import Path

from rich.console import Console

from node.api.views import PartDelivered, TaskDetail, TaskEvent, WinnerChosen
from node.chain.opening import open_chain
from node.chain.profile import LOCAL
from node.cli.output import dollars
from node.cli.stage import Stage, StoryFailed, balance_books, buy, settle, wait_for_providers
from node.cli.watch_view import WatchView
from node.devnet.devnet import open_devnet
from node.devnet.story import TASKS, DemoTask, snapshot, supply


async def run_demo(folder: Path, checkout: Path, console: Console) -> None:
    """Tell the whole story.

    Raises:
        StoryFailed: One of its promises did not hold.
    """
    console.print("Starting a local chain, its contracts, one requester and three providers, each its own process ...")
    async with open_devnet(folder) as devnet, open_chain(LOCAL, devnet.rpc_url, devnet.deployment) as chain:
        names = {place.wallet: place.name for place in devnet.places}
        stage = Stage(devnet=devnet, names=names, checkout=checkout, console=console)
        await wait_for_providers(stage)
        before, all_tokens = await snapshot(devnet, chain), await supply(chain)
        for number, task in enumerate(TASKS, 1):
            stage.head(f"{number}. {task.title}")
            await _run_task(stage, task)
        stage.head("Settling: channels close, escrows pay out, the money is counted")
        for process in devnet.processes.values():
            if not process.is_running:
                stage.say(f"{process.place.name} is started again, to claim what it was paid before it was killed")
                await process.start()
        await settle(stage)
        balance_books(stage, before, await snapshot(devnet, chain, before.block), all_tokens)


async def _run_task(stage: Stage, task: DemoTask) -> None:
    """Buy it, and kill its provider at the receipt that the story names."""
    winner, receipts = "", 0

    async def on_event(event: TaskEvent, view: WatchView) -> None:
        nonlocal winner, receipts
        if isinstance(event, WinnerChosen):
            winner = stage.names[event.provider]
        if isinstance(event, PartDelivered):
            receipts += 1
            if receipts == task.kill_at:
                await stage.devnet.processes[winner].kill()
                view.say(f"[red]{winner} is killed with SIGKILL at receipt {receipts}[/]")

    detail = await buy(stage, task, on_event)
    if task.kill_at:
        _show_shares(stage, detail)


def _show_shares(stage: Stage, detail: TaskDetail) -> None:
    providers = [stage.names[award.provider] for award in detail.awards]
    shares = {name: sum(stage.names[part.provider] == name for part in detail.parts) for name in providers}
    parts = ", ".join(f"{name} did {count}" for name, count in shares.items())
    spent, budget = dollars(detail.task.spent), dollars(detail.task.budget)
    stage.console.print(f"{parts} parts; {spent} paid in all, within {budget}")
    if len(shares) < 2:
        raise StoryFailed("no standby was needed: the provider was killed too late")
