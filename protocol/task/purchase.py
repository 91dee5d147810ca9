"""The requester's side of one task, from the first winner to the last part. Pure: docs/spec/task.md, section 2.

Theory. A task is a row of parts that are delivered and paid in order (M2). At any moment the requester deals with one
provider, under one award that covers all the missing parts; when that provider fails, the next standby gets an
award over what is still missing, and everything paid before stays paid. So the whole purchase is told by three things:
how many parts are paid, what they cost, and which award is in force. Nothing is ever paid that was not received: the
shell reports `PartReceived` only when the output is on this disk, its digest is that of the receipt, and the
receipt has passed `verify_receipt`.

What the policy has looked at again (docs/spec/bill.md, section 4) is in nobody's power meanwhile: neither cancelling
nor a failure of the provider ends it, so that a receipt once held is either paid or refuted.

Of a task in several copies, each slot is a purchase of its own, whose every receipt is looked at again: it is compared
with those of the others (section 5). A slot that lost its provider goes on after the parts that others have shown
meanwhile, so an award may begin later than this slot has come, and its attempt counts the failures of all slots (A5).

    state      event            next       effects
    Seeking    WinnerChosen     Funding    SendAward, FundRail
    Seeking    NoWinner         Failed     -
    Funding    RailFunded       Awaiting   AwaitStart
    Funding    RailFailed       Failed     CloseRail         the fault is ours: a standby would not help
    Awaiting   RailFailed       Failed     CloseRail         likewise, found out after a restart
    Awaiting   Started          Running    AwaitPart
    Running    PartReceived     Running    PayPart, AwaitPart
    Running    PartReceived     Done       PayPart, CloseRail        it was the last part
    Running    AuditDrawn       Auditing   AuditPart          its receipt is looked at again before it is accepted
    Auditing   AuditPassed      Auditing   TakePart
    Auditing   PartReceived     as from Running
    Auditing   AuditRefuted     Seeking    CloseRail, OpenDispute    nothing is paid for this part
    Auditing   ReceiptContested    Seeking    CloseRail, OpenDispute    likewise
    Seeking    DisputeTaken     Seeking    SeekWinner                the court has the case
    Funding .. ProviderFailed   Seeking    CloseRail, SeekWinner
    any open   CancelRequested  Cancelled  CloseRail, TellCancelled
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from protocol.errors import UnexpectedEvent
from protocol.identity import Address, Digest
from protocol.market.objects import Award
from protocol.signing.signed import Signed
from protocol.task.audit import Finding
from protocol.task.objects import Acceptance, Receipt
from protocol.task.purchase_events import (
    AuditDrawn,
    AuditPassed,
    AuditRefuted,
    CancelRequested,
    DisputeTaken,
    Event,
    NoWinner,
    PartReceived,
    ProviderFailed,
    RailFailed,
    RailFunded,
    ReceiptContested,
    Started,
    WinnerChosen,
)
from protocol.task.purchase_states import (
    Accepted,
    Auditing,
    Awaiting,
    Cancelled,
    Case,
    Done,
    Failed,
    Funding,
    Progress,
    Running,
    Seeking,
    State,
)
from protocol.units import Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class SeekWinner:
    """Name the best bidder outside `failed` for the parts from `first_part` on, and sign its award."""

    first_part: int
    attempt: int
    failed: tuple[Address, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SendAward:
    """Send the award to its provider, and to everybody who followed the auction."""

    award: Signed[Award]


@dataclass(frozen=True, slots=True, kw_only=True)
class FundRail:
    """Promise the award's price: a hold in the channel, or an escrow."""

    award: Signed[Award]
    award_id: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitStart:
    """Send award and funding to the provider until its start is here, or it is too late for one."""

    award: Signed[Award]
    award_id: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitPart:
    """Wait for the next receipt, and fetch and check what it names."""

    award: Signed[Award]
    award_id: Digest
    part: int
    due: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPart:
    """Find a second result for a part, and compare. Harmless to repeat."""

    auditing: Auditing


@dataclass(frozen=True, slots=True, kw_only=True)
class TakePart:
    """Accept the receipt that was looked at."""

    receipt: Signed[Receipt]
    receipt_id: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDispute:
    """Hand a wrong receipt to the court. Harmless to repeat."""

    case: Case


@dataclass(frozen=True, slots=True, kw_only=True)
class PayPart:
    """Sign the acceptance, move the money, and send both."""

    award: Signed[Award]
    acceptance: Acceptance
    last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseRail:
    """Nothing more will be paid under this award: take back what it still holds, as far as the law allows."""

    award: Signed[Award]
    award_id: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class TellCancelled:
    """Tell the provider to stop; it may have one part under way."""

    award: Signed[Award]


Effect: TypeAlias = (
    SeekWinner
    | SendAward
    | FundRail
    | AwaitStart
    | AwaitPart
    | AuditPart
    | TakePart
    | OpenDispute
    | PayPart
    | CloseRail
    | TellCancelled
)

Contracted: TypeAlias = Funding | Awaiting | Running


def transition(  # noqa: C901 - the table above, one case a row
    state: State, event: Event
) -> tuple[State, tuple[Effect, ...]]:
    """Apply one event.

    Raises:
        UnexpectedEvent: The table has no such row, or the event speaks of another award or part.
    """
    match state, event:
        case Seeking(progress=progress, case=None), WinnerChosen(award=award, award_id=award_id):
            _check_award(progress, award.value)
            begun = replace(progress, paid_parts=award.value.first_part, attempt=award.value.attempt)
            funding = Funding(progress=begun, award=award, award_id=award_id)
            return funding, outstanding(funding)
        case Seeking(progress=progress, case=None), NoWinner(reason=reason):
            return Failed(progress=progress, reason=reason), ()
        case Funding(), RailFunded(award_id=award_id) if award_id == state.award_id:
            awaiting = Awaiting(progress=state.progress, award=state.award, award_id=award_id)
            return awaiting, outstanding(awaiting)
        case ((Funding() | Awaiting()), RailFailed(award_id=award_id, reason=reason)) if award_id == state.award_id:
            failed = Failed(progress=state.progress, reason=reason)
            return failed, (CloseRail(award=state.award, award_id=award_id),)
        case Awaiting(), Started(start=start) if start.value.award == state.award_id:
            if start.value.at > state.award.value.start_by:
                raise UnexpectedEvent(f"started at {start.value.at}, start_by was {state.award.value.start_by}")
            running = Running(progress=state.progress, award=state.award, award_id=state.award_id, start=start)
            return running, outstanding(running)
        case Running(), PartReceived(receipt=receipt, receipt_id=receipt_id):
            return _receive(state, receipt.value, receipt_id)
        case (Auditing(), _) | (Running(), AuditDrawn()) | (Seeking(case=Case()), DisputeTaken()):
            return _audit(state, event)
        case ((Funding() | Awaiting() | Running()), ProviderFailed(award_id=award_id)) if award_id == state.award_id:
            return _replace_provider(state)
        case ((Seeking(case=None) | Funding() | Awaiting() | Running()), CancelRequested()):
            return _cancel(state)
        case _:
            raise UnexpectedEvent(f"{type(event).__name__} in {type(state).__name__}")


def outstanding(state: State) -> tuple[Effect, ...]:
    """What `state` still needs done: asked after a replay, when it is unknown which effects took place."""
    match state:
        case Seeking(case=Case() as case):
            return CloseRail(award=case.award, award_id=case.receipt.value.award), OpenDispute(case=case)
        case Seeking(progress=progress):
            return (SeekWinner(first_part=progress.paid_parts, attempt=progress.attempt, failed=progress.failed),)
        case Funding():
            return SendAward(award=state.award), FundRail(award=state.award, award_id=state.award_id)
        case Awaiting():
            return (AwaitStart(award=state.award, award_id=state.award_id),)
        case Running(latest=latest):
            part = AwaitPart(award=state.award, award_id=state.award_id, part=state.progress.paid_parts, due=state.due)
            return (part,) if latest is None else (PayPart(award=state.award, acceptance=latest, last=False), part)
        case Auditing(passed=None):  # what came before is paid: else this part had not been begun (M2)
            return (AuditPart(auditing=state),)
        case Auditing():
            return (TakePart(receipt=state.receipt, receipt_id=state.receipt_id),)
        case Done():
            return (
                PayPart(award=state.award, acceptance=state.latest, last=True),
                CloseRail(award=state.award, award_id=state.award_id),
            )
        case Failed() | Cancelled():
            return ()


def end_of(slots: Sequence[State]) -> type[Done] | type[Failed] | type[Cancelled]:
    """Say how a task ended whose slots are all over: well, if any of them has come to the last part."""
    if any(each.progress.paid_parts == each.progress.parts for each in slots):
        return Done
    return Cancelled if any(isinstance(each, Cancelled) for each in slots) else Failed


def latest_payment(state: State, award_id: Digest) -> PayPart | None:
    """Return the last payment under an award, also one that is over: its provider may have missed it."""
    for each in state.progress.accepted:
        if each.acceptance.award == award_id:
            last = isinstance(state, Done) and state.award_id == award_id
            return PayPart(award=each.award, acceptance=each.acceptance, last=last)
    return None


def _check_award(progress: Progress, award: Award) -> None:
    wanted, given = (progress.paid_parts, progress.attempt), (award.first_part, award.attempt)
    fits = (
        given == wanted
        if progress.copies == 1
        else all(each >= least for each, least in zip(given, wanted, strict=True))
    )
    if not fits or award.slot != progress.slot or award.first_part + award.parts != progress.parts:
        raise UnexpectedEvent(
            f"award {award.attempt} of slot {award.slot} covers {award.parts} parts from {award.first_part}; "
            f"missing are {progress.parts - progress.paid_parts} from {progress.paid_parts} "
            f"in attempt {progress.attempt} of slot {progress.slot}"
        )


def _check_next(state: Running, receipt: Receipt) -> None:
    if receipt.award != state.award_id or receipt.part != state.progress.paid_parts:
        raise UnexpectedEvent(f"receipt for part {receipt.part}, expected part {state.progress.paid_parts}")
    if not state.due <= receipt.due <= state.award.value.price:
        raise UnexpectedEvent(f"receipt is due {receipt.due}, outside {state.due}..{state.award.value.price}")


def _receive(state: Running, receipt: Receipt, receipt_id: Digest) -> tuple[State, tuple[Effect, ...]]:
    _check_next(state, receipt)
    acceptance = Acceptance(award=state.award_id, part=receipt.part, receipt=receipt_id, due=receipt.due)
    progress = replace(
        state.progress,
        paid_parts=state.progress.paid_parts + 1,
        spent=Amount(state.progress.spent + receipt.due - state.due),
        accepted=(
            *(each for each in state.progress.accepted if each.acceptance.award != state.award_id),
            Accepted(award=state.award, acceptance=acceptance),
        ),
    )
    if progress.paid_parts == progress.parts:
        done = Done(progress=progress, award=state.award, award_id=state.award_id, latest=acceptance)
        return done, outstanding(done)
    after = replace(state, progress=progress, due=receipt.due, latest=acceptance)
    return after, outstanding(after)


def _next_attempt(state: Contracted | Auditing) -> Seeking:
    failed = (*state.progress.failed, state.award.value.provider)
    return Seeking(progress=replace(state.progress, attempt=state.progress.attempt + 1, failed=failed))


def _replace_provider(state: Contracted) -> tuple[State, tuple[Effect, ...]]:
    seeking = _next_attempt(state)
    return seeking, (CloseRail(award=state.award, award_id=state.award_id), *outstanding(seeking))


def _audit(state: State, event: Event) -> tuple[State, tuple[Effect, ...]]:
    match state, event:
        case Running(), AuditDrawn():
            _check_next(state, event.receipt.value)
            after = Auditing(running=state, receipt=event.receipt, receipt_id=event.receipt_id)
        case Auditing(passed=None), AuditPassed() if event.receipt_id == state.receipt_id:
            if event.finding is Finding.DIFFERENT:
                raise UnexpectedEvent("a receipt that differs does not pass")
            after = replace(state, passed=event.finding)
        case Auditing(passed=Finding()), PartReceived() if event.receipt_id == state.receipt_id:
            return _receive(state.running, state.receipt.value, state.receipt_id)
        case Auditing(passed=None), (AuditRefuted() | ReceiptContested()) if event.receipt_id == state.receipt_id:
            after = _refuted(state, event)
        case Seeking(case=Case() as case), DisputeTaken() if event.receipt_id == case.receipt_id:
            after = replace(state, case=None)
        case _:
            raise UnexpectedEvent(f"{type(event).__name__} in {type(state).__name__}, or of another receipt")
    return after, outstanding(after)


def _refuted(state: Auditing, event: AuditRefuted | ReceiptContested) -> Seeking:
    case = Case(
        award=state.award,
        start=state.running.start,
        receipt=state.receipt,
        receipt_id=state.receipt_id,
        before=state.running.due,
        rerun=event.rerun,
        reason=event.reason,
    )
    return replace(_next_attempt(state), case=case)


def _cancel(state: Seeking | Contracted) -> tuple[State, tuple[Effect, ...]]:
    cancelled = Cancelled(progress=state.progress)
    if isinstance(state, Seeking):
        return cancelled, ()
    return cancelled, (TellCancelled(award=state.award), CloseRail(award=state.award, award_id=state.award_id))
