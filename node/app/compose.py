"""A node, put together: each service is opened inside the ones that it needs, and closed before them."""

import random as system_random
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

import trio

from node.app.bench_desk import BenchDesk, bench_desk
from node.app.contract_chain import ContractChain
from node.app.court_chain import ContractCourt, contract_court
from node.app.disputing import Advocacy, open_advocacy
from node.app.identity import OwnRecord
from node.app.judging import make_judge
from node.app.node import Node
from node.app.peers import GrantedBlobs, WalletPeers
from node.app.rerunning import SandboxRunner
from node.app.sandbox import WasmSandbox
from node.app.score_chain import ContractScores
from node.app.selling import Seller, load_seller, rates_of
from node.app.stake_chain import contract_stakes
from node.app.tables import SCHEMA_PARTS, database_address
from node.app.telemetry.observation import open_observation
from node.app.telemetry.witness import Witness
from node.app.terms import (
    anchor_terms,
    chain_profile,
    execution_settings,
    market_terms,
    offer_taste,
    party_attitude,
    payment_settings,
)
from node.app.tidying import tidy
from node.app.trading import TradingParts, open_trading, projections
from node.app.watch_chain import watch_parts
from node.arbitration.arbiter import Arbiter, open_arbiter
from node.arbitration.party import Party, open_party
from node.arbitration.room import ArbiterRoom
from node.chain.chain import Chain, open_chain_or_wait
from node.chain.deployment import Deployment, load_deployment
from node.chain.event_index import open_event_index
from node.chain.event_store import SqlEventStore
from node.chain.gateway import Gateway, abis_of, open_gateway
from node.chain.transaction_log import JournaledTransactionLog
from node.chain.transactor import Transactor, open_transactor
from node.config.settings import Settings
from node.execution.pool import WorkerPool, open_worker_pool
from node.networking.directory import Directory
from node.networking.discovery import DiscoverySettings, open_discovery
from node.networking.lookup.finder import open_lookup
from node.networking.mdns.finder import open_finder
from node.networking.mdns.lan import open_lan
from node.networking.network import Network, open_network
from node.networking.peers.store import SqlPeerStore
from node.networking.relay.keeping import open_relaying
from node.networking.settings import NetworkSettings, RelayLimits
from node.operations.clock import Clock, SystemClock
from node.operations.health import HealthRegistry
from node.operations.randomness import RandomSource, SystemRandomSource
from node.operations.tracing import Tracer, open_tracer
from node.payments.payments import Payments, open_payments
from node.reputation.anchoring import Anchors
from node.reputation.conduct import Reputations
from node.storage.health import check_database, check_room
from node.storage.machine_log import select_open_streams
from node.storage.storage import Storage, open_storage
from node.wallet.calls import SigningScope
from node.wallet.host_key import HostKey, open_host_key
from node.wallet.keystore import open_wallet
from node.wallet.signer import Signer, open_signer
from node.wallet.spend_ledger import JournaledSpendLedger
from protocol.errors import ConfigError
from protocol.identity import Address
from protocol.node_record import NodeBody
from protocol.task.engine import ENGINE_DIGEST
from protocol.units import UnixTime

MIB: Final = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Money:
    """The payments, what else speaks to the contracts, and what goes to court; None on a network without one."""

    payments: Payments
    transactor: Transactor
    gateway: Gateway
    contracts: ContractChain
    bench: BenchDesk | None
    advocacy: Advocacy | None


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
        tracer = await _open_tracer(stack, settings)
        witness = Witness(clock, chance, tracer.record if tracer else None)
        base = await _open_base(stack, settings, password, clock, chance, witness)
        network, directory, peers = await _open_network(stack, base)
        pool = await stack.enter_async_context(
            open_worker_pool(
                execution_settings(settings),
                cache_dir=settings.node.data_dir / "modules",
                work_dir=settings.node.data_dir / "runs",
            )
        )
        seller = await load_seller(settings, pool)
        money = await _open_payments(stack, base, peers)
        anchors = await _open_anchors(stack, base, peers, money)
        node = await _open_market(stack, base, network, directory, peers, pool, seller, money, anchors, stop)
        await stack.enter_async_context(open_observation(node, witness.instruments, tracer))
        yield node


async def _open_tracer(stack: AsyncExitStack, settings: Settings) -> Tracer | None:
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


async def _open_base(
    stack: AsyncExitStack, settings: Settings, password: str, clock: Clock, chance: RandomSource, witness: Witness
) -> _Base:
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
    return _Base(
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


async def _open_network(stack: AsyncExitStack, base: _Base) -> tuple[Network, Directory, WalletPeers]:
    settings, clock = base.settings.network, base.clock
    chance = system_random.Random(base.random.bytes(32))  # noqa: S311 - for the mesh, not for secrets
    network = await stack.enter_async_context(
        open_network(
            NetworkSettings(
                listen=(f"/ip4/{settings.listen_host}/tcp/{settings.listen_port}",) if settings.listen else (),
                announce=settings.advertise,
                max_connections=settings.max_peers,
                upload_bytes_per_s=settings.upload_mib_s * MIB,
                upload_bytes_per_s_per_peer=settings.upload_mib_s_per_peer * MIB,
                download_bytes_per_s=settings.download_mib_s * MIB,
                download_bytes_per_s_per_peer=settings.download_mib_s_per_peer * MIB,
                reachable=settings.reachable,
                relay=RelayLimits(bytes_per_s=settings.relay_mib_s * MIB) if settings.relay else None,
            ),
            base.host_key.seed.reveal(),
            clock=clock.unix_time,
            random=chance,
        )
    )
    sells = base.settings.provider.enabled
    own = OwnRecord(
        base.signer,
        base.host_key.public_key,
        clock,
        lambda: NodeBody(
            addresses=network.record_addresses,
            engines=(ENGINE_DIGEST,) if sells else (),
            rates=rates_of(base.settings.provider.prices) if sells else None,
        ),
    )
    directory = Directory(base.deployment.market_domain, clock.unix_time)
    discovery = await stack.enter_async_context(
        open_discovery(
            network,
            directory,
            DiscoverySettings(bootstrap=settings.bootstrap),
            own=own,
            random=chance,
            store=SqlPeerStore(base.storage),
            clock=clock.unix_time,
        )
    )
    await stack.enter_async_context(open_relaying(network, random=chance, changed=discovery.renew))
    if settings.mdns:
        lan = await stack.enter_async_context(open_lan(settings.listen_host))
        await stack.enter_async_context(open_finder(network, lan, random=chance))
    network.serve_blobs(GrantedBlobs(base.storage, directory))
    finder = await stack.enter_async_context(open_lookup(network, discovery, random=chance))
    return network, directory, WalletPeers(network, discovery, base.storage, finder=finder)


async def _open_payments(stack: AsyncExitStack, base: _Base, peers: WalletPeers) -> _Money:
    journal, chain, signer = base.storage.journal, base.chain, base.signer
    transactor = await stack.enter_async_context(
        open_transactor(
            chain,
            signer,
            JournaledTransactionLog(journal, base.deployment.chain_id, signer.address),
            abis_of(base.deployment),
        )
    )
    index = await stack.enter_async_context(open_event_index(chain, SqlEventStore(base.storage)))
    gateway = open_gateway(chain, transactor)
    court = contract_court(chain, index, gateway, signer.address, base.storage.cursors)
    advocacy = await open_advocacy(base.storage, base.clock, signer, court, base.witness.instruments.on_dispute)
    contracts = ContractChain(chain, index, gateway, signer.address, base.storage.cursors)
    payments = await stack.enter_async_context(
        open_payments(
            storage=base.storage,
            chain=contracts,
            wallet=signer,
            peers=peers,
            clock=base.clock,
            settings=payment_settings(base.settings),
            chain_id=base.deployment.chain_id,
            judge=make_judge(base.storage, base.clock, advocacy.litigant.contest)
            if advocacy is not None
            else make_judge(base.storage, base.clock),
            stake_chain=contract_stakes(chain, gateway),
            watch=watch_parts(base.settings, gateway, signer),
            on_flow=base.witness.instruments.on_flow,
        )
    )
    timeout_s = base.settings.payments.confirm_timeout_s
    return _Money(
        payments=payments,
        transactor=transactor,
        gateway=gateway,
        contracts=contracts,
        bench=bench_desk(chain, index, gateway, signer.address, timeout_s=timeout_s),
        advocacy=advocacy,
    )


async def _open_anchors(stack: AsyncExitStack, base: _Base, peers: WalletPeers, money: _Money) -> Anchors | None:
    """Open the sheets of scores; None on a network without the contract that holds their roots."""
    if money.gateway.reputation is None:
        return None
    storage = base.storage
    opinions = Reputations(storage.journal, storage.read)

    async def open_streams(prefix: str) -> tuple[str, ...]:
        return await storage.read.query(lambda connection: select_open_streams(connection, prefix))

    async def scores(limit: int) -> Mapping[Address, int]:
        return {each.provider: each.reputation for each in await opinions.all(limit)}

    anchors = Anchors(
        journal=storage.journal,
        open_streams=open_streams,
        chain=ContractScores(base.chain, money.gateway.reputation, money.contracts.is_gas_cheap),
        peers=peers,
        wallet=base.signer.address,
        clock=base.clock,
        terms=anchor_terms(base.settings),
        opinions=scores,
    )
    await anchors.start()
    nursery = await stack.enter_async_context(trio.open_nursery())
    stack.callback(nursery.cancel_scope.cancel)
    nursery.start_soon(anchors.run)
    return anchors


async def _open_arbiter(
    stack: AsyncExitStack, base: _Base, peers: WalletPeers, court: ContractCourt | None, sandbox: WasmSandbox
) -> Arbiter | None:
    """Judge, if the operator wants to."""
    if not base.settings.arbiter.enabled:
        return None
    if court is None:
        raise ConfigError(
            "arbiter.enabled is true, and this network has no court",
            advice="set it to false, or name a deployment with a court in chain.deployments",
        )
    storage = base.storage

    async def open_streams(prefix: str) -> tuple[str, ...]:
        return await storage.read.query(lambda connection: select_open_streams(connection, prefix))

    room = ArbiterRoom(
        court=court,
        peers=peers,
        signing=base.signer,
        runner=SandboxRunner(sandbox),
        clock=base.clock,
        random=base.random,
        block_time_s=base.chain.profile.block_time_s,
    )
    return await stack.enter_async_context(open_arbiter(room, storage.journal, open_streams, storage.cursors))


async def _open_market(
    stack: AsyncExitStack,
    base: _Base,
    network: Network,
    directory: Directory,
    peers: WalletPeers,
    pool: WorkerPool,
    seller: Seller,
    money: _Money,
    anchors: Anchors | None,
    stop: Callable[[], None],
) -> Node:
    payments, advocacy = money.payments, money.advocacy
    court_terms = advocacy.terms if advocacy is not None else None
    settings, clock, storage, signer = base.settings, base.clock, base.storage, base.signer
    witness, payments = base.witness, money.payments
    domain = base.deployment.market_domain
    keep_s = settings.storage.keep_results_h * 3600
    sandbox = WasmSandbox(
        pool,
        storage.blobs,
        keep_until=lambda: UnixTime(clock.now() + keep_s),
        max_wall_s=float(settings.execution.max_wall_s),
        patience_cpu_s=seller.patience_cpu_s,
    )
    trading = await stack.enter_async_context(
        open_trading(
            TradingParts(
                domain=domain,
                storage=storage,
                signing=signer,
                peers=peers,
                payer=payments.payer,
                payee=payments.payee,
                sandbox=sandbox,
                clock=clock,
                random=base.random,
                terms=market_terms(settings, base.chain, court_terms),
                taste=offer_taste(settings, base.chain, court_terms),
                selling=seller.terms if settings.provider.enabled else None,
                workers=settings.provider.worker_count,
                channel_rail=base.deployment.payment_channel,
                stakes=payments.stakes,
                patience_s=settings.requester.patience_s,
                host=socket.gethostname()[:128],
                on_purchase=witness.on_purchase_event,
                on_delivery=witness.on_delivery_event,
                on_submitted=witness.on_task_submitted,
                on_taken=witness.on_award_taken,
                on_auction=witness.instruments.on_auction_event,
                on_bidding=witness.instruments.on_bidding_step,
                court=advocacy.litigant if advocacy is not None else None,
            )
        )
    )
    court = advocacy.court if advocacy is not None else None
    arbiter = await _open_arbiter(stack, base, peers, court, sandbox)
    party: Party | None = None
    if advocacy is not None:
        attitude = party_attitude(settings, base.chain, advocacy.terms)
        party = await stack.enter_async_context(open_party(advocacy.room(peers, payments.payer.escrows, attitude)))
    health = HealthRegistry(clock)
    health.register("disk", lambda: check_room(settings.node.data_dir, storage.blobs))
    health.register("database", lambda: check_database(storage.writer))
    nursery = await stack.enter_async_context(trio.open_nursery())
    stack.callback(nursery.cancel_scope.cancel)
    nursery.start_soon(tidy, storage, clock, settings.storage.keep_history_d)
    return Node(
        settings=settings,
        started_at=clock.now(),
        domain=domain,
        clock=clock,
        health=health,
        storage=storage,
        signer=signer,
        chain=base.chain,
        transactor=money.transactor,
        anchors=anchors,
        network=network,
        directory=directory,
        pool=pool,
        sandbox=sandbox,
        gossip=trading.gossip,
        payments=payments,
        bench=money.bench,
        requester=trading.requester,
        provider=trading.provider,
        arbiter=arbiter,
        party=party,
        seller=seller,
        stop=stop,
    )
