"""Every deadline of an award, computed in one place (docs/spec/settlement.md, section 2; SPEC section 7).

A time `x_by` is the last second at which the act counts; its opposite is allowed from `x_by + 1` (C7). On chain
"now" is a block's time, so where money depends on the answer `is_open` and `is_over` are asked with it, never
with a node's clock.
"""

from dataclasses import dataclass
from typing import Final

from protocol.errors import ProtocolError
from protocol.market.objects import Award
from protocol.units import Seconds, UnixTime

MAX_TIME: Final = 2**64 - 1


class InvalidDeadlines(ProtocolError):
    """Times out of order, or so late that a contract could not hold them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """When each act on one award counts at the latest.

    Attributes:
        start_by: The provider's Start.
        deliver_by: The last receipt.
        claim_by: A claim in escrow, or a demand on a hold: `deliver_by + pace`.
        latest_dispute_by: The latest that a dispute can be opened: `claim_by + pace`.
        latest_resolve_by: The latest that a verdict can come, appeals included; then the money is free.
    """

    start_by: UnixTime
    deliver_by: UnixTime
    claim_by: UnixTime
    latest_dispute_by: UnixTime
    latest_resolve_by: UnixTime


def deadlines_of(award: Award) -> Deadlines:
    """Return the deadlines of `award`.

    Raises:
        InvalidDeadlines: `start_by` is not before `deliver_by`, `pace` is zero, or the last deadline overflows uint64.
    """
    if award.start_by >= award.deliver_by:
        raise InvalidDeadlines(f"start_by {award.start_by} is not before deliver_by {award.deliver_by}")
    if not award.pace:
        raise InvalidDeadlines("pace is zero: nobody could claim or dispute in time")
    claim_by = award.deliver_by + award.pace
    dispute_by = claim_by + award.pace
    resolve_by = dispute_by + award.resolve_within
    if resolve_by >= MAX_TIME:  # its opposite, one second later, must fit too
        raise InvalidDeadlines(f"the last deadline, {resolve_by}, does not fit uint64")
    return Deadlines(
        start_by=award.start_by,
        deliver_by=award.deliver_by,
        claim_by=UnixTime(claim_by),
        latest_dispute_by=UnixTime(dispute_by),
        latest_resolve_by=UnixTime(resolve_by),
    )


def dispute_by(claimed_at: UnixTime, pace: Seconds) -> UnixTime:
    """Return until when a claim made at `claimed_at` may be disputed; from the next second it is paid (M8)."""
    return UnixTime(claimed_at + pace)


def resolve_by(disputed_at: UnixTime, resolve_within: Seconds) -> UnixTime:
    """Return until when a verdict on a dispute opened at `disputed_at` counts; then the money is split (M8)."""
    return UnixTime(disputed_at + resolve_within)


def is_open(by: UnixTime, now: UnixTime) -> bool:
    """Tell whether an act due `by` still counts at `now`."""
    return now <= by


def is_over(by: UnixTime, now: UnixTime) -> bool:
    """Tell whether what follows the deadline `by` is allowed at `now`."""
    return now > by
