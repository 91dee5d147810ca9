"""One task at its requester, driven to its end: the shell of `protocol.task.purchase`."""

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import structlog
import trio

from node.market.driver import Interrupt, drive
from node.market.ports import Auditor, Blobs, Court, PayerRails, Peers, Signing
from node.market.words import printable
from node.operations.clock import Clock
from node.storage.chain import Record
from node.storage.machine_log import MAX_RECORD_BYTES, Machine, MachineLog
from protocol.errors import ProtocolError, StoaError, StorageError, TransientError
from protocol.identity import Address, ContentDigest, Digest
from protocol.market.objects import Award, Offer
from protocol.settlement.deadlines import deadlines_of
from protocol.signing.eip712 import Domain, digest
from protocol.signing.signed import Signed
from protocol.task import purchase
from protocol.task.manifest import Manifest
from protocol.task.messages import (
    CANCEL_METHOD,
    FUNDING_METHOD,
    PAYMENT_METHOD,
    REASON_MAX,
    SEAL_METHOD,
    CancelNotice,
    FailureNotice,
    FundingNotice,
    PaymentNotice,
    ReceiptNotice,
    SealNotice,
    StartNotice,
    VoucherNotice,
)
from protocol.task.objects import Receipt
from protocol.task.outcome import describe, is_judged
from protocol.task.pricing import Rates
from protocol.task.receipt import Progress, Terms, verify_delivery, verify_receipt, verify_start
from protocol.task.verification import ByTest, Lot, Verification, blobs_of
from protocol.units import UnixTime
from protocol.wire.codec import decode_as, encode

log = structlog.stdlib.get_logger(__name__)

RESEND_S: Final = 1.0
"""How long to wait for an answer before something is sent again."""
INBOX: Final = 16
"""Messages of the provider that wait; one more is refused and sent again by it."""
PART_PACE: Final = "the provider did not deliver by deliver_by"

ProviderMessage: TypeAlias = StartNotice | ReceiptNotice | FailureNotice


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseContext:
    """What a purchase begins with; the first record of its stream. `hire` names a provider hired without auction."""

    offer_id: Digest
    offer: Signed[Offer]
    manifest: Manifest
    rates: Rates
    policy: Verification
    hire: Address | None = None


PurchaseLog = MachineLog[PurchaseContext, purchase.State, purchase.Event, purchase.Effect]

STREAMS: Final = "purchase/"


def purchase_machine(
    slot: int = 0,
) -> Machine[PurchaseContext, purchase.State, purchase.Event, purchase.Effect]:
    """Return the machine of one slot's purchase. What it begins with is the same for all slots of a task."""

    def begin(context: PurchaseContext) -> purchase.State:
        offer = context.offer.value
        return purchase.Seeking(progress=purchase.Progress(parts=offer.parts, copies=offer.copies, slot=slot))

    return Machine(context=PurchaseContext, events=purchase.Event, begin=begin, transition=purchase.transition)


PURCHASE: Final = purchase_machine()


def stream_of(offer_id: Digest, slot: int = 0) -> str:
    """Return the journal stream of a purchase; the first slot's has no number."""
    first = f"{STREAMS}{offer_id.hex()}"
    return f"{first}/{slot}" if slot else first


def streams_of(offer: Offer, offer_id: Digest) -> tuple[str, ...]:
    """Return the streams of all slots, in their order."""
    return tuple(stream_of(offer_id, slot) for slot in range(offer.copies))


def parse_stream(stream: str) -> tuple[Digest, int]:
    """Return the task and the slot that a stream of ours is about."""
    offer_id, _, slot = stream.removeprefix(STREAMS).partition("/")
    return Digest(bytes.fromhex(offer_id)), int(slot or "0")


def award_left_in(state: purchase.State, records: Iterable[Record]) -> purchase.WinnerChosen | None:
    """Return the newest award of a purchase's stream if it is not in force any more.

    Its rail is closed right after the event that ended it; a crash between the two would leave the money to time.
    """
    if not isinstance(state, purchase.Seeking | purchase.Failed | purchase.Cancelled):
        return None
    hint: Any = purchase.Event
    chosen = [each.body for each in records if each.kind == purchase.WinnerChosen.__name__]
    return decode_as(hint, chosen[-1], max_bytes=MAX_RECORD_BYTES) if chosen else None


class Winners(Protocol):
    """The auction behind a purchase."""

    async def next_award(self, first_part: int, attempt: int) -> Signed[Award]:
        """Name who does the parts from `first_part` on, prepare the rail, and sign its award.

        Raises:
            NoWinnerLeft: Nobody bid, or nobody is left.
            StoaError: Our own side can't promise the money; no standby would help.
        """
        ...

    async def send_award(self, award: Signed[Award]) -> None:
        """Send the award with its transcript to the provider, and gossip it.

        Raises:
            TransientError: The provider can't be reached now.
            ProtocolError: The provider refuses it.
        """
        ...

    def lot_of(self, award: Award) -> Lot | None:
        """Return what decides which receipts under the award in force are audited; None if the policy is another."""
        ...


def _unobserved(*_told: object) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequesterRoom:
    """What every purchase of this node works with.

    Attributes:
        patience_s: How long a provider may be unreachable and silent before a standby takes over.
        on_event: Told of every event once it is durable.
        on_opened: Told of every task that begins, not of those that a restart takes up again.
        on_copies_over: Told of the end of a task in several copies, whose slots end one by one.
    """

    domain: Domain
    signing: Signing
    peers: Peers
    blobs: Blobs
    rails: PayerRails
    auditor: Auditor
    court: Court
    clock: Clock
    patience_s: float
    on_event: Callable[[PurchaseContext, purchase.Event], None]
    on_opened: Callable[[PurchaseContext], None] = _unobserved
    on_copies_over: Callable[[PurchaseContext, type[purchase.State]], None] = _unobserved


class PurchaseRun:
    """The loop over one task. `run` ends when the task is done, failed or cancelled."""

    def __init__(self, room: RequesterRoom, machine: PurchaseLog, winners: Winners) -> None:
        self._room, self._machine, self._winners = room, machine, winners
        self.context: Final = machine.context
        self._post, self._inbox = trio.open_memory_channel[ProviderMessage](INBOX)
        self._interrupt = Interrupt[purchase.Event]()
        self._last_heard = room.clock.monotonic()
        self._funding: VoucherNotice | None = None
        self.left: purchase.WinnerChosen | None = None
        """An award that is not in force, after a restart: what follows from its end may not have been done."""

    @property
    def state(self) -> purchase.State:
        """Where the purchase stands."""
        return self._machine.state

    def cancel(self) -> None:
        """Stop buying: what is delivered is paid, nothing more is."""
        self._interrupt.raise_event(purchase.CancelRequested())

    def heard(self) -> None:
        """Note a sign of life of the provider."""
        self._last_heard = self._room.clock.monotonic()

    def post_nowait(self, message: ProviderMessage) -> None:
        """Hand a message of the provider over.

        Raises:
            trio.WouldBlock: Too many wait already; the provider sends it again.
        """
        self.heard()
        self._post.send_nowait(message)

    async def run(self) -> None:
        """Drive the purchase to its end."""
        if self.left is not None:
            await self._room.rails.close(self.left.award, self.left.award_id)
            self.left = None
        interruptible = purchase.SeekWinner | purchase.FundRail | purchase.AwaitStart | purchase.AwaitPart
        await drive(
            self._machine,
            outstanding=purchase.outstanding,
            perform=self._perform,
            is_interruptible=lambda effect: isinstance(effect, interruptible),
            interrupt=self._interrupt,
            on_event=lambda event: self._room.on_event(self.context, event),
        )

    async def tell_over(self, award: Signed[Award]) -> None:
        """Tell a provider that was away that its award is not in force any more."""
        await self._tell_over(award, "the award was given to another provider, or its task is over")

    async def send_payment(self, payment: purchase.PayPart) -> None:
        """Send a payment again, to a provider that missed it."""
        await self._pay(payment)

    async def _perform(self, effect: purchase.Effect) -> purchase.Event | None:
        match effect:
            case purchase.SeekWinner(first_part=first_part, attempt=attempt):
                return await self._seek(first_part, attempt)
            case purchase.SendAward(award=award):
                await self._send_award(award)
                return None
            case purchase.FundRail(award=award, award_id=award_id):
                return await self._fund(award, award_id)
            case purchase.AwaitStart(award=award, award_id=award_id):
                return await self._await_start(award, award_id)
            case purchase.AwaitPart():
                return await self._await_part(effect)
            case purchase.AuditPart() | purchase.TakePart() | purchase.OpenDispute():
                return await self._look_again(effect)
            case purchase.PayPart():
                await self._pay(effect)
                return None
            case purchase.CloseRail(award=award, award_id=award_id):
                await self._room.rails.close(award, award_id)
                return None
            case purchase.TellCancelled(award=award):
                await self._tell_over(award, "the requester cancelled the task")
                return None

    async def _look_again(
        self, effect: purchase.AuditPart | purchase.TakePart | purchase.OpenDispute
    ) -> purchase.Event:
        match effect:
            case purchase.AuditPart(auditing=auditing):
                terms = self._terms_of(auditing.award, auditing.award_id)
                return await self._room.auditor.look_again(terms, auditing)
            case purchase.TakePart(receipt=receipt, receipt_id=receipt_id):
                return purchase.PartReceived(receipt=receipt, receipt_id=receipt_id)
            case purchase.OpenDispute(case=case):
                await self._room.court.dispute(case, self.context.offer, self.context.manifest)
                return purchase.DisputeTaken(receipt_id=case.receipt_id)

    async def _seek(self, first_part: int, attempt: int) -> purchase.Event:
        try:
            award = await self._winners.next_award(first_part, attempt)
        except StoaError as error:
            return purchase.NoWinner(reason=_reason(error))
        return purchase.WinnerChosen(award=award, award_id=digest(self._room.domain, award.value))

    async def _send_award(self, award: Signed[Award]) -> None:
        try:
            await self._winners.send_award(award)
        except (TransientError, ProtocolError) as error:
            log.info("award.not_taken_yet", reason=str(error))

    async def _fund(self, award: Signed[Award], award_id: Digest) -> purchase.Event:
        try:
            self._funding = await self._room.rails.fund(award, award_id)
        except StoaError as error:
            return purchase.RailFailed(award_id=award_id, reason=_reason(error))
        return purchase.RailFunded(award_id=award_id)

    async def _await_start(self, award: Signed[Award], award_id: Digest) -> purchase.Event:
        """Send award and funding until the start is here."""
        until = deadlines_of(award.value).latest_resolve_by
        for blob in (*self.context.manifest.blobs(), *blobs_of(self.context.policy)):
            await self._room.peers.grant(blob.digest, award.value.provider, until)
        reason, begun = "the provider did not start by start_by", None
        with trio.move_on_after(self._seconds_until(award.value.start_by)):
            while True:
                try:
                    if self._funding is None:  # after a restart; on escrow it stays None
                        self._funding = await self._room.rails.fund(award, award_id)
                except TransientError as error:
                    log.warning("award.not_funded_again_yet", reason=str(error))
                    await self._room.clock.sleep(RESEND_S)
                    continue
                except StoaError as error:
                    return purchase.RailFailed(award_id=award_id, reason=_reason(error))
                try:
                    await self._winners.send_award(award)
                    await self._room.peers.call(
                        award.value.provider,
                        FUNDING_METHOD,
                        encode(FundingNotice(award=award_id, voucher=self._funding)),
                    )
                except TransientError as error:
                    reason = f"the provider could not be reached by start_by: {error}"
                except ProtocolError as error:
                    return purchase.ProviderFailed(award_id=award_id, reason=_reason(error))
                with trio.move_on_after(RESEND_S):
                    begun = await self._receive_start(award, award_id)
                if begun is not None:
                    break
        if begun is None:
            return purchase.ProviderFailed(award_id=award_id, reason=reason[:REASON_MAX])
        return await self._check_backed(award, award_id, begun)

    async def _check_backed(self, award: Signed[Award], award_id: Digest, begun: purchase.Event) -> purchase.Event:
        """Let a start count only with the provider's liability behind it (LK9): nothing is accepted from it before."""
        if isinstance(begun, purchase.Started):
            try:
                await self._room.rails.wait_backed(award, award_id)
            except StoaError as error:
                log.warning("award.not_backed", award=award_id.hex(), reason=str(error))
                return purchase.ProviderFailed(award_id=award_id, reason=_reason(error))
        return begun

    async def _receive_start(self, award: Signed[Award], award_id: Digest) -> purchase.Event | None:
        while True:
            message = await self._inbox.receive()
            match message:
                case StartNotice(start=start) if start.value.award == award_id:
                    try:
                        verify_start(self._room.domain, self._terms_of(award, award_id), start)
                    except ProtocolError as error:
                        return purchase.ProviderFailed(award_id=award_id, reason=_reason(error))
                    return purchase.Started(start=start)
                case FailureNotice(award=named, reason=reason) if named == award_id:
                    return purchase.ProviderFailed(award_id=award_id, reason=printable(reason))
                case _:
                    continue  # of an award that is over

    async def _await_part(self, effect: purchase.AwaitPart) -> purchase.Event:
        award_id, provider = effect.award_id, effect.award.value.provider
        self.heard()
        with trio.move_on_after(self._seconds_until(effect.award.value.deliver_by)):
            while True:
                message: ProviderMessage | None = None
                with trio.move_on_after(self._room.patience_s):
                    message = await self._inbox.receive()
                if message is None:
                    silent_s = self._room.clock.monotonic() - self._last_heard
                    if silent_s >= self._room.patience_s and not self._room.peers.is_reachable(provider):
                        reason = f"the provider vanished: unreachable and silent for {silent_s:.1f} s"
                        return purchase.ProviderFailed(award_id=award_id, reason=reason)
                    continue
                event = await self._take(effect, message)
                if event is not None:
                    return event
        return purchase.ProviderFailed(award_id=award_id, reason=PART_PACE)

    async def _take(self, effect: purchase.AwaitPart, message: ProviderMessage) -> purchase.Event | None:
        match message:
            case FailureNotice(award=named, reason=reason) if named == effect.award_id:
                return purchase.ProviderFailed(award_id=effect.award_id, reason=printable(reason))
            case ReceiptNotice(receipt=receipt) if receipt.value.award == effect.award_id:
                if receipt.value.part < effect.part:
                    payment = purchase.latest_payment(self._machine.state, effect.award_id)
                    if payment is not None:
                        await self._pay(payment)
                    return None
                return await self._take_receipt(effect, message)
            case _:
                return None

    async def _take_receipt(self, effect: purchase.AwaitPart, notice: ReceiptNotice) -> purchase.Event | None:
        """Check the receipt, bring what it names, check that too: only then is the part received (M2)."""
        award, receipt = effect.award.value, notice.receipt.value
        terms = self._terms_of(effect.award, effect.award_id)
        progress = Progress(next_part=effect.part, due=effect.due)
        try:
            receipt_id, _ = verify_receipt(self._room.domain, terms, progress, notice.receipt)
            _check_judged(receipt)
            await self._fetch(award, receipt.output, notice.output_bytes)
            await self._fetch(award, receipt.logs, notice.log_bytes)
            verify_delivery(
                receipt,
                output=receipt.output,
                output_bytes=await self._room.blobs.size(receipt.output),
                logs=receipt.logs,
                log_bytes=await self._room.blobs.size(receipt.logs),
            )
        except (TransientError, StorageError) as error:  # also of our own disk: not the provider's fault
            log.warning("part.not_fetched_yet", part=receipt.part, reason=str(error))
            return None  # the provider sends the receipt again
        except ProtocolError as error:
            return purchase.ProviderFailed(award_id=effect.award_id, reason=_reason(error))
        lot = self._winners.lot_of(award)
        # None is accepted before it was held against the other copies, or its output tested.
        is_always = self.context.offer.value.copies > 1 or isinstance(self.context.policy, ByTest)
        if is_always or (lot is not None and lot.falls_on(receipt_id)):
            return purchase.AuditDrawn(receipt=notice.receipt, receipt_id=receipt_id)
        return purchase.PartReceived(receipt=notice.receipt, receipt_id=receipt_id)

    def _terms_of(self, award: Signed[Award], award_id: Digest) -> Terms:
        bought = self.context
        return Terms(
            award=award.value, award_id=award_id, manifest=bought.manifest, rates=bought.rates, policy=bought.policy
        )

    async def _fetch(self, award: Award, blob: ContentDigest, size: int) -> None:
        limits = self.context.manifest.limits
        if size > limits.output_bytes + limits.log_bytes:
            raise ProtocolError(f"the provider announces {size} bytes, above the task's limits")
        until = deadlines_of(award).latest_resolve_by
        await self._room.peers.fetch(award.provider, blob, max_bytes=size, keep_until=until)

    async def _pay(self, effect: purchase.PayPart) -> None:
        award = effect.award.value
        acceptance = await self._room.signing.sign_acceptance(effect.acceptance, award)
        voucher = await self._room.rails.pay(effect.award, effect.acceptance.award, acceptance, last=effect.last)
        if effect.last:
            await self._open_seal(award, effect.acceptance.award)
        await self._try_tell(award, PAYMENT_METHOD, encode(PaymentNotice(acceptance=acceptance, voucher=voucher)))

    async def _open_seal(self, award: Award, award_id: Digest) -> None:
        """Tell the secret of the lot. Earlier, it would say which of the parts to come are looked at (BI13)."""
        lot = self._winners.lot_of(award)
        if lot is not None:
            await self._try_tell(award, SEAL_METHOD, encode(SealNotice(award=award_id, secret=lot.secret)))

    async def _tell_over(self, award: Signed[Award], reason: str) -> None:
        notice = CancelNotice(award=digest(self._room.domain, award.value), reason=reason)
        await self._try_tell(award.value, CANCEL_METHOD, encode(notice))

    async def _try_tell(self, award: Award, method: str, body: bytes) -> None:
        with contextlib.suppress(TransientError):  # it asks again by sending its receipt again
            try:
                await self._room.peers.call(award.provider, method, body)
            except ProtocolError as error:
                log.warning("purchase.refused", method=method, reason=str(error))

    def _seconds_until(self, by: UnixTime) -> float:
        """Return how long acts due `by` still count (C7: to the end of that second)."""
        return max(0.0, by + 1 - self._room.clock.unix_time())


def _reason(error: Exception) -> str:
    return str(error)[:REASON_MAX]


def _check_judged(receipt: Receipt) -> None:
    if not is_judged(receipt.outcome):
        raise ProtocolError(f"part {receipt.part}: {describe(receipt.outcome)}")
