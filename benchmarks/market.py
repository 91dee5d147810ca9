"""From a demand to its award and its result, in networks of real processes, and what each node takes meanwhile.

python -m benchmarks.run --only market

Each network is a local chain, one requester, some providers and some nodes that only relay. The task is the example
word-statistics over an open channel, its module compiled and its input fetched before. The commit and reveal windows of
a second each are waiting by design: an offer names whole seconds (docs/adr/0103), so they end at `reveal_by + 1`; what
is counted is all time before the auction is open and after the windows have ended.
"""

import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Final

import trio

from benchmarks.figures import Figure, Goal, Of, timed
from benchmarks.weight import Weight, weigh, weigh_children
from node.api.client import NodeClient, open_client
from node.api.facade import NodeFacade
from node.api.views import AuctionOpened, ProviderFailed, TaskEnded, WinnerChosen
from node.cli.order import make_order, prepare, upload
from node.cli.task_file import load_task_file
from node.devnet.devnet import Devnet, open_devnet

EXAMPLE: Final = Path(__file__).resolve().parent.parent / "examples" / "word-statistics" / "task.toml"
SETTLE_TIMEOUT_S: Final = 120.0
SETTLED_S: Final = 5.0
"""Between the last connection and the first look at what an idle node takes."""
WINDOW_S: Final = 1.0
WARM_UPS: Final = 4
GOALS: Final = (Goal(of=Of.P95, most=2.0), Goal(of=Of.P95, most=3.0))
IDLE_MEMORY: Final = Goal(of=Of.VALUE, most=170)
IDLE_CPU: Final = Goal(of=Of.VALUE, most=2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A network to measure.

    Attributes:
        nodes: In all.
        bidders: Of them, providers.
        tasks: Bought one after the other.
        batches: In so many equal parts, for what grows with the tasks that a node has bought.
        is_judged: Whether the goals are about this network.
    """

    nodes: int
    bidders: int
    tasks: int
    batches: int = 1
    is_judged: bool = False

    @property
    def name(self) -> str:
        """Say what network it is."""
        return f"{self.nodes} nodes, {self.bidders} bid"


PLANS: Final = (
    Plan(nodes=4, bidders=3, tasks=36, batches=3),
    Plan(nodes=10, bidders=5, tasks=8),
    Plan(nodes=20, bidders=5, tasks=24, is_judged=True),
    Plan(nodes=20, bidders=19, tasks=12),
)


@dataclass(slots=True)
class Seen:
    """What was measured in one network. Weights are of all nodes, main processes and workers apart."""

    failed: int = 0
    award_s: list[float] = field(default_factory=list[float])
    result_s: list[float] = field(default_factory=list[float])
    growth: list[list[float]] = field(default_factory=list[list[float]])
    """RSS of the requester and of the cheapest provider, after each batch."""
    idle: list[Weight] = field(default_factory=list[Weight])
    idle_workers: list[Weight] = field(default_factory=list[Weight])
    loaded: list[Weight] = field(default_factory=list[Weight])
    idle_cpu: list[float] = field(default_factory=list[float])
    loaded_cpu: list[float] = field(default_factory=list[float])
    requester_cpu_s: float = 0.0
    provider_cpu_s: float = 0.0


class TaskFailed(Exception):
    """A task was not done by the first provider that it was awarded to."""


def measure(*, quick: bool) -> list[Figure]:
    """Measure all networks."""
    figures: list[Figure] = []
    for plan in PLANS[:1] if quick else PLANS:
        chosen = replace(plan, tasks=3, batches=1) if quick else plan
        figures += report(chosen, trio.run(observe, chosen, 5.0 if quick else 20.0))
    return figures


@asynccontextmanager
async def open_network(plan: Plan) -> AsyncGenerator[tuple[Devnet, NodeClient]]:
    """Start the nodes and wait until the requester has heard of all of them."""
    with tempfile.TemporaryDirectory(prefix="stoa-bench-") as folder:
        overrides = {"logging.level": "warning", "requester.start_within_s": 120}
        watchers = plan.nodes - plan.bidders - 1
        async with (
            open_devnet(Path(folder) / "net", providers=plan.bidders, watchers=watchers, overrides=overrides) as devnet,
            open_client(devnet.requester.socket) as client,
        ):
            with trio.fail_after(SETTLE_TIMEOUT_S):
                while sum(peer.connected for peer in await client.call(NodeFacade.peer_list)) < plan.nodes - 1:
                    await trio.sleep(0.5)
            yield devnet, client


async def observe(plan: Plan, idle_s: float) -> Seen:
    """Run one network: idle, then buying."""
    seen = Seen()
    async with open_network(plan) as (devnet, client):
        await warm_up(devnet)
        await trio.sleep(SETTLED_S)
        before, started = weigh_all(devnet), time.monotonic()
        await trio.sleep(idle_s)
        after = weigh_all(devnet)
        seen.idle = [main for main, _ in after]
        seen.idle_workers = [workers for _, workers in after]
        seen.idle_cpu = shares(before, after, time.monotonic() - started)
        before, started = weigh_all(devnet), time.monotonic()
        for _ in range(plan.batches):
            for _ in range(plan.tasks // plan.batches):
                try:
                    award_s, result_s = await buy(client)
                except TaskFailed as error:  # told in the table: a benchmark that stops for it tells nothing
                    print(f"a task failed: {error}", file=sys.stderr)
                    seen.failed += 1
                else:
                    seen.award_s.append(award_s)
                    seen.result_s.append(result_s)
            seen.growth.append([main.rss for main, _ in weigh_all(devnet)][:2])
        after = weigh_all(devnet)
        seen.loaded = [main for main, _ in after]
        seen.loaded_cpu = shares(before, after, time.monotonic() - started)
        spent = [now[0].cpu_s - then[0].cpu_s for then, now in zip(before, after, strict=True)]
        seen.requester_cpu_s, seen.provider_cpu_s = spent[0] / plan.tasks, mean(spent[1:]) / plan.tasks
    return seen


async def warm_up(devnet: Devnet) -> None:
    """Buy until it works: the first task opens the channel, compiles the module and fetches the input."""
    for attempt in range(1, WARM_UPS + 1):
        try:
            async with open_client(devnet.requester.socket) as client:
                await buy(client)
        except TaskFailed as error:  # twenty nodes that start at once on a few cores may miss a window
            if attempt == WARM_UPS:
                raise
            print(f"a first task failed, and is tried again: {error}", file=sys.stderr)
            await trio.sleep(SETTLED_S)
        else:
            return


def weigh_all(devnet: Devnet) -> list[tuple[Weight, Weight]]:
    """Weigh each node: its main process, and its workers."""
    pids = [devnet.processes[place.name].pid for place in devnet.places]
    return [(weigh(pid), weigh_children(pid)) for pid in pids]


def shares(before: list[tuple[Weight, Weight]], after: list[tuple[Weight, Weight]], seconds: float) -> list[float]:
    """Return how much of a core each main process took, percent."""
    return [(now.cpu_s - then.cpu_s) / seconds * 100 for (then, _), (now, _) in zip(before, after, strict=True)]


async def buy(client: NodeClient) -> tuple[float, float]:
    """Return the seconds from the demand to the award and to the result, beyond the windows.

    Raises:
        TaskFailed: It failed, or another provider than the first had to step in, which takes its time.
    """
    file = load_task_file(EXAMPLE)
    prepared = prepare(file)
    await upload(client, prepared, lambda _count: None)
    offer = replace(file.offer, commit_window_s=WINDOW_S, reveal_window_s=WINDOW_S)
    began = time.time()
    view = await client.call(NodeFacade.task_submit, order=make_order(prepared, offer))
    opened = windows = award = result = 0.0
    failures: list[str] = []
    async with client.stream(NodeFacade.task_watch, task=view.task.hex()) as events:
        async for event in events:
            now = time.time()
            match event:
                case AuctionOpened(reveal_by=reveal_by):
                    opened, windows = now, float(reveal_by + 1)
                case WinnerChosen():
                    award = now
                case ProviderFailed(reason=reason):
                    failures.append(reason)
                case TaskEnded(state=state, reason=reason):
                    result = now
                    if state != "done":
                        failures.append(reason)
                case _:
                    pass
    if failures:
        raise TaskFailed("; ".join(failures))
    beyond = opened - began
    return beyond + award - windows, beyond + result - windows


def report(plan: Plan, seen: Seen) -> list[Figure]:
    """Return the figures of one network."""
    name = plan.name
    to_award, to_result = GOALS if plan.is_judged else (None, None)
    idle_memory, idle_cpu = (IDLE_MEMORY, IDLE_CPU) if plan.is_judged else (None, None)
    none = Goal(of=Of.VALUE, most=1) if plan.is_judged else None
    mains, workers = seen.idle, seen.idle_workers[1 : plan.bidders + 1]
    figures = [
        Figure(
            name=f"{name}: tasks that failed or changed hands", unit=f"of {plan.tasks}", value=seen.failed, goal=none
        ),
        timed(f"{name}: demand to award", "s", seen.award_s, goal=to_award),
        timed(f"{name}: demand to result", "s", seen.result_s, goal=to_result),
        timed(f"{name}: idle main process, RSS", "MiB", [each.rss for each in mains], goal=idle_memory),
        timed(f"{name}: idle main process, PSS", "MiB", [each.pss for each in mains]),
        timed(f"{name}: idle workers of a provider, RSS", "MiB", [each.rss for each in workers]),
        timed(f"{name}: idle workers of a provider, PSS", "MiB", [each.pss for each in workers]),
        timed(f"{name}: buying, main process, RSS", "MiB", [each.rss for each in seen.loaded]),
        timed(f"{name}: idle main process, of a core", "%", seen.idle_cpu, goal=idle_cpu),
        timed(f"{name}: buying, main process, of a core", "%", seen.loaded_cpu),
        Figure(name=f"{name}: CPU for a task, requester", unit="ms", value=seen.requester_cpu_s * 1e3),
        Figure(name=f"{name}: CPU for a task, each other node", unit="ms", value=seen.provider_cpu_s * 1e3),
    ]
    for batch, (requester, provider) in enumerate(seen.growth if plan.batches > 1 else (), start=1):
        done = 1 + batch * (plan.tasks // plan.batches)
        figures += [
            Figure(name=f"{name}: requester after {done} tasks, RSS", unit="MiB", value=requester),
            Figure(name=f"{name}: winner after {done} tasks, RSS", unit="MiB", value=provider),
        ]
    return figures
