"""One escrowed award, provider's side. Pure; docs/spec/escrow.md, section 4.

Theory. An acceptance in hand is as good as money as long as it is submitted in time, so the provider goes on working
when the newest receipt is accepted, and has at most one part that is not (M2). What it brings on chain:

    phase                       condition                                          order
    -----                       ---------                                          -----
    Recalled                    a start was signed, until start_proof_by,
                                and work goes on or something is owed              SubmitProveStart
    Funded, Recalled, Started   the last part is accepted                          SubmitRelease
    Funded, Started             after deliverBy or on request:
                                an acceptance pays more than was paid              SubmitRelease
                                a receipt asks more than that, until claimBy       SubmitClaim
    Claimed                     an acceptance pays more, or is the last            SubmitRelease
    Claimed                     after dispute_by                                   SubmitPayClaim
    Disputed                    an acceptance pays more than was paid              SubmitRelease
    Disputed                    after resolve_by                                   SubmitSplit

Each order follows from the record, the time and the signatures at hand; the contract takes each only in its phase, so a
repeat is harmless. Signed objects that come in events were verified (protocol/task/receipt.py).
"""

from dataclasses import dataclass, replace
from typing import TypeAlias

from protocol.escrow.errors import NotFunded, TooLate, UnexpectedEvent, UnpaidPart, WrongPart, WrongTotal
from protocol.escrow.record import (
    BlockSeen,
    ChainEvent,
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
from protocol.settlement.deadlines import is_open, is_over
from protocol.signing.signed import Signed
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.units import UnixTime
from protocol.wire.codec import tagged


@tagged(96)
@dataclass(frozen=True, slots=True, kw_only=True)
class StartSigned:
    """This side signed its start."""

    signed: Signed[Start]


@tagged(97)
@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptSigned:
    """A part was delivered."""

    signed: Signed[Receipt]


@tagged(98)
@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptanceReceived:
    """The requester accepted all parts up to one; verified."""

    signed: Signed[Acceptance]


@tagged(99)
@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequested:
    """The requester is silent: bring what was delivered on chain now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitProveStart:
    """Answer a recall."""

    terms: EscrowTerms
    start: Signed[Start]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitRelease:
    """Take what was accepted; with the last part, close the award. By the provider itself."""

    terms: EscrowTerms
    acceptance: Signed[Acceptance]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitClaim:
    """Claim what was delivered and not accepted."""

    terms: EscrowTerms
    start: Signed[Start]
    receipt: Signed[Receipt]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitPayClaim:
    """Take a claim that nobody disputed. Anyone may submit it."""

    terms: EscrowTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitSplit:
    """Close a dispute that got no verdict. Anyone may submit it."""

    terms: EscrowTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderState:
    """Where one award stands for its provider.

    Attributes:
        terms: What is fixed.
        phase: The confirmed record.
        now: Time of the newest confirmed block.
        start: The start, once signed.
        receipt: The newest receipt.
        acceptance: The acceptance with the highest total.
        claiming: Whether a claim was asked for before its time.
    """

    terms: EscrowTerms
    phase: Phase
    now: UnixTime = UnixTime(0)
    start: Signed[Start] | None = None
    receipt: Signed[Receipt] | None = None
    acceptance: Signed[Acceptance] | None = None
    claiming: bool = False

    @property
    def asked(self) -> int:
        """Return the total that the newest receipt asks."""
        return self.receipt.value.due if self.receipt else 0

    @property
    def accepted(self) -> int:
        """Return the highest total accepted."""
        return self.acceptance.value.due if self.acceptance else 0

    @property
    def answered(self) -> bool:
        """Tell whether the newest receipt is accepted, or there is none."""
        if self.receipt is None:
            return True
        return self.acceptance is not None and self.acceptance.value.part >= self.receipt.value.part


ProviderEvent: TypeAlias = ChainEvent | BlockSeen | StartSigned | ReceiptSigned | AcceptanceReceived | ClaimRequested
ProviderEffect: TypeAlias = SubmitProveStart | SubmitRelease | SubmitClaim | SubmitPayClaim | SubmitSplit
Step = tuple[ProviderState, tuple[ProviderEffect, ...]]


def await_funds(terms: EscrowTerms) -> ProviderState:
    """Return the provider's first state."""
    return ProviderState(terms=terms, phase=Unfunded())


def may_start(state: ProviderState) -> bool:
    """Tell whether the escrow lets the start be signed (M1): funded, not recalled, in time."""
    return isinstance(state.phase, Funded) and is_open(state.terms.deadlines.start_by, state.now)


def may_begin(state: ProviderState) -> bool:
    """Tell whether the next part may be run: started, every earlier part accepted, money in place (M2)."""
    return (
        state.start is not None
        and isinstance(state.phase, Funded | Started)
        and state.answered
        and (state.receipt is None or state.receipt.value.part < state.terms.last_part)
        and is_open(state.terms.deadlines.deliver_by, state.now)
    )


def exposure_of(state: ProviderState) -> int:
    """Return what was delivered and is neither accepted nor paid, token base units."""
    paid = 0 if isinstance(state.phase, Unfunded | Closed) else state.phase.paid
    return max(0, state.asked - max(state.accepted, paid))


def transition(state: ProviderState, event: ProviderEvent) -> Step:
    """Apply one event.

    Raises:
        EscrowError: The event is not allowed; `state` is still what holds.
    """
    after = _applied(state, event)
    return after, outstanding(after)


def outstanding(state: ProviderState) -> tuple[ProviderEffect, ...]:
    """Return what the award needs from its provider now."""
    terms, now = state.terms, state.now
    match state.phase:
        case Recalled(start_proof_by=proof_by) if state.start is not None and is_open(proof_by, now):
            if state.claiming and state.answered and not _release(state, only_last=False):
                return ()  # work is over and nothing is owed: the money may go back
            return _release(state, only_last=True) or (SubmitProveStart(terms=terms, start=state.start),)
        case Funded() | Started():
            return _release(state, only_last=True) or _claim(state)
        case Claimed(dispute_by=dispute_by):
            pay = (SubmitPayClaim(terms=terms),) if is_over(dispute_by, now) else ()
            return _release(state, only_last=False) or pay
        case Disputed(resolve_by=resolve_by):
            split = (SubmitSplit(terms=terms),) if is_over(resolve_by, now) else ()
            return _release(state, only_last=False) or split
        case _:
            return ()


def _release(state: ProviderState, *, only_last: bool) -> tuple[ProviderEffect, ...]:
    """Order a release if the contract would take it. During a dispute the last acceptance pays but closes nothing."""
    if state.acceptance is None or isinstance(state.phase, Unfunded | Closed):
        return ()
    pays = state.acceptance.value.due > state.phase.paid
    closes = state.acceptance.value.part == state.terms.last_part and not isinstance(state.phase, Disputed)
    if closes or (pays and not only_last):
        return (SubmitRelease(terms=state.terms, acceptance=state.acceptance),)
    return ()


def _claim(state: ProviderState) -> tuple[ProviderEffect, ...]:
    """Order what secures the work when the time for deliveries is over, or when it was asked for."""
    deadlines = state.terms.deadlines
    if not (state.claiming or is_over(deadlines.deliver_by, state.now)):
        return ()
    release = _release(state, only_last=False)  # counts even after claim_by, until somebody submits the refund
    if release or is_over(deadlines.claim_by, state.now):
        return release
    assert isinstance(state.phase, Funded | Started)
    if state.start is None or state.receipt is None or state.asked <= state.phase.paid or state.answered:
        return ()
    return (SubmitClaim(terms=state.terms, start=state.start, receipt=state.receipt),)


def _applied(state: ProviderState, event: ProviderEvent) -> ProviderState:
    match event:
        case BlockSeen(time=time):
            return replace(state, now=max(state.now, time))
        case StartSigned(signed=signed):
            return _started(state, signed)
        case ReceiptSigned(signed=signed):
            return _delivered(state, signed)
        case AcceptanceReceived(signed=signed):
            return _accepted(state, signed)
        case ClaimRequested():
            if isinstance(state.phase, Unfunded | Closed):
                raise UnexpectedEvent(state.phase, event)
            return replace(state, claiming=True)
        case _:
            return replace(state, phase=apply_chain(state.terms, state.phase, event))


def _started(state: ProviderState, signed: Signed[Start]) -> ProviderState:
    if state.start == signed:
        return state
    if state.start is not None or not isinstance(state.phase, Funded):
        raise NotFunded("a start is signed once, while the award is funded and not recalled")
    if is_over(state.terms.deadlines.start_by, max(state.now, signed.value.at)):
        raise TooLate(f"the award had to be started by {state.terms.deadlines.start_by}")
    return replace(state, start=signed)


def _delivered(state: ProviderState, signed: Signed[Receipt]) -> ProviderState:
    if state.receipt == signed:
        return state
    if state.start is None or isinstance(state.phase, Unfunded | Closed):
        raise UnexpectedEvent(state.phase, ReceiptSigned(signed=signed))
    if not state.answered:
        raise UnpaidPart("an earlier part is not accepted; claim it before delivering another")
    expected = state.receipt.value.part + 1 if state.receipt else state.terms.award.first_part
    if signed.value.part != expected or not state.terms.covers(signed.value.part):
        raise WrongPart(f"a receipt for part {signed.value.part}, expected {expected}")
    if not state.asked <= signed.value.due <= state.terms.award.price:
        raise WrongTotal(f"{signed.value.due} is asked in all, after {state.asked}")
    return replace(state, receipt=signed)


def _accepted(state: ProviderState, signed: Signed[Acceptance]) -> ProviderState:
    if state.receipt is None or signed.value.part > state.receipt.value.part:
        raise WrongPart(f"an acceptance of part {signed.value.part}, which was not delivered")
    if state.acceptance is not None and signed.value.part <= state.acceptance.value.part:
        return state
    if not state.accepted <= signed.value.due <= state.terms.award.price:
        raise WrongTotal(f"{signed.value.due} was accepted in all, after {state.accepted}")
    if signed.value.part == state.receipt.value.part and signed.value.due < state.asked:
        raise WrongTotal(
            f"{signed.value.due} was accepted of {state.asked}; parts are accepted as billed or not at all"
        )
    return replace(state, acceptance=signed)
