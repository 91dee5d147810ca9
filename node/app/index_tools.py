"""Database and chain without the rest of a node: for looking at the event index, and for reading it again."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from node.app.tables import SCHEMA_PARTS, database_address
from node.app.terms import chain_profile
from node.app.trading import projections
from node.chain.chain import Chain
from node.chain.deployment import load_deployment
from node.chain.event_store import SqlEventStore
from node.chain.opening import open_chain
from node.config.settings import Settings
from node.operations.clock import SystemClock
from node.storage.storage import open_storage


@asynccontextmanager
async def open_index(settings: Settings) -> AsyncGenerator[tuple[Chain, SqlEventStore], None]:
    """Open the node's database and its chain until the block ends. The node must not run.

    Raises:
        ConfigError: The node runs, or deployment and chain don't fit.
        TransientError: The chain, or the database's server, can't be reached.
    """
    path = settings.chain.deployments or settings.node.data_dir / "deployments.json"
    deployment = await trio.to_thread.run_sync(load_deployment, path)
    async with (
        open_chain(chain_profile(settings), settings.chain.endpoint, deployment) as chain,
        open_storage(
            settings.node.data_dir,
            clock=SystemClock(),
            address=await trio.to_thread.run_sync(database_address, settings),
            projections=projections(),
            schema_parts=SCHEMA_PARTS,
        ) as storage,
    ):
        yield chain, SqlEventStore(storage)
