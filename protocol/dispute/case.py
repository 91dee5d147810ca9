"""A case as the court tells of it (docs/spec/law.md, section 3): its rounds, and what happened in them."""

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from protocol.dispute.objects import Finding, Vote
from protocol.dispute.schedule import SEATS, Schedule, schedule_of
from protocol.identity import Address, Digest
from protocol.units import Amount, Seconds, Uint8, Uint32, UnixTime


class Stage(IntEnum):
    """How far a case is in its round, in the numbers of the contract."""

    NONE = 0
    DRAWING = 1
    VOTING = 2
    DECIDED = 3
    """More than half of the seats opened the same vote on the chain."""
    AGREED = 4
    """A quorum did, in one transaction."""
    CLOSED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The current round of a case, as the contract keeps it.

    Attributes:
        began: When it began.
        time: Seconds that all rounds together may take.
        ended_after: One more than the seconds from `began` to its early end; zero if only time ends it.
        draw_block: The block whose number decides the draw; the committee is known after it.
        places: Places that may be drawn.
        sealed_seats, opened_seats: Who sealed and opened a vote on the chain, as bits.
        seat_fee: What a seat earns, base units.
        number: 0, 1 or 2.
        stage: How far it is.
        by_provider: Whether the provider asked for it, else the requester did.
    """

    began: UnixTime
    time: Seconds
    ended_after: Uint32
    draw_block: Uint32
    places: Uint32
    sealed_seats: Uint32
    opened_seats: Uint32
    seat_fee: Amount
    number: Uint8
    stage: Stage
    by_provider: bool

    @property
    def seats(self) -> int:
        """How many sit in it."""
        return SEATS[self.number]

    @property
    def schedule(self) -> Schedule:
        """Its deadlines, if nobody ends it early."""
        return schedule_of(self.number, self.began, self.time)

    @property
    def is_open(self) -> bool:
        """Whether votes can still be given: after a majority opened its own, the others still may."""
        return self.stage in (Stage.DRAWING, Stage.VOTING, Stage.DECIDED) and not self.ended_after

    @property
    def appeal_by(self) -> UnixTime:
        """Last second of an appeal; from the next one on the case can be closed."""
        schedule = self.schedule
        if not self.ended_after:
            return schedule.appeal_by
        return UnixTime(self.began + self.ended_after - 1 + schedule.appeal_by - schedule.open_by)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseOpened:
    """There is a case about the receipt with this digest."""

    award: Digest
    opener: Address
    engine: Digest
    part: Uint32
    receipt: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitteeDrawn:
    """These hold the seats of a round, one arbiter perhaps several."""

    award: Digest
    round: Uint8
    committee: tuple[Address, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteSealed:
    """A seat sealed its vote on the chain."""

    award: Digest
    round: Uint8
    seat: Uint8
    seal: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteOpened:
    """A seat opened its vote on the chain."""

    award: Digest
    round: Uint8
    seat: Uint8
    vote: Vote


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundDecided:
    """More than half of the seats gave this vote."""

    award: Digest
    round: Uint8
    seats: Uint32
    vote: Vote


@dataclass(frozen=True, slots=True, kw_only=True)
class Appealed:
    """Round `round` has begun, because `appellant` wanted it."""

    award: Digest
    round: Uint8
    appellant: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseClosed:
    """All is paid. Without a decision, `finding` is NONE and the rails' own time decides."""

    award: Digest
    finding: Finding
    due: Amount


CaseFact: TypeAlias = CaseOpened | CommitteeDrawn | VoteSealed | VoteOpened | RoundDecided | Appealed | CaseClosed
