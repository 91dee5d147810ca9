"""The requester's side of the market: auctions tasks, and sees each one to its end."""

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol

import structlog
import trio

from node.market import auction_run, comparing, purchase_run
from node.market.auction_run import AuctionRoom, AuctionRun, auction_machine
from node.market.auditing import ReceiptAuditor
from node.market.comparing import COMPARISON, Comparer, ComparisonContext, ComparisonLog
from node.market.containment import run_contained
from node.market.drafting import MarketTerms, draft_offer
from node.market.gossip import MarketGossip
from node.market.hiring import ThirdNode
from node.market.ports import Referee, Sellers
from node.market.provider_desk import FindPurchase, ProviderDesk, UnknownTask
from node.market.purchase_run import PurchaseContext, PurchaseLog, PurchaseRun, RequesterRoom, purchase_machine
from node.market.task_run import TaskRun, compared
from node.market.wish import Wish
from node.operations.clock import Clock
from node.operations.logs import logging_task
from node.operations.randomness import RandomSource
from node.storage.machine_log import MAX_RECORD_BYTES, Journal, load_machine, open_machine, open_machines
from node.storage.restoration import latest_restoration
from protocol.identity import Address, Digest
from protocol.market.auction_states import Decided, Failed
from protocol.market.messages import BidAnnouncement, CommitmentAnnouncement, MarketMessage, OfferAnnouncement
from protocol.market.objects import Offer
from protocol.signing.eip712 import Domain, digest
from protocol.task import purchase
from protocol.task.objects import Receipt
from protocol.task.verification import Verification
from protocol.units import BasisPoints
from protocol.wire.codec import decode_as, encode

log = structlog.stdlib.get_logger(__name__)

WATCH_S: Final = 0.1
"""How often a hired task is looked after."""


class OpenStreamsOf(Protocol):
    """Finds what a restart has to take up again."""

    async def __call__(self, prefix: str) -> tuple[str, ...]:
        """Return the open streams under `prefix`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RequesterParts:
    """What the service is built from.

    Attributes:
        referee: Asked where copies differ, and by audits.
        sellers: Who may be hired for a second result where this node finds none; None hires nobody.
        hiring_bps: What they may cost together, of the budget of the task that is looked at.
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
        self._desk = ProviderDesk(
            self._parts.purchases, parts.auctions, parts.journal, parts.find_purchase, self._tasks, nursery
        )
        self.progress: Final = self._desk.progress
        """By offer and slot: the part under way, as its provider tells."""

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
        self._desk.serve()
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
        running = {
            slot: purchase_run.award_left_in(machines[slot].state, await self._parts.journal.replay(stream))
            for slot, stream in enumerate(streams)
            if stream in still_open
        }
        task = self._add(auction, machines, comparison)
        for slot, left in running.items():
            task.purchases[slot].left = left
        self._spawn(task, running)

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
        self._spawn(self._add(auction, machines, comparison))
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

    def _add(self, auction: AuctionRun, machines: Sequence[PurchaseLog], comparison: ComparisonLog | None) -> TaskRun:
        room = self._parts.purchases
        if comparison is None:
            task = TaskRun(auction, tuple(PurchaseRun(room, each, auction) for each in machines))
        else:
            comparer = Comparer(comparison, self._parts.referee, self._third, room.blobs)
            task = compared(room, comparer, auction, machines)
        self._tasks[auction.offer_id] = task
        return task

    def _spawn(self, task: TaskRun, running: Collection[int] | None = None) -> None:
        """Begin, or go on with, the slots `running`; None means all."""
        runs = [each for slot, each in enumerate(task.purchases) if running is None or slot in running]
        self._nursery.start_soon(self._run, task, runs)

    async def _run(self, task: TaskRun, runs: Sequence[PurchaseRun]) -> None:
        offer_id, clock = task.auction.offer_id, self._parts.clock
        ended: list[bool] = []

        async def run(each: PurchaseRun) -> None:
            is_over = await run_contained(each.run, clock, "task")
            if not is_over and task.comparer is not None:
                task.comparer.stop(each.state.progress.slot)
            ended.append(is_over)

        with logging_task(offer_id):
            try:
                async with trio.open_nursery() as nursery:
                    for each in runs:
                        nursery.start_soon(run, each)
                if all(ended) and await run_contained(partial(self._close, task), clock, "task"):
                    for each in task.purchases:
                        self._desk.remember(each)
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


@asynccontextmanager
async def open_requester(parts: RequesterParts) -> AsyncGenerator[Requester, None]:
    """Buy work until the block is left; what is under way then is taken up again at the next start."""
    async with trio.open_nursery() as nursery:
        requester = Requester(parts, nursery)
        await requester.start()
        yield requester
        nursery.cancel_scope.cancel()
