"""One escrowed award, requester's side. Pure; docs/spec/escrow.md, section 3.

Theory. The record (record.py) says where the money is; the requester adds what it wants: to fund, to take money back
that nobody works for, to pay no claim that it does not owe. Each order follows from the record, the time of the newest
confirmed block and what the requester has decided, so `outstanding` computes all of them afresh and a repeat is
harmless: the contract takes each only in its phase.

    phase               condition                                        order
    -----               ---------                                        -----
    Unfunded            until startBy                                    SubmitFund
    Funded              after startBy, no start seen                     SubmitRecall
    Funded, Started     after claimBy, more accepted than paid           SubmitRelease
    Funded, Started     after claimBy                                    SubmitRefund
    Recalled            after start_proof_by or claimBy                  SubmitRefund
    Claimed             not covered by an acceptance, undecided          JudgeClaim
    Claimed             contested, until dispute_by                      SubmitDispute
    Disputed            after resolve_by                                 SubmitSplit

What was accepted is owed, so it is released before the rest is taken back, even if the provider forgot to submit it.
A claim that an acceptance covers needs nothing. Silence pays the provider (M8), so `JudgeClaim` is repeated until the
shell answers with ClaimContested or ClaimApproved.
"""

from dataclasses import dataclass, replace
from typing import TypeAlias

from protocol.escrow.errors import UnexpectedEvent, WrongPart, WrongTotal
from protocol.escrow.record import (
    BlockSeen,
    ChainEvent,
    ClaimConfirmed,
    Claimed,
    Closed,
    Disputed,
    EscrowTerms,
    Funded,
    Phase,
    Recalled,
    Started,
    Unfunded,
    apply_chain,
)
from protocol.identity import Digest
from protocol.settlement.deadlines import is_open, is_over
from protocol.signing.signed import Signed
from protocol.task.objects import Acceptance
from protocol.units import Amount, Uint32, UnixTime
from protocol.wire.codec import tagged


@tagged(80)
@dataclass(frozen=True, slots=True, kw_only=True)
class StartSeen:
    """The provider sent a start, and it was verified: a recall would only be answered with it."""


@tagged(81)
@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptanceSigned:
    """This side accepted all parts up to one; `due` in all is owed."""

    signed: Signed[Acceptance]


@tagged(82)
@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimContested:
    """The claim with `receipt` is not owed: its output is missing or wrong."""

    receipt: Digest


@tagged(83)
@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimApproved:
    """The claim with `receipt` is owed and may run its time."""

    receipt: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitFund:
    """Lock price and dispute fee. The contract funds an award once, ever."""

    terms: EscrowTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitRecall:
    """Ask for the money back since no start came."""

    terms: EscrowTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitRelease:
    """Pay what was accepted."""

    terms: EscrowTerms
    acceptance: Signed[Acceptance]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitRefund:
    """Take back what nobody claimed. Anyone may submit it."""

    terms: EscrowTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeClaim:
    """Decide about a claim before `dispute_by`: fetch its output, check it."""

    receipt: Digest
    part: Uint32
    due: Amount
    dispute_by: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitDispute:
    """Dispute the open claim."""

    terms: EscrowTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitSplit:
    """Close a dispute that got no verdict. Anyone may submit it."""

    terms: EscrowTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class RequesterState:
    """Where one award stands for its requester.

    Attributes:
        terms: What is fixed.
        phase: The confirmed record.
        now: Time of the newest confirmed block.
        start_seen: Whether a verified start is at hand.
        acceptance: The acceptance with the highest total.
        contested: Receipt of the claim that this side denies, if any.
        approved: Receipt of the claim that this side lets pass, if any.
    """

    terms: EscrowTerms
    phase: Phase
    now: UnixTime = UnixTime(0)
    start_seen: bool = False
    acceptance: Signed[Acceptance] | None = None
    contested: Digest | None = None
    approved: Digest | None = None

    @property
    def accepted(self) -> int:
        """Return the highest total accepted so far."""
        return self.acceptance.value.due if self.acceptance else 0


RequesterEvent: TypeAlias = ChainEvent | BlockSeen | StartSeen | AcceptanceSigned | ClaimContested | ClaimApproved
RequesterEffect: TypeAlias = (
    SubmitFund | SubmitRecall | SubmitRelease | SubmitRefund | JudgeClaim | SubmitDispute | SubmitSplit
)
Step = tuple[RequesterState, tuple[RequesterEffect, ...]]


def start_funding(terms: EscrowTerms) -> RequesterState:
    """Return the requester's first state; its only order is to fund."""
    return RequesterState(terms=terms, phase=Unfunded())


def is_lapsed(state: RequesterState) -> bool:
    """Tell whether the award was never funded and can't be any more."""
    return isinstance(state.phase, Unfunded) and is_over(state.terms.deadlines.start_by, state.now)


def transition(state: RequesterState, event: RequesterEvent) -> Step:
    """Apply one event.

    Raises:
        EscrowError: The event is not allowed; `state` is still what holds.
    """
    after = _applied(state, event)
    return after, outstanding(after)


def outstanding(state: RequesterState) -> tuple[RequesterEffect, ...]:
    """Return what the award needs from its requester now."""
    terms, now = state.terms, state.now
    match state.phase:
        case Unfunded():
            return (SubmitFund(terms=terms),) if is_open(terms.deadlines.start_by, now) else ()
        case (Funded() | Started()) as phase if is_over(terms.deadlines.claim_by, now):
            if state.acceptance is not None and state.accepted > phase.paid:
                return (SubmitRelease(terms=terms, acceptance=state.acceptance),)
            return (SubmitRefund(terms=terms),)
        case Funded() if is_over(terms.deadlines.start_by, now) and not state.start_seen and not state.acceptance:
            return (SubmitRecall(terms=terms),)
        case Recalled(start_proof_by=proof_by) if is_over(min(proof_by, terms.deadlines.claim_by), now):
            return (SubmitRefund(terms=terms),)
        case Claimed() as claim if is_open(claim.dispute_by, now) and claim.due > state.accepted:
            if state.contested == claim.receipt:
                return (SubmitDispute(terms=terms),)
            if state.approved == claim.receipt:
                return ()
            judge = JudgeClaim(receipt=claim.receipt, part=claim.part, due=claim.due, dispute_by=claim.dispute_by)
            return (judge,)
        case Disputed(resolve_by=resolve_by) if is_over(resolve_by, now):
            return (SubmitSplit(terms=terms),)
        case _:
            return ()


def _applied(state: RequesterState, event: RequesterEvent) -> RequesterState:
    match event:
        case BlockSeen(time=time):
            return replace(state, now=max(state.now, time))
        case StartSeen():
            return replace(state, start_seen=True)
        case AcceptanceSigned():
            return _accepted(state, event)
        case ClaimContested(receipt=receipt) | ClaimApproved(receipt=receipt):
            if not isinstance(state.phase, Claimed) or state.phase.receipt != receipt:
                raise UnexpectedEvent(state.phase, event)
            if isinstance(event, ClaimContested):
                return replace(state, contested=receipt)
            return replace(state, approved=receipt)
        case ClaimConfirmed():
            phase = apply_chain(state.terms, state.phase, event)
            return replace(state, phase=phase, contested=None, approved=None)
        case _:
            return replace(state, phase=apply_chain(state.terms, state.phase, event))


def _accepted(state: RequesterState, event: AcceptanceSigned) -> RequesterState:
    part, due = event.signed.value.part, event.signed.value.due
    if isinstance(state.phase, Unfunded | Closed):
        raise UnexpectedEvent(state.phase, event)
    if not state.terms.covers(part):
        raise WrongPart(f"part {part} is not one of this award's")
    if state.acceptance is not None and part < state.acceptance.value.part:
        raise WrongPart(f"part {part} was accepted before")
    if not state.accepted <= due <= state.terms.award.price:
        raise WrongTotal(f"{due} was accepted in all, after {state.accepted}, of a price of {state.terms.award.price}")
    return replace(state, acceptance=event.signed)
