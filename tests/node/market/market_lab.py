"""Several market nodes in one process: real services, journals and blob stores on a virtual clock.

What carries bytes, holds money and runs WASM has tests of its own; here they are small fakes with state, so that the
conversation between requester and providers can be bent message by message.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import trio
from blake3 import blake3

from node.app.telemetry.witness import Witness
from node.app.trading import TradingParts, open_trading, projections
from node.market.delivery_run import DeliveryContext
from node.market.drafting import MarketTerms
from node.market.gossip import MarketGossip
from node.market.ports import Asked, PartRun, Sellers
from node.market.provider import Provider
from node.market.purchase_run import PurchaseContext
from node.market.quoting import SellingTerms
from node.market.requester import Requester
from node.market.wish import Wish
from node.operations.clock import TrioClock
from node.operations.randomness import SeededRandomSource
from node.storage.blocking import in_line
from node.storage.storage import Storage, open_storage
from protocol.errors import ProtocolError, StoaError, TransientError
from protocol.identity import ZERO_ADDRESS, Address, ContentDigest, Digest, PeerId
from protocol.market.objects import AuctionFormat, Award, Offer
from protocol.market.offer import OfferTaste
from protocol.settlement.rail import Rail, RailChoice
from protocol.signing.ecdsa import address_of
from protocol.signing.eip712 import Domain
from protocol.signing.keccak import keccak256
from protocol.signing.signed import Signed, sign_struct
from protocol.task import delivery, purchase
from protocol.task.manifest import Blob, Limits, Manifest, Part
from protocol.task.messages import VoucherNotice
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.task.pricing import Rates, price_at_limits
from protocol.task.verification import Trust
from protocol.units import Amount, BasisPoints, Seconds, UnixTime

T = TypeVar("T")
C = TypeVar("C")
E = TypeVar("E")

DOMAIN = Domain(chain_id=31337, verifying_contract=Address(b"\xee" * 20))
TOKEN = Address(b"\x70" * 20)
ENGINE = keccak256(b"test engine")
EPOCH = UnixTime(1_800_000_000)
LATENCY_S = 0.01
PART_S = 1.0
RATES = Rates(start=Amount(1_000), gfuel=Amount(2_000), mib_gfuel=Amount(2), mib_in=Amount(100), mib_out=Amount(200))


class Unreachable(TransientError):
    """The fake network has no such node now."""


@dataclass(kw_only=True)
class Hub:
    """The network: who is up, and what may be done to messages on their way."""

    nodes: dict[Address, "FakePeers"] = field(default_factory=dict[Address, "FakePeers"])
    nursery: trio.Nursery
    clock: TrioClock = field(default_factory=lambda: TrioClock.starting_at(EPOCH))
    is_lost: Callable[[Address, Address | None, str], bool] = lambda _source, _target, _what: False
    twist: Callable[[Address, str, bytes], bytes] = lambda _source, _what, data: data
    serve: Callable[[Address, bytes], bytes | None] = lambda _source, data: data
    """What a node serves instead of a blob; None: nothing."""
    purchases: dict[Digest, list[purchase.Event]] = field(default_factory=dict[Digest, list[purchase.Event]])
    """What every requester journaled, by offer; kept over restarts."""
    deliveries: dict[Digest, list[delivery.Event]] = field(default_factory=dict[Digest, list[delivery.Event]])
    """What every provider journaled, by award."""
    jobs: dict[Digest, delivery.Job] = field(default_factory=dict[Digest, delivery.Job])

    def note_purchase(self, context: PurchaseContext, event: purchase.Event) -> None:
        self.purchases.setdefault(context.offer_id, []).append(event)

    def note_delivery(self, context: DeliveryContext, event: delivery.Event) -> None:
        self.jobs[context.job.award_id] = context.job
        self.deliveries.setdefault(context.job.award_id, []).append(event)


class FakePeers:
    """One node's place in the hub."""

    def __init__(self, hub: Hub, wallet: Address, storage: Storage) -> None:
        self._hub, self._wallet, self._storage = hub, wallet, storage
        self._handlers: dict[str, Callable[[PeerId, bytes], Awaitable[bytes]]] = {}
        self._topics: dict[str, tuple[Callable[[bytes], bool], Callable[[bytes], Awaitable[None]]]] = {}

    @property
    def methods(self) -> tuple[str, ...]:
        """What this node answers."""
        return tuple(self._handlers)

    async def call(self, wallet: Address, method: str, body: bytes) -> bytes:
        await trio.sleep(LATENCY_S)
        target = self._hub.nodes.get(wallet)
        if target is None or self._hub.is_lost(self._wallet, wallet, method):
            raise Unreachable(f"{method} did not arrive")
        handler = target._handlers.get(method)
        if handler is None:
            raise ProtocolError(f"no {method} there")
        answer = await handler(peer_name(self._wallet), self._hub.twist(self._wallet, method, body))
        await trio.sleep(LATENCY_S)
        return answer

    def serve(self, method: str, handler: Callable[[PeerId, bytes], Awaitable[bytes]], *, max_request: int) -> None:
        assert max_request > 0
        self._handlers[method] = handler

    async def publish(self, topic: str, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        for wallet, node in self._hub.nodes.items():
            if wallet != self._wallet and not self._hub.is_lost(self._wallet, wallet, topic):
                twisted = self._hub.twist(self._wallet, topic, data)
                self._hub.nursery.start_soon(node._hear, topic, twisted)

    def subscribe(
        self, topic: str, *, judge: Callable[[bytes], bool], deliver: Callable[[bytes], Awaitable[None]]
    ) -> None:
        self._topics[topic] = (judge, deliver)

    def wallet_of(self, peer: PeerId) -> Address | None:
        return next((wallet for wallet in self._hub.nodes if peer_name(wallet) == peer), None)

    def is_reachable(self, wallet: Address) -> bool:
        return wallet in self._hub.nodes

    async def fetch(self, wallet: Address, digest: ContentDigest, *, max_bytes: int, keep_until: UnixTime) -> None:
        await trio.sleep(LATENCY_S)
        if await self._storage.blobs.has(digest):
            return
        source = self._hub.nodes.get(wallet)
        if source is None:
            raise Unreachable("the holder is away")
        if not await source._storage.access.is_granted(digest, self._wallet):
            raise Unreachable("not served")
        kept = await source._storage.blobs.read(digest, max_bytes=1 << 20)
        data = self._hub.serve(wallet, kept)
        if data is None:
            raise Unreachable("not served")
        async with self._storage.blobs.open_writer(max_bytes=max_bytes, expected=digest) as writer:
            await writer.write(data)
            await writer.commit(keep_until=keep_until)

    async def grant(self, digest: ContentDigest, wallet: Address, until: UnixTime) -> None:
        await self._storage.access.grant(digest, wallet, until)

    async def _hear(self, topic: str, data: bytes) -> None:
        await trio.sleep(LATENCY_S)
        if self._hub.nodes.get(self._wallet) is not self:
            return  # gone meanwhile
        judge, deliver = self._topics[topic]
        try:
            relayed = judge(data)
        except ProtocolError:
            return
        if relayed:
            await deliver(data)


def peer_name(wallet: Address) -> PeerId:
    """The host of a wallet, in this network."""
    return PeerId(wallet.hex())


class FakeSigning:
    """A wallet without caps."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.address = address_of(key)

    def sign(self, value: T) -> Signed[T]:
        return sign_struct(self._key, DOMAIN, value)

    async def sign_award(self, award: Award) -> Signed[Award]:
        await trio.lowlevel.checkpoint()
        return sign_struct(self._key, DOMAIN, award)

    async def sign_acceptance(self, acceptance: Acceptance, award: Award) -> Signed[Acceptance]:
        await trio.lowlevel.checkpoint()
        assert acceptance.due <= award.price
        return sign_struct(self._key, DOMAIN, acceptance)


@dataclass(kw_only=True)
class Bank:
    """Everybody's money. A hold leaves the requester's purse, a payment reaches the provider's."""

    purses: dict[Address, int] = field(default_factory=dict[Address, int])
    held: dict[Digest, int] = field(default_factory=dict[Digest, int])
    paid: dict[Digest, int] = field(default_factory=dict[Digest, int])
    refuses: bool = False

    def total(self) -> int:
        return sum(self.purses.values()) + sum(self.held.values())


@dataclass(kw_only=True)
class FakeStakes:
    """What one node sees of everybody's stake; `away` while it can't see the chain."""

    free: dict[Address, int] = field(default_factory=dict[Address, int])
    away: bool = False

    async def free_of(self, owner: Address) -> Amount:
        await trio.sleep(LATENCY_S)
        if self.away:
            raise Unreachable("the chain is away")
        return Amount(self.free.get(owner, 0))


class FakePayerRails:
    """The requester's side of the bank."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank

    async def plan(self, provider: Address | None, price: Amount, offer: Offer) -> RailChoice:
        await trio.lowlevel.checkpoint()
        return RailChoice(rail=Rail.CHANNEL, reason="the only rail here", top_up=Amount(0))

    def contract_of(self, rail: Rail) -> Address:
        assert rail is Rail.CHANNEL
        return DOMAIN.verifying_contract

    async def prepare(self, provider: Address, price: Amount, offer: Offer) -> Digest:
        assert price <= offer.budget
        await trio.sleep(LATENCY_S)
        return keccak256(offer.requester + provider)

    async def fund(self, award: Signed[Award], award_id: Digest) -> VoucherNotice | None:
        await trio.sleep(LATENCY_S)
        if self._bank.refuses:
            raise ProtocolError("the purse is empty")
        if award_id not in self._bank.held:
            self._bank.purses[award.value.requester] -= award.value.price
            self._bank.held[award_id] = award.value.price
        return None

    async def wait_backed(self, award: Signed[Award], award_id: Digest) -> None:
        await trio.lowlevel.checkpoint()

    async def pay(
        self, award: Signed[Award], award_id: Digest, acceptance: Signed[Acceptance], *, last: bool
    ) -> VoucherNotice | None:
        await trio.lowlevel.checkpoint()
        before = self._bank.paid.get(award_id, 0)
        more = acceptance.value.due - before
        if more > 0:
            self._bank.held[award_id] -= more
            self._bank.paid[award_id] = acceptance.value.due
            self._bank.purses[award.value.provider] += more
        assert last or self._bank.held[award_id] >= 0
        return None

    async def close(self, award: Signed[Award], award_id: Digest) -> VoucherNotice | None:
        await trio.lowlevel.checkpoint()
        rest = self._bank.held.pop(award_id, 0)
        self._bank.purses[award.value.requester] += rest
        return None


class FakePayeeRails:
    """The provider's side of the bank."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self.settled: list[Digest] = []

    async def receive_funding(self, award: Signed[Award], award_id: Digest, notice: VoucherNotice | None) -> None:
        await trio.lowlevel.checkpoint()

    async def wait_funded(self, award: Signed[Award], award_id: Digest) -> None:
        while self._bank.held.get(award_id, 0) < award.value.price:
            await trio.sleep(LATENCY_S)

    async def receive_payment(
        self, award: Signed[Award], award_id: Digest, acceptance: Signed[Acceptance], notice: VoucherNotice | None
    ) -> None:
        await trio.lowlevel.checkpoint()
        if self._bank.paid.get(award_id, 0) < acceptance.value.due:
            raise ProtocolError("the acceptance came without its money")

    async def note_start(self, award: Signed[Award], award_id: Digest, start: Signed[Start]) -> None:
        await trio.lowlevel.checkpoint()

    async def note_receipt(self, award: Signed[Award], award_id: Digest, receipt: Signed[Receipt]) -> None:
        await trio.lowlevel.checkpoint()

    async def settle(
        self,
        award: Signed[Award],
        award_id: Digest,
        start: Signed[Start] | None,
        accepted: Signed[Acceptance] | None,
        unpaid: Signed[Receipt] | None,
    ) -> None:
        await trio.lowlevel.checkpoint()
        self.settled.append(award_id)


class FakeSandbox:
    """Takes a virtual second a part and writes what it was asked."""

    engine = ENGINE

    def __init__(self, storage: Storage, keep_until: UnixTime) -> None:
        self._storage, self._keep_until = storage, keep_until
        self.runs: list[int] = []
        self.outcome = 0
        self.writes: Callable[[int], bytes] = output_of
        self.fuel = 600_000_000
        self.fails: StoaError | None = None
        self.part_s = PART_S
        self.seen: list[Manifest] = []
        """What parts were run as: under a test their clock and seed are the provider's."""
        self.tests: list[bytes] = []
        """Outputs that were tested here."""
        self.passes: Callable[[bytes], int] = lambda _output: 0
        """How a test ends."""
        self.fails_tests: StoaError | None = None

    async def prepare(self, manifest: Manifest) -> None:
        assert await self._storage.blobs.has(manifest.module.digest)

    async def run(self, manifest: Manifest, part: int, on_progress: Callable[[int, int], None]) -> PartRun:
        if manifest.name == "test":
            return await self._test(manifest)
        self.runs.append(part)
        self.seen.append(manifest)
        for blob in (manifest.module, *manifest.inputs_of(part)):
            assert await self._storage.blobs.has(blob.digest)
        for step in range(4):
            await trio.sleep(self.part_s / 4)
            on_progress(step, 0)
        if self.fails is not None:
            raise self.fails
        output, logs = self.writes(part), b""
        return PartRun(
            outcome=self.outcome,
            output=await self._storage.blobs.put(output, keep_until=self._keep_until),
            output_bytes=len(output),
            logs=await self._storage.blobs.put(logs, keep_until=self._keep_until),
            log_bytes=0,
            fuel=self.fuel + part,
            peak_mib=2,
            bytes_in=sum(blob.size for blob in manifest.inputs_of(part)),
            bytes_out=len(output),
            cpu_s=self.part_s,
            wall_s=self.part_s,
        )

    async def _test(self, manifest: Manifest) -> PartRun:
        if self.fails_tests is not None:
            raise self.fails_tests
        (part,) = manifest.parts
        assert part.stdin is not None
        for blob in (manifest.module, *manifest.inputs_of(0)):
            assert await self._storage.blobs.has(blob.digest)
        output = await self._storage.blobs.read(part.stdin.digest, max_bytes=part.stdin.size)
        self.tests.append(output)
        await trio.sleep(0.1)
        nothing = await self._storage.blobs.put(b"", keep_until=self._keep_until)
        return PartRun(
            outcome=self.passes(output),
            output=nothing,
            output_bytes=0,
            logs=nothing,
            log_bytes=0,
            fuel=1_000,
            peak_mib=1,
            bytes_in=sum(blob.size for blob in manifest.inputs_of(0)),
            bytes_out=0,
            cpu_s=0.1,
            wall_s=0.1,
        )

    def free_workers(self) -> int:
        return 1


def both(first: Callable[[C, E], None], second: Callable[[C, E], None]) -> Callable[[C, E], None]:
    """Return what tells two."""

    def call(context: C, event: E) -> None:
        first(context, event)
        second(context, event)

    return call


def output_of(part: int) -> bytes:
    """What part number `part` writes."""
    return b"result of part %d" % part


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
