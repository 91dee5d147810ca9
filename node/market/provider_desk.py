"""What providers say to the requester: starts, progress, receipts, failures, each only about its own award."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import structlog
import trio

from node.market import auction_run, purchase_run
from node.market.auction_run import AuctionRoom, AuctionRun, auction_machine
from node.market.ports import NotIntroduced
from node.market.purchase_run import ProviderMessage, PurchaseRun, RequesterRoom, purchase_machine
from node.market.task_run import TaskRun
from node.storage.machine_log import Journal, load_machine
from protocol.errors import ProtocolError, StoaError, TransientError
from protocol.identity import Address, Digest, PeerId
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
from protocol.task.purchase import latest_payment
from protocol.wire.codec import decode

log = structlog.stdlib.get_logger(__name__)

NOTICE_MAX_BYTES: Final = 8 * 1024
FINISHED_KEPT: Final = 256
"""Purchases that are over but stay in memory, for providers that missed the last payment."""

_UnderAward: TypeAlias = purchase.Funding | purchase.Awaiting | purchase.Running | purchase.Auditing | purchase.Done


class UnknownTask(ProtocolError):
    """No task of this node has that id, or none that is still open."""


class AwardOver(ProtocolError):
    """A receipt under an award that is not in force any more: the parts are done by somebody else, or not wanted."""


class InboxFull(TransientError):
    """Too many messages of one award wait; to be sent again."""


class FindPurchase(Protocol):
    """Finds the task behind an award, also one that is long over."""

    async def __call__(self, award_id: Digest) -> str | None:
        """Return the stream of the purchase, that of one slot, for which the award was made."""
        ...


@dataclass(frozen=True, slots=True)
class PartProgress:
    """How far the part under way is, as its provider tells; nothing is billed from it."""

    provider: Address
    part: int
    fuel: int
    bytes_out: int


class ProviderDesk:
    """Answers providers. `tasks` are those that are open, by offer; they come and go while the desk is there."""

    def __init__(
        self,
        room: RequesterRoom,
        auctions: AuctionRoom,
        journal: Journal,
        find_purchase: FindPurchase,
        tasks: Mapping[Digest, TaskRun],
        nursery: trio.Nursery,
    ) -> None:
        self._room, self._auctions, self._journal = room, auctions, journal
        self._find_purchase, self._tasks, self._nursery = find_purchase, tasks, nursery
        self._finished: dict[str, PurchaseRun] = {}
        self._paying_again: set[Digest] = set()
        self.progress: defaultdict[Digest, dict[int, PartProgress]] = defaultdict(dict)
        """By offer and slot: the part under way."""

    def serve(self) -> None:
        """Begin to listen."""
        peers = self._room.peers
        peers.serve(START_METHOD, self._on_start, max_request=NOTICE_MAX_BYTES)
        peers.serve(PROGRESS_METHOD, self._on_progress, max_request=NOTICE_MAX_BYTES)
        peers.serve(RECEIPT_METHOD, self._on_receipt, max_request=NOTICE_MAX_BYTES)
        peers.serve(FAILURE_METHOD, self._on_failure, max_request=NOTICE_MAX_BYTES)

    def remember(self, bought: PurchaseRun) -> None:
        """Keep a purchase that is over for a while, for a provider that missed the last payment."""
        self._finished[purchase_run.stream_of(bought.context.offer_id, bought.state.progress.slot)] = bought
        if len(self._finished) > FINISHED_KEPT:
            del self._finished[next(iter(self._finished))]

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
        told = PartProgress(self._wallet_of(peer), notice.part, notice.fuel, notice.bytes_out)
        self.progress[run.context.offer_id][run.state.progress.slot] = told
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
        stream = await self._find_purchase(award_id)
        if stream is None:
            raise UnknownTask("this node never made that award")
        offer_id, slot = purchase_run.parse_stream(stream)
        task = self._tasks.get(offer_id)
        run = task.purchases[slot] if task is not None else self._finished.get(stream)
        if run is None:
            machine = await load_machine(self._journal, purchase_machine(slot), stream)
            auction = await load_machine(
                self._journal, auction_machine(self._room.domain), auction_run.stream_of(offer_id)
            )
            winners = AuctionRun(self._auctions, auction, hire=machine.context.hire)
            run = PurchaseRun(self._room, machine, winners)
            self.remember(run)  # asked for again, it costs nothing
        return run

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
        wallet = self._room.peers.wallet_of(peer)
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
