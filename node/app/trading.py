"""The market's two sides, put together over whatever carries their messages, holds their money and runs their parts.

A node opens this over sockets, contracts and a sandbox; a simulation over a network, a chain and a clock of its own.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from node.feedback.paid_table import PaidAwards
from node.market.auction_run import AuctionRoom
from node.market.auditing import LocalReferee, ReceiptAuditor
from node.market.bidding_run import BidderRoom
from node.market.case_book import CaseBook
from node.market.delivery_run import DeliveryContext, ProviderRoom
from node.market.drafting import MarketTerms
from node.market.earning_table import EarningTable
from node.market.gossip import GossipPeers, MarketGossip
from node.market.misconduct import MisconductBook
from node.market.ports import Court, PayeeRails, PayerRails, Peers, Sandbox, Sellers, Signing, Stakes
from node.market.provider import Provider, ProviderParts, open_provider
from node.market.purchase_run import PurchaseContext, RequesterRoom
from node.market.quoting import SellingTerms
from node.market.requester import Requester, RequesterParts, open_requester
from node.market.task_table import TaskTable, find_purchase_of_award
from node.operations.clock import Clock
from node.operations.randomness import RandomSource
from node.reputation.conduct import ConductTable, Reputations
from node.storage.machine_log import OpenStreams, select_open_streams
from node.storage.projections import Projection
from node.storage.storage import Storage
from protocol.identity import Address, Digest
from protocol.market import auction_events
from protocol.market.bidding_states import BiddingState
from protocol.market.offer import OfferTaste
from protocol.signing.eip712 import Domain
from protocol.task import delivery, purchase
from protocol.units import BasisPoints


class TradingPeers(Peers, GossipPeers, Protocol):
    """Other nodes, as both sides and their conversation need them."""


def _unobserved(*_told: object) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingParts:
    """What trade rests on.

    Attributes:
        storage: Opened with `projections()`.
        taste: Which offers are read at all.
        selling: What is sold; None sells nothing.
        workers: Parts that can run at once.
        channel_rail: The channel contract, whose holds nobody can enforce without an arbiter.
        stakes: The stakes behind bids; None on a network without.
        patience_s: How long a requester waits for a silent provider.
        host: What receipts' notes call this machine.
        on_purchase, on_delivery: Told of each step that is durable.
        on_submitted, on_taken: Told of each purchase and delivery that begins, not of those taken up again.
        on_copies_over: Told how a task in several copies ended.
        on_auction: Told of each step of an auction of ours.
        on_bidding: Told of each state of a bid of ours, with the one before it; None before a new one.
        court: Where refuted receipts are taken to; None keeps them, with their evidence.
        sellers: Whom audits may hire that this node can't do itself; None hires nobody.
        hiring_bps: What such hires may cost together, of the budget of the task that is audited.
    """

    domain: Domain
    storage: Storage
    signing: Signing
    peers: TradingPeers
    payer: PayerRails
    payee: PayeeRails
    sandbox: Sandbox
    clock: Clock
    random: RandomSource
    terms: MarketTerms
    taste: OfferTaste
    selling: SellingTerms | None
    workers: int
    channel_rail: Address
    patience_s: float
    host: str
    stakes: Stakes | None = None
    on_purchase: Callable[[PurchaseContext, purchase.Event], None]
    on_delivery: Callable[[DeliveryContext, delivery.Event], None]
    on_submitted: Callable[[PurchaseContext], None] = _unobserved
    on_copies_over: Callable[[PurchaseContext, type[purchase.State]], None] = _unobserved
    on_taken: Callable[[DeliveryContext], None] = _unobserved
    on_auction: Callable[[auction_events.AuctionEvent], None] = _unobserved
    on_bidding: Callable[[BiddingState | None, BiddingState], None] = _unobserved
    court: Court | None = None
    sellers: Sellers | None = None
    hiring_bps: BasisPoints = BasisPoints(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trading:
    """Both sides, running."""

    gossip: MarketGossip
    requester: Requester
    provider: Provider


_PROJECTIONS: Final[tuple[type[Projection], ...]] = (OpenStreams, TaskTable, EarningTable, ConductTable, PaidAwards)


def projections() -> tuple[Projection, ...]:
    """Return the tables that trade reads, for `open_storage`."""
    return tuple(table() for table in _PROJECTIONS)


@asynccontextmanager
async def open_trading(parts: TradingParts) -> AsyncGenerator[Trading, None]:
    """Take up every auction, purchase and delivery that is not over, and trade until the block ends."""
    storage = parts.storage
    gossip = MarketGossip(parts.domain, parts.signing.address, parts.peers, parts.clock, parts.stakes)

    async def open_streams(prefix: str) -> tuple[str, ...]:
        return await storage.read.query(lambda connection: select_open_streams(connection, prefix))

    async with AsyncExitStack() as stack:
        cases = CaseBook(storage.journal, open_streams, parts.clock)
        await cases.close_old()
        court = parts.court or cases
        requester = await stack.enter_async_context(
            open_requester(_requester_parts(parts, gossip, open_streams, court))
        )
        provider = await stack.enter_async_context(
            open_provider(_provider_parts(parts, gossip, open_streams), parts.selling)
        )
        misconduct = MisconductBook(gossip, storage.journal, open_streams)
        await misconduct.recall()
        gossip.join()
        nursery = await stack.enter_async_context(trio.open_nursery())
        stack.callback(nursery.cancel_scope.cancel)
        nursery.start_soon(gossip.tidy)
        nursery.start_soon(gossip.pass_on_early)
        nursery.start_soon(gossip.weigh_protests)
        nursery.start_soon(misconduct.keep)
        yield Trading(gossip=gossip, requester=requester, provider=provider)


class _OpenStreamsOf(Protocol):
    async def __call__(self, prefix: str) -> tuple[str, ...]: ...


def _requester_parts(
    parts: TradingParts, gossip: MarketGossip, open_streams: _OpenStreamsOf, court: Court
) -> RequesterParts:
    storage = parts.storage

    async def find_purchase(award_id: Digest) -> str | None:
        return await storage.read.query(lambda connection: find_purchase_of_award(connection, award_id))

    referee = LocalReferee(parts.sandbox, parts.clock)
    return RequesterParts(
        referee=referee,
        sellers=parts.sellers,
        hiring_bps=parts.hiring_bps,
        auctions=AuctionRoom(
            signing=parts.signing,
            gossip=gossip,
            peers=parts.peers,
            rails=parts.payer,
            clock=parts.clock,
            reputations=Reputations(storage.journal, storage.read),
            random=parts.random,
            stakes=parts.stakes,
            on_event=parts.on_auction,
        ),
        purchases=RequesterRoom(
            domain=parts.domain,
            signing=parts.signing,
            peers=parts.peers,
            blobs=storage.blobs,
            rails=parts.payer,
            auditor=ReceiptAuditor(referee, None, storage.blobs, parts.clock),
            court=court,
            clock=parts.clock,
            patience_s=parts.patience_s,
            on_event=parts.on_purchase,
            on_opened=parts.on_submitted,
            on_copies_over=parts.on_copies_over,
        ),
        gossip=gossip,
        journal=storage.journal,
        open_streams=open_streams,
        find_purchase=find_purchase,
        clock=parts.clock,
        random=parts.random,
        terms=parts.terms,
    )


def _provider_parts(parts: TradingParts, gossip: MarketGossip, open_streams: _OpenStreamsOf) -> ProviderParts:
    return ProviderParts(
        bidders=BidderRoom(signing=parts.signing, gossip=gossip, clock=parts.clock, on_step=parts.on_bidding),
        deliveries=ProviderRoom(
            domain=parts.domain,
            signing=parts.signing,
            peers=parts.peers,
            blobs=parts.storage.blobs,
            rails=parts.payee,
            sandbox=parts.sandbox,
            clock=parts.clock,
            random=parts.random,
            host=parts.host,
            on_event=parts.on_delivery,
            on_opened=parts.on_taken,
        ),
        gossip=gossip,
        journal=parts.storage.journal,
        open_streams=open_streams,
        clock=parts.clock,
        random=parts.random,
        taste=parts.taste,
        workers=parts.workers,
        channel_rail=parts.channel_rail,
        stakes=parts.stakes,
    )
