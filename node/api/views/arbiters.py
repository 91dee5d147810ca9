"""What the wallet has on the court's bench."""

from dataclasses import dataclass

from protocol.identity import Address, Digest
from protocol.units import Amount, Seconds, UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class SittingView:
    """A round of a case for which this node may be drawn, or is.

    Attributes:
        round: From 0.
        part: What the case is about, as it was opened.
        seats: How many this node has; 0 until it has judged, and if others are drawn.
        vote: What it found; empty before.
        vote_by: Until when the votes are given at the latest; None before the chain was asked.
    """

    award: Digest
    round: int
    part: int
    seats: int
    vote: str
    vote_by: UnixTime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArbiterReport:
    """An arbiter's tickets, stake, earnings and seats, confirmed.

    Attributes:
        enabled: Whether this node judges (`arbiter.enabled`): with tickets and without it, its seats are absent.
        court: The court's contract.
        seat_stake: What a ticket costs, and a wrong vote loses.
        tickets: Tickets that count in draws.
        leaving: Tickets given up whose stake still waits.
        ready_at: When that stake may be collected; None if nothing is leaving.
        seats: Seats that bind a stake now.
        serving_until: Last second for which they do; None if there are none.
        balance: Stake and earnings.
        collectable: What of it can be taken out now.
        cooldown: From giving a ticket up to taking its stake.
        cases: Committees that it was ever drawn for.
        sittings: Rounds that are not over.
    """

    enabled: bool
    court: Address
    seat_stake: Amount
    tickets: int
    leaving: int
    ready_at: UnixTime | None
    seats: int
    serving_until: UnixTime | None
    balance: Amount
    collectable: Amount
    cooldown: Seconds
    cases: int
    sittings: tuple[SittingView, ...] = ()
