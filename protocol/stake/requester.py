"""The stake behind one award, requester's side. Pure; docs/spec/stakes.md.

Theory. The requester lets nobody start whose liability isn't locked (ST12), and deposits the bonus for success with the
award (L6). A bonus for work that came to nothing comes back; one for work that it accepted is the provider's to take,
and the requester never asks for that one.

    condition                                                     order
    ---------                                                     -----
    bonus wanted and never deposited, until startBy               SubmitBonus
    bonus waits, not owed, and the escrow is closed               SubmitFree
    bonus waits, not owed, no escrow, and the time is over        SubmitFree
"""

from dataclasses import dataclass, replace
from typing import TypeAlias

from protocol.settlement.deadlines import is_over
from protocol.stake.record import NOTHING, ChainEvent, LockPhase, StakeRecord, apply_chain, is_earned
from protocol.stake.terms import StakeTerms
from protocol.units import UnixTime
from protocol.wire.codec import tagged


@tagged(128)
@dataclass(frozen=True, slots=True, kw_only=True)
class LastAccepted:
    """This side accepted the last part: the bonus is owed."""


@tagged(129)
@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """The market is done with the award: no bonus is deposited any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitBonus:
    """Deposit the bonus. The contract takes one, once."""

    terms: StakeTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitFree:
    """Have the award ended in the contract, which sends the bonus back."""

    terms: StakeTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class RequesterStake:
    """Where the stake behind one award stands for its requester.

    Attributes:
        terms: What is fixed.
        with_bonus: Whether this side deposits one.
        escrowed: Whether the award is paid from escrow, which then decides about the bonus.
        record: What is confirmed.
        now: Time of the newest confirmed block.
        dropped: Whether the market is done with the award.
        owed: Whether the last part was accepted.
    """

    terms: StakeTerms
    with_bonus: bool
    escrowed: bool
    record: StakeRecord = NOTHING
    now: UnixTime = UnixTime(0)
    dropped: bool = False
    owed: bool = False

    @property
    def is_too_late(self) -> bool:
        """Whether the contract takes neither lock nor bonus any more."""
        return is_over(self.terms.deadlines.start_by, self.now)


RequesterStakeEvent: TypeAlias = ChainEvent | LastAccepted | Dropped
RequesterStakeEffect: TypeAlias = SubmitBonus | SubmitFree


def advance(state: RequesterStake, now: UnixTime) -> RequesterStake:
    """Let the time of the newest confirmed block pass."""
    return state if now <= state.now else replace(state, now=now)


def transition(state: RequesterStake, event: RequesterStakeEvent) -> RequesterStake:
    """Apply one event.

    Raises:
        StakeRecordBroken: The event is not possible; `state` is still what holds.
    """
    match event:
        case LastAccepted():
            return replace(state, owed=True)
        case Dropped():
            return replace(state, dropped=True)
        case _:
            return replace(state, record=apply_chain(state.record, event))


def outstanding(state: RequesterStake) -> tuple[RequesterStakeEffect, ...]:
    """Return what the award needs of its requester now."""
    if state.with_bonus and not state.record.had_bonus and not state.dropped and not state.is_too_late:
        return (SubmitBonus(terms=state.terms),) if state.terms.bonus else ()
    return (SubmitFree(terms=state.terms),) if _comes_back(state) else ()


def is_settled(state: RequesterStake) -> bool:
    """Tell whether nothing can happen any more that concerns this requester."""
    if not state.is_too_late:
        return False
    is_over_for_lock = not state.record.is_locked or is_over(state.terms.deadlines.latest_resolve_by, state.now)
    return is_over_for_lock and (not state.record.bonus or _is_theirs(state))


def is_backed(state: RequesterStake) -> bool:
    """Tell whether the provider's whole liability is locked now, with nothing taken from it."""
    return state.record.lock is LockPhase.LOCKED and state.record.locked == state.terms.award.liability


def _is_theirs(state: RequesterStake) -> bool:
    return state.owed or is_earned(state.terms, state.record)


def _comes_back(state: RequesterStake) -> bool:
    if not state.record.bonus or _is_theirs(state):
        return False
    if state.escrowed:  # it alone decides, also after the lock's time
        return state.record.escrow is not None
    return is_over(state.terms.deadlines.latest_resolve_by, state.now)
