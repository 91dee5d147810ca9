"""What is bought during a soak: tasks that are meant to be done, and auctions that come to nothing."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final, Literal

import trio

from node.api.client import open_client
from node.api.errors import ConnectionLost, NodeNotRunning, RemoteBug, RemoteError
from node.api.facade import NodeFacade
from node.api.views import TaskView
from node.devnet.layout import NodePlace
from tests.soak.plan import Plan
from tests.soak.town import POLL_S, Town
from tests.system.system_lab import EXAMPLES, submit_to

Kind = Literal["channel", "escrow", "no taker", "cancelled"]
BATCHES: Final = 8
PATHS: Final = 50
FUEL: Final = BATCHES * PATHS * 20_000
"""A path of 252 days takes 15,300."""
MOST_PARTS: Final = 3
SEEDS: Final = 6
"""So many different tasks: equal ones must have equal outputs, whoever did them, and whoever died meanwhile."""
BUDGETS: Final[dict[Kind, str]] = {"channel": "0.40", "escrow": "10.50", "no taker": "0.000001", "cancelled": "0.40"}
PATIENCE_S: Final = 120.0
EVERYTHING: Final = 1_000


@dataclass(frozen=True, slots=True)
class Order:
    """One thing to buy. `name` is unlike any other's and as long: it is an argument, and arguments cost fuel.

    `hire` is the wallet of the only one that may do it; None finds somebody by auction.
    """

    name: str
    kind: Kind
    seed: int
    parts: int
    hire: str | None = None


@dataclass(slots=True)
class Ledger:
    """What nodes have confirmed to have taken: from then on nothing of it may be lost."""

    taken: dict[str, tuple[NodePlace, Order, TaskView]] = field(
        default_factory=dict[str, tuple[NodePlace, Order, TaskView]]
    )
    refused: list[str] = field(default_factory=list[str])
    """Orders that a node refused, with its reason."""
    unsure: int = 0
    """Orders whose node died before it answered."""


class Trader:
    """Submits orders, as `stoa task submit` does."""

    def __init__(self, plan: Plan, town: Town) -> None:
        self._plan, self._town = plan, town
        self._random = Random(f"{plan.seed}/trade")
        self._folder = plan.folder / "tasks"
        self._count = 0
        self.ledger: Final = Ledger()

    async def run(self, nursery: trio.Nursery) -> None:
        """Order at random times, at the plan's rates, until cancelled; what is under way goes on in `nursery`."""
        self.prepare()
        while True:
            await trio.sleep(self._random.expovariate(self._plan.auctions_per_hour / 3600))
            nursery.start_soon(self.place, self._next(), self._random.choice(self._town.buyers))

    def prepare(self) -> None:
        """Make the folder for task files, once."""
        self._folder.mkdir()
        shutil.copy(EXAMPLES / "monte-carlo" / "monte_carlo.wasm", self._folder)

    def _next(self) -> Order:
        self._count += 1
        kind: Kind = "channel" if self._random.random() > self._plan.escrow_share else "escrow"
        if self._random.random() > self._plan.tasks_per_hour / self._plan.auctions_per_hour:
            kind = self._random.choice(("no taker", "cancelled"))
        return Order(f"soak-{self._count:06}", kind, self._random.randrange(SEEDS), self._random.randint(1, MOST_PARTS))

    async def place(self, order: Order, buyer: NodePlace) -> None:
        """Have one order taken or refused; one that is to be cancelled is."""
        path = self._folder / f"{order.name}.toml"
        path.write_text(task_text(order))
        try:
            view = await self._submit(order, buyer, path)
        except RemoteError as error:
            self.ledger.refused.append(f"{order.kind}: {error}")
            return
        finally:
            path.unlink()
        self.ledger.taken[order.name] = (buyer, order, view)
        if order.kind == "cancelled":
            await trio.sleep(self._random.uniform(0, 3))
            await self._cancel(buyer, view)

    async def _submit(self, order: Order, buyer: NodePlace, path: Path) -> TaskView:
        """Submit until it is known to be taken. A node that died in between is asked whether it took it."""
        unsure = False
        while True:
            try:
                if unsure and (found := [each for each in await tasks_of(buyer) if each.name == order.name]):
                    return found[0]
                return await submit_to(buyer, path, hire=order.hire)
            except NodeNotRunning:
                await trio.sleep(POLL_S)
            except (ConnectionLost, RemoteBug):  # a connection that breaks off in an answer
                unsure = True
                self.ledger.unsure += 1
                await trio.sleep(POLL_S)

    async def _cancel(self, buyer: NodePlace, view: TaskView) -> None:
        with trio.move_on_after(PATIENCE_S):
            while True:
                try:
                    async with open_client(buyer.socket) as client:
                        await client.call(NodeFacade.task_cancel, task=view.task.hex(), cost=view.budget)
                        return
                except (NodeNotRunning, ConnectionLost):
                    await trio.sleep(POLL_S)
                except RemoteError:
                    return  # it is over already


async def tasks_of(place: NodePlace, *, open_only: bool = False) -> tuple[TaskView, ...]:
    """Return what a node buys, or bought."""
    async with open_client(place.socket) as client:
        return await client.call(NodeFacade.task_list, state="open" if open_only else "all", limit=EVERYTHING)


def arguments_of(seed: int) -> list[str]:
    """Return the arguments of the program for one of the `SEEDS` tasks, but for the part."""
    given = {"seed": seed, "batches": BATCHES, "paths": PATHS, "spot": 10000, "strike": 10500, "rate": 300}
    given["volatility"] = 2000
    return [text for name, value in given.items() for text in (f"--{name}", str(value))]


def task_text(order: Order) -> str:
    """Return the task file of an order."""
    text = f"""name = "{order.name}"
module = "monte_carlo.wasm"
args = {json.dumps(arguments_of(order.seed))}
output = "batches.tsv"
[limits]
fuel = {FUEL}
memory_mib = 8
output_bytes = 131072
[offer]
budget = "{BUDGETS[order.kind]}"
max_eta_s = 120
"""
    return text + "".join(f'[[parts]]\nargs = ["--part", "{number}"]\n' for number in range(order.parts))
