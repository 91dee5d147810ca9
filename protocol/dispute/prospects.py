"""What each end of a case moves, and what it is worth to one side. Pure: docs/spec/parties.md, PT18; law.md, CT9.

All amounts are base units, and tell what changes from now on: neither a bond that was put down before counts as a
loss, nor what the award was paid before as a price. Left out are gas, a bonus (ST8), and the right bill where the bill
is wrong: nobody knows it beforehand.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from protocol.dispute.objects import Finding
from protocol.units import WHOLE, Amount

ENDS: Final = (
    Finding.UPHELD,
    Finding.WRONG_RESULT,
    Finding.OUTPUT_MISSING,
    Finding.OVERBILLED,
    Finding.INPUTS_MISSING,
    Finding.NOT_JUDGED,
    Finding.NONE,
)
"""In the order in which people are told of them."""
_SLASHED_BPS: Final = {Finding.WRONG_RESULT: WHOLE, Finding.OUTPUT_MISSING: WHOLE, Finding.OVERBILLED: WHOLE // 2}
_ASKED: Final = frozenset((Finding.UPHELD, Finding.INPUTS_MISSING))
"""What gives the provider what its receipt asks for; missing inputs only if the requester opened (CJ5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stakes:
    """What a case can move.

    Attributes:
        is_requester: Whose prospects these are; else the provider's.
        by_provider: Whether the provider opened the case, or is about to.
        asked: What the receipt in dispute asks for, beyond what was accepted or paid.
        fee: The award's dispute fee, which the requester reserved and the loser pays.
        bond: What this side puts down now.
        lock: What of the provider's stake is locked for the award; 0 if nothing is.
        max_bounty: Most that goes from there to the requester as a bounty.
        without_bps: Which share of what is asked the provider gets without a decision: the escrow's split, or nothing.
        now_bps: Which share it gets if this side does nothing.
        appeals: Whether the bond is for another round than the first.
        standing: What is decided so far; NONE if nothing is.
    """

    is_requester: bool
    by_provider: bool
    asked: Amount
    fee: Amount
    bond: Amount
    lock: Amount
    max_bounty: Amount
    without_bps: int
    now_bps: int = 0
    appeals: bool = False
    standing: Finding = Finding.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """One way a case can end.

    Attributes:
        finding: What is found; None if this side does nothing now.
        to_provider: What the provider is paid for the work; at most, if the bill is wrong.
        from_stake: What the provider's stake loses.
        own: What this side has more than now, the bond counted; below zero for less. What is asked for counts as
            nobody's.
    """

    finding: Finding | None
    to_provider: Amount
    from_stake: Amount
    own: int


def prospects_of(stakes: Stakes) -> tuple[Prospect, ...]:
    """Return every way the case can end, in the order of `ENDS`."""
    return tuple(_prospect(stakes, finding, finding) for finding in ENDS)


def without(stakes: Stakes) -> Prospect:
    """Return what comes if this side does nothing: no case, or what was decided so far."""
    if stakes.appeals:
        return _prospect(stakes, stakes.standing, None)
    paid = stakes.asked * stakes.now_bps // WHOLE
    own = -paid if stakes.is_requester else paid
    return Prospect(finding=None, to_provider=Amount(paid), from_stake=Amount(0), own=own)


def is_gain(stakes: Stakes, expected: Finding | None = None) -> bool:
    """Tell whether there is anything to gain: at best, or by what this side expects to be found."""
    ends: Sequence[Finding] = ENDS if expected is None else (expected,)
    return max(_prospect(stakes, end, end).own for end in ends) > without(stakes).own


def _prospect(stakes: Stakes, finding: Finding, told: Finding | None) -> Prospect:
    """Return what a finding brings. `told` is None for a decision that stands if this side does nothing."""
    paid, lost = _paid(stakes, finding), _is_providers_loss(stakes, finding)
    fee = min(stakes.fee, stakes.lock) if lost else 0
    penalty = min(stakes.lock * _SLASHED_BPS.get(finding, 0) // WHOLE, stakes.lock - fee)
    own = -paid + min(penalty, stakes.max_bounty) if stakes.is_requester else paid - fee - penalty
    if stakes.by_provider:
        # The loser's fee goes to who opened: out of its own stake, or out of what the requester reserved.
        own += 0 if stakes.is_requester else fee
        if finding is Finding.UPHELD:
            own += -stakes.fee if stakes.is_requester else stakes.fee
    elif stakes.is_requester:
        own += fee
    if told is not None:
        is_back = stakes.appeals and finding is not stakes.standing
        own += 0 if is_back else -stakes.bond
    return Prospect(
        finding=told,
        to_provider=Amount(paid),
        from_stake=Amount(fee + penalty),
        own=own,
    )


def _paid(stakes: Stakes, finding: Finding) -> int:
    if finding is Finding.NONE:
        return stakes.asked * stakes.without_bps // WHOLE
    if finding is Finding.OVERBILLED:
        return stakes.asked  # at most; the right bill is less
    is_asked = finding in _ASKED and not (finding is Finding.INPUTS_MISSING and stakes.by_provider)
    return stakes.asked if is_asked else 0


def _is_providers_loss(stakes: Stakes, finding: Finding) -> bool:
    return finding in _SLASHED_BPS or (finding is Finding.INPUTS_MISSING and stakes.by_provider)
