"""The bill: exact, rounded once, never above the price."""

from fractions import Fraction
from math import ceil

import pytest
from eth_abi.abi import encode as abi_encode
from hypothesis import assume, given
from hypothesis import strategies as st

from protocol.identity import ContentDigest, Digest
from protocol.signing.keccak import keccak256
from protocol.task.manifest import Blob, InputFile, Limits, Manifest, Part
from protocol.task.outcome import Outcome, UnknownOutcome
from protocol.task.pricing import (
    InvalidPart,
    InvalidPrice,
    InvalidRates,
    Rates,
    Usage,
    check_rates,
    compute_cost,
    declared_bytes_in,
    due_for_part,
    part_price,
    price_at_limits,
    rates_digest,
    usage_at_limits,
)
from protocol.units import MAX_AMOUNT, Amount, UnixTime

MIB = 1 << 20
AMOUNTS = st.sampled_from([0, 1, 2, 10**6, MAX_AMOUNT - 1, MAX_AMOUNT]) | st.integers(0, 10**9)
UINT64 = st.sampled_from([0, 1, MIB - 1, MIB, MIB + 1, 10**9, 2**64 - 1]) | st.integers(0, 10**12)
UINT32 = st.sampled_from([0, 1, 64, 2**32 - 1]) | st.integers(0, 4096)
RATES = st.builds(
    Rates,
    **dict.fromkeys(("start", "gfuel", "mib_gfuel", "mib_in", "mib_out"), AMOUNTS.map(Amount)),
)


def blob(size: int, name: int = 1) -> Blob:
    return Blob(digest=ContentDigest(bytes([name]) * 32), size=size)


def manifest(*, fuel: int = 10**9, memory: int = 16, output: int = MIB, logs: int = 0, stdin: int = MIB) -> Manifest:
    return Manifest(
        name="t",
        module=blob(999),
        engine=Digest(bytes(32)),
        limits=Limits(fuel=fuel, memory_mib=memory, output_bytes=output, log_bytes=logs),
        clock=UnixTime(0),
        seed=Digest(bytes(32)),
        args=("t",),
        parts=(Part(stdin=blob(stdin)), Part(stdin=blob(2 * stdin))),
    )


def rates(start: int = 0, gfuel: int = 0, mib_gfuel: int = 0, mib_in: int = 0, mib_out: int = 0) -> Rates:
    return Rates(
        start=Amount(start),
        gfuel=Amount(gfuel),
        mib_gfuel=Amount(mib_gfuel),
        mib_in=Amount(mib_in),
        mib_out=Amount(mib_out),
    )


def test_each_rate_prices_one_unit() -> None:
    one = Usage(fuel=10**9, peak_mib=3, bytes_in=5 * MIB, bytes_out=7 * MIB)
    scale = 10**9 * MIB
    assert compute_cost(rates(start=11), one) == 11 * scale
    assert compute_cost(rates(gfuel=11), one) == 11 * scale
    assert compute_cost(rates(mib_gfuel=11), one) == 33 * scale
    assert compute_cost(rates(mib_in=11), one) == 55 * scale
    assert compute_cost(rates(mib_out=11), one) == 77 * scale


@given(RATES, UINT64, UINT32, UINT64, UINT64)
def test_cost_is_the_rational_sum_of_the_rule(
    prices: Rates, fuel: int, peak: int, bytes_in: int, bytes_out: int
) -> None:
    usage = Usage(fuel=fuel, peak_mib=peak, bytes_in=bytes_in, bytes_out=bytes_out)
    gfuel = Fraction(fuel, 10**9)
    expected = (
        prices.start
        + prices.gfuel * gfuel
        + prices.mib_gfuel * peak * gfuel
        + prices.mib_in * Fraction(bytes_in, MIB)
        + prices.mib_out * Fraction(bytes_out, MIB)
    )
    assert Fraction(compute_cost(prices, usage), 10**9 * MIB) == expected


@given(AMOUNTS.map(Amount), st.integers(1, 1024))
def test_part_prices_add_up_to_the_price_and_the_last_takes_the_remainder(price: Amount, parts: int) -> None:
    prices = [part_price(price, parts, index) for index in range(parts)]
    assert sum(prices) == price
    assert set(prices[:-1]) <= {price // parts}


@pytest.mark.parametrize("index", [-1, 3])
def test_a_part_outside_the_award_has_no_price(index: int) -> None:
    with pytest.raises(InvalidPart):
        part_price(Amount(9), 3, index)


@given(RATES, AMOUNTS.map(Amount), UINT64, UINT32, UINT64)
def test_due_is_the_price_times_the_share_of_cost_rounded_up_once(
    prices: Rates, price: Amount, fuel: int, peak: int, bytes_out: int
) -> None:
    task = manifest()
    whole = compute_cost(prices, usage_at_limits(task, 0))
    assume(whole)
    usage = Usage(fuel=fuel, peak_mib=peak, bytes_in=MIB, bytes_out=bytes_out)
    due = due_for_part(rates=prices, manifest=task, part=0, price=price, outcome=Outcome.OK, usage=usage)
    assert due == min(price, ceil(Fraction(price * compute_cost(prices, usage), whole)))


@given(RATES, AMOUNTS.map(Amount), st.integers(0, 10**9), st.integers(0, 16), st.integers(0, MIB))
def test_within_limits_the_share_alone_stays_at_or_below_the_price(
    prices: Rates, price: Amount, fuel: int, peak: int, bytes_out: int
) -> None:
    task = manifest()
    whole = compute_cost(prices, usage_at_limits(task, 0))
    assume(whole)
    usage = Usage(fuel=fuel, peak_mib=peak, bytes_in=MIB, bytes_out=bytes_out)
    assert ceil(Fraction(price * compute_cost(prices, usage), whole)) <= price


def test_full_limits_cost_the_full_price_and_one_unit_less_rounds_up() -> None:
    task, prices = manifest(stdin=0, output=0), rates(gfuel=7)
    full = usage_at_limits(task, 0)
    almost = Usage(fuel=full.fuel - 1, peak_mib=0, bytes_in=0, bytes_out=0)
    for price in (1, 10**6):
        for usage in (full, almost):
            due = due_for_part(
                rates=prices, manifest=task, part=0, price=Amount(price), outcome=Outcome.OK, usage=usage
            )
            assert due == price


def test_each_class_of_outcome_has_its_rule() -> None:
    task, prices = manifest(stdin=0, output=0), rates(start=1, gfuel=3)
    usage = Usage(fuel=5 * 10**8, peak_mib=1, bytes_in=0, bytes_out=0)

    def due(outcome: int) -> int:
        return due_for_part(rates=prices, manifest=task, part=0, price=Amount(1000), outcome=outcome, usage=usage)

    assert due(Outcome.OK) == 625
    assert due(77) == 625
    assert due(Outcome.UNREACHABLE) == 625
    assert due(Outcome.DIVISION_BY_ZERO) == 1000
    assert due(Outcome.INVALID_MODULE) == 250
    assert due(Outcome.STACK_OVERFLOW) == 0
    assert due(Outcome.CANCELLED) == 0
    with pytest.raises(UnknownOutcome):
        due(200)


def test_rates_that_price_nothing_at_the_limits_are_refused() -> None:
    with pytest.raises(InvalidRates):
        check_rates(rates(), manifest())
    with pytest.raises(InvalidRates):
        check_rates(rates(mib_in=5), manifest(stdin=0))
    check_rates(rates(start=1), manifest(stdin=0))


def test_inputs_count_as_declared_and_common_files_count_in_every_part() -> None:
    base = manifest(stdin=10)
    task = Manifest(
        name="t",
        module=base.module,
        engine=base.engine,
        limits=base.limits,
        clock=base.clock,
        seed=base.seed,
        args=("t",),
        files=(InputFile(path="/a", blob=blob(100, 2)),),
        parts=(*base.parts, Part(files=(InputFile(path="/b", blob=blob(3, 3)),))),
    )
    assert [declared_bytes_in(task, part) for part in range(3)] == [110, 120, 103]
    for missing in (-1, 3):
        with pytest.raises(InvalidPart):
            declared_bytes_in(task, missing)


def test_list_price_adds_the_parts_before_it_rounds() -> None:
    task, prices = manifest(fuel=1, stdin=0, output=0), rates(gfuel=1)
    assert price_at_limits(prices, task, 0, 2) == 1
    assert price_at_limits(rates(start=5), task, 1, 1) == 5
    with pytest.raises(InvalidPrice):
        price_at_limits(rates(start=MAX_AMOUNT), task, 0, 2)


@given(RATES)
def test_rates_digest_is_the_keccak_of_the_five_as_words(prices: Rates) -> None:
    words = [prices.start, prices.gfuel, prices.mib_gfuel, prices.mib_in, prices.mib_out]
    assert rates_digest(prices) == keccak256(abi_encode(["uint256"] * 5, words))
