"""An escrowed award as people see it, from either side."""

from dataclasses import dataclass

from protocol.escrow import record
from protocol.escrow.provider import ProviderState
from protocol.escrow.record import Closed, Unfunded
from protocol.escrow.requester import RequesterState
from protocol.identity import Address, Digest
from protocol.units import Amount, UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a provider claims, or has claimed and is disputed: `due` in all, by the receipt of a part."""

    part: int
    receipt: Digest
    due: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class EscrowView:
    """An escrowed award, for people.

    Attributes:
        side: requester or provider.
        other: The other party.
        phase: unfunded, funded, recalled, started, claimed, disputed or closed.
        amount: What is locked: price and dispute fee.
        accepted: What this side knows to be accepted.
        paid: What the provider has from it.
        waits_until: The deadline of the act that the phase waits for; 0 if the award's own times apply.
        claim: What is claimed; None in a phase without.
    """

    award: Digest
    side: str
    other: Address
    phase: str
    amount: Amount
    accepted: Amount
    paid: Amount
    waits_until: UnixTime
    claim: Claim | None = None


def view_of(award: Digest, state: RequesterState | ProviderState, side: str, other: Address) -> EscrowView:
    """Return what a party sees of its escrow."""
    return EscrowView(
        award=award,
        side=side,
        other=other,
        phase=type(state.phase).__name__.lower(),
        amount=state.terms.amount,
        accepted=Amount(state.accepted),
        paid=_paid_of(state.phase),
        waits_until=_waits_until(state.phase),
        claim=_claim_of(state.phase),
    )


def _paid_of(phase: record.Phase) -> Amount:
    """Return what the provider has from the escrow in a phase."""
    match phase:
        case Unfunded():
            return Amount(0)
        case Closed(to_provider=to_provider):
            return to_provider
        case _:
            return phase.paid


def _claim_of(phase: record.Phase) -> Claim | None:
    if not isinstance(phase, record.Claimed | record.Disputed):
        return None
    return Claim(part=phase.part, receipt=phase.receipt, due=phase.due)


def _waits_until(phase: record.Phase) -> UnixTime:
    """Return the deadline of the act that a phase waits for, 0 if the award's own times apply."""
    match phase:
        case record.Recalled(start_proof_by=by) | record.Claimed(dispute_by=by) | record.Disputed(resolve_by=by):
            return by
        case _:
            return UnixTime(0)
