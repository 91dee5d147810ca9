"""What a second result says of a receipt."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.identity import ContentDigest
from protocol.task.audit import Comparison, Finding, Rerun, compare, describe_finding, make_rerun, rerun_of
from protocol.task.objects import Receipt
from protocol.task.outcome import Outcome, classify
from protocol.task.pricing import Rates
from protocol.task.receipt import Progress, amount_due, usage_of
from protocol.units import Amount
from protocol.wire.codec import decode, encode
from tests.protocol.task.test_task_receipt import TERMS, receipt

OTHER = ContentDigest(b"\x07" * 32)
ALL_RATES = Rates(
    start=Amount(7), gfuel=Amount(10**9), mib_gfuel=Amount(10**8), mib_in=Amount(5), mib_out=Amount(2**20)
)
BILLED = replace(TERMS, rates=ALL_RATES)


def billed(before: int = 0, **changes: Any) -> Receipt:
    """A receipt whose due follows from its figures, as `verify_receipt` would have it."""
    stated = receipt(**changes)
    progress = Progress(next_part=stated.part, due=Amount(before))
    due = amount_due(BILLED, progress, outcome=stated.outcome, usage=usage_of(stated))
    return replace(stated, due=due)


def compared(stated: Receipt, rerun: Rerun, before: int = 0) -> Comparison:
    return compare(BILLED, Amount(before), stated, rerun)


HONEST = billed()


@given(before=st.sampled_from([0, 1, 500]), fuel=st.integers(0, 1_000))
def test_the_same_result_is_equal_at_whatever_total(before: int, fuel: int) -> None:
    stated = billed(before, fuel=fuel)
    assert compared(stated, rerun_of(stated), before).finding is Finding.EQUAL


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"outcome": 1}, "outcome"),
        ({"outcome": int(Outcome.OUT_OF_FUEL)}, "outcome"),
        ({"output": OTHER}, "output"),
        ({"fuel": HONEST.fuel - 1}, "fuel"),
        ({"fuel": HONEST.fuel + 1}, "fuel"),
        ({"peak_mib": HONEST.peak_mib - 1}, "due"),
        ({"bytes_out": HONEST.bytes_out - 60}, "due"),
    ],
)
def test_any_of_the_four_that_differs_is_named(changes: dict[str, Any], what: str) -> None:
    found = compared(HONEST, replace(rerun_of(HONEST), **changes))
    assert found.finding is Finding.DIFFERENT
    assert what in found.reason


@pytest.mark.parametrize("outcome", [each for each in Outcome if classify(each).value == "unjudged"])
def test_a_second_run_that_nobody_can_judge_decides_nothing(outcome: Outcome) -> None:
    rerun = replace(rerun_of(HONEST), outcome=int(outcome), output=OTHER, fuel=0)
    assert compared(HONEST, rerun).finding is Finding.UNDECIDED


def test_logs_and_notes_are_not_judged() -> None:
    assert compared(replace(HONEST, logs=OTHER, notes=OTHER), rerun_of(HONEST)).finding is Finding.EQUAL


def test_after_a_leaky_trap_the_second_run_states_the_limit_too() -> None:
    stated = billed(outcome=int(Outcome.DIVISION_BY_ZERO), fuel=BILLED.manifest.limits.fuel)
    usage = replace(usage_of(stated), fuel=3)
    again = make_rerun(BILLED.manifest.limits.fuel, outcome=stated.outcome, output=stated.output, usage=usage)
    assert again.fuel == BILLED.manifest.limits.fuel
    assert compared(stated, again).finding is Finding.EQUAL
    exact = make_rerun(BILLED.manifest.limits.fuel, outcome=0, output=stated.output, usage=usage)
    assert exact.fuel == 3


def test_evidence_survives_its_journey_and_findings_have_names() -> None:
    assert decode(Rerun, encode(rerun_of(HONEST))) == rerun_of(HONEST)
    assert [describe_finding(each) for each in Finding] == ["equal", "different", "undecided"]
