"""Outcome bytes and engine digests: their ranges and names are protocol."""

from dataclasses import replace

import pytest

from protocol.task.engine import ENGINE_DIGEST, WASMTIME_50_0_1, Setting, engine_digest
from protocol.task.outcome import (
    Outcome,
    OutcomeClass,
    UnknownOutcome,
    classify,
    describe,
    is_exact,
    is_judged,
    is_leaky,
    is_success,
    outcome_of_exit,
)


@pytest.mark.parametrize(
    ("code", "outcome"), [(0, 0), (1, 1), (125, 125), (126, 126), (127, 126), (255, 126), (2**32 - 1, 126)]
)
def test_an_exit_code_that_fits_is_the_outcome_and_any_other_is_126(code: int, outcome: int) -> None:
    assert outcome_of_exit(code) == outcome


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (0, OutcomeClass.EXACT),
        (1, OutcomeClass.EXACT),
        (125, OutcomeClass.EXACT),
        (126, OutcomeClass.EXACT),
        (128, OutcomeClass.EXACT),
        (134, OutcomeClass.EXACT),
        (160, OutcomeClass.LEAKY),
        (164, OutcomeClass.LEAKY),
        (192, OutcomeClass.INVALID),
        (224, OutcomeClass.UNJUDGED),
        (228, OutcomeClass.UNJUDGED),
    ],
)
def test_the_range_of_an_outcome_decides_its_bill(outcome: int, expected: OutcomeClass) -> None:
    assert classify(outcome) is expected


@pytest.mark.parametrize("outcome", [-1, 127, 135, 159, 165, 191, 193, 223, 229, 255, 256])
def test_a_byte_without_a_meaning_is_rejected_not_guessed(outcome: int) -> None:
    with pytest.raises(UnknownOutcome):
        classify(outcome)
    with pytest.raises(UnknownOutcome):
        describe(outcome)


def test_only_exit_code_zero_is_success() -> None:
    assert [outcome for outcome in (*range(127), *Outcome) if is_success(outcome)] == [0, Outcome.OK]


def test_every_named_outcome_has_words_of_its_own() -> None:
    texts = [describe(outcome) for outcome in Outcome]
    assert len(set(texts)) == len(texts)
    assert describe(7) == "exit code 7"


def test_judged_and_exact_differ_where_fuel_leaks() -> None:
    assert is_judged(Outcome.DIVISION_BY_ZERO)
    assert is_leaky(Outcome.DIVISION_BY_ZERO)
    assert not is_exact(Outcome.DIVISION_BY_ZERO)
    assert is_judged(Outcome.INVALID_MODULE)
    assert not is_judged(Outcome.STACK_OVERFLOW)


def test_the_leaky_list_of_the_engine_is_exactly_the_leaky_range() -> None:
    assert WASMTIME_50_0_1.leaky == tuple(sorted(outcome for outcome in Outcome if is_leaky(outcome)))


def test_the_engine_digest_is_pinned_because_offers_and_receipts_name_it() -> None:
    assert ENGINE_DIGEST.hex() == "4fcd73ea6b8a202a3be7377ed4d3ac70d502148a9385174e45c16759d6aa869b"


def test_any_change_of_the_engine_changes_its_digest() -> None:
    engine = WASMTIME_50_0_1
    flipped = (Setting(name=engine.features[0].name, value=1 - engine.features[0].value), *engine.features[1:])
    variants = [
        replace(engine, version="50.0.2"),
        replace(engine, target="32-bit"),
        replace(engine, features=flipped),
        replace(engine, caps=engine.caps[1:]),
        replace(engine, host_calls=2),
        replace(engine, leaky=engine.leaky[:-1]),
    ]
    assert len({ENGINE_DIGEST, *map(engine_digest, variants)}) == len(variants) + 1


def test_settings_are_sorted_so_that_one_engine_has_one_encoding() -> None:
    for group in (WASMTIME_50_0_1.features, WASMTIME_50_0_1.caps):
        names = [setting.name for setting in group]
        assert names == sorted(set(names))
