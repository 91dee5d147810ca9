"""The requester's side of the market: auctions tasks, and sees each one to its end."""

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

import structlog
import trio

from node.market import auction_run, comparing, purchase_run
from node.market.auction_run import AuctionRoom, AuctionRun, auction_machine
from node.market.auditing import ReceiptAuditor
from node.market.comparing import COMPARISON, Comparer, ComparisonContext, ComparisonLog, SlotWinners
from node.market.containment import run_contained
from node.market.drafting import MarketTerms, draft_offer
from node.market.gossip import MarketGossip
from node.market.hiring import ThirdNode
from node.market.ports import NotIntroduced, Peers, Referee, Sellers
from node.market.purchase_run import (
    ProviderMessage,
    PurchaseContext,
    PurchaseLog,
    PurchaseRun,
    RequesterRoom,
    purchase_machine,
)
from node.market.wish import Wish
from node.operations.clock import Clock
from node.operations.logs import logging_task
from node.operations.randomness import RandomSource
from node.storage.machine_log import MAX_RECORD_BYTES, Journal, load_machine, open_machine, open_machines
from node.storage.restoration import latest_restoration
from protocol.errors import ProtocolError, StoaError, TransientError
from protocol.identity import Address, Digest, PeerId
from protocol.market.auction_states import Decided, Failed
from protocol.market.messages import BidAnnouncement, CommitmentAnnouncement, MarketMessage, OfferAnnouncement
from protocol.market.objects import Offer
from protocol.signing.eip712 import Domain, digest
from protocol.task import purchase
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
from protocol.task.objects import Receipt
from protocol.task.purchase import latest_payment
from protocol.task.verification import Verification
from protocol.units import BasisPoints
from protocol.wire.codec import decode, decode_as, encode

log = structlog.stdlib.get_logger(__name__)

NOTICE_MAX_BYTES: Final = 8 * 1024
WATCH_S: Final = 0.1
"""How often a hired task is looked after."""
FINISHED_KEPT: Final = 256
"""Tasks that are over but stay in memory, for providers that missed the last payment."""

_UnderAward: TypeAlias = purchase.Funding | purchase.Awaiting | purchase.Running | purchase.Auditing | purchase.Done


class UnknownTask(ProtocolError):
    """No task of this node has that id, or none that is still open."""


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

    async def __call__(self, award_id: Digest) -> str | None:
        """Return the stream of the purchase, that of one slot, for which the award was made."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RequesterParts:
    """What the service is built from.

    Attributes:
        referee: Asked where copies differ, and by audits.
        sellers: Whom audits may hire where this node finds nothing; None hires nobody.
        hiring_bps: What they may cost together, of the budget of the task that is audited.
    """

    auctions: AuctionRoom
    purchases: RequesterRoom
    referee: Referee
    gossip: MarketGossip
    journal: Journal
    open_streams: OpenStreamsOf
    find_purchase: FindPurchase
    clock: Clock
    random: RandomSource
    terms: MarketTerms
    sellers: Sellers | None = None
    hiring_bps: BasisPoints = BasisPoints(0)


@dataclass(frozen=True, slots=True)
class TaskRun:
    """One task: its auction, and what is bought with it, one purchase a slot in the order of the slots."""

    auction: AuctionRun
    purchases: tuple[PurchaseRun, ...]
    comparer: Comparer | None = None

    @property
    def purchase(self) -> PurchaseRun:
        """That of the first slot: the only one, unless several copies are bought."""
        return self.purchases[0]

    async def close(self) -> None:
        """Note that nothing more will come of it. The auction last: what is open of it is found by the auction."""
        if self.comparer is not None:
            await self.comparer.close()
        await self.auction.close()


@dataclass(frozen=True, slots=True)
class PartProgress:
    """How far the part under way is, as its provider tells; nothing is billed from it."""

    part: int
    fuel: int
    bytes_out: int


class Requester:
    """Made by `open_requester`."""

    def __init__(self, parts: RequesterParts, nursery: trio.Nursery) -> None:
        self._third: ThirdNode | None = None
        if parts.sellers is not None and parts.hiring_bps:
            opinions = parts.auctions.reputations.of
            self._third = ThirdNode(self, parts.sellers, parts.journal, parts.open_streams, opinions, parts.hiring_bps)
        auditor = ReceiptAuditor(parts.referee, self._third, parts.purchases.blobs, parts.clock)
        self._parts, self._nursery = replace(parts, purchases=replace(parts.purchases, auditor=auditor)), nursery
        self._taken_up = trio.Event()
        self._domain: Domain = parts.purchases.domain
        self._tasks: dict[Digest, TaskRun] = {}
        self._finished: dict[str, PurchaseRun] = {}
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
            self._parts.gossip.follow(auction.announcement, own=True)
            await self._take_up(auction)
        self._taken_up.set()
        peers: Peers = self._parts.purchases.peers
        peers.serve(START_METHOD, self._on_start, max_request=NOTICE_MAX_BYTES)
        peers.serve(PROGRESS_METHOD, self._on_progress, max_request=NOTICE_MAX_BYTES)
        peers.serve(RECEIPT_METHOD, self._on_receipt, max_request=NOTICE_MAX_BYTES)
        peers.serve(FAILURE_METHOD, self._on_failure, max_request=NOTICE_MAX_BYTES)
        self._parts.gossip.listen(self._on_message)

    async def _take_up(self, auction: AuctionRun) -> None:
        """Go on with what is bought in an auction that a restart interrupted."""
        streams = purchase_run.streams_of(auction.announcement.signed.value, auction.offer_id)
        still_open = await self._parts.open_streams(streams[0])
        compared = comparing.stream_of(auction.offer_id)
        if not still_open:  # a crash between the two, or between their ends: nothing was promised, or nothing is left
            if await self._parts.open_streams(compared):
                await (await load_machine(self._parts.journal, COMPARISON, compared)).close()
            await auction.close()
            return
        machines = [
            await load_machine(self._parts.journal, purchase_machine(slot), stream)
            for slot, stream in enumerate(streams)
        ]
        auction.hire = machines[0].context.hire
        comparison = None
        if len(streams) > 1:
            comparison = await load_machine(self._parts.journal, COMPARISON, compared)
        self._spawn(
            auction, machines, comparison, running={slot for slot, each in enumerate(streams) if each in still_open}
        )

    async def make_offer(self, wish: Wish) -> Offer:
        """Return the offer that `submit` would sign now. Its rail is the one that can pay the whole budget.

        Raises:
            OfferError, InvalidRates: The wish breaks a rule.
            NoRail: Neither channel nor escrow can pay it, and why.
        """
        choice = await self._parts.purchases.rails.plan(wish.hire, wish.budget, self.draft(wish))
        # Drafted again: a slow chain must not eat up the bidders' windows.
        return replace(self.draft(wish), rail=self._parts.purchases.rails.contract_of(choice.rail))

    def draft(self, wish: Wish) -> Offer:
        """Return the offer but for its rail."""
        parts = self._parts
        return draft_offer(
            parts.terms,
            wish,
            requester=parts.purchases.signing.address,
            now=parts.clock.unix_time(),
            salt=Digest(parts.random.bytes(32)),
        )

    async def submit(self, wish: Wish, offer: Offer | None = None) -> Digest:
        """Open the auction of a task whose blobs are all in the store, and return the task's id.

        Args:
            wish: What is wanted.
            offer: What `make_offer` made of it a moment ago; made now if None.

        Raises:
            OfferError, InvalidRates: The wish breaks a rule.
            DiskFull: Nothing was begun.
        """
        offer = await self.make_offer(wish) if offer is None else offer
        signed = self._parts.purchases.signing.sign(offer)
        offer_id = digest(self._domain, offer)
        announcement = OfferAnnouncement(
            signed=signed,
            manifest=encode(wish.manifest),
            rates=wish.rates,
            verification=encode(wish.verification, Verification),
        )
        context = PurchaseContext(
            offer_id=offer_id,
            offer=signed,
            manifest=wish.manifest,
            rates=wish.rates,
            policy=wish.verification,
            hire=wish.hire,
        )
        journal = self._parts.journal
        auctioned = await open_machine(
            journal, auction_machine(self._domain), auction_run.stream_of(offer_id), announcement
        )
        comparison = None
        if offer.copies > 1:
            begun = ComparisonContext(offer_id=offer_id)
            comparison = await open_machine(journal, COMPARISON, comparing.stream_of(offer_id), begun)
        slots = {stream: purchase_machine(slot) for slot, stream in enumerate(purchase_run.streams_of(offer, offer_id))}
        machines = await open_machines(journal, slots, context)
        auction = AuctionRun(self._parts.auctions, auctioned, hire=wish.hire)
        self._parts.purchases.on_opened(context)
        self._spawn(auction, machines, comparison)
        with logging_task(offer_id):
            log.info("task.submitted", budget=offer.budget, parts=offer.parts, copies=offer.copies)
        return offer_id

    def cancel(self, offer_id: Digest) -> None:
        """Stop buying a task.

        Raises:
            UnknownTask: It is over, or never was.
        """
        task = self._tasks.get(offer_id)
        if task is None:
            raise UnknownTask("no open task has that id", advice="see `stoa task list`")
        for each in task.purchases:
            each.cancel()

    def offer_of(self, offer_id: Digest) -> Offer | None:
        """See `Buyer`."""
        task = self._tasks.get(offer_id)
        return None if task is None else task.auction.announcement.signed.value

    def involved(self, offer_id: Digest) -> frozenset[Address]:
        """See `Buyer`."""
        task = self._tasks.get(offer_id)
        state = None if task is None else task.auction.state
        awards = state.awards if isinstance(state, Decided | Failed) else ()
        return frozenset((self._parts.purchases.signing.address, *(each.provider for each in awards)))

    def id_of(self, offer: Offer) -> Digest:
        """See `Buyer`."""
        return digest(self._domain, offer)

    async def receipts_of(self, offer_id: Digest) -> tuple[Receipt, ...] | None:
        """See `Buyer`. A task of one copy."""
        await self._taken_up.wait()
        while offer_id in self._tasks:
            await self._parts.clock.sleep(WATCH_S)
        records = await self._parts.journal.replay(purchase_run.stream_of(offer_id))
        if not records:
            return None
        hint: Any = purchase.Event
        kinds = [each for each in records if each.kind == purchase.PartReceived.__name__]
        found = [decode_as(hint, each.body, max_bytes=MAX_RECORD_BYTES) for each in kinds]
        return tuple(each.receipt.value for each in found)

    def give_up(self, offer_id: Digest) -> None:
        """See `Buyer`."""
        if offer_id in self._tasks:
            self.cancel(offer_id)

    def _spawn(
        self,
        auction: AuctionRun,
        machines: Sequence[PurchaseLog],
        comparison: ComparisonLog | None,
        *,
        running: Collection[int] | None = None,
    ) -> None:
        """Begin, or go on with, the slots `running`; None means all."""
        room = self._parts.purchases
        if comparison is None:
            task = TaskRun(auction, tuple(PurchaseRun(room, each, auction) for each in machines))
        else:
            task = _compared(room, self._parts.referee, auction, machines, comparison)
        self._tasks[auction.offer_id] = task
        runs = [each for slot, each in enumerate(task.purchases) if running is None or slot in running]
        self._nursery.start_soon(self._run, task, runs)

    async def _run(self, task: TaskRun, runs: Sequence[PurchaseRun]) -> None:
        offer_id, clock = task.auction.offer_id, self._parts.clock
        ended: list[bool] = []

        async def run(each: PurchaseRun) -> None:
            ended.append(await run_contained(each.run, clock, "task"))

        with logging_task(offer_id):
            try:
                async with trio.open_nursery() as nursery:
                    for each in runs:
                        nursery.start_soon(run, each)
                if all(ended) and await run_contained(partial(self._close, task), clock, "task"):
                    for each in task.purchases:
                        self._remember(each)
                    states = [each.state for each in task.purchases]
                    log.info("task.over", state=", ".join(type(each).__name__ for each in states))
                    if task.comparer is not None:
                        self._parts.purchases.on_copies_over(task.purchase.context, purchase.end_of(states))
            finally:
                del self._tasks[offer_id]
                self.progress.pop(offer_id, None)

    async def _close(self, task: TaskRun) -> None:
        if self._third is not None:
            await self._third.close(task.auction.offer_id)
        await task.close()

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
        stream = await self._parts.find_purchase(award_id)
        if stream is None:
            raise UnknownTask("this node never made that award")
        offer_id, slot = purchase_run.parse_stream(stream)
        task = self._tasks.get(offer_id)
        run = task.purchases[slot] if task is not None else self._finished.get(stream)
        if run is None:
            machine = await load_machine(self._parts.journal, purchase_machine(slot), stream)
            auction = await load_machine(
                self._parts.journal, auction_machine(self._domain), auction_run.stream_of(offer_id)
            )
            winners = AuctionRun(self._parts.auctions, auction, hire=machine.context.hire)
            run = PurchaseRun(self._parts.purchases, machine, winners)
            self._remember(run)  # asked for again, it costs nothing
        return run

    def _remember(self, bought: PurchaseRun) -> None:
        self._finished[purchase_run.stream_of(bought.context.offer_id, bought.state.progress.slot)] = bought
        if len(self._finished) > FINISHED_KEPT:
            del self._finished[next(iter(self._finished))]

    def _find_running(self, award_id: Digest) -> PurchaseRun | None:
        for task in self._tasks.values():
            for each in task.purchases:
                state = each.state
                if isinstance(state, _UnderAward) and state.award_id == award_id:
                    return each
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


def _compared(
    room: RequesterRoom,
    referee: Referee,
    auction: AuctionRun,
    machines: Sequence[PurchaseLog],
    comparison: ComparisonLog,
) -> TaskRun:
    """Let every slot ask what becomes of its receipts, and see what the others do."""
    comparer = Comparer(comparison, referee, room.blobs)

    def on_event(context: PurchaseContext, event: purchase.Event) -> None:
        room.on_event(context, event)
        comparer.note()

    slots = replace(room, auditor=comparer, on_event=on_event)
    runs = tuple(
        PurchaseRun(slots, machine, SlotWinners(auction, slot, comparer)) for slot, machine in enumerate(machines)
    )
    for slot, run in enumerate(runs):
        comparer.add(slot, run)
    return TaskRun(auction, runs, comparer)


@asynccontextmanager
async def open_requester(parts: RequesterParts) -> AsyncGenerator[Requester, None]:
    """Buy work until the block is left; what is under way then is taken up again at the next start."""
    async with trio.open_nursery() as nursery:
        requester = Requester(parts, nursery)
        await requester.start()
        yield requester
        nursery.cancel_scope.cancel()
