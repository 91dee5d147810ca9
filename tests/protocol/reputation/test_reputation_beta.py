"""The lower end of a beta, in integers."""

from decimal import Decimal, getcontext

from hypothesis import given
from hypothesis import strategies as st

from protocol.reputation.beta import (
    NEWCOMER,
    Record,
    compute_reputation,
    is_refused,
    lower_bound,
    with_failed,
    with_proof,
    with_refuted,
    with_settled,
    with_silence,
)

COUNTS = st.sampled_from([0, 1, 2, 3, 10, 9_999, 10**6, 2**64 - 1]) | st.integers(0, 10_000)


@given(COUNTS, COUNTS)
def test_the_score_is_mean_less_one_deviation_rounded_down(successes: int, failures: int) -> None:
    getcontext().prec = 80
    a, b = Decimal(successes + 1), Decimal(failures + 1)
    n = a + b
    exact = (a / n - (a * b / (n * n * (n + 1))).sqrt()) * 10_000
    score = lower_bound(successes, failures)
    # The root is rounded up before the division, which can cost one point and never adds one.
    assert 0 <= score <= max(Decimal(0), exact)
    assert score > exact - 2


@given(COUNTS, COUNTS)
def test_success_never_lowers_and_failure_never_raises_the_score(successes: int, failures: int) -> None:
    score = lower_bound(successes, failures)
    assert lower_bound(successes + 1, failures) >= score
    assert lower_bound(successes, failures + 1) <= score


def test_known_scores() -> None:
    assert compute_reputation(NEWCOMER) == 2113
    assert [lower_bound(s, 0) for s in (1, 10, 100, 1000)] == [4309, 8400, 9804, 9980]
    assert lower_bound(0, 1) == 976
    assert lower_bound(2**64 - 1, 0) == 9999


def test_a_refuted_receipt_weighs_as_fifty_lapses() -> None:
    record = with_settled(NEWCOMER, 100)
    assert compute_reputation(with_refuted(record)) == compute_reputation(with_failed(record, 50)) == 6_263
    assert compute_reputation(with_refuted(NEWCOMER)) == 3


def test_silence_counts_as_failure_and_a_proved_fault_ends_dealing() -> None:
    record = with_settled(NEWCOMER, 10)
    assert compute_reputation(with_silence(record)) == compute_reputation(with_failed(record))
    assert not is_refused(record)
    caught = with_proof(record)
    assert is_refused(caught)
    assert compute_reputation(caught) == 0
    assert caught == Record(settled=10, caught=True)
