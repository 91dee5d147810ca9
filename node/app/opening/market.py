"""The market's two sides, the arbiter, the parties of cases, and the node of them all."""

import socket
from collections.abc import Callable
from contextlib import AsyncExitStack

import trio

from node.app.court_chain import ContractCourt
from node.app.known_sellers import KnownSellers
from node.app.node import Node
from node.app.opening.base import Base
from node.app.opening.money import Money
from node.app.opening.records import Records
from node.app.ordering import make_ordering
from node.app.peers import WalletPeers
from node.app.rerunning import SandboxRunner
from node.app.sandbox import WasmSandbox
from node.app.selling import Seller
from node.app.terms import (
    market_terms,
    offer_taste,
    party_attitude,
)
from node.app.tidying import tidy
from node.app.trading import TradingParts, open_trading
from node.arbitration.arbiter import Arbiter, open_arbiter
from node.arbitration.ordering import Ordering
from node.arbitration.party import Party, open_party
from node.arbitration.room import ArbiterRoom
from node.execution.pool import WorkerPool
from node.networking.directory import Directory
from node.networking.network import Network
from node.operations.health import HealthRegistry
from node.storage.health import check_database, check_room
from protocol.errors import ConfigError
from protocol.units import BasisPoints, UnixTime


async def _open_arbiter(
    stack: AsyncExitStack, base: Base, peers: WalletPeers, court: ContractCourt | None, sandbox: WasmSandbox
) -> Arbiter | None:
    """Judge, if the operator wants to."""
    if not base.settings.arbiter.enabled:
        return None
    if court is None:
        raise ConfigError(
            "arbiter.enabled is true, and this network has no court",
            advice="set it to false, or name a deployment with a court in chain.deployments",
        )
    room = ArbiterRoom(
        court=court,
        peers=peers,
        signing=base.signer,
        runner=SandboxRunner(sandbox, base.storage.blobs),
        clock=base.clock,
        random=base.random,
        block_time_s=base.chain.profile.block_time_s,
    )
    return await stack.enter_async_context(
        open_arbiter(room, base.storage.journal, base.open_streams, base.storage.cursors)
    )


async def open_market(
    stack: AsyncExitStack,
    base: Base,
    network: Network,
    directory: Directory,
    peers: WalletPeers,
    pool: WorkerPool,
    seller: Seller,
    money: Money,
    records: Records,
    stop: Callable[[], None],
) -> Node:
    """Take up every auction, purchase, delivery and case, and trade."""
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
                sellers=KnownSellers(directory),
                hiring_bps=BasisPoints(settings.requester.third_node_bps),
                on_purchase=witness.on_purchase_event,
                on_copies_over=witness.on_copies_over,
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
    ordering: Ordering | None = None
    if advocacy is not None:
        rehearsal = advocacy.equip(peers, SandboxRunner(sandbox, storage.blobs))
        room = advocacy.room(peers, payments, party_attitude(settings, base.chain, advocacy.terms))
        party = await stack.enter_async_context(open_party(room))
        ordering = make_ordering(advocacy, room, party, rehearsal, money.gateway)
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
        anchors=records.anchors,
        feedback=records.feedback,
        registry=records.registry,
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
        ordering=ordering,
        seller=seller,
        stop=stop,
    )
