"""The network of a soak: node processes, and a chain that goes away and comes back."""

import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from node.api.client import open_client
from node.api.errors import ConnectionLost, NodeNotRunning
from node.chain.anvil import open_anvil
from node.chain.deployment import Deployment
from node.chain.errors import AnvilFailed
from node.chain.local import LocalTerms, deploy_local, fund
from node.chain.opening import open_chain
from node.chain.profile import LOCAL
from node.chain.rpc import open_rpc
from node.devnet.balances import Snapshot, find_discrepancies, take_snapshot
from node.devnet.devnet import BLOCK_TIME_S
from node.devnet.layout import NodePlace, lay_out
from node.devnet.processes import NodeProcess, open_processes
from node.operations.ports import free_ports
from protocol.identity import Address
from protocol.units import Amount, Seconds
from tests.soak.plan import Plan

TOKENS: Final = Amount(2_000_000_000)
"""What each buyer gets."""
TERMS: Final = LocalTerms(challenge=Seconds(480), hold_period=Seconds(3_600), min_pace=Seconds(2))
"""A view of the chain may be two minutes old then (SPEC M6)."""
OVERRIDES: Final[dict[str, Any]] = {
    "requester.pace_s": 40,
    "requester.start_within_s": 40,
    "requester.standby_for_s": 120,
    "requester.commit_window_s": 2.5,
    "requester.reveal_window_s": 2.5,
    "provider.cores": 3,
    "wallet.caps.per_task": "20",
    "wallet.caps.per_hour": "10000",
    "wallet.caps.per_day": "100000",
    "wallet.caps.per_peer": "100000",
}
"""Bidders and restarts have the time they need on a busy machine, and an open bid holds a worker for that long: had
each seller one worker, most auctions would find every one promised. Bids stay in memory while standbys may be hired, an
hour by default: lives here are shorter, and memory must level off within them. Caps are not what is tried here."""
POLL_S: Final = 0.2


class LocalChain:
    """anvil, which can be stopped in order or killed, started again on the same port, made to hang, or reorganised.

    One that is `mortal` writes all its state every other second: after a kill it has lost some blocks and no more.
    """

    def __init__(self, state_file: Path, nursery: trio.Nursery, *, mortal: bool = False) -> None:
        self._state_file, self._nursery, self._mortal = state_file, nursery, mortal
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._process: trio.Process | None = None
        self.port = free_ports(1)[0]
        self.is_away = False

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        self._scope, self._ended = trio.CancelScope(), trio.Event()
        await self._nursery.start(self._run, self._scope, self._ended)
        self.is_away = False

    async def stop(self) -> None:
        """End it; it writes its state first."""
        self.is_away = True
        self._scope.cancel()
        await self._ended.wait()

    async def kill(self) -> None:
        """SIGKILL it: what it has not written is lost, transactions that wait and the newest blocks."""
        assert self._process is not None
        self.is_away = True
        self._process.kill()
        await self._ended.wait()

    async def mine(self, blocks: int) -> None:
        """Make so many empty blocks at once."""
        async with open_rpc(self.url) as rpc:
            await rpc.call("anvil_mine", blocks)

    async def reorganise(self, depth: int) -> None:
        """Exchange the newest `depth` blocks for as many empty ones: what they held has not happened."""
        async with open_rpc(self.url) as rpc:
            await rpc.call("anvil_reorg", depth, [])

    def hang(self) -> None:
        """Stop its process: connections stay open, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        self.is_away = True

    def go_on(self) -> None:
        """End the hanging."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self.is_away = False

    async def _run(self, scope: trio.CancelScope, ended: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            with scope:
                async with open_anvil(
                    state_file=self._state_file,
                    port=self.port,
                    block_time_s=BLOCK_TIME_S,
                    state_interval_s=2 if self._mortal else 5,
                    keeps_history=self._mortal,
                ) as anvil:
                    self._process = anvil.process
                    task_status.started()
                    await trio.sleep_forever()
        except* AnvilFailed:
            if not self.is_away:  # else that is what was wanted
                raise
        ended.set()


class Town:
    """All processes. Made by `open_town`."""

    def __init__(
        self,
        chain: LocalChain,
        deployment: Deployment,
        places: tuple[NodePlace, ...],
        processes: dict[str, NodeProcess],
        buyers: tuple[NodePlace, ...],
    ) -> None:
        self.chain, self.deployment, self.places, self.processes = chain, deployment, places, processes
        self.buyers = buyers
        self.past_pids: set[int] = set()

    @property
    def supply(self) -> int:
        """All tokens there are, base units."""
        return TOKENS * len(self.buyers)

    def pid_of(self, place: NodePlace) -> int | None:
        """Return the process of a node, None while it is dead."""
        process = self.processes[place.name]
        return process.pid if process.is_running else None

    async def kill(self, place: NodePlace) -> None:
        """SIGKILL it."""
        pid = self.pid_of(place)
        if pid is not None:
            self.past_pids.add(pid)
        await self.processes[place.name].kill()

    async def start(self, place: NodePlace) -> None:
        """Start it again, and wait until it answers."""
        await self.processes[place.name].start()

    async def is_up(self, place: NodePlace) -> bool:
        """Whether it answers at its door."""
        try:
            async with open_client(place.socket):
                return True
        except (NodeNotRunning, ConnectionLost):
            return False

    @property
    def parties(self) -> dict[str, Address]:
        """All that own tokens: nodes and contracts."""
        nodes = {place.name: place.wallet for place in self.places}
        return {**nodes, "escrow": self.deployment.escrow, "channels": self.deployment.payment_channel}

    async def snapshot(self, since: int = 0) -> Snapshot:
        """Read all balances at the newest block, and the fees of all blocks after `since`."""
        async with open_chain(LOCAL, self.chain.url, self.deployment) as chain:
            return await take_snapshot(chain, self.parties, since)

    def discrepancies(self, before: Snapshot, after: Snapshot) -> tuple[str, ...]:
        """Return what does not add up, tokens to the base unit and fees to the wei."""
        return find_discrepancies(before, after, self.supply)


@asynccontextmanager
async def open_town(plan: Plan) -> AsyncGenerator[Town, None]:
    """Start everything; stop everything at the end."""
    async with trio.open_nursery() as nursery:
        chain = LocalChain(plan.folder / "chain.json", nursery, mortal=plan.confirmations > 1)
        await chain.start()
        deployments = plan.folder / "deployments.json"
        deployment = await deploy_local(chain.url, terms=TERMS, path=deployments)
        places = await lay_out(
            plan.folder,
            providers=plan.nodes - 1,
            rpc_url=chain.url,
            deployments=deployments,
            overrides={**OVERRIDES, "chain.confirmations": plan.confirmations, **plan.overrides},
        )
        buyers = places[: plan.buyers]
        await fund(chain.url, deployment, [place.wallet for place in buyers], tokens=TOKENS)
        await fund(chain.url, deployment, [place.wallet for place in places[plan.buyers :]], tokens=Amount(0))
        await chain.mine(plan.confirmations)  # until then nodes see a chain without contracts
        async with open_processes(places) as processes:
            yield Town(chain, deployment, places, processes, buyers)
        await chain.stop()
        nursery.cancel_scope.cancel()
