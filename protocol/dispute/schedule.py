"""The times of a round (docs/spec/law.md, CT3; the contract's `Panel`): each the last second of its act."""

from dataclasses import dataclass
from typing import Final

from protocol.units import UnixTime

SEATS: Final = (5, 11, 23)
"""By round. Two appeals at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The deadlines of one round that nobody ends early."""

    draw_by: UnixTime
    seal_by: UnixTime
    open_by: UnixTime
    appeal_by: UnixTime
    """Without an appeal the case can be closed from the next second on. After the last round there is none."""


def schedule_of(number: int, began: int, time: int) -> Schedule:
    """Return the deadlines of round `number`, which began at `began`, of a case that may take `time` seconds in all."""
    length = time // 2 if number == 0 else time // 4
    open_by = began + length * 5 // 6
    appeal = 0 if number == len(SEATS) - 1 else length // 6
    return Schedule(
        draw_by=UnixTime(began + length // 3),
        seal_by=UnixTime(began + length * 4 // 6),
        open_by=UnixTime(open_by),
        appeal_by=UnixTime(open_by + appeal),
    )
