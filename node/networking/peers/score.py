"""How well a peer has served us: a number that good and bad news move, and that time brings back to nothing."""

from dataclasses import dataclass
from typing import Final

HALF_LIFE_S: Final = 24 * 3600
"""A day halves what we remember: machines change, and so do those who run them."""
LIMIT: Final = 100.0
"""Far above what an hour of service earns, so that the past never outweighs what a peer does now for long."""

ANSWERED: Final = 1.0
"""It was asked something and answered."""
UNREACHABLE: Final = -2.0
"""None of its addresses answered a dial."""
SILENT: Final = -5.0
"""It is connected and does not answer."""
MISCONDUCT: Final = -10.0
"""A whole strike."""


@dataclass(frozen=True, slots=True)
class Score:
    """A value, and when it was that.

    Attributes:
        value: -`LIMIT` to `LIMIT`; 0 is a stranger.
        at: Unix seconds. A clock that goes back only delays the decay.
    """

    value: float = 0.0
    at: float = 0.0

    def now(self, at: float) -> float:
        """Return what is left of it at `at`."""
        return self.value * 0.5 ** (max(0.0, at - self.at) / HALF_LIFE_S)

    def plus(self, news: float, at: float) -> "Score":
        """Return the score after good or bad news at `at`."""
        return Score(max(-LIMIT, min(LIMIT, self.now(at) + news)), at)
