"""A chain that is killed and reorganised again and again in the middle of a hundred running tasks.

    python -m tests.soak.chain_story --tasks 100 --rounds 3

Nodes believe a block when seven stand on it. A kill takes what anvil has not written yet, and all transactions that
wait in it; a reorganisation exchanges the newest six blocks for empty ones. So whatever was sent and not confirmed has
to be sent again, once, by whoever it is due to. At the end every balance is added up, and the chain is read for claims
that came twice.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import trio

from node.api.client import open_client
from node.api.facade import NodeFacade
from node.chain.channel_events import ChannelClaimed, ChannelClosed
from node.chain.escrow_events import AwardClosed
from node.chain.events import decode_log
from node.chain.opening import open_chain
from node.chain.profile import LOCAL
from node.devnet.layout import NodePlace
from protocol.identity import Digest, format_address
from tests.soak.books import Verdict, judge, settle, wait_over
from tests.soak.plan import Plan
from tests.soak.town import POLL_S, Town, open_town
from tests.soak.trade import SEEDS, Kind, Order, Trader, tasks_of

REORGANISED: Final = 6
CONFIRMATIONS: Final = REORGANISED + 1
ESCROW_EVERY: Final = 5
"""Of so many tasks, one is paid from escrow."""
BUYERS: Final = 2
"""Sellers follow 64 auctions of one buyer."""
PARTS: Final = 20
"""Enough that the first tasks still run when the last are awarded, on a fast machine too."""
AT_ONCE: Final = 16
"""Commands that wait for their answers; a node serves so many."""
WAVE: Final = 50
"""Sellers remember 64 hires that were announced and are not awarded."""
AWAY_S: Final = 5.0
BETWEEN_S: Final = 6.0
"""Between two troubles: some blocks are confirmed and some are not."""
OVER_TIMEOUT_S: Final = 300.0
SETTLE_TIMEOUT_S: Final = 300.0
OVERRIDES: Final = {
    "payments.claim_at": "0.05",
    "payments.channel_deposit": "20",
    "requester.start_within_s": 120,
    "requester.pace_s": 120,
    "provider.cores": 32,
}
"""Claims of a few tasks each, so that many are on their way when the chain goes; and time, so that nobody is late."""


@dataclass(slots=True)
class ChainStory:
    """What was done, and what came of it."""

    running: list[Counter[str]] = field(default_factory=list[Counter[str]])
    """Tasks that were bought and not over when each trouble began, by state."""
    lost_blocks: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    events: Counter[str] = field(default_factory=Counter[str])
    """On the chain that remained, by kind."""
    seconds: float = 0.0


async def tell_chain_story(
    folder: Path, *, tasks: int, rounds: int, tell: Callable[[str], None], nodes: int = 5
) -> ChainStory:
    """Run it once.

    Args:
        folder: New or empty.
        tasks: How many run when the first trouble begins.
        rounds: How often the chain is killed, and reorganised.
        tell: Gets a line now and then.
        nodes: Two of them buy, one of these and all others sell.
    """
    story, began = ChainStory(), time.monotonic()
    plan = Plan(
        folder=folder,
        seed=4,
        duration_s=0,
        nodes=nodes,
        buyers=BUYERS,
        confirmations=CONFIRMATIONS,
        overrides=OVERRIDES,
    )
    async with open_town(plan) as town:
        before = await town.snapshot()
        orders = _Orders(plan, town)
        tell("the nodes are up")
        await orders.open_channels()
        tell("the channels are open")
        for _ in range(rounds):
            running = await orders.until_running(tasks)
            await _trouble(town, story, running, tell)
        tell("waiting for the rest")
        story.verdict.wrong += await wait_over(town, OVER_TIMEOUT_S)
        story.verdict.wrong += await settle(town, SETTLE_TIMEOUT_S)
        story.verdict.wrong += await _wait_drained(town)
        after = await town.snapshot(before.block)
        judged = await judge(town, orders.trader.ledger, before, after, folder / "checked")
        judged.wrong[:0] = story.verdict.wrong
        judged.wrong += [f"refused: {each}" for each in orders.trader.ledger.refused]
        story.verdict = judged
        await _read_chain(town, story)
    story.seconds = time.monotonic() - began
    return story


class _Orders:
    """Hands orders to buyers. Every buyer hires every seller, on both rails, so that no auction holds workers twice."""

    def __init__(self, plan: Plan, town: Town) -> None:
        self.trader: Final = Trader(plan, town)
        self.trader.prepare()
        self._town = town
        self._pairs = [
            (buyer, seller) for seller in town.places if seller.sells for buyer in town.buyers if buyer is not seller
        ]
        self._few = trio.CapacityLimiter(AT_ONCE)
        self._count = 0

    async def open_channels(self) -> None:
        """Have one task done between each two: a first channel takes longer to open than a task takes to run."""
        await self._place(len(self._pairs), parts=1, may_escrow=False)
        while (await _states(self._town)).total():
            await trio.sleep(POLL_S)

    async def until_running(self, tasks: int) -> Counter[str]:
        """Order until so many tasks are bought and not over, and return their states.

        While the last are ordered, the first may be done.
        """
        while (missing := tasks - (running := await _states(self._town)).total()) > 0:
            await self._place(min(missing, WAVE), parts=PARTS, may_escrow=True)
            while (await _states(self._town))["bidding"] > WAVE // 2:
                await trio.sleep(POLL_S)
        return running

    async def _place(self, count: int, *, parts: int, may_escrow: bool) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                buyer, seller = self._pairs[self._count % len(self._pairs)]
                kind: Kind = "escrow" if may_escrow and self._count % ESCROW_EVERY == 0 else "channel"
                hire = format_address(seller.wallet)
                order = Order(f"task-{self._count:06}", kind, seed=self._count % SEEDS, parts=parts, hire=hire)
                nursery.start_soon(self._one, order, buyer)
                self._count += 1

    async def _one(self, order: Order, buyer: NodePlace) -> None:
        async with self._few:
            await self.trader.place(order, buyer)


async def _states(town: Town) -> Counter[str]:
    """Return how many open tasks are in which state."""
    counts: Counter[str] = Counter()
    for buyer in town.buyers:
        counts += Counter(task.state for task in await tasks_of(buyer, open_only=True))
    return counts


async def _trouble(town: Town, story: ChainStory, running: Counter[str], tell: Callable[[str], None]) -> None:
    """Kill the chain, have it back, and then lose its newest blocks once more."""
    story.running.append(running)
    height = (await town.snapshot()).block
    await town.chain.kill()
    tell(f"the chain is killed at block {height}, with {_told(story.running[-1])}")
    await trio.sleep(AWAY_S)
    await town.chain.start()
    back = (await town.snapshot()).block
    story.lost_blocks += max(0, height - back)
    tell(f"it is back at block {back}")
    await trio.sleep(BETWEEN_S)
    story.running.append(await _states(town))
    await town.chain.reorganise(REORGANISED)
    story.lost_blocks += REORGANISED
    tell(f"{REORGANISED} blocks are exchanged, with {_told(story.running[-1])}")
    await trio.sleep(BETWEEN_S)


async def _wait_drained(town: Town) -> list[str]:
    """Wait until no node owes the chain a transaction; say which still do."""
    left: list[str] = []
    with trio.move_on_after(SETTLE_TIMEOUT_S):
        while True:
            left = []
            for place in town.places:
                async with open_client(place.socket) as client:
                    status = await client.call(NodeFacade.node_status)
                left += [
                    f"{place.name} still has to send {each.title}: {each.waits_for}" for each in status.transactions
                ]
            if not left:
                return []
            await trio.sleep(POLL_S)
    return left


async def _read_chain(town: Town, story: ChainStory) -> None:
    """Read every event of both contracts on the chain that remained: each total grows, each end comes once."""
    claimed: dict[Digest, int] = {}
    over: Counter[Digest] = Counter()
    async with open_chain(LOCAL, town.chain.url, town.deployment) as chain:
        head = await chain.head()
        contracts = (town.deployment.payment_channel, town.deployment.escrow)
        for raw in await chain.logs(contracts, town.deployment.block, head.number):
            event = decode_log(town.deployment, raw)
            story.events[type(event).__name__] += 1
            if isinstance(event, ChannelClaimed):
                if event.claimed <= claimed.get(event.channel, 0):
                    story.verdict.wrong.append(f"channel {event.channel.hex()} was claimed up to {event.claimed} twice")
                claimed[event.channel] = event.claimed
            elif isinstance(event, ChannelClosed):
                over[event.channel] += 1
            elif isinstance(event, AwardClosed):
                over[event.award] += 1
    story.verdict.wrong += [
        f"{identity.hex()} was closed {count} times" for identity, count in over.items() if count > 1
    ]


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"


def write_story(story: ChainStory) -> str:
    """Return a table for people."""
    verdict = story.verdict
    rows = [
        ("tasks that ran as trouble began", "; ".join(map(_told, story.running))),
        ("blocks lost", str(story.lost_blocks)),
        ("tasks, by rail and end", ", ".join(f"{kind} {end} {n}" for (kind, end), n in sorted(verdict.ended.items()))),
        ("parts paid", str(verdict.parts)),
        ("paid, base units", str(verdict.paid)),
        ("events that stayed", ", ".join(f"{name} {count}" for name, count in sorted(story.events.items()))),
        ("seconds", f"{story.seconds:.0f}"),
        ("wrong", str(len(verdict.wrong))),
    ]
    lines = [f"{name:34} {value}" for name, value in rows]
    lines += [f"  {reason}: {count}" for reason, count in verdict.reasons.most_common()]
    return "\n".join([*lines, *(f"  WRONG {each}" for each in verdict.wrong)])


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--out", type=Path, help="folder for the nodes' folders with their logs; default: a new one")
    given = parser.parse_args()
    out: Path = given.out or Path(tempfile.mkdtemp(prefix="stoa-chain-"))
    out.mkdir(parents=True, exist_ok=True)
    folder = out / "d"
    if folder.exists():
        shutil.rmtree(folder)
    began = time.monotonic()

    def tell(line: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {line}", flush=True)  # noqa: T201

    story = trio.run(
        partial(tell_chain_story, folder, tasks=given.tasks, rounds=given.rounds, tell=tell, nodes=given.nodes)
    )
    print(f"\n{write_story(story)}\nin {out}", flush=True)  # noqa: T201
    sys.exit(1 if story.verdict.wrong else 0)


if __name__ == "__main__":
    main()
