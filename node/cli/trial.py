"""The trial: a provider forges a result, five arbiters run the part again, and the books show who paid for it."""

import time
from pathlib import Path
from typing import Final

import trio
from rich.console import Console

from node.api.client import open_client
from node.api.facade import NodeFacade
from node.api.views import DisputeView, TaskEvent, WinnerChosen
from node.chain.local import LocalTerms
from node.chain.opening import open_chain
from node.chain.profile import LOCAL
from node.cli.output import dollars
from node.cli.stage import Stage, StoryFailed, balance_books, buy, settle, wait_for_providers
from node.cli.watch_view import WatchView
from node.devnet.devnet import open_devnet
from node.devnet.law import seat_arbiters, stake_providers
from node.devnet.story import DemoTask, snapshot, supply
from protocol.units import ONE_TOKEN, Amount, Seconds

ARBITERS: Final = 5
CASE_S: Final = 90
"""All that a case may take with both appeals. Arbiters that agree need a sixth of it."""
TERMS: Final = LocalTerms(
    challenge=Seconds(60), hold_period=Seconds(3_600), min_resolve_within=Seconds(CASE_S // 2), max_time=Seconds(CASE_S)
)
SETTINGS: Final = {"provider.credit_limit": "20", "requester.pace_s": 20, "requester.resolve_within_s": CASE_S}
BUDGET: Final = 12 * ONE_TOKEN
LIABILITY: Final = Amount(BUDGET // 5)
TASK: Final = DemoTask(
    title="A task for at most $12, every result of which the requester runs again",
    file="examples/word-statistics/task.toml",
    check=("examples/word-statistics/check.py",),
    budget=Amount(BUDGET),
    verify="audit:100%",
)
CHEAT: Final = "provider-1"
"""It asks least, so it wins."""
CASE_TIMEOUT_S: Final = 150.0


async def run_trial(folder: Path, checkout: Path, console: Console) -> None:
    """Tell the whole story.

    Raises:
        StoryFailed: One of its promises did not hold.
    """
    console.print(
        "Starting a local chain, its contracts, one requester, three providers, five arbiters: ten processes ..."
    )
    network = open_devnet(folder, providers=3, arbiters=ARBITERS, cheats={CHEAT}, overrides=SETTINGS, terms=TERMS)
    async with network as devnet, open_chain(LOCAL, devnet.rpc_url, devnet.deployment) as chain:
        names = {place.wallet: place.name for place in devnet.places}
        stage = Stage(devnet=devnet, names=names, checkout=checkout, console=console)
        await stake_providers(devnet, LIABILITY)
        await seat_arbiters(devnet, TERMS)
        stage.say(
            f"Each provider stakes {dollars(LIABILITY)}; each arbiter buys a ticket for {dollars(TERMS.seat_stake)}."
        )
        stage.say(f"[red]{CHEAT} forges[/]: it names, signs and serves another output than its sandbox made.")
        await wait_for_providers(stage)
        before, all_tokens = await snapshot(devnet, chain), await supply(chain)
        stage.head(f"1. {TASK.title}")
        await _buy(stage)
        stage.head("2. The case: five arbiters, drawn by lot, run the part again")
        await _follow_case(stage)
        stage.head("3. Who paid for it: escrows pay out, the money is counted")
        await settle(stage)
        after = await snapshot(devnet, chain, before.block)
        balance_books(stage, before, after, all_tokens)
        change = {name: after.holdings[name].tokens - before.holdings[name].tokens for name in after.holdings}
        if change["stakes"] != -LIABILITY or change[CHEAT]:
            raise StoryFailed(f"the stakes changed by {change['stakes']} base units, {CHEAT} answers for {LIABILITY}")
        fees = dollars(Amount(change["bench"]))
        lost = f"[red]{CHEAT} lost its stake of {dollars(LIABILITY)}[/]"
        stage.say(f"{lost}: {fees} for the arbiters, the rest for the requester")


async def _buy(stage: Stage) -> None:
    winners: list[str] = []

    async def on_event(event: TaskEvent, _view: WatchView) -> None:
        if isinstance(event, WinnerChosen):
            winners.append(stage.names[event.provider])

    await buy(stage, TASK, on_event)
    if winners[:1] != [CHEAT]:
        raise StoryFailed(f"{winners[0]} won, not {CHEAT}")


async def _follow_case(stage: Stage) -> None:
    """Show what the requester's node knows of its case until it is over."""
    began, told = time.monotonic(), ""
    async with open_client(stage.devnet.requester.socket) as client:
        with trio.move_on_after(CASE_TIMEOUT_S):
            while True:
                found = await client.call(NodeFacade.dispute_list)
                line = _describe(found[0]) if found else ""
                if line and line != told:
                    told = line
                    stage.say(f"  {time.monotonic() - began:4.0f} s  {line}")
                if found and found[0].state in ("won", "lost", "undecided", "given-up"):
                    break
                await trio.sleep(0.2)
            if found[0].state != "won":
                raise StoryFailed(f"the case is {found[0].state}: {found[0].finding or found[0].problem}")
            return
    raise StoryFailed(f"the case is not over after {CASE_TIMEOUT_S:.0f} s: {told or 'nobody opened one'}")


def _describe(case: DisputeView) -> str:
    if case.state == "held":
        return "the requester's node keeps the evidence, and waits for the provider's claim"
    if case.state == "open" and not case.finding:
        return f"the case is open: part {case.part}, {dollars(case.bonds)} put down for the committee"
    if case.state == "open":
        return f"the committee has found: {case.finding}; whoever disagrees may appeal now"
    return f"closed: {case.finding}, worth {dollars(case.due or Amount(0))} of {dollars(case.price)}"
