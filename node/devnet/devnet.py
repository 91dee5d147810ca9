"""A whole network on this machine: a local chain with the contracts, one requester, some providers."""

from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from node.chain.anvil import open_anvil
from node.chain.deployment import Deployment
from node.chain.local import LocalTerms, deploy_local, fund
from node.devnet.layout import NodePlace, lay_out
from node.devnet.processes import NodeProcess, open_processes
from protocol.identity import ZERO_ADDRESS, Address
from protocol.units import Amount, Seconds

BLOCK_TIME_S: Final = 1
REQUESTER_TOKENS: Final = Amount(100_000_000)
TERMS: Final = LocalTerms(challenge=Seconds(60), hold_period=Seconds(3_600), min_pace=Seconds(2))
"""Long enough that a node which restarts meanwhile misses nothing, short enough to watch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Devnet:
    """The running network."""

    folder: Path
    rpc_url: str
    chain_process: trio.Process
    deployment: Deployment
    places: tuple[NodePlace, ...]
    processes: dict[str, NodeProcess]

    @property
    def requester(self) -> NodePlace:
        """The node that has money."""
        return self.places[0]

    @property
    def providers(self) -> tuple[NodePlace, ...]:
        """The nodes that sell."""
        return tuple(place for place in self.places if place.sells)

    @property
    def arbiters(self) -> tuple[NodePlace, ...]:
        """The nodes that judge disputes, if they have tickets."""
        return tuple(place for place in self.places if place.judges)


@asynccontextmanager
async def open_devnet(
    folder: Path,
    *,
    providers: int = 3,
    watchers: int = 0,
    arbiters: int = 0,
    cheats: Collection[str] = (),
    overrides: dict[str, Any] | None = None,
    own: Mapping[str, dict[str, Any]] | None = None,
    terms: LocalTerms = TERMS,
    court: bool = False,
    arbiter: Address = ZERO_ADDRESS,
) -> AsyncGenerator[Devnet, None]:
    """Start everything; stop everything at the end, in the opposite order.

    Args:
        folder: Empty or new; keys, databases and logs of all nodes are kept there.
        providers: At least 1.
        watchers: Nodes that neither buy nor sell.
        arbiters: Nodes that judge disputes, once they have tickets (`node.devnet.law`).
        cheats: Names of providers that forge what they sell.
        overrides: Settings of every node, by dotted name.
        own: Settings of single nodes, by the node's name.
        terms: Periods of the contracts.
        court: Whether there is a court, which requesters name then; in any case if there are arbiters.
        arbiter: Whom requesters name instead; with neither, nobody's stake is asked for.
    """
    async with open_anvil(state_file=folder / "chain.json", block_time_s=BLOCK_TIME_S) as anvil:
        deployments = folder / "deployments.json"
        deployment = await deploy_local(
            anvil.url, arbiter=arbiter, court=court or arbiters > 0, terms=terms, path=deployments
        )
        places = await lay_out(
            folder,
            providers=providers,
            watchers=watchers,
            arbiters=arbiters,
            rpc_url=anvil.url,
            deployments=deployments,
            overrides=overrides,
            own=own,
        )
        await fund(anvil.url, deployment, [places[0].wallet], tokens=REQUESTER_TOKENS)
        await fund(anvil.url, deployment, [place.wallet for place in places[1:]], tokens=Amount(0))
        async with open_processes(places, cheats) as processes:
            yield Devnet(
                folder=folder,
                rpc_url=anvil.url,
                chain_process=anvil.process,
                deployment=deployment,
                places=places,
                processes=processes,
            )
