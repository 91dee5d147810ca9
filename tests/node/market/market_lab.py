"""Several market nodes in one process: real services, journals and blob stores on a virtual clock.

What carries bytes, holds money and runs WASM has tests of its own; here they are small fakes with state, so that the
conversation between requester and providers can be bent message by message.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import trio
from blake3 import blake3

from node.app.telemetry.witness import Witness
from node.app.trading import TradingParts, open_trading, projections
from node.market.drafting import MarketTerms
from node.market.gossip import MarketGossip
from node.market.ports import Asked, Sellers
from node.market.provider import Provider
from node.market.quoting import SellingTerms
from node.market.requester import Requester
from node.market.wish import Wish
from node.operations.randomness import SeededRandomSource
from node.storage.blocking import in_line
from node.storage.storage import Storage, open_storage
from protocol.identity import ZERO_ADDRESS, Address, ContentDigest, Digest
from protocol.market.objects import AuctionFormat
from protocol.market.offer import OfferTaste
from protocol.signing.keccak import keccak256
from protocol.task.manifest import Blob, Limits, Manifest, Part
from protocol.task.pricing import Rates, price_at_limits
from protocol.task.verification import Trust
from protocol.units import Amount, BasisPoints, Seconds, UnixTime
from tests.node.market.fake_bank import DOMAIN, TOKEN, Bank, FakePayeeRails, FakePayerRails, FakeSigning, FakeStakes
from tests.node.market.fake_hub import EPOCH, FakePeers, Hub
from tests.node.market.fake_sandbox import ENGINE, FakeSandbox

C = TypeVar("C")
E = TypeVar("E")
RATES = Rates(start=Amount(1_000), gfuel=Amount(2_000), mib_gfuel=Amount(2), mib_in=Amount(100), mib_out=Amount(200))


def both(first: Callable[[C, E], None], second: Callable[[C, E], None]) -> Callable[[C, E], None]:
    """Return what tells two."""

    def call(context: C, event: E) -> None:
        first(context, event)
        second(context, event)

    return call


@dataclass(frozen=True, kw_only=True)
class LabNode:
    """One running node."""

    wallet: Address
    signing: FakeSigning
    peers: FakePeers
    storage: Storage
    gossip: MarketGossip
    requester: Requester
    provider: Provider
    sandbox: FakeSandbox
    payee: FakePayeeRails


@dataclass(kw_only=True)
class Known:
    """What a requester knows of who sells."""

    asked: list[tuple[LabNode, int]] = field(default_factory=list[tuple[LabNode, int]])

    def of(self, manifest: Manifest) -> tuple[Asked, ...]:
        """See `Sellers`."""
        parts = len(manifest.parts)
        return tuple(
            Asked(wallet=node.wallet, price=Amount(price_at_limits(selling(gfuel).rates, manifest, 0, parts)))
            for node, gfuel in self.asked
        )


@asynccontextmanager
async def open_node(
    hub: Hub,
    bank: Bank,
    folder: Path,
    name: str,
    *,
    gfuel: int | None = None,
    payer: FakePayerRails | None = None,
    witness: Witness | None = None,
    terms: MarketTerms | None = None,
    stakes: FakeStakes | None = None,
    sellers: Sellers | None = None,
    engine: Digest = ENGINE,
) -> AsyncGenerator[LabNode, None]:
    """Run a node until the block ends; `gfuel` is what it asks for fuel, None sells nothing."""
    told = witness or Witness(hub.clock, SeededRandomSource(name))
    clock = hub.clock  # one for all: a restart sets nobody's clock back
    random = SeededRandomSource(name)
    signing = FakeSigning(keccak256(name.encode()))
    bank.purses.setdefault(signing.address, 0)
    async with open_storage(folder / name, clock=clock, projections=projections(), run_blocking=in_line) as storage:
        peers = FakePeers(hub, signing.address, storage)
        hub.nodes[signing.address] = peers
        sandbox = FakeSandbox(storage, UnixTime(EPOCH + 10**6))
        sandbox.engine = engine
        payee = FakePayeeRails(bank)
        parts = TradingParts(
            domain=DOMAIN,
            storage=storage,
            signing=signing,
            peers=peers,
            payer=payer or FakePayerRails(bank),
            payee=payee,
            sandbox=sandbox,
            clock=clock,
            random=random,
            terms=terms or market_terms(),
            taste=replace(taste(), stakes=stakes is not None),
            stakes=stakes,
            sellers=sellers,
            hiring_bps=BasisPoints(10_000),
            selling=None if gfuel is None else selling(gfuel),
            workers=1,
            channel_rail=DOMAIN.verifying_contract,
            patience_s=3.0,
            host="lab",
            on_purchase=both(hub.note_purchase, told.on_purchase_event),
            on_delivery=both(hub.note_delivery, told.on_delivery_event),
            on_submitted=told.on_task_submitted,
            on_copies_over=told.on_copies_over,
            on_taken=told.on_award_taken,
            on_auction=told.instruments.on_auction_event,
            on_bidding=told.instruments.on_bidding_step,
        )
        try:
            async with open_trading(parts) as trading:
                try:
                    yield LabNode(
                        wallet=signing.address,
                        signing=signing,
                        peers=peers,
                        storage=storage,
                        gossip=trading.gossip,
                        requester=trading.requester,
                        provider=trading.provider,
                        sandbox=sandbox,
                        payee=payee,
                    )
                finally:
                    hub.nodes.pop(signing.address, None)  # nothing reaches a node that is closing
        finally:
            hub.nodes.pop(signing.address, None)


@asynccontextmanager
async def open_hub() -> AsyncGenerator[Hub, None]:
    """A network without nodes."""
    async with trio.open_nursery() as nursery:
        yield Hub(nursery=nursery)
        nursery.cancel_scope.cancel()


def market_terms() -> MarketTerms:
    return MarketTerms(
        token=TOKEN,
        arbiter=ZERO_ADDRESS,
        liability_bps=BasisPoints(2_000),
        dispute_fee=Amount(0),
        split_bps=BasisPoints(5_000),
        pace=Seconds(10),
        resolve_within=Seconds(30),
    )


def taste() -> OfferTaste:
    return OfferTaste(
        tokens=frozenset((TOKEN,)),
        rails=frozenset((DOMAIN.verifying_contract,)),
        arbiters=frozenset((ZERO_ADDRESS,)),
        min_pace=Seconds(2),
        max_life=Seconds(86_400),
        max_eta=Seconds(3_600),
    )


def selling(gfuel: int) -> SellingTerms:
    rates = Rates(start=Amount(1_000), gfuel=Amount(gfuel), mib_gfuel=Amount(0), mib_in=Amount(0), mib_out=Amount(0))
    return SellingTerms(
        rates=rates,
        memory_mib=1024,
        input_mib=64,
        output_mib=16,
        max_eta_s=600,
        fuel_per_s=500_000_000,
        credit_limit=Amount(1_000_000),
    )


async def make_wish(node: LabNode, *, parts: int = 1, budget: int = 400_000) -> Wish:
    """A task of `parts` parts whose blobs are in the requester's store."""
    keep = UnixTime(EPOCH + 10**6)
    module, data = b"module", b"input of all parts"
    for content in (module, data):
        await node.storage.blobs.put(content, keep_until=keep)
    stdin = Blob(digest=ContentDigest(blake3(data).digest()), size=len(data))
    manifest = Manifest(
        name="lab",
        module=Blob(digest=ContentDigest(blake3(module).digest()), size=len(module)),
        engine=ENGINE,
        limits=Limits(fuel=1_000_000_000, memory_mib=16, output_bytes=1024, log_bytes=1024),
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
        max_eta=Seconds(120),
        format=AuctionFormat.SEALED_SECOND_PRICE,
        w_price=BasisPoints(5_000),
        w_reputation=BasisPoints(3_000),
        w_speed=BasisPoints(2_000),
        max_bidders=16,
        commit_window_s=1.0,
        reveal_window_s=1.0,
        start_within=Seconds(10),
        standby_for_s=600,
    )


async def wait_over(node: LabNode, offer_id: Digest) -> None:
    """Wait until a task is no longer open."""
    while offer_id in node.requester.tasks:
        await trio.sleep(0.1)
