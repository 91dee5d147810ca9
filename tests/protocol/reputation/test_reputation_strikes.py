"""How strikes fade: docs/spec/auction.md, A6b."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.reputation.strikes import COUNTED, FRESH, HALF_LIFE, TOLERATED, compute_weight, is_forgotten, is_refused
from protocol.units import UnixTime

NOW = UnixTime(1_800_000_000)
HOUR = 3_600
AGES = st.sampled_from([0, 1, HALF_LIFE - 1, HALF_LIFE, HALF_LIFE + 1, 4 * HALF_LIFE, 4 * HALF_LIFE + 1]) | st.integers(
    0, 10 * HALF_LIFE
)


@pytest.mark.parametrize(("strikes", "hours"), [(1, 6), (2, 12), (3, 18), (4, 18), (50, 18)])
def test_strikes_of_one_moment_are_held_for_the_stated_hours(strikes: int, hours: int) -> None:
    struck = [NOW] * strikes
    assert is_refused(struck, UnixTime(NOW + hours * HOUR - 1))
    assert not is_refused(struck, UnixTime(NOW + hours * HOUR))


@pytest.mark.parametrize(("every_hours", "refused_hours"), [(1, 1), (5, 5), (6, 6), (12, 6), (24, 6)])
def test_each_omission_costs_six_hours_and_often_all_of_them(every_hours: int, refused_hours: int) -> None:
    struck = [UnixTime(NOW - number * every_hours * HOUR) for number in range(20)]
    refused = [hour for hour in range(every_hours) if is_refused(struck, UnixTime(NOW + hour * HOUR))]
    assert refused == list(range(refused_hours))


def test_a_strike_that_lies_ahead_fades_too() -> None:
    ahead = [UnixTime(NOW + 365 * 24 * HOUR)]
    assert not is_refused(ahead, NOW), "the clock was a year ahead when it was found"
    assert is_forgotten(ahead[0], NOW)


@given(st.lists(AGES, max_size=8), AGES)
def test_weight_never_grows_with_time_nor_falls_with_another_strike(ages: list[int], later: int) -> None:
    struck = [UnixTime(NOW - age) for age in ages]
    weight = compute_weight(struck, NOW)
    assert compute_weight(struck, UnixTime(NOW + later)) <= weight <= COUNTED * FRESH
    assert compute_weight([*struck, NOW], NOW) >= max(weight, TOLERATED + 1)


@given(st.lists(AGES, max_size=COUNTED))
def test_what_is_forgotten_alone_would_never_be_refused(ages: list[int]) -> None:
    struck = [UnixTime(NOW - age) for age in ages]
    assert not is_refused([at for at in struck if is_forgotten(at, NOW)], NOW)
