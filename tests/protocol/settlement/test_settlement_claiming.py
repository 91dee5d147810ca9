"""When claims pay for themselves: the square-root law, the factor of two, batches, and the limits of each."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.identity import Digest
from protocol.settlement.claiming import (
    BILLION,
    DAY_S,
    ClaimBook,
    ClaimCosts,
    Habits,
    InvalidHabits,
    Waiting,
    accrued_loss,
    compute_hazard,
    due,
    observe,
    ripe,
    split,
)
from protocol.units import Amount, Seconds, UnixTime

HAZARD = 1_000_000  # a thousandth a day
CHANNELS = [Digest(bytes([number]) * 32) for number in range(6)]
ONE = CHANNELS[0]
AMOUNTS = st.sampled_from([0, 1, 99_999, 100_000, 100_001, 10**7]) | st.integers(0, 10**8)
GAPS = st.sampled_from([0, 1, 60, DAY_S]) | st.integers(0, 20 * DAY_S)


def costs(base: int, each: int = 0) -> ClaimCosts:
    return ClaimCosts(base=Amount(base), each=Amount(each))


def book_of(**exposures: tuple[int, int]) -> ClaimBook:
    """Return a book of (payable, accrued loss) by the channel's number."""
    waiting = {
        CHANNELS[int(name[1:])]: Waiting(
            payable=Amount(payable), at=UnixTime(0), exposure=loss * DAY_S * BILLION // HAZARD
        )
        for name, (payable, loss) in exposures.items()
    }
    return ClaimBook(waiting=waiting)


@settings(deadline=None)
@given(rate=st.integers(100_000, 10**8), steps=st.integers(20, 60))
def test_money_at_a_constant_rate_is_claimed_as_the_square_root_law_says(rate: int, steps: int) -> None:
    step_s = 3_600
    per_step = HAZARD * step_s / BILLION / DAY_S
    cost = int(per_step * rate * steps**2 / 2)  # so that sqrt(2 * cost / (hazard * rate)) is `steps`
    book, step = ClaimBook(), 0
    while not due(book, costs(cost), HAZARD):
        step += 1
        book = observe(book, {ONE: Amount(rate * step)}, UnixTime(step_s * step))
        assert step < 100
    # Between two looks what was there at the older one counts, so the rule comes late by half a look or two.
    assert steps <= step <= steps + 2


@settings(deadline=None)
@given(arrivals=st.lists(st.tuples(GAPS, AMOUNTS), min_size=1, max_size=12), cost=st.integers(1, 10**6))
def test_it_costs_at_most_twice_what_hindsight_would(arrivals: list[tuple[int, int]], cost: int) -> None:
    times = [sum(gap for gap, _ in arrivals[: index + 1]) for index in range(len(arrivals))]
    steps = sorted({*times, *range(0, times[-1] + 1, max(1, times[-1] // 40))})
    came = dict.fromkeys(steps, 0)
    for time, (_, amount) in zip(times, arrivals, strict=True):
        came[time] += amount
    # The rule, which can only act at one of the steps; money that is left at the end is lost to nobody.
    online, payable, book, steepest = 0.0, 0, ClaimBook(), 0.0
    for before, now in pairwise([0, *steps]):
        online += loss_of(payable, now - before)
        steepest = max(steepest, loss_of(payable, now - before))
        book = observe(book, {ONE: Amount(payable)}, UnixTime(now))
        if due(book, costs(cost), HAZARD):
            online, payable, book = online + cost, 0, ClaimBook()
        payable += came[now]
        book = observe(book, {ONE: Amount(payable)}, UnixTime(now))
    # Hindsight, by dynamic programming over the last claim: claims right at arrivals are as good as any.
    best: list[float] = []
    for last in range(len(times) + 1):
        choices: list[float] = []
        for previous in range(last):
            waited = sum(loss_of(arrivals[index][1], times[last - 1] - times[index]) for index in range(previous, last))
            choices.append(best[previous] + waited + cost)
        best.append(min(choices) if choices else 0.0)
    unclaimed_ends = [
        best[last] + sum(loss_of(arrivals[index][1], times[-1] - times[index]) for index in range(last, len(times)))
        for last in range(len(times) + 1)
    ]
    claims = len(arrivals) + 1
    assert online <= 2 * min(unclaimed_ends) + cost + claims * steepest + claims


def loss_of(amount: int, seconds: int) -> float:
    return amount * seconds * HAZARD / BILLION / DAY_S


@given(
    losses=st.lists(st.integers(0, 500), min_size=1, max_size=6),
    base=st.integers(0, 600),
    each=st.integers(0, 200),
)
def test_a_transaction_goes_exactly_when_ripe_channels_pay_for_it(losses: list[int], base: int, each: int) -> None:
    book = book_of(**{f"c{index}": (10**6, loss) for index, loss in enumerate(losses)})
    chosen = due(book, costs(base, each), HAZARD)
    ready = [CHANNELS[index] for index, loss in enumerate(losses) if loss >= each]
    beyond = sum(loss - each for loss in losses if loss >= each)
    assert ripe(book, costs(base, each), HAZARD) == tuple(ready)
    assert chosen == (tuple(ready) if ready and beyond >= base else ())


def test_channels_that_could_not_pay_alone_go_together() -> None:
    alone = book_of(c0=(10**6, 60))
    assert due(alone, costs(100, 10), HAZARD) == ()
    assert due(book_of(c0=(10**6, 60), c1=(10**6, 60)), costs(100, 10), HAZARD) == (CHANNELS[0], CHANNELS[1])


def test_what_is_worth_less_than_its_place_is_never_claimed_by_this_rule() -> None:
    assert due(book_of(c0=(10, 10)), costs(0, 10), HAZARD) == ()
    assert due(book_of(c0=(11, 10)), costs(0, 10), HAZARD) == (ONE,)


def test_no_more_than_everything_can_be_lost() -> None:
    for_ever = Waiting(payable=Amount(500), at=UnixTime(0), exposure=10**30)
    assert accrued_loss(for_ever, HAZARD) == 500


def test_after_a_claim_the_loss_begins_anew() -> None:
    book = observe(ClaimBook(), {ONE: Amount(100)}, UnixTime(0))
    book = observe(book, {ONE: Amount(150)}, UnixTime(10))
    assert book.waiting[ONE].exposure == 1_000
    book = observe(book, {ONE: Amount(150)}, UnixTime(12))
    assert book.waiting[ONE].exposure == 1_300
    assert observe(book, {ONE: Amount(20)}, UnixTime(20)).waiting[ONE].exposure == 0
    assert observe(book, {}, UnixTime(20)).waiting == {}
    assert observe(book, {ONE: Amount(0)}, UnixTime(20)).waiting == {}


def test_a_clock_that_goes_back_adds_nothing_and_is_caught_up_with() -> None:
    book = observe(ClaimBook(), {ONE: Amount(100)}, UnixTime(50))
    book = observe(book, {ONE: Amount(100)}, UnixTime(40))
    assert (book.waiting[ONE].exposure, book.waiting[ONE].at) == (0, 50)
    assert observe(book, {ONE: Amount(100)}, UnixTime(60)).waiting[ONE].exposure == 1_000


def test_a_longer_challenge_makes_waiting_safer() -> None:
    habits = Habits(exits_per_day=0.1, away_share=0.5, outage_s=3_600.0, losses_per_day=0.0)
    hazards = [compute_hazard(Seconds(challenge), habits) for challenge in (0, 3_600, 86_400)]
    assert hazards[0] == 50_000_000  # 0.1 exits a day, half of them missed
    assert hazards[1] == math.ceil(50_000_000 / math.e)
    assert hazards[2] < 10
    assert compute_hazard(Seconds(0), Habits(exits_per_day=1e9)) == BILLION


@pytest.mark.parametrize(
    "habits",
    [
        Habits(exits_per_day=-1),
        Habits(away_share=1.01),
        Habits(outage_s=0),
        Habits(losses_per_day=math.nan),
        Habits(outage_s=math.nan),
    ],
)
def test_habits_that_nobody_has_are_refused(habits: Habits) -> None:
    with pytest.raises(InvalidHabits):
        compute_hazard(Seconds(60), habits)


@given(
    count=st.integers(0, 300), limit=st.integers(0, 3_000_000), each=st.integers(1, 20_000), most=st.integers(1, 120)
)
def test_a_batch_is_cut_so_that_each_piece_fits(count: int, limit: int, each: int, most: int) -> None:
    pieces = split(range(count), gas_limit=limit, base_gas=40_000, gas_each=each, most=most)
    assert [item for piece in pieces for item in piece] == list(range(count))
    for piece in pieces:
        assert 1 <= len(piece) <= most
        assert len(piece) == 1 or 40_000 + each * len(piece) <= limit
    for piece in pieces[:-1]:  # no piece has room for one more
        assert len(piece) == most or 40_000 + each * (len(piece) + 1) > limit
