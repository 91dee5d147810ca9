"""One award's record in the escrow contract, as confirmed events tell it. Pure; docs/spec/escrow.md, section 2.

Theory. Both sides see the same record; they differ only in what they want from it (requester.py, provider.py). A phase
changes on a confirmed event and on nothing else. In every phase the money is where it was or was paid out:

    amount = paid + refundable                while the award is open
    amount = to_provider + to_requester + to_arbiter      once it is closed

    phase       event                            next
    -----       -----                            ----
    Unfunded    FundConfirmed                    Funded
    Funded      RecallConfirmed                  Recalled      the provider may prove its start until `start_proof_by`
    Funded, Recalled      StartConfirmed         Started
    Funded, Recalled, Started    ReleaseConfirmed        Started       who pays for a part has seen a start
    Claimed, Disputed            ReleaseConfirmed        same, `paid` grows
    Funded, Recalled, Started    ClaimConfirmed          Claimed       paid after `dispute_by` unless disputed
    Claimed     ClaimAcceptedConfirmed           Started
    Claimed     DisputeConfirmed                 Disputed      split after `resolve_by` without a verdict
    any open    CloseConfirmed                   Closed
"""

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TypeAlias

from protocol.escrow.errors import NotForEscrow, UnexpectedEvent, WrongAmount
from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.market.objects import Award
from protocol.settlement.deadlines import Deadlines, deadlines_of
from protocol.units import Amount, Uint32, UnixTime
from protocol.wire.codec import tagged

MAX_LOCKED = (1 << 96) - 1
"""The contract keeps amounts in 96 bits."""


class Outcome(IntEnum):
    """How an award ended; the numbers are the contract's."""

    ACCEPTED = 6
    SETTLED = 7
    REFUNDED = 8
    PAID = 9
    JUDGED = 10
    SPLIT = 11


@tagged(64)
@dataclass(frozen=True, slots=True, kw_only=True)
class FundConfirmed:
    """`amount` is locked."""

    amount: Amount


@tagged(65)
@dataclass(frozen=True, slots=True, kw_only=True)
class RecallConfirmed:
    """The requester saw no start; one may be proved until `start_proof_by`."""

    start_proof_by: UnixTime


@tagged(66)
@dataclass(frozen=True, slots=True, kw_only=True)
class StartConfirmed:
    """The provider's start is proved."""


@tagged(67)
@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseConfirmed:
    """An acceptance up to `part` was submitted; the provider has `paid` in all."""

    part: Uint32
    paid: Amount


@tagged(68)
@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimConfirmed:
    """The provider claims `due` in all with `receipt`; the requester may dispute until `dispute_by`."""

    part: Uint32
    due: Amount
    receipt: Digest
    dispute_by: UnixTime


@tagged(69)
@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimAcceptedConfirmed:
    """The open claim was accepted; the award goes on."""


@tagged(70)
@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeConfirmed:
    """`opener` disputes the claim; a verdict counts until `resolve_by`."""

    opener: Address
    resolve_by: UnixTime


@tagged(71)
@dataclass(frozen=True, slots=True, kw_only=True)
class CloseConfirmed:
    """The award is closed; `to_provider` includes earlier releases."""

    outcome: Outcome
    to_provider: Amount
    to_requester: Amount
    to_arbiter: Amount


@tagged(72)
@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSeen:
    """A block with this time is confirmed.

    Only the newest matters, so a journal need not keep each; but what is allowed depends on it, so a replay must apply,
    before each other event, the newest time that was known when it happened.
    """

    time: UnixTime


ChainEvent: TypeAlias = (
    FundConfirmed
    | RecallConfirmed
    | StartConfirmed
    | ReleaseConfirmed
    | ClaimConfirmed
    | ClaimAcceptedConfirmed
    | DisputeConfirmed
    | CloseConfirmed
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EscrowTerms:
    """What is fixed from the award on. `amount` = price + dispute fee is what gets locked."""

    award: Award
    award_id: Digest
    deadlines: Deadlines
    amount: Amount

    @property
    def last_part(self) -> int:
        """Return the number of the award's last part in the task."""
        return self.award.first_part + self.award.parts - 1

    def covers(self, part: int) -> bool:
        """Tell whether `part` is one of the award's."""
        return self.award.first_part <= part <= self.last_part


def escrow_terms(award: Award, award_id: Digest) -> EscrowTerms:
    """Return the terms of an award that is paid from escrow.

    Raises:
        NotForEscrow: It names a channel, has no price or no parts, or locks more than 96 bits hold.
        InvalidDeadlines: Its times are out of order.
    """
    amount = award.price + award.dispute_fee
    if award.channel != ZERO_DIGEST:
        raise NotForEscrow("the award is paid over a channel")
    if not award.price or not award.parts or amount > MAX_LOCKED or award.split_bps > 10_000:
        raise NotForEscrow(
            "no escrow can hold an award without price or parts, above 2**96 - 1, or splitting over 100 %"
        )
    return EscrowTerms(award=award, award_id=award_id, deadlines=deadlines_of(award), amount=Amount(amount))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfunded:
    """Nothing is locked yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Funded:
    """Locked; no start is proved on chain. `paid` is what the provider has."""

    paid: Amount = Amount(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """The requester wants its money back."""

    paid: Amount
    start_proof_by: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A start is proved, or a part was paid for."""

    paid: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """The provider claims `due` in all."""

    paid: Amount
    due: Amount
    part: Uint32
    receipt: Digest
    dispute_by: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Disputed:
    """The claim of `due` is disputed."""

    paid: Amount
    due: Amount
    part: Uint32
    receipt: Digest
    resolve_by: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """Over. The three amounts add up to what was locked."""

    outcome: Outcome
    to_provider: Amount
    to_requester: Amount
    to_arbiter: Amount


OpenPhase: TypeAlias = Funded | Recalled | Started | Claimed | Disputed
Phase: TypeAlias = Unfunded | OpenPhase | Closed


def refundable(terms: EscrowTerms, phase: Phase) -> int:
    """Return what is still locked: `amount` is this plus what was paid out."""
    if isinstance(phase, Unfunded | Closed):
        return 0
    return terms.amount - phase.paid


def apply_chain(terms: EscrowTerms, phase: Phase, event: ChainEvent) -> Phase:
    """Return the phase after a confirmed event.

    Raises:
        WrongAmount: Amounts that contradict the award or the rule above: not this contract's doing.
        UnexpectedEvent: The contract can't do that in this phase.
    """
    if isinstance(phase, Unfunded):
        if isinstance(event, FundConfirmed):
            if event.amount != terms.amount:
                raise WrongAmount(f"{event.amount} was locked, the award says {terms.amount}")
            return Funded()
        raise UnexpectedEvent(phase, event)
    if isinstance(phase, Closed):
        raise UnexpectedEvent(phase, event)
    if isinstance(event, CloseConfirmed):
        return _closed(terms, phase, event)
    return _moved(terms, phase, event)


def _moved(terms: EscrowTerms, phase: OpenPhase, event: ChainEvent) -> Phase:
    match phase, event:
        case Funded(), RecallConfirmed(start_proof_by=start_proof_by):
            return Recalled(paid=phase.paid, start_proof_by=start_proof_by)
        case Funded() | Recalled(), StartConfirmed():
            return Started(paid=phase.paid)
        case _, ReleaseConfirmed(paid=paid):
            if not phase.paid <= paid <= terms.award.price:
                raise WrongAmount(f"{paid} was paid in all, after {phase.paid}, of a price of {terms.award.price}")
            if isinstance(phase, Claimed | Disputed):
                return replace(phase, paid=paid)
            return Started(paid=paid)
        case ((Funded() | Recalled() | Started()), ClaimConfirmed()):
            return Claimed(
                paid=phase.paid, due=event.due, part=event.part, receipt=event.receipt, dispute_by=event.dispute_by
            )
        case Claimed(), ClaimAcceptedConfirmed():
            return Started(paid=phase.paid)
        case Claimed(), DisputeConfirmed(resolve_by=resolve_by):
            return Disputed(
                paid=phase.paid, due=phase.due, part=phase.part, receipt=phase.receipt, resolve_by=resolve_by
            )
        case _:
            raise UnexpectedEvent(phase, event)


def _closed(terms: EscrowTerms, phase: OpenPhase, event: CloseConfirmed) -> Closed:
    total = event.to_provider + event.to_requester + event.to_arbiter
    if total != terms.amount or event.to_provider < phase.paid or event.to_provider > terms.award.price:
        raise WrongAmount(f"{total} left the escrow, {terms.amount} was locked and {phase.paid} paid before")
    return Closed(
        outcome=event.outcome,
        to_provider=event.to_provider,
        to_requester=event.to_requester,
        to_arbiter=event.to_arbiter,
    )
