"""What stands behind one award in Reputation, as confirmed events tell it. Pure; docs/spec/stakes.md.

Theory. Both sides see the same record: the provider's lock, the requester's bonus, and how the award's escrow ended,
which decides about both. It changes on a confirmed event and on nothing else.

    lock     event               next         bonus      event                 next
    ----     -----               ----         -----      -----                 ----
    None     LockConfirmed       Locked       none       BonusConfirmed        waits
    Locked   FreeConfirmed       Freed        waits      BonusPaidConfirmed    settled
    Locked   SlashConfirmed      Slashed

The lock is free to be freed (`proof_of_end`) when one of four holds (ST4-ST6): the escrow is closed otherwise than by a
verdict below the claim; the last part is accepted; or its time is over.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, TypeAlias

from protocol.errors import ProtocolError
from protocol.escrow.record import ClaimConfirmed, CloseConfirmed, Outcome
from protocol.settlement.deadlines import is_over
from protocol.signing.signed import Signed
from protocol.stake.terms import StakeTerms
from protocol.task.objects import Acceptance
from protocol.units import Amount, Uint32, UnixTime
from protocol.wire.codec import tagged


class StakeRecordBroken(ProtocolError):
    """An event that the contract can't have made at this point."""


@tagged(121)
@dataclass(frozen=True, slots=True, kw_only=True)
class LockConfirmed:
    """`amount` of the provider's stake answers for the award."""

    amount: Amount


@tagged(122)
@dataclass(frozen=True, slots=True, kw_only=True)
class FreeConfirmed:
    """It is free again."""


@tagged(123)
@dataclass(frozen=True, slots=True, kw_only=True)
class SlashConfirmed:
    """A verdict took `lost` of it; the rest is free."""

    lost: Amount


@tagged(124)
@dataclass(frozen=True, slots=True, kw_only=True)
class BonusConfirmed:
    """The bonus is deposited."""

    amount: Amount


@tagged(125)
@dataclass(frozen=True, slots=True, kw_only=True)
class BonusPaidConfirmed:
    """The bonus went to the provider (`earned`) or back."""

    amount: Amount
    earned: bool


StakeFact: TypeAlias = LockConfirmed | FreeConfirmed | SlashConfirmed | BonusConfirmed | BonusPaidConfirmed
EscrowFact: TypeAlias = ClaimConfirmed | CloseConfirmed
ChainEvent: TypeAlias = StakeFact | EscrowFact


class LockPhase(Enum):
    """Where the lock stands; the values are the contract's."""

    NONE = 0
    LOCKED = 1
    FREED = 2
    SLASHED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeRecord:
    """The record of one award.

    Attributes:
        lock: Where the lock stands.
        locked: What was locked, base units.
        lost: What a verdict took of it.
        bonus: Deposited and not yet paid.
        had_bonus: Whether one was ever deposited.
        earned: What of the bonus went to the provider.
        claimed: What the provider claimed last in the escrow.
        claimed_part: For the parts up to this one.
        escrow: How the escrow ended, None while it is open or if there is none.
        upheld: Whether a verdict gave the provider all that it claimed.
    """

    lock: LockPhase = LockPhase.NONE
    locked: Amount = Amount(0)
    lost: Amount = Amount(0)
    bonus: Amount = Amount(0)
    had_bonus: bool = False
    earned: Amount = Amount(0)
    claimed: Amount = Amount(0)
    claimed_part: Uint32 = 0
    escrow: Outcome | None = None
    upheld: bool = False

    @property
    def is_locked(self) -> bool:
        """Whether the provider's stake answers for the award now."""
        return self.lock is LockPhase.LOCKED


NOTHING: Final = StakeRecord()
"""Before anything is confirmed."""


class Proof(Enum):
    """By what a lock can be freed now."""

    END = "its escrow is closed"
    ACCEPTANCE = "the last part is accepted"
    TIME = "its time is over"


def proof_of_end(
    terms: StakeTerms, record: StakeRecord, now: UnixTime, acceptance: Signed[Acceptance] | None
) -> Proof | None:
    """Return by what the lock can be freed at `now`, the cheapest first; None while nothing can."""
    if record.escrow is not None and (record.escrow is not Outcome.JUDGED or record.upheld):
        return Proof.END
    if acceptance is not None:
        return Proof.ACCEPTANCE
    return Proof.TIME if is_over(terms.deadlines.latest_resolve_by, now) else None


def is_earned(terms: StakeTerms, record: StakeRecord) -> bool:
    """Tell whether the escrow says that the bonus is the provider's: only with the last part (ST8)."""
    if record.escrow is Outcome.ACCEPTED:
        return True
    is_last = record.claimed_part + 1 == terms.award.first_part + terms.award.parts
    return is_last and (record.escrow is Outcome.PAID or record.upheld)


def apply_chain(record: StakeRecord, event: ChainEvent) -> StakeRecord:
    """Return the record after a confirmed event.

    Raises:
        StakeRecordBroken: The contract can't do that at this point.
    """
    match event:
        case LockConfirmed(amount=amount) if record.lock is LockPhase.NONE:
            return replace(record, lock=LockPhase.LOCKED, locked=amount)
        case FreeConfirmed() if record.is_locked:
            return replace(record, lock=LockPhase.FREED)
        case SlashConfirmed(lost=lost) if record.is_locked and lost <= record.locked:
            return replace(record, lock=LockPhase.SLASHED, lost=lost)
        case BonusConfirmed(amount=amount) if not record.had_bonus:
            return replace(record, bonus=amount, had_bonus=True)
        case BonusPaidConfirmed(amount=amount, earned=earned) if amount == record.bonus and amount:
            return replace(record, bonus=Amount(0), earned=amount if earned else Amount(0))
        case ClaimConfirmed(part=part, due=due):
            return replace(record, claimed=due, claimed_part=part)
        case CloseConfirmed(outcome=outcome) if record.escrow is None:
            upheld = outcome is Outcome.JUDGED and event.to_provider >= record.claimed > 0
            return replace(record, escrow=outcome, upheld=upheld)
        case _:
            raise StakeRecordBroken(f"{type(event).__name__}, but the lock is {record.lock.name.lower()}")
