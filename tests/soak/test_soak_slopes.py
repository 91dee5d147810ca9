"""The soak's own judgement: it sees a leak, and does not see one in noise."""

import math
from random import Random

import pytest

from tests.soak.report import flatness, plot
from tests.soak.slopes import (
    DESCRIPTORS_PER_HOUR,
    FEWEST,
    HOUR_S,
    MEMORY_PER_HOUR,
    NOTHING,
    WARM_UP_S,
    fit_within,
    slope_within_lives,
)
from tests.soak.trade import SEEDS, Order, task_text
from tests.soak.watch import MIB, Sample


def lives(*, leak_per_hour: float, noise: float, count: int = 6, seed: int = 1) -> list[Sample]:
    """Make samples of nodes that are killed every twenty minutes, each life with a level of its own."""
    chance = Random(seed)
    samples: list[Sample] = []
    for life in range(count):
        level = chance.uniform(150, 180) * MIB
        for step in range(120):
            age = step * 10.0
            warming = 20 * MIB * min(1.0, age / 100)
            memory = level + warming + leak_per_hour * age / HOUR_S + chance.gauss(0, noise)
            samples.append(sample(life=life, age=age, memory=int(memory), at=life * 1200 + age))
    return samples


def sample(*, life: int, age: float, memory: int, at: float, descriptors: int = 30) -> Sample:
    return Sample(
        node="a", life=life, at=at, age=age, memory=memory, workers=0, children=2, descriptors=descriptors, threads=2,
        cpu_s=1.0, database=0, wal=0, blobs=0, modules=0, runs=0, log=0,
    )  # fmt: skip


def test_a_line_is_fitted_exactly_and_levels_do_not_matter() -> None:
    groups = [[(x, 7 + 2 * x) for x in range(10)], [(x, -100 + 2 * x) for x in range(50, 60)]]
    slope = fit_within(groups)
    assert math.isclose(slope.per_hour, 2 * HOUR_S)
    assert math.isclose(slope.error, 0, abs_tol=1e-6)
    assert (slope.samples, slope.lives) == (20, 2)


def test_lives_that_are_too_short_or_at_one_moment_say_nothing() -> None:
    assert fit_within([[(x, x) for x in range(FEWEST - 1)]]) == NOTHING
    assert fit_within([[(5.0, x) for x in range(FEWEST)]]) == NOTHING
    assert not NOTHING.exceeds(0)


@pytest.mark.parametrize("seed", range(5))
def test_a_leak_of_twice_what_is_allowed_is_seen_and_none_is_seen_where_there_is_none(seed: int) -> None:
    leaking = slope_within_lives(lives(leak_per_hour=2 * MEMORY_PER_HOUR, noise=MIB, seed=seed), lambda s: s.memory)
    assert leaking.exceeds(MEMORY_PER_HOUR)
    flat = slope_within_lives(lives(leak_per_hour=0, noise=MIB, seed=seed), lambda s: s.memory)
    assert not flat.exceeds(MEMORY_PER_HOUR)
    assert leaking.lives == 6


def test_warming_up_is_no_leak() -> None:
    warming = [sample(life=0, age=age, memory=age * MIB, at=age) for age in range(0, int(WARM_UP_S), 10)]
    assert slope_within_lives(warming, lambda s: s.memory) == NOTHING


def test_a_descriptor_that_is_lost_every_few_minutes_is_seen() -> None:
    losing = [
        sample(life=life, age=age, memory=0, at=age, descriptors=30 + age // 300)
        for life in range(3)
        for age in range(0, 3600, 10)
    ]
    found = {name: slope.exceeds(limit) for name, slope, limit in flatness(losing)}
    assert [name for name, seen in found.items() if seen] == ["open files"]
    assert DESCRIPTORS_PER_HOUR < 3600 / 300


def test_a_plot_shows_every_life_as_a_line() -> None:
    text = plot(lives(leak_per_hour=0, noise=0, count=2))
    assert text.startswith("<svg")
    assert text.count("<polyline") == 3 * 2


def test_equal_tasks_have_arguments_of_equal_length_since_these_cost_fuel() -> None:
    orders = [Order(f"soak-{number:06}", "channel", seed, 1) for number in (1, 99_999) for seed in range(SEEDS)]
    assert len({len(task_text(order)) for order in orders}) == 1
