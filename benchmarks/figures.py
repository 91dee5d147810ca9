"""What a benchmark hands back: figures, each with the peer it was measured beside and the goal it is held to."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median
from typing import Final

P95: Final = 0.95


class Of(Enum):
    """What of a figure a goal is about."""

    VALUE = "median"
    P95 = "p95"
    RATIO = "ratio"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A bound that a figure shall keep: `least <= it` or `it <= most`."""

    of: Of
    least: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        """Say it shortly."""
        bound = f">= {self.least:,g}" if self.most is None else f"< {self.most:,g}"
        return bound if self.of is Of.VALUE else f"{self.of.value} {bound}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured figure.

    Attributes:
        name: What was measured.
        unit: Of `value`, `p95` and `beside`.
        value: The median of several rounds, or of the samples of all rounds.
        p95: The 95th percentile of the samples, where single events were timed.
        peer: What was measured in the same run, interleaved; nothing if there is no peer.
        beside: The median of the peer.
        goal: What the project asks of the figure, if anything.
    """

    name: str
    unit: str
    value: float
    p95: float | None = None
    peer: str = ""
    beside: float | None = None
    goal: Goal | None = None

    @property
    def ratio(self) -> float | None:
        """Our figure over that of the peer."""
        return None if not self.beside else self.value / self.beside

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None if there is none."""
        if self.goal is None:
            return None
        got = {Of.VALUE: self.value, Of.P95: self.p95, Of.RATIO: self.ratio}[self.goal.of]
        assert got is not None, f"{self.name} has no {self.goal.of.value}"
        return (self.goal.least is None or got >= self.goal.least) and (self.goal.most is None or got < self.goal.most)


def percentile(samples: Sequence[float], share: float = P95) -> float:
    """Return the smallest sample that at least `share` of the samples do not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, min(len(ordered) - 1, round(share * len(ordered) + 0.5) - 1))]


def timed(
    name: str, unit: str, samples: Sequence[float], peer: str = "", beside: Sequence[float] = (), **rest: Goal | None
) -> Figure:
    """Return the figure of single events: median and 95th percentile."""
    return Figure(
        name=name,
        unit=unit,
        value=median(samples),
        p95=percentile(samples),
        peer=peer,
        beside=median(beside) if beside else None,
        goal=rest.get("goal"),
    )


def rated(
    name: str, unit: str, rounds: Sequence[float], peer: str = "", beside: Sequence[float] = (), **rest: Goal | None
) -> Figure:
    """Return the figure of a rate that was measured in rounds: the median of the rounds."""
    return Figure(
        name=name,
        unit=unit,
        value=median(rounds),
        peer=peer,
        beside=median(beside) if beside else None,
        goal=rest.get("goal"),
    )
