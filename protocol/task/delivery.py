"""The provider's side of one award, from its notice to the last payment. Pure: docs/spec/task.md, section 3.

Theory. A provider risks two things: work that is not paid, and a promise that it can't keep. Against the first stands
the order of the parts: none is begun while an earlier one is unpaid, so at most one is ever at risk (M2). Against the
second, nothing binds before `Start` (M1): it is signed only when the money is confirmed and every input is here.

    state      event           next       effects
    Offered    RailConfirmed   Fetching   FetchInputs
    Fetching   InputsHeld      Working    SendStart, RunPart           the start is what binds
    Working    PartRan         Unpaid     SendReceipt
    Unpaid     SecretHeard     Unpaid     -                            it opens the award's seal (BI13)
    Unpaid     PartPaid        Working    RunPart
    Unpaid     PartPaid        Delivered  SettleRail                   it was the last part
    Working    PartFailed      Dropped    TellFailed, SettleRail       unjudged: no pay, no slash (B3)
    Unpaid     PaymentOverdue  Dropped    TellFailed, SettleRail       claim on evidence (M8)
    any open   Withdrawn       Dropped    TellFailed, SettleRail
"""

from dataclasses import dataclass, replace
from typing import Annotated, TypeAlias

from protocol.errors import UnexpectedEvent
from protocol.identity import Digest
from protocol.market.objects import Award
from protocol.signing.signed import Signed
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.task.verification import verify_seal
from protocol.units import Amount, Uint32, UnixTime
from protocol.wire.codec import MaxLen, tagged

Reason = Annotated[str, MaxLen(512)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What stays the same through a delivery.

    Attributes:
        award: As the requester signed it.
        award_id: Its digest.
    """

    award: Signed[Award]
    award_id: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """The transcript is verified and we are the winner; the money is not yet seen."""

    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetching:
    """The money stands; module and inputs are on their way."""

    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Working:
    """Bound, and running part `part` (counted over the whole task). `paid` is the accepted running total."""

    job: Job
    start: Start
    part: Uint32
    paid: Amount = Amount(0)
    accepted: Signed[Acceptance] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpaid:
    """Part `receipt.part` is delivered; nothing more is done before it is paid."""

    job: Job
    start: Start
    receipt: Receipt
    paid: Amount
    accepted: Signed[Acceptance] | None = None
    secret: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """Every part is done and accepted.

    Attributes:
        secret: What the award's `audit_seal` sealed: with the receipts it shows which of them were to be audited. None
            if nothing was sealed, or the requester doesn't say, which is its fault.
    """

    job: Job
    start: Start
    paid: Amount
    accepted: Signed[Acceptance]
    secret: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Over before its end. `receipt` is work done and not accepted, if any: evidence for a claim."""

    job: Job
    reason: Reason
    start: Start | None = None
    paid: Amount = Amount(0)
    accepted: Signed[Acceptance] | None = None
    receipt: Receipt | None = None


State: TypeAlias = Offered | Fetching | Working | Unpaid | Delivered | Dropped


@tagged(1)
@dataclass(frozen=True, slots=True, kw_only=True)
class RailConfirmed:
    """The hold is in our hands and covered, or the escrow is confirmed."""


@tagged(2)
@dataclass(frozen=True, slots=True, kw_only=True)
class InputsHeld:
    """Module and all inputs of all parts of this award are on this disk, and the module compiles."""

    at: UnixTime


@tagged(3)
@dataclass(frozen=True, slots=True, kw_only=True)
class PartRan:
    """The sandbox is done with the part; output and logs are on this disk."""

    receipt: Receipt


@tagged(4)
@dataclass(frozen=True, slots=True, kw_only=True)
class PartPaid:
    """An acceptance of the part arrived, with the money behind it."""

    acceptance: Signed[Acceptance]


@tagged(5)
@dataclass(frozen=True, slots=True, kw_only=True)
class PartFailed:
    """The host, not the guest, failed."""

    reason: Reason


@tagged(6)
@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentOverdue:
    """The requester has had the receipt for longer than its pace."""


@tagged(7)
@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """The award came to nothing: no money by `start_by`, inputs that nobody serves, or the requester cancelled."""

    reason: Reason


@tagged(8)
@dataclass(frozen=True, slots=True, kw_only=True)
class SecretHeard:
    """With the last payment, the requester opened the seal of the award."""

    secret: Digest


Event: TypeAlias = (
    RailConfirmed | InputsHeld | PartRan | PartPaid | PartFailed | PaymentOverdue | Withdrawn | SecretHeard
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitRail:
    """Watch the channel or the escrow until the award is covered, or `start_by` has passed."""

    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchInputs:
    """Bring module and inputs from the requester, and compile."""

    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class SendStart:
    """Sign and send the start; a requester that refuses it has no use for the rest."""

    job: Job
    start: Start


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPart:
    """Run one part in the sandbox."""

    job: Job
    part: int
    paid: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class SendReceipt:
    """Sign and send the receipt, and serve the output to the requester."""

    job: Job
    receipt: Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class TellFailed:
    """Tell the requester that no receipt will come, so that it need not wait for the deadline."""

    job: Job
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleRail:
    """Take what is owed under this award, and let go of the rest."""

    job: Job
    start: Start | None
    accepted: Signed[Acceptance] | None
    unpaid: Receipt | None


Effect: TypeAlias = AwaitRail | FetchInputs | SendStart | RunPart | SendReceipt | TellFailed | SettleRail


def transition(  # noqa: C901 - the table above, one case a row
    state: State, event: Event
) -> tuple[State, tuple[Effect, ...]]:
    """Apply one event.

    Raises:
        UnexpectedEvent: The table has no such row, or the event speaks of another part.
        SealMismatch: A secret that the award did not seal.
    """
    match state, event:
        case Offered(job=job), RailConfirmed():
            fetching = Fetching(job=job)
            return fetching, outstanding(fetching)
        case Fetching(job=job), InputsHeld(at=at):
            if at > job.award.value.start_by:
                raise UnexpectedEvent(f"inputs held at {at}, start_by was {job.award.value.start_by}")
            start = Start(award=job.award_id, at=at)
            working = Working(job=job, start=start, part=job.award.value.first_part)
            return working, outstanding(working)
        case Working(job=job), PartRan(receipt=receipt):
            if (receipt.award, receipt.part) != (job.award_id, state.part):
                raise UnexpectedEvent(f"ran part {receipt.part}, expected {state.part}")
            unpaid = Unpaid(job=job, start=state.start, receipt=receipt, paid=state.paid, accepted=state.accepted)
            return unpaid, (SendReceipt(job=job, receipt=receipt),)
        case Unpaid(), PartPaid(acceptance=acceptance):
            return _paid(state, acceptance)
        case Unpaid(job=job), SecretHeard(secret=secret):
            verify_seal(job.award.value.audit_seal, secret)
            return replace(state, secret=secret), ()
        case Working(job=job), PartFailed(reason=reason):
            dropped = _drop(state, reason)
            return dropped, (TellFailed(job=job, reason=reason), *outstanding(dropped))
        case Unpaid(job=job), PaymentOverdue():
            reason = "the requester did not pay the last receipt in time"
            dropped = _drop(state, reason)
            return dropped, (TellFailed(job=job, reason=reason), *outstanding(dropped))
        case ((Offered() | Fetching() | Working() | Unpaid()), Withdrawn(reason=reason)):
            dropped = _drop(state, reason)
            return dropped, (TellFailed(job=state.job, reason=reason), *outstanding(dropped))
        case _:
            raise UnexpectedEvent(f"{type(event).__name__} in {type(state).__name__}")


def outstanding(state: State) -> tuple[Effect, ...]:
    """What `state` still needs done: asked after a replay.

    A part that a crash interrupted is run again, and the start sent before it, whatever was paid: a requester that
    has hired somebody else meanwhile says so.
    """
    match state:
        case Offered(job=job):
            return (AwaitRail(job=job),)
        case Fetching(job=job):
            return (FetchInputs(job=job),)
        case Working(job=job):
            return SendStart(job=job, start=state.start), RunPart(job=job, part=state.part, paid=state.paid)
        case Unpaid(job=job):
            return SendStart(job=job, start=state.start), SendReceipt(job=job, receipt=state.receipt)
        case Delivered(job=job):
            return (SettleRail(job=job, start=state.start, accepted=state.accepted, unpaid=None),)
        case Dropped(job=job):
            return (SettleRail(job=job, start=state.start, accepted=state.accepted, unpaid=state.receipt),)


def exposure(state: State) -> Amount:
    """What the provider has worked for and not been paid, base units: never more than one part (M2)."""
    match state:
        case Unpaid():
            return Amount(state.receipt.due - state.paid)
        case Dropped(receipt=receipt) if receipt is not None:
            return Amount(receipt.due - state.paid)
        case _:
            return Amount(0)


def _paid(state: Unpaid, acceptance: Signed[Acceptance]) -> tuple[State, tuple[Effect, ...]]:
    accepted, award = acceptance.value, state.job.award.value
    if (accepted.award, accepted.part) != (state.job.award_id, state.receipt.part):
        raise UnexpectedEvent(f"acceptance of part {accepted.part}, expected {state.receipt.part}")
    if accepted.due != state.receipt.due:
        raise UnexpectedEvent(f"acceptance of {accepted.due}, the receipt says {state.receipt.due}")
    done = accepted.part + 1 == award.first_part + award.parts
    if done:
        delivered = Delivered(
            job=state.job, start=state.start, paid=accepted.due, accepted=acceptance, secret=state.secret
        )
        return delivered, outstanding(delivered)
    part = accepted.part + 1
    working = Working(job=state.job, start=state.start, part=part, paid=accepted.due, accepted=acceptance)
    return working, (RunPart(job=state.job, part=part, paid=accepted.due),)


def _drop(state: Offered | Fetching | Working | Unpaid, reason: str) -> Dropped:
    dropped = Dropped(job=state.job, reason=reason)
    match state:
        case Working():
            return replace(dropped, start=state.start, paid=state.paid, accepted=state.accepted)
        case Unpaid():
            return replace(dropped, start=state.start, paid=state.paid, accepted=state.accepted, receipt=state.receipt)
        case _:
            return dropped
