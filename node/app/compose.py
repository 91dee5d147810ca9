"""A node, put together: each service is opened inside the ones that it needs, and closed before them."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from node.app.node import Node
from node.app.opening.base import open_base, open_node_tracer
from node.app.opening.market import open_market
from node.app.opening.money import open_money
from node.app.opening.network import open_wallet_network
from node.app.opening.records import open_records
from node.app.selling import load_seller
from node.app.telemetry.observation import open_observation
from node.app.telemetry.witness import Witness
from node.app.terms import execution_settings
from node.config.settings import Settings
from node.execution.pool import open_worker_pool
from node.operations.clock import SystemClock
from node.operations.randomness import SystemRandomSource


@asynccontextmanager
async def open_node(settings: Settings, password: str, *, stop: Callable[[], None]) -> AsyncGenerator[Node, None]:
    """Run a node until the block ends.

    Args:
        settings: The whole configuration.
        password: Opens wallet and host key.
        stop: Called when an operator asks the node to end.

    Raises:
        ConfigError: What the user must change: a wrong password, a port in use, another chain, a folder in use.
        TransientError: The database's server can't be reached; or the chain can't, and never could.
    """
    async with AsyncExitStack() as stack:
        clock, chance = SystemClock(), SystemRandomSource()
        tracer = await open_node_tracer(stack, settings)
        witness = Witness(clock, chance, tracer.record if tracer else None)
        base = await open_base(stack, settings, password, clock, chance, witness)
        network, directory, peers = await open_wallet_network(stack, base)
        pool = await stack.enter_async_context(
            open_worker_pool(
                execution_settings(settings),
                cache_dir=settings.node.data_dir / "modules",
                work_dir=settings.node.data_dir / "runs",
            )
        )
        seller = await load_seller(settings, pool)
        money = await open_money(stack, base, peers)
        records = await open_records(stack, base, peers, money)
        node = await open_market(stack, base, network, directory, peers, pool, seller, money, records, stop)
        await stack.enter_async_context(open_observation(node, witness.instruments, tracer))
        yield node
