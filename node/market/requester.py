"""The requester's side of the market: auctions tasks, and sees each one to its end."""

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeAlias

import structlog
import trio

from node.market import auction_run, purchase_run
from node.market.auction_run import AuctionRoom, AuctionRun, auction_machine
from node.market.containment import run_contained
from node.market.gossip import MarketGossip
from node.market.ports import NotIntroduced, Peers
from node.market.purchase_run import PURCHASE, ProviderMessage, PurchaseContext, PurchaseRun, RequesterRoom
from node.operations.clock import Clock
from node.operations.logs import logging_task
from node.operations.randomness import RandomSource
from node.storage.machine_log import Journal, load_machine, open_machine
from node.storage.restoration import latest_restoration
from protocol.errors import ProtocolError, StoaError, TransientError
from protocol.identity import ZERO_ADDRESS, Address, Digest, PeerId
from protocol.market.messages import BidAnnouncement, CommitmentAnnouncement, MarketMessage, OfferAnnouncement
from protocol.market.objects import AuctionFormat, Offer
from protocol.market.offer import check_offer_terms, has_court_size, manifest_digest
from protocol.signing.eip712 import Domain, digest
from protocol.task import purchase
from protocol.task.manifest import Manifest
from protocol.task.messages import (
    FAILURE_METHOD,
    PROGRESS_METHOD,
    RECEIPT_METHOD,
    START_METHOD,
    FailureNotice,
    ProgressNotice,
    ReceiptNotice,
    StartNotice,
)
from protocol.task.pricing import Rates, check_rates, rates_digest
from protocol.task.purchase import latest_payment
from protocol.task.verification import Verification, copies_of, verification_digest
from protocol.units import WHOLE, Amount, BasisPoints, Seconds, UnixTime
from protocol.wire.codec import decode, encode

log = structlog.stdlib.get_logger(__name__)

NOTICE_MAX_BYTES: Final = 8 * 1024
FINISHED_KEPT: Final = 256
"""Tasks that are over but stay in memory, for providers that missed the last payment."""

_UnderAward: TypeAlias = purchase.Funding | purchase.Awaiting | purchase.Running | purchase.Auditing | purchase.Done


class UnknownTask(ProtocolError):
    """No task of this node has that id, or none that is still open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketTerms:
    """What every offer of this node says, whatever the task.

    Attributes:
        token: What is paid in.
        arbiter: Who judges tasks whose parts cost no less than `dispute_fee` (L4); zero for nobody.
        liability_bps: Provider's liability, of budgets above `liability_above`.
        liability_above: Largest budget without liability.
        bond: What a bidder loses for two commitments.
        min_stake: Least free stake of a bidder.
        dispute_fee: Reserved for a committee, if there is an arbiter; zero if it judges for nothing.
        split_bps: The provider's share of a claim that nobody judges.
        pace: Time to claim, to dispute and to answer; the network's profile sets what is safe.
        resolve_within: Time to judge.
    """

    token: Address
    arbiter: Address
    liability_bps: BasisPoints
    liability_above: Amount = Amount(0)
    bond: Amount = Amount(0)
    min_stake: Amount = Amount(0)
    dispute_fee: Amount
    split_bps: BasisPoints
    pace: Seconds
    resolve_within: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a user wants of one task.

    Attributes:
        commit_window_s, reveal_window_s: Least time for commitments and for reveals, seconds.
        standby_for_s: How long after the reveals standbys may still be hired.
        hire: Hire this provider directly, at the budget; None to auction.
    """

    manifest: Manifest
    rates: Rates
    verification: Verification
    budget: Amount
    max_eta: Seconds
    format: AuctionFormat
    w_price: BasisPoints
    w_reputation: BasisPoints
    w_speed: BasisPoints
    max_bidders: int
    commit_window_s: float
    reveal_window_s: float
    start_within: Seconds
    standby_for_s: int
    hire: Address | None = None


class NoCopiesYet(ProtocolError):
    """A policy that asks for several copies: one requester of this version deals with one provider at a time."""

    advice = "Use audit:100%, which finds the same lies by running every part again on this node."


class AwardOver(ProtocolError):
    """A receipt under an award that is not in force any more: the parts are done by somebody else, or not wanted."""


class InboxFull(TransientError):
    """Too many messages of one award wait; to be sent again."""


class OpenStreamsOf(Protocol):
    """Finds what a restart has to take up again."""

    async def __call__(self, prefix: str) -> tuple[str, ...]:
        """Return the open streams under `prefix`."""
        ...


class FindPurchase(Protocol):
    """Finds the task behind an award, also one that is long over."""

    async def __call__(self, award_id: Digest) -> Digest | None:
        """Return the offer under which the award was made."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RequesterParts:
    """What the service is built from."""

    auctions: AuctionRoom
    purchases: RequesterRoom
    gossip: MarketGossip
    journal: Journal
    open_streams: OpenStreamsOf
    find_purchase: FindPurchase
    clock: Clock
    random: RandomSource
    terms: MarketTerms


@dataclass(frozen=True, slots=True)
class TaskRun:
    """One task: its auction, and what is bought with it."""

    auction: AuctionRun
    purchase: PurchaseRun


@dataclass(frozen=True, slots=True)
class PartProgress:
    """How far the part under way is, as its provider tells; nothing is billed from it."""

    part: int
    fuel: int
    bytes_out: int


class Requester:
    """Made by `open_requester`."""

    def __init__(self, parts: RequesterParts, nursery: trio.Nursery) -> None:
        self._parts, self._nursery = parts, nursery
        self._domain: Domain = parts.purchases.domain
        self._tasks: dict[Digest, TaskRun] = {}
        self._finished: dict[Digest, PurchaseRun] = {}
        self._paying_again: set[Digest] = set()
        self.progress: dict[Digest, PartProgress] = {}
        """By offer: the part under way."""

    @property
    def terms(self) -> MarketTerms:
        """What its offers say."""
        return self._parts.terms

    @property
    def tasks(self) -> dict[Digest, TaskRun]:
        """Tasks that are not over, by offer."""
        return self._tasks

    async def start(self) -> None:
        """Take up what a restart interrupted, and begin to listen."""
        restoration = await latest_restoration(self._parts.journal)
        for stream in await self._parts.open_streams("auction/"):
            opened, *_ = await self._parts.journal.replay(stream)
            auction = AuctionRun(
                self._parts.auctions,
                await load_machine(self._parts.journal, auction_machine(self._domain), stream),
                hire=None,
                was_interrupted=True,
                was_restored=restoration is not None and opened.seq < restoration.seq,
            )
            bought = purchase_run.stream_of(auction.offer_id)
            self._parts.gossip.follow(auction.announcement, own=True)
            if bought in await self._parts.open_streams(bought):
                machine = await load_machine(self._parts.journal, PURCHASE, bought)
                auction.hire = machine.context.hire
                self._spawn(auction, PurchaseRun(self._parts.purchases, machine, auction))
            else:  # a crash between the two, or between their ends: nothing was promised, or nothing is left to do
                await auction.close()
        peers: Peers = self._parts.purchases.peers
        peers.serve(START_METHOD, self._on_start, max_request=NOTICE_MAX_BYTES)
        peers.serve(PROGRESS_METHOD, self._on_progress, max_request=NOTICE_MAX_BYTES)
        peers.serve(RECEIPT_METHOD, self._on_receipt, max_request=NOTICE_MAX_BYTES)
        peers.serve(FAILURE_METHOD, self._on_failure, max_request=NOTICE_MAX_BYTES)
        self._parts.gossip.listen(self._on_message)

    async def make_offer(self, wish: Wish) -> Offer:
        """Return the offer that `submit` would sign now. Its rail is the one that can pay the whole budget.

        Raises:
            OfferError, InvalidRates, NoCopiesYet: The wish breaks a rule.
            NoRail: Neither channel nor escrow can pay it, and why.
        """
        choice = await self._parts.purchases.rails.plan(wish.hire, wish.budget, self.draft(wish))
        # Drafted again: a slow chain must not eat up the bidders' windows.
        return replace(self.draft(wish), rail=self._parts.purchases.rails.contract_of(choice.rail))

    def draft(self, wish: Wish) -> Offer:
        """Return the offer but for its rail."""
        if copies_of(wish.verification) != 1:
            raise NoCopiesYet("this node can't compare copies yet")
        terms, now = self._parts.terms, self._parts.clock.unix_time()
        # `commit_by` is the last second that counts (C7): the window is open until its end.
        commit_by = math.ceil(now + wish.commit_window_s) - 1
        reveal_by = commit_by + max(1, math.ceil(wish.reveal_window_s))
        check_rates(wish.rates, wish.manifest)
        is_above = wish.budget > terms.liability_above
        liability = Amount(-(-wish.budget * terms.liability_bps // WHOLE) if is_above else 0)
        has_arbiter = terms.arbiter != ZERO_ADDRESS and has_court_size(
            wish.budget, max(1, len(wish.manifest.parts)), terms.dispute_fee
        )
        offer = Offer(
            requester=self._parts.purchases.signing.address,
            token=terms.token,
            rail=terms.token,  # until it is chosen
            arbiter=terms.arbiter if has_arbiter else ZERO_ADDRESS,
            manifest=manifest_digest(encode(wish.manifest)),
            engine=wish.manifest.engine,
            rates=rates_digest(wish.rates),
            verification=verification_digest(wish.verification),
            format=wish.format,
            parts=len(wish.manifest.parts),
            copies=1,
            w_price=wish.w_price,
            w_reputation=wish.w_reputation,
            w_speed=wish.w_speed,
            max_bidders=wish.max_bidders,
            split_bps=terms.split_bps,
            budget=wish.budget,
            bond=terms.bond,
            min_stake=terms.min_stake,
            liability=liability if has_arbiter else Amount(0),  # nobody else could take it (LK4)
            dispute_fee=terms.dispute_fee if has_arbiter else Amount(0),
            max_eta=wish.max_eta,
            start_within=wish.start_within,
            pace=terms.pace,
            resolve_within=terms.resolve_within,
            commit_by=UnixTime(commit_by),
            reveal_by=UnixTime(reveal_by),
            expires=UnixTime(reveal_by + wish.standby_for_s),
            salt=Digest(self._parts.random.bytes(32)),
        )
        check_offer_terms(offer)
        return offer

    async def submit(self, wish: Wish) -> Digest:
        """Open the auction of a task whose blobs are all in the store, and return the task's id.

        Raises:
            OfferError, InvalidRates: The wish breaks a rule.
            DiskFull: Nothing was begun.
        """
        offer = await self.make_offer(wish)
        signed = self._parts.purchases.signing.sign(offer)
        offer_id = digest(self._domain, offer)
        announcement = OfferAnnouncement(
            signed=signed,
            manifest=encode(wish.manifest),
            rates=wish.rates,
            verification=encode(wish.verification, Verification),
        )
        context = PurchaseContext(
            offer_id=offer_id, offer=signed, manifest=wish.manifest, rates=wish.rates, hire=wish.hire
        )
        journal = self._parts.journal
        auctioned = await open_machine(
            journal, auction_machine(self._domain), auction_run.stream_of(offer_id), announcement
        )
        bought = await open_machine(journal, PURCHASE, purchase_run.stream_of(offer_id), context)
        auction = AuctionRun(self._parts.auctions, auctioned, hire=wish.hire)
        self._parts.purchases.on_opened(context)
        self._spawn(auction, PurchaseRun(self._parts.purchases, bought, auction))
        with logging_task(offer_id):
            log.info("task.submitted", budget=offer.budget, parts=offer.parts)
        return offer_id

    def cancel(self, offer_id: Digest) -> None:
        """Stop buying a task.

        Raises:
            UnknownTask: It is over, or never was.
        """
        task = self._tasks.get(offer_id)
        if task is None:
            raise UnknownTask("no open task has that id", advice="see `stoa task list`")
        task.purchase.cancel()

    def _spawn(self, auction: AuctionRun, bought: PurchaseRun) -> None:
        self._tasks[auction.offer_id] = TaskRun(auction, bought)
        self._nursery.start_soon(self._run, auction, bought)

    async def _run(self, auction: AuctionRun, bought: PurchaseRun) -> None:
        offer_id = auction.offer_id
        with logging_task(offer_id):
            try:
                clock = self._parts.clock
                if await run_contained(bought.run, clock, "task") and await run_contained(auction.close, clock, "task"):
                    self._remember(bought)
                    log.info("task.over", state=type(bought.state).__name__)
            finally:
                del self._tasks[offer_id]
                self.progress.pop(offer_id, None)

    async def _on_message(self, message: MarketMessage) -> None:
        if not isinstance(message, CommitmentAnnouncement | BidAnnouncement):
            return
        task = self._tasks.get(message.signed.value.offer)
        if task is not None:
            try:
                task.auction.post_nowait(message.signed)
            except trio.WouldBlock:
                log.warning("auction.inbox_full", task=task.auction.offer_id.hex())

    async def _on_start(self, peer: PeerId, body: bytes) -> bytes:
        notice = decode(StartNotice, body, max_bytes=NOTICE_MAX_BYTES)
        _post(self._running(peer, notice.start.value.award), notice)
        return b""

    async def _on_receipt(self, peer: PeerId, body: bytes) -> bytes:
        notice = decode(ReceiptNotice, body, max_bytes=NOTICE_MAX_BYTES)
        receipt = notice.receipt.value
        if self._find_running(receipt.award) is not None:
            run = self._running(peer, receipt.award)
            if isinstance(run.state, purchase.Auditing):  # it is being looked at, and answered when that is done
                run.heard()
            else:
                _post(run, notice)
            return b""
        wallet = self._wallet_of(peer)
        run = await self._find_over(receipt.award)
        payment = latest_payment(run.state, receipt.award)
        if payment is None or payment.award.value.provider != wallet or payment.acceptance.part < receipt.part:
            raise AwardOver("that award was given to another provider, or its task is over")
        if receipt.award not in self._paying_again:  # one at a time, however often it is asked for
            self._paying_again.add(receipt.award)
            self._nursery.start_soon(self._pay_again, run, payment)  # the provider missed it
        return b""

    async def _on_failure(self, peer: PeerId, body: bytes) -> bytes:
        notice = decode(FailureNotice, body, max_bytes=NOTICE_MAX_BYTES)
        _post(self._running(peer, notice.award), notice)
        return b""

    async def _on_progress(self, peer: PeerId, body: bytes) -> bytes:
        notice = decode(ProgressNotice, body, max_bytes=NOTICE_MAX_BYTES)
        run = self._running(peer, notice.award)
        run.heard()
        self.progress[run.context.offer_id] = PartProgress(notice.part, notice.fuel, notice.bytes_out)
        return b""

    async def _pay_again(self, run: PurchaseRun, payment: purchase.PayPart) -> None:
        try:
            await run.send_payment(payment)
            award = payment.award.value
            if payment.acceptance.part < award.first_part + award.parts - 1:
                await run.tell_over(payment.award)  # or it would go on to a part that somebody else has done
        except StoaError as error:
            log.warning("task.payment_not_sent_again", reason=str(error))
        finally:
            self._paying_again.discard(payment.acceptance.award)

    async def _find_over(self, award_id: Digest) -> PurchaseRun:
        """Return the purchase behind an award that is not in force, also of a task that is long over."""
        offer_id = await self._parts.find_purchase(award_id)
        if offer_id is None:
            raise UnknownTask("this node never made that award")
        task = self._tasks.get(offer_id)
        run = task.purchase if task is not None else self._finished.get(offer_id)
        if run is None:
            machine = await load_machine(self._parts.journal, PURCHASE, purchase_run.stream_of(offer_id))
            auction = await load_machine(
                self._parts.journal, auction_machine(self._domain), auction_run.stream_of(offer_id)
            )
            winners = AuctionRun(self._parts.auctions, auction, hire=machine.context.hire)
            run = PurchaseRun(self._parts.purchases, machine, winners)
            self._remember(run)  # asked for again, it costs nothing
        return run

    def _remember(self, bought: PurchaseRun) -> None:
        self._finished[bought.context.offer_id] = bought
        if len(self._finished) > FINISHED_KEPT:
            del self._finished[next(iter(self._finished))]

    def _find_running(self, award_id: Digest) -> PurchaseRun | None:
        for task in self._tasks.values():
            state = task.purchase.state
            if isinstance(state, _UnderAward) and state.award_id == award_id:
                return task.purchase
        return None

    def _running(self, peer: PeerId, award_id: Digest) -> PurchaseRun:
        """Return the purchase that `peer` may speak about: that under an award to its wallet."""
        run = self._find_running(award_id)
        if run is None or self._wallet_of(peer) != _provider_of(run):
            raise UnknownTask("no award to that provider is in force")
        return run

    def _wallet_of(self, peer: PeerId) -> Address:
        wallet = self._parts.purchases.peers.wallet_of(peer)
        if wallet is None:
            raise NotIntroduced("this node does not know yet whose node that is")
        return wallet


def _post(run: PurchaseRun, message: ProviderMessage) -> None:
    try:
        run.post_nowait(message)
    except trio.WouldBlock as error:
        raise InboxFull("too many messages of this award wait; send it again later") from error


def _provider_of(run: PurchaseRun) -> Address | None:
    state = run.state
    if isinstance(state, _UnderAward):
        return state.award.value.provider
    return None


@asynccontextmanager
async def open_requester(parts: RequesterParts) -> AsyncGenerator[Requester, None]:
    """Buy work until the block is left; what is under way then is taken up again at the next start."""
    async with trio.open_nursery() as nursery:
        requester = Requester(parts, nursery)
        await requester.start()
        yield requester
        nursery.cancel_scope.cancel()
