"""The stake behind one award, provider's side. Pure; docs/spec/stakes.md.

Theory. A lock costs a transaction and binds money, so it is made as late as it can be, when the award's own money is
confirmed and before the start, and freed when that is worth its fee: the operator, or a sum over all locks (the
shell's to compare), says when (`FreeWanted`). What must not wait is a bonus that only the acceptance can prove: once
the lock's time is over, it would go back.

    lock     condition                                              order
    ----     ---------                                              -----
    None     until startBy, wanted by the market                    SubmitLock
    Locked   freeing is wanted, and there is a proof                SubmitFree
    any      bonus waits, only the acceptance proves it, claimBy    SubmitFree
             is over
    Freed    bonus waits, and the escrow says that it is ours       SubmitFree
"""

from dataclasses import dataclass, replace
from typing import TypeAlias

from protocol.settlement.deadlines import is_open, is_over
from protocol.signing.signed import Signed
from protocol.stake.record import (
    NOTHING,
    ChainEvent,
    LockPhase,
    Proof,
    StakeRecord,
    apply_chain,
    is_earned,
    proof_of_end,
)
from protocol.stake.terms import StakeTerms
from protocol.task.objects import Acceptance
from protocol.units import Amount, UnixTime
from protocol.wire.codec import tagged


@tagged(126)
@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOver:
    """The market is done with the award: nothing is locked for it any more. With its last acceptance, if any."""

    acceptance: Signed[Acceptance] | None = None


@tagged(127)
@dataclass(frozen=True, slots=True, kw_only=True)
class FreeWanted:
    """What is locked is to be freed as soon as the law allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitLock:
    """Lock the liability. The contract locks an award once, ever."""

    terms: StakeTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitFree:
    """Free what is locked and take the bonus; with the acceptance if nothing else proves the end."""

    terms: StakeTerms
    acceptance: Signed[Acceptance] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderStake:
    """Where the stake behind one award stands for its provider.

    Attributes:
        terms: What is fixed.
        escrowed: Whether the award is paid from escrow, which then decides about the bonus.
        record: What is confirmed.
        now: Time of the newest confirmed block.
        working: Whether the market still wants the award.
        freeing: Whether the lock is to be freed as soon as it can be.
        acceptance: Of the award's last part.
    """

    terms: StakeTerms
    escrowed: bool
    record: StakeRecord = NOTHING
    now: UnixTime = UnixTime(0)
    working: bool = True
    freeing: bool = False
    acceptance: Signed[Acceptance] | None = None

    @property
    def proof(self) -> Proof | None:
        """By what the lock can be freed now."""
        return proof_of_end(self.terms, self.record, self.now, self.acceptance)

    @property
    def can_still_lock(self) -> bool:
        """Whether a lock may yet come to be: the contract takes none after startBy."""
        return self.record.lock is LockPhase.NONE and is_open(self.terms.deadlines.start_by, self.now)


ProviderStakeEvent: TypeAlias = ChainEvent | WorkOver | FreeWanted
ProviderStakeEffect: TypeAlias = SubmitLock | SubmitFree


def advance(state: ProviderStake, now: UnixTime) -> ProviderStake:
    """Let the time of the newest confirmed block pass."""
    return state if now <= state.now else replace(state, now=now)


def transition(state: ProviderStake, event: ProviderStakeEvent) -> ProviderStake:
    """Apply one event.

    Raises:
        StakeRecordBroken: The event is not possible; `state` is still what holds.
    """
    match event:
        case WorkOver(acceptance=acceptance):
            award = state.terms.award
            is_last = acceptance is not None and acceptance.value.part + 1 == award.first_part + award.parts
            return replace(state, working=False, acceptance=acceptance if is_last else state.acceptance)
        case FreeWanted():
            return replace(state, freeing=True)
        case _:
            return replace(state, record=apply_chain(state.record, event))


def outstanding(state: ProviderStake) -> tuple[ProviderStakeEffect, ...]:
    """Return what the award needs of its provider's stake now."""
    if state.working and state.can_still_lock:
        return (SubmitLock(terms=state.terms),)
    proof = state.proof
    if proof is None or not (_wants_free(state, proof) or _wants_bonus(state)):
        return ()
    return (SubmitFree(terms=state.terms, acceptance=state.acceptance if proof is Proof.ACCEPTANCE else None),)


def freeable(state: ProviderStake) -> Amount:
    """Return what freeing this lock now would bring: what is locked, and the bonus if it is ours; base units."""
    proof = state.proof
    if proof is None:
        return Amount(0)
    locked = state.record.locked if state.record.is_locked else 0
    is_ours = proof is Proof.ACCEPTANCE or (proof is Proof.END and is_earned(state.terms, state.record))
    return Amount(locked + (state.record.bonus if is_ours else 0))


def is_settled(state: ProviderStake) -> bool:
    """Tell whether nothing can happen any more that concerns this provider."""
    if state.record.is_locked or state.can_still_lock:
        return False
    if not state.record.bonus:
        return True
    if state.escrowed:
        return state.record.escrow is not None and not is_earned(state.terms, state.record)
    return is_over(state.terms.deadlines.latest_resolve_by, state.now)


def _wants_free(state: ProviderStake, proof: Proof) -> bool:
    # What can be freed by its end stays so; an acceptance has the lock's time to be shown in, for the bonus' sake.
    is_pressing = (
        proof is Proof.ACCEPTANCE and state.record.bonus and is_over(state.terms.deadlines.claim_by, state.now)
    )
    return state.record.is_locked and (state.freeing or bool(is_pressing))


def _wants_bonus(state: ProviderStake) -> bool:
    return not state.record.is_locked and bool(state.record.bonus) and is_earned(state.terms, state.record)
