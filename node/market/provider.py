"""The provider's side of the market: bids on what it can run, and delivers what it wins."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

import structlog
import trio

from node.market import bidding_run, delivery_run
from node.market.bidding_run import BidderRoom, BiddingContext, BiddingRun, bidding_machine, check_announced
from node.market.containment import run_contained
from node.market.delivery_run import DELIVERY, DeliveryContext, DeliveryRun, ProviderRoom
from node.market.direct_offers import DirectOffers
from node.market.gossip import MarketGossip
from node.market.ports import NotIntroduced, Stakes
from node.market.quoting import NotWanted, SellingTerms, quote
from node.market.words import printable
from node.operations.clock import Clock
from node.operations.logs import logging_task
from node.operations.randomness import RandomSource
from node.storage.errors import ConcurrentAppend
from node.storage.machine_log import Journal, load_machine, open_machine
from node.storage.restoration import latest_restoration
from protocol.errors import ProtocolError, StoaError, TransientError
from protocol.identity import ZERO_ADDRESS, ZERO_DIGEST, Address, Digest, PeerId
from protocol.market.award import sorted_bid_ids
from protocol.market.bidding_states import Committed, Revealed
from protocol.market.errors import RuleBroken
from protocol.market.messages import AwardAnnouncement, MarketMessage, OfferAnnouncement, RollAnnouncement
from protocol.market.objects import AuctionFormat, Award, Bid, Offer
from protocol.market.offer import CheckedOffer, OfferTaste, check_offer
from protocol.market.transcript import verify_transcript
from protocol.signing.eip712 import digest
from protocol.stake.terms import asks_for_stake, check_backing, liability_of, promise_of
from protocol.task.delivery import Job, Offered
from protocol.task.messages import (
    AWARD_METHOD,
    CANCEL_METHOD,
    FUNDING_METHOD,
    PAYMENT_METHOD,
    SEAL_METHOD,
    AwardNotice,
    CancelNotice,
    FundingNotice,
    PaymentNotice,
    SealNotice,
)
from protocol.task.pricing import highest_part_price, part_price
from protocol.units import Amount, UnixTime, format_amount
from protocol.wire.codec import decode

log = structlog.stdlib.get_logger(__name__)

AWARD_MAX_BYTES: Final = 512 * 1024
NOTICE_MAX_BYTES: Final = 32 * 1024
SWEEP_EVERY_S: Final = 5.0
LONGEST_WINDOW_S: Final = 3600
"""The longest window for commitments that this node bids in; so for long it bids on nothing after a restore."""


class Busy(TransientError):
    """The provider has no worker for this award now; the requester asks again until its `start_by`."""


class UnknownAward(ProtocolError):
    """A message about an award that this provider never took."""


class OpenStreamsOf(Protocol):
    """Finds what a restart has to take up again."""

    async def __call__(self, prefix: str) -> tuple[str, ...]:
        """Return the open streams under `prefix`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderParts:
    """What the service is built from.

    Attributes:
        taste: Which offers are read at all.
        workers: Parts that can run at once.
        channel_rail: The contract whose holds nobody can enforce without an arbiter.
        stakes: None on a network without.
    """

    bidders: BidderRoom
    deliveries: ProviderRoom
    gossip: MarketGossip
    journal: Journal
    open_streams: OpenStreamsOf
    clock: Clock
    random: RandomSource
    taste: OfferTaste
    workers: int
    channel_rail: Address
    stakes: Stakes | None = None


class Provider:
    """Made by `open_provider`."""

    def __init__(self, parts: ProviderParts, nursery: trio.Nursery, terms: SellingTerms | None) -> None:
        self._parts, self._nursery = parts, nursery
        self._domain = parts.deliveries.domain
        self.terms = terms
        """What is sold; None sells nothing. May be changed while running."""
        self.reasons: dict[str, int] = {}
        """Why offers were not bid on, counted."""
        self._forgotten_until = UnixTime(0)
        """Before the node was restored it may have committed to offers whose windows end by then."""
        self._bids: dict[Digest, BiddingRun] = {}
        self._deliveries: dict[Digest, DeliveryRun] = {}
        self._direct = DirectOffers()
        # The same message may arrive by gossip and directly at once; only the first may open a stream.
        self._one_offer, self._one_award = trio.Lock(), trio.Lock()

    @property
    def bids(self) -> dict[Digest, BiddingRun]:
        """Auctions that this node takes part in, by offer."""
        return self._bids

    @property
    def deliveries(self) -> dict[Digest, DeliveryRun]:
        """Awards that are being worked on, by award."""
        return self._deliveries

    @property
    def has_room(self) -> bool:
        """Whether a worker is neither busy nor promised."""
        return self._load() < self._parts.workers

    async def drain(self) -> None:
        """Take no new work, and return when all that was taken is done."""
        self.terms = None
        while self._deliveries:
            await self._parts.clock.sleep(0.2)

    async def start(self) -> None:
        """Take up what a restart interrupted, and begin to listen."""
        restoration = await latest_restoration(self._parts.journal)
        if restoration is not None:
            self._forgotten_until = UnixTime(restoration.restored.at + LONGEST_WINDOW_S)
        for stream in await self._parts.open_streams("bidding/"):
            bidding = BiddingRun(
                self._parts.bidders, await load_machine(self._parts.journal, bidding_machine(self._domain), stream)
            )
            self._bids[bidding.offer_id] = bidding
            self._parts.gossip.follow(bidding.context.announcement, own=False)
            with logging_task(bidding.offer_id):
                self._nursery.start_soon(self._begin, bidding)
        for stream in await self._parts.open_streams("delivery/"):
            machine = await load_machine(self._parts.journal, DELIVERY, stream)
            self._spawn(DeliveryRun(self._parts.deliveries, machine))
        peers = self._parts.deliveries.peers
        peers.serve(AWARD_METHOD, self._on_award, max_request=AWARD_MAX_BYTES)
        peers.serve(FUNDING_METHOD, self._on_funding, max_request=NOTICE_MAX_BYTES)
        peers.serve(PAYMENT_METHOD, self._on_payment, max_request=NOTICE_MAX_BYTES)
        peers.serve(CANCEL_METHOD, self._on_cancel, max_request=NOTICE_MAX_BYTES)
        peers.serve(SEAL_METHOD, self._on_seal, max_request=NOTICE_MAX_BYTES)
        self._parts.gossip.listen(self._on_message)
        self._nursery.start_soon(self._sweep)

    async def _sweep(self) -> None:
        """Let go of auctions whose offers have ended: until then this node may be called as a standby."""
        while True:
            now = self._parts.clock.now()
            for offer_id, run in list(self._bids.items()):
                if now > run.context.announcement.signed.value.expires:
                    try:
                        await run.close()
                    except TransientError as error:  # a full disk: the next sweep tries again
                        log.warning("bidding.not_closed", offer=offer_id.hex(), reason=str(error))
                    else:
                        del self._bids[offer_id]
            self._direct.forget_expired(now)
            await self._parts.clock.sleep(SWEEP_EVERY_S)

    async def _on_message(self, message: MarketMessage) -> None:
        match message:
            case OfferAnnouncement():
                async with self._one_offer:
                    await self._consider(message)
            case RollAnnouncement(signed=signed):
                run = self._bids.get(signed.value.offer)
                if run is not None:
                    self._nursery.start_soon(self._hear, run, message)
            case AwardAnnouncement(signed=signed):
                run = self._bids.get(signed.value.offer)
                if run is not None:
                    self._nursery.start_soon(self._hear, run, message)
            case _:
                pass  # commitments and bids of others concern only the observer

    async def _begin(self, run: BiddingRun) -> None:
        try:
            await run.begin()
        except StoaError as error:
            log.info("bidding.not_said", reason=str(error))

    async def _hear(self, run: BiddingRun, message: RollAnnouncement | AwardAnnouncement) -> None:
        with logging_task(run.offer_id):
            try:
                if isinstance(message, RollAnnouncement):
                    await run.hear_roll(message)
                else:
                    await run.hear_award(message.signed, message.bid_ids)
            except ProtocolError as error:
                log.debug("bidding.message_rejected", reason=str(error))
            except TransientError as error:  # a full disk costs this auction, not the node
                log.warning("bidding.message_not_kept", reason=str(error))

    async def _consider(self, announcement: OfferAnnouncement) -> None:
        offer = announcement.signed.value
        if self.terms is None or offer.requester == self._parts.deliveries.signing.address:
            return
        try:
            checked = self._check(announcement)
            if checked.id in self._bids:
                self._nursery.start_soon(self._bids[checked.id].say_again)
                return
            if offer.format == AuctionFormat.DIRECT:
                self._direct.keep(checked.id, announcement)
                return
            self._check_window(offer)
            bid = self._bid_for(checked, self.terms)
            await self._check_stake(offer)
        except (ProtocolError, TransientError) as error:  # a chain that can't tell our stake is no reason to promise it
            self._note_refusal(error)
            return
        context = BiddingContext(announcement=announcement, bid=bid, at=self._parts.clock.now())
        machine = await open_machine(
            self._parts.journal, bidding_machine(self._domain), bidding_run.stream_of(checked.id), context
        )
        run = BiddingRun(self._parts.bidders, machine)
        self._bids[checked.id] = run
        self._parts.bidders.on_step(None, run.state)
        with logging_task(checked.id):
            log.info("bid.sealed", price=bid.price, eta=bid.eta)
            self._nursery.start_soon(self._begin, run)

    def _check_window(self, offer: Offer) -> None:
        """Never commit twice to one offer: two commitments are proof of a cheat (SPEC A7).

        Since no window that is bid in is longer than `LONGEST_WINDOW_S`, an offer whose window ends later than that
        after a restore was not open before it.
        """
        if offer.commit_by > self._parts.clock.now() + LONGEST_WINDOW_S:
            raise NotWanted(f"its window for bids is longer than {LONGEST_WINDOW_S} s")
        if offer.commit_by <= self._forgotten_until:
            raise NotWanted("the node was restored, and may have bid on it before")

    def _check(self, announcement: OfferAnnouncement) -> CheckedOffer:
        requester = announcement.signed.value.requester
        if self._parts.gossip.proof_against(requester) is not None:
            raise NotWanted("this requester was proved to cheat")
        if self._parts.gossip.is_refused(requester):
            raise NotWanted("this requester left bidders out")
        return check_offer(
            self._domain,
            announcement.signed,
            manifest=announcement.manifest,
            rates=announcement.rates,
            verification=announcement.verification,
            now=self._parts.clock.now(),
            taste=self._parts.taste,
        )

    def _bid_for(self, checked: CheckedOffer, terms: SellingTerms) -> Bid:
        if not self.has_room:
            raise NotWanted("every worker is busy or promised")
        self._check_credit(
            checked.offer, part_price(checked.offer.budget, checked.offer.parts, checked.offer.parts - 1)
        )
        now = datetime.fromtimestamp(self._parts.clock.now(), tz=UTC).astimezone()
        engine = self._parts.deliveries.sandbox.engine
        minute = now.hour * 60 + now.minute
        figures = quote(terms, engine, checked.offer, checked.manifest, checked.policy, minute=minute)
        return Bid(
            offer=checked.id,
            roll=ZERO_DIGEST,
            bidder=self._parts.deliveries.signing.address,
            price=figures.price,
            eta=figures.eta,
            salt=Digest(self._parts.random.bytes(32)),
        )

    async def _check_stake(self, offer: Offer) -> None:
        """Promise no stake twice (LK4, A7).

        Raises:
            BackingRefused: There is too little.
            TransientError: The chain can't be reached.
        """
        if not asks_for_stake(offer):
            return
        if self._parts.stakes is None:
            raise NotWanted("the offer asks for stake, and this network has none")
        free = await self._parts.stakes.free_of(self._parts.deliveries.signing.address)
        check_backing(offer, free=free, promised=self._promised_stake())

    def _promised_stake(self) -> int:
        """Return what open bids, and awards that aren't locked for yet, may still take of the free stake."""
        bids = sum(promise_of(run.context.announcement.signed.value) for run in self._undecided())
        awards = (run.context.job.award.value for run in self._deliveries.values() if isinstance(run.state, Offered))
        return bids + sum(liability_of(award) for award in awards)

    def _undecided(self) -> Iterator[BiddingRun]:
        now = self._parts.clock.now()
        for run in self._bids.values():
            is_open = isinstance(run.state, Committed | Revealed)
            if is_open and now <= run.context.announcement.signed.value.reveal_by:
                yield run

    def _load(self) -> int:
        """Work in hand, and bids that may still become some."""
        return len(self._deliveries) + sum(1 for _ in self._undecided())

    def _note_refusal(self, error: StoaError) -> None:
        reason = str(error)
        if len(self.reasons) < 1000 or reason in self.reasons:
            self.reasons[reason] = self.reasons.get(reason, 0) + 1
        log.info("offer.not_bid_on", reason=reason)

    async def _on_award(self, peer: PeerId, body: bytes) -> bytes:
        """Take an award, or refuse it in words that the requester's user will read."""
        notice = decode(AwardNotice, body, max_bytes=AWARD_MAX_BYTES)
        async with self._one_award:
            await self._take(peer, notice)
        return b""

    async def _take(self, peer: PeerId, notice: AwardNotice) -> None:
        award = notice.award.value
        award_id = digest(self._domain, award)
        if award_id in self._deliveries:
            return  # sent again
        announcement = await self._accept(peer, notice, award)
        if sum(run.needs_worker for run in self._deliveries.values()) >= self._parts.workers:
            raise Busy("every worker is busy")
        self._check_credit(award, highest_part_price(award))
        checked = check_announced(self._domain, announcement, UnixTime(announcement.signed.value.commit_by))
        context = DeliveryContext(
            job=Job(award=notice.award, award_id=award_id),
            offer=checked.offer,
            manifest=checked.manifest,
            rates=checked.rates,
            policy=checked.policy,
        )
        try:
            machine = await open_machine(self._parts.journal, DELIVERY, delivery_run.stream_of(award_id), context)
        except ConcurrentAppend as error:
            raise UnknownAward("that award is over") from error
        with logging_task(award.offer):
            log.info("award.taken", award=award_id.hex(), price=award.price, parts=award.parts)
        self._parts.deliveries.on_opened(context)
        self._spawn(DeliveryRun(self._parts.deliveries, machine))

    async def _accept(self, peer: PeerId, notice: AwardNotice, award: Award) -> OfferAnnouncement:
        """Return the offer behind an award that is rightfully ours."""
        run = self._bids.get(award.offer)
        direct = self._direct.get(award.offer)
        announcement = run.context.announcement if run else direct
        if announcement is None:
            raise UnknownAward("this provider made no bid for that offer")
        # A transcript that fails is held against the requester. Anyone who heard the gossip could mangle one.
        if self._wallet_of(peer) != announcement.signed.value.requester:
            raise UnknownAward("only the requester awards its task")
        try:
            heard = await self._parts.gossip.heard_against(notice.transcript)
            verified = verify_transcript(self._domain, notice.transcript, heard)
        except RuleBroken:
            self._parts.gossip.note_failed_verification(award.offer)
            raise
        if award not in verified.awards or award.provider != self._parts.deliveries.signing.address:
            raise UnknownAward("the transcript does not award this provider")
        if run is None:
            await self._check_hire(announcement, award)
            return announcement
        bid_ids = sorted_bid_ids(self._domain, [signed.value for signed in notice.transcript.bids])
        if not await run.hear_award(notice.award, bid_ids):
            raise UnknownAward("this provider does not hold that award any more")
        return announcement

    async def _check_hire(self, announcement: OfferAnnouncement, award: Award) -> None:
        if self.terms is None:
            raise NotWanted("this provider sells nothing now")
        wanted = self._bid_for(self._check(announcement), self.terms)
        await self._check_stake(announcement.signed.value)
        if award.price < wanted.price:
            raise NotWanted(
                f"the hire pays {format_amount(award.price)}, this provider asks {format_amount(wanted.price)}"
            )

    def _check_credit(self, terms: Offer | Award, part: Amount) -> None:
        """Bound what is risked on a part that nobody could judge (M2): escrow locks its price, a channel does not."""
        if self.terms is None or terms.rail != self._parts.channel_rail or terms.arbiter != ZERO_ADDRESS:
            return
        if part > self.terms.credit_limit:
            limit = format_amount(self.terms.credit_limit)
            raise NotWanted(f"a part may cost {format_amount(part)}; without an arbiter this provider risks {limit}")

    def _spawn(self, run: DeliveryRun) -> None:
        self._deliveries[run.context.job.award_id] = run
        self._nursery.start_soon(self._deliver, run)

    async def _deliver(self, run: DeliveryRun) -> None:
        try:
            with logging_task(run.context.job.award.value.offer):
                await run_contained(run.run, self._parts.clock, "delivery")
        finally:
            del self._deliveries[run.context.job.award_id]

    async def _on_funding(self, peer: PeerId, body: bytes) -> bytes:
        notice = decode(FundingNotice, body, max_bytes=NOTICE_MAX_BYTES)
        run = self._running(peer, notice.award)
        await self._parts.deliveries.rails.receive_funding(
            run.context.job.award, run.context.job.award_id, notice.voucher
        )
        self._nursery.start_soon(run.say_started_again)
        return b""

    async def _on_payment(self, peer: PeerId, body: bytes) -> bytes:
        notice = decode(PaymentNotice, body, max_bytes=NOTICE_MAX_BYTES)
        await self._running(peer, notice.acceptance.value.award).receive_payment(notice)
        return b""

    async def _on_cancel(self, peer: PeerId, body: bytes) -> bytes:
        notice = decode(CancelNotice, body, max_bytes=NOTICE_MAX_BYTES)
        self._running(peer, notice.award).withdraw(printable(notice.reason))
        return b""

    async def _on_seal(self, peer: PeerId, body: bytes) -> bytes:
        notice = decode(SealNotice, body, max_bytes=NOTICE_MAX_BYTES)
        await self._running(peer, notice.award).receive_seal(notice)
        return b""

    def _running(self, peer: PeerId, award_id: Digest) -> DeliveryRun:
        """Return the delivery that `peer` may speak about: that of an award which its wallet signed."""
        run = self._deliveries.get(award_id)
        if run is None or self._wallet_of(peer) != run.context.job.award.value.requester:
            raise UnknownAward("this provider works on no such award of that requester")
        return run

    def _wallet_of(self, peer: PeerId) -> Address:
        wallet = self._parts.deliveries.peers.wallet_of(peer)
        if wallet is None:
            raise NotIntroduced("this node does not know yet whose node that is")
        return wallet


@asynccontextmanager
async def open_provider(parts: ProviderParts, terms: SellingTerms | None) -> AsyncGenerator[Provider, None]:
    """Sell work until the block is left; what is being run then is taken up again at the next start."""
    async with trio.open_nursery() as nursery:
        provider = Provider(parts, nursery, terms)
        await provider.start()
        yield provider
        nursery.cancel_scope.cancel()
