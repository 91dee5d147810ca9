"""How fast something grows, by least squares, and whether that is flat. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from tests.soak.watch import MIB, Sample

HOUR_S: Final = 3600.0
WARM_UP_S: Final = 300.0
"""A process fills its caches first, and keeps the bids of two minutes (`town.OVERRIDES`): no younger sample counts."""
FEWEST: Final = 6
"""Samples of a life below which it says nothing."""
MEMORY_PER_HOUR: Final = 12 * MIB
"""More than this, and a node would need a second 250 MiB within a day."""
DESCRIPTORS_PER_HOUR: Final = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """What grows by how much an hour.

    Attributes:
        error: Standard error of `per_hour`, taken as if samples were independent.
        samples: That were used.
    """

    per_hour: float
    error: float
    samples: int
    lives: int

    def exceeds(self, limit: float) -> bool:
        """Whether it is above `limit` by more than twice its own uncertainty."""
        return self.samples > 0 and self.per_hour - 2 * self.error > limit


NOTHING: Final = Slope(per_hour=0.0, error=0.0, samples=0, lives=0)


def fit_within(groups: Iterable[Sequence[tuple[float, float]]]) -> Slope:
    """Fit one slope to several groups of (seconds, value), each with a level of its own.

    A process begins anew with each life, at a level that depends on what it finds: only what happens within lives tells
    of a leak. Groups with fewer than `FEWEST` points are left out.
    """
    sxx = sxy = syy = 0.0
    count = lives = 0
    for group in groups:
        if len(group) < FEWEST:
            continue
        lives += 1
        count += len(group)
        mean_x = sum(x for x, _ in group) / len(group)
        mean_y = sum(y for _, y in group) / len(group)
        sxx += sum((x - mean_x) ** 2 for x, _ in group)
        sxy += sum((x - mean_x) * (y - mean_y) for x, y in group)
        syy += sum((y - mean_y) ** 2 for _, y in group)
    freedom = count - lives - 1
    if not sxx or freedom <= 0:
        return NOTHING
    slope = sxy / sxx
    rest = max(0.0, syy - slope * sxy)
    return Slope(per_hour=slope * HOUR_S, error=(rest / freedom / sxx) ** 0.5 * HOUR_S, samples=count, lives=lives)


def slope_within_lives(samples: Iterable[Sample], value: Callable[[Sample], float]) -> Slope:
    """Return how fast `value` grows within lives, once they are warm."""
    lives: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for sample in samples:
        if sample.age >= WARM_UP_S:
            lives.setdefault((sample.node, sample.life), []).append((sample.at, value(sample)))
    return fit_within(lives.values())


def slope_over_lives(samples: Iterable[Sample], value: Callable[[Sample], float]) -> Slope:
    """Return how fast `value` grows on a node, whatever dies and starts again: for files."""
    nodes: dict[str, list[tuple[float, float]]] = {}
    for sample in samples:
        nodes.setdefault(sample.node, []).append((sample.at, value(sample)))
    return fit_within(nodes.values())
