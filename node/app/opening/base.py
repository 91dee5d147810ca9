"""What everything else of a node rests on: storage, keys, the chain."""

import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import version

import trio

from node.app.feedback_chain import registry_of
from node.app.tables import SCHEMA_PARTS, database_address
from node.app.telemetry.witness import Witness
from node.app.terms import chain_profile
from node.app.trading import projections
from node.chain.chain import Chain
from node.chain.deployment import Deployment, load_deployment
from node.chain.opening import open_chain_or_wait
from node.config.settings import Settings
from node.operations.clock import Clock
from node.operations.randomness import RandomSource
from node.operations.tracing import Tracer, open_tracer
from node.storage.machine_log import select_open_streams
from node.storage.storage import Storage, open_storage
from node.wallet.calls import SigningScope
from node.wallet.host_key import HostKey, open_host_key
from node.wallet.keystore import open_wallet
from node.wallet.signer import Signer, open_signer
from node.wallet.spend_ledger import JournaledSpendLedger


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What everything else rests on."""

    settings: Settings
    clock: Clock
    random: RandomSource
    storage: Storage
    signer: Signer
    host_key: HostKey
    chain: Chain
    deployment: Deployment
    witness: Witness

    async def open_streams(self, prefix: str) -> tuple[str, ...]:
        """Return the streams that a restart has to take up."""
        return await self.storage.read.query(lambda connection: select_open_streams(connection, prefix))


async def open_node_tracer(stack: AsyncExitStack, settings: Settings) -> Tracer | None:
    """Open it first, so that it closes last and sends what the services say while they end."""
    url = settings.operations.traces_endpoint
    if url is None:
        return None
    resource = {
        "service.name": "stoa",
        "service.version": version("stoa"),
        "service.instance.id": settings.node.name or socket.gethostname(),
    }
    return await stack.enter_async_context(open_tracer(url, resource=resource))


async def open_base(
    stack: AsyncExitStack, settings: Settings, password: str, clock: Clock, chance: RandomSource, witness: Witness
) -> Base:
    """Open storage, unlock both keys, and check that the chain is the deployment's."""
    deployment = await trio.to_thread.run_sync(
        load_deployment, settings.chain.deployments or settings.node.data_dir / "deployments.json"
    )
    storage = await stack.enter_async_context(
        open_storage(
            settings.node.data_dir,
            clock=clock,
            address=await trio.to_thread.run_sync(database_address, settings),
            projections=projections(),
            schema_parts=SCHEMA_PARTS,
            blob_quota_bytes=settings.storage.blob_quota_bytes,
            on_commit=witness.instruments.on_commit,
        )
    )
    key = await open_wallet(settings.keystore, password)
    host_key = await open_host_key(settings.host_key, password)
    scope = SigningScope(
        chain_id=deployment.chain_id,
        token=deployment.token,
        escrow=deployment.escrow,
        payment_channel=deployment.payment_channel,
        reputation=deployment.reputation,
        court=deployment.court,
        bench=deployment.bench,
        feedback=registry_of(settings, deployment),
    )
    signer = await stack.enter_async_context(
        open_signer(
            key,
            scope=scope,
            caps=settings.wallet.caps.to_spending_caps(),
            ledger=JournaledSpendLedger(storage.journal, key.address),
            now=clock.now,
        )
    )
    chain = await stack.enter_async_context(
        open_chain_or_wait(chain_profile(settings), settings.chain.endpoint, deployment, storage.cursors)
    )
    return Base(
        settings=settings,
        clock=clock,
        random=chance,
        storage=storage,
        signer=signer,
        host_key=host_key,
        chain=chain,
        deployment=deployment,
        witness=witness,
    )
