"""A whole simulation: a seed makes the network, the chain, the nodes and all that goes wrong; then all is counted.

async with open_world(seed, ...) as world:      nodes live, blocks come
    ...                                          tasks are submitted, faults come and go
    await world.settle()                         faults end; every task must end, every contract must empty
check_world(world)                               nothing was lost, owed twice, or acted on twice
"""

import shutil
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import trio
from blake3 import blake3

from node.market.wish import Wish
from node.operations.clock import TrioClock
from node.storage.writer import WriterClosed
from protocol.errors import StoaError
from protocol.identity import Address, ContentDigest, Digest
from protocol.market.objects import AuctionFormat
from protocol.signing.eip712 import Domain
from protocol.task.manifest import Blob, Limits, Manifest, Part
from protocol.task.pricing import Rates
from protocol.task.verification import Trust
from protocol.units import ONE_TOKEN, Amount, BasisPoints, Seconds, UnixTime
from tests.simulation.chain import SimulatedChain
from tests.simulation.contracts_model import EscrowState, Rules
from tests.simulation.disk import Crash
from tests.simulation.network import Network
from tests.simulation.node import KEEP_S, Node, make_template
from tests.simulation.sandbox import ENGINE
from tests.simulation.skew import NodeClock
from tests.simulation.statements import Statements

EPOCH: Final = UnixTime(1_800_000_000)
RULES: Final = Rules(
    market=Domain(chain_id=31337, verifying_contract=Address(b"\xee" * 20)),
    channels=Domain(chain_id=31337, verifying_contract=Address(b"\xcc" * 20)),
    challenge=Seconds(240),
    hold_period=Seconds(1_800),
    min_pace=Seconds(10),
)
PURSE: Final = 200 * ONE_TOKEN
RATES: Final = Rates(
    start=Amount(1_000), gfuel=Amount(200_000), mib_gfuel=Amount(2), mib_in=Amount(100), mib_out=Amount(200)
)
FUEL: Final = 1_000_000_000
TASKS_END_WITHIN_S: Final = 1_800.0
"""After the last fault: the deadlines of one award, and of its standbys."""
MONEY_ENDS_WITHIN_S: Final = 6_000.0
"""After the last task: challenge and hold period of a channel whose payee never comes back, and reading the chain."""
LOOK_S: Final = 1.0
CALM_S: Final = 15.0
"""From the last fault to the next task: auctions in which somebody still bids are over, and the chain is seen again."""
MOST_AFTERWARDS: Final = 3


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """A task that somebody asked for."""

    requester: Node
    offer: Digest


@dataclass(kw_only=True)
class World:
    """Everything there is."""

    seed: str
    chance: Random
    clock: TrioClock
    network: Network
    chain: SimulatedChain
    folder: Path
    nursery: trio.Nursery
    statements: Statements
    nodes: list[Node] = field(default_factory=list[Node])
    liars: set[Address] = field(default_factory=set[Address])
    submitted: list[Submitted] = field(default_factory=list[Submitted])
    trace: list[str] = field(default_factory=list[str])
    expects_success: bool = False
    """Nothing happened that excuses a task which is not done."""
    is_settling: bool = False
    """All faults are over."""
    ended: Counter[str] = field(default_factory=Counter[str])
    """How many tasks of honest nodes ended how."""
    figures: Counter[str] = field(default_factory=Counter[str])
    """What a story wants to tell in numbers."""
    recomputed: int = 0
    """Auctions that an honest node heard whole, and worked out again with the same end."""
    afterwards: list[Submitted] = field(default_factory=list[Submitted])
    """Tasks that were submitted when all was well again."""

    @property
    def honest(self) -> list[Node]:
        """Nodes that keep to the rules and will be back."""
        return [node for node in self.nodes if node.wallet not in self.liars and not node.is_banished]

    def note(self, what: str) -> None:
        """Write a line of the story that a failure is told with."""
        self.trace.append(f"{self.clock.unix_time() - EPOCH:9.3f} {what}")

    def join(self, name: str, *, asks: int | None = None, purse: int = 0, skew_s: int = 0) -> Node:
        """Add a node before the world begins to turn."""
        folder = self.folder / name
        shutil.copytree(self.folder / "template", folder)
        clock = NodeClock(self.clock, self.network)
        if skew_s:
            clock.set_wrong(offset_s=skew_s)
        node = Node(
            name=f"{self.seed}/{name}",
            folder=folder,
            network=self.network,
            chain=self.chain,
            clock=clock,
            chance=Random(f"{self.seed}/{name}"),
            asks=asks,
        )
        self.chain.mint(node.wallet, purse)
        self.nodes.append(node)
        self.nursery.start_soon(node.live)
        return node

    async def submit(self, requester: Node, wish: Wish) -> Digest | None:
        """Have a node ask for a task, if it can at this moment; what is not accepted never was."""
        if requester.is_banished:
            return None
        life = await requester.alive()
        try:
            for content in (MODULE, INPUT):
                await life.storage.blobs.put(content, keep_until=UnixTime(self.clock.now() + KEEP_S))
            offer = await life.trading.requester.submit(wish)
        except (StoaError, Crash, WriterClosed) as error:
            self.note(f"{requester.name} could not submit: {error}")
            return None
        self.submitted.append(Submitted(requester=requester, offer=offer))
        self.note(f"{requester.name} submitted {offer.hex()[:8]}, {len(wish.manifest.parts)} parts")
        return offer

    async def settle(self) -> None:
        """End all faults, see every task to its end and every contract empty."""
        self.is_settling = True
        self.network.heal()
        self.chain.is_stuck = False
        for node in self.nodes:
            node.is_away_from_chain = False
            node.failing = 0.0
            node.clock.set_right()
            node.spare()
        await self._see_tasks_end()
        self.note("all tasks are over")
        await self._trade_again()
        await self._see_tasks_end()
        with trio.move_on_after(MONEY_ENDS_WITHIN_S) as scope:
            async with trio.open_nursery() as nursery:
                for node in self.nodes:
                    nursery.start_soon(self._close_channels, node)
                    nursery.start_soon(self._claim_all, node)
                # Liars may hire long after all honest tasks are over.
                while self._is_money_out() or any(self._is_working(node) for node in self.honest):
                    await trio.sleep(LOOK_S)
                nursery.cancel_scope.cancel()
        if scope.cancelled_caught:
            raise NotHealed(f"contracts hold {self.chain.state.owed()} long after the last task")
        self.note("all contracts are empty")
        for node in self.honest:
            await node.alive()

    async def _see_tasks_end(self) -> None:
        with trio.move_on_after(TASKS_END_WITHIN_S) as scope:
            while any(self._is_working(node) for node in self.honest):
                self._check_alive()
                await trio.sleep(LOOK_S)
        if scope.cancelled_caught:
            raise NotHealed(f"tasks are open {TASKS_END_WITHIN_S:g} s after the last fault")

    async def _trade_again(self) -> None:
        """Have honest requesters ask once more, now that nothing is wrong: whoever would still sell must be able to."""
        for node in [each for each in self.honest if each.asks is None][:MOST_AFTERWARDS]:
            await trio.sleep(CALM_S)
            if any(_sells_to(each, node) for each in self.honest):
                await self._see_room_for(node)
                offer = await self.submit(node, make_wish(f"afterwards of {node.name}", parts=1))
                if offer is None:
                    raise NotHealed(f"{node.name} can't submit a task although nothing is wrong any more")
                self.afterwards.append(self.submitted[-1])

    async def _see_room_for(self, node: Node) -> None:
        """Wait until a provider that sells to a requester has a worker: liars may have promised tasks to them all."""
        with trio.move_on_after(TASKS_END_WITHIN_S) as scope:
            while not any(_sells_to(each, node) and _has_room(each) for each in self.honest):
                await trio.sleep(LOOK_S)
        if scope.cancelled_caught:
            raise NotHealed(f"every worker is held {TASKS_END_WITHIN_S:g} s after the last task")

    def _is_money_out(self) -> bool:
        """Tell whether a contract holds money that somebody will come for: not that of a requester who is gone."""
        gone = {node.wallet for node in self.nodes if node.is_banished}
        state = self.chain.confirmed.state
        channels = (each for each in state.channels.values() if each.key.payer not in gone)
        escrows = (each for each in state.escrows.values() if each.award.requester not in gone)
        locked = any(each.amount > each.paid for each in escrows if each.state is not EscrowState.CLOSED)
        return locked or any(each.deposit > each.claimed for each in channels)

    def _check_alive(self) -> None:
        for node in self.nodes:
            if node.trouble:
                raise AssertionError(f"{node.name} ended by itself") from node.trouble[0]

    def _is_working(self, node: Node) -> bool:
        life = node.life
        return life is None or bool(life.trading.requester.tasks) or bool(life.trading.provider.deliveries)

    async def _close_channels(self, node: Node) -> None:
        while True:
            life = node.life
            if life is not None:
                for channel in life.payments.payer.channels():
                    if channel.phase == "open":
                        try:
                            await life.payments.payer.close_channel(channel.channel)
                        except (StoaError, Crash, WriterClosed) as error:
                            self.note(f"{node.name} can't close {channel.channel.hex()[:8]} yet: {error}")
            await trio.sleep(20 * LOOK_S)

    async def _claim_all(self, node: Node) -> None:
        """Have a provider bring on chain what it holds, as one that stops selling does."""
        while True:
            try:
                await (await node.alive()).payments.payee.drain()
            except (StoaError, Crash, WriterClosed) as error:
                self.note(f"{node.name} can't claim yet: {error}")
            else:
                return
            await trio.sleep(20 * LOOK_S)


def _sells_to(provider: Node, requester: Node) -> bool:
    life = provider.life
    return provider.asks is not None and life is not None and not life.trading.gossip.is_refused(requester.wallet)


def _has_room(provider: Node) -> bool:
    return provider.life is not None and provider.life.trading.provider.has_room


class NotHealed(AssertionError):
    """Something did not end in time."""


MODULE: Final = b"a module"
INPUT: Final = b"an input of every part"


def make_wish(
    name: str,
    *,
    parts: int = 2,
    budget: int = 2 * ONE_TOKEN,
    hire: Address | None = None,
    form: AuctionFormat = AuctionFormat.SEALED_SECOND_PRICE,
) -> Wish:
    """Return a task of a few parts; above 10 dollars it goes through escrow."""
    stdin = Blob(digest=ContentDigest(blake3(INPUT).digest()), size=len(INPUT))
    manifest = Manifest(
        name=name,
        module=Blob(digest=ContentDigest(blake3(MODULE).digest()), size=len(MODULE)),
        engine=ENGINE,
        limits=Limits(fuel=FUEL, memory_mib=16, output_bytes=1024, log_bytes=1024),
        clock=UnixTime(0),
        seed=Digest(bytes(32)),
        args=("lab",),
        parts=tuple(Part(stdin=stdin) for _ in range(parts)),
    )
    return Wish(
        manifest=manifest,
        rates=RATES,
        verification=Trust(),
        budget=Amount(budget),
        max_eta=Seconds(240),
        format=form,
        w_price=BasisPoints(5_000),
        w_reputation=BasisPoints(3_000),
        w_speed=BasisPoints(2_000),
        max_bidders=16,
        commit_window_s=2.0,
        reveal_window_s=2.0,
        start_within=Seconds(90),
        standby_for_s=600,
        hire=hire,
    )


@asynccontextmanager
async def open_world(seed: str, folder: Path) -> AsyncGenerator[World, None]:
    """Make an empty world; it ends with the block. On a virtual clock, or it takes hours."""
    clock, chance = TrioClock.starting_at(EPOCH), Random(seed)
    await make_template(folder / "template", clock)
    async with trio.open_nursery() as nursery:
        chain = SimulatedChain(RULES, clock, Random(f"{seed}/chain"))
        world = World(
            seed=seed,
            chance=chance,
            clock=clock,
            network=Network(chance=Random(f"{seed}/network")),
            chain=chain,
            folder=folder,
            nursery=nursery,
            statements=Statements(rules=RULES),
        )
        world.network.witness = world.statements.hear
        nursery.start_soon(chain.run)
        nursery.start_soon(world.network.run)
        yield world
        nursery.cancel_scope.cancel()
