"""When an arbiter stops hearing whom: the same moments of a round for all of its committee (docs/spec/law.md, CJ4).

What a side shows counts until one moment, what a fellow hands on until a later one. So what a side showed any honest
arbiter in time reaches all the others in time.
"""

from dataclasses import dataclass
from typing import Final

from node.arbitration.room import ArbiterRoom, after
from protocol.dispute.case import Round
from protocol.units import UnixTime

SIDES_UNTIL: Final = 2.5
"""Twelfths of the round in which both sides are asked for papers, as long as not both have shown theirs."""
LATE_UNTIL: Final = 5.0
"""The same while nobody has shown the receipt; and as long sides are asked for inputs."""
OUTPUT_UNTIL: Final = 3.0
"""So long a side may serve the output that the receipt names. After that the part is run without it."""
SPREAD: Final = 0.5
"""So much later papers of fellows still count: many times what it takes to hand them on."""
BLOB_SPREAD: Final = 1.0
"""The same for blobs, which are larger."""
END: Final = 6.0
"""The time for evidence is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """The moments of one round, on this machine's monotonic clock.

    Attributes:
        began: When the round began.
        twelfth_s: A twelfth of its length, seconds.
        started: When this arbiter took its seat.
    """

    began: float
    twelfth_s: float
    started: float

    def at(self, twelfths: float) -> float:
        """Return when so many twelfths of the round are over."""
        return self.began + twelfths * self.twelfth_s

    @property
    def is_over(self) -> bool:
        """Whether this arbiter came when nothing could be asked for any more, but of fellows."""
        return self.started >= self.at(LATE_UNTIL + SPREAD)

    @property
    def ask_from(self) -> float:
        """From when on the sides are asked: who comes late hears first what its fellows judge from."""
        is_late = self.started > self.at(SIDES_UNTIL - SPREAD)
        return self._after_start(SPREAD) if is_late else self.started

    def ask_until(self, complete_at: float | None) -> float:
        """Return until when the sides are asked for papers; `complete_at` is when the receipt was here, if it is."""
        return self.at(LATE_UNTIL if complete_at is None else SIDES_UNTIL)

    def hear_until(self, complete_at: float | None) -> float:
        """Return until when papers of fellows count. Who comes late has a moment to hear them, too."""
        latest = self.at(LATE_UNTIL) if complete_at is None else max(self.at(SIDES_UNTIL), complete_at)
        return max(min(self.at(END), latest + SPREAD * self.twelfth_s), self._after_start(SPREAD))

    def served_until(self, twelfths: float, complete_at: float) -> float:
        """Return until when sides serve a blob: to this moment of the round, or a little longer for a late receipt."""
        return min(self.at(LATE_UNTIL + SPREAD), max(self.at(twelfths), complete_at + SPREAD * self.twelfth_s))

    def handed_on_until(self, served_until: float) -> float:
        """Return until when fellows do."""
        return max(min(self.at(END), served_until + BLOB_SPREAD * self.twelfth_s), self._after_start(BLOB_SPREAD))

    def _after_start(self, twelfths: float) -> float:
        return self.started + twelfths * self.twelfth_s


async def hours_of(room: ArbiterRoom, held: Round) -> Hours:
    """Return the moments of a round by the time of the newest block.

    Raises:
        TransientError: The chain can't be reached.
    """
    passed_s = await room.court.now() - held.began
    started = room.clock.monotonic()
    return Hours(began=started - passed_s, twelfth_s=(after(held, 12) - held.began) / 12, started=started)


def end_of(held: Round) -> UnixTime:
    """Return until when what a case is judged by is served: to the end of all its rounds."""
    return UnixTime(held.began + held.time)
