"""What is offered per gas."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from node.chain.errors import GasPriceAboveCap
from node.chain.fees import Fees, compute_fees, compute_replacement, is_cheap

FEES = st.sampled_from([0, 1, 2, 7, 8, 9, 10**9, 10**12]) | st.integers(0, 10**12)


@given(base=FEES, tip=FEES, cap=FEES)
def test_a_first_offer_covers_the_next_block_and_never_exceeds_the_cap(base: int, tip: int, cap: int) -> None:
    if base + tip > cap:
        with pytest.raises(GasPriceAboveCap) as caught:
            compute_fees(base_fee=base, tip=tip, cap=cap)
        assert (caught.value.asked, caught.value.cap) == (base + tip, cap)
        return
    fees = compute_fees(base_fee=base, tip=tip, cap=cap)
    assert fees.priority == tip
    assert base + tip <= fees.most <= cap


@given(priority=FEES, extra=FEES, base=FEES, tip=FEES, cap=FEES)
def test_a_replacement_is_one_that_nodes_take_or_none_at_all(
    priority: int, extra: int, base: int, tip: int, cap: int
) -> None:
    previous = Fees(priority=priority, most=priority + extra)
    try:
        fees = compute_replacement(previous, base_fee=base, tip=tip, cap=cap)
    except GasPriceAboveCap:
        assert cap < max(previous.most * 9 // 8 + 2, base + max(tip, priority * 9 // 8 + 2))
        return
    assert fees.most <= cap
    assert fees.priority <= fees.most
    assert fees.priority >= tip
    assert fees.most >= base + fees.priority
    for before, after in ((previous.priority, fees.priority), (previous.most, fees.most)):
        assert after * 10 > before * 11


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.integers(0, 60))
def test_gas_is_cheap_in_the_lowest_quarter_of_its_history_and_below_the_cap(fees: list[int], cap: int) -> None:
    place = sorted(fees).index(fees[-1])
    assert is_cheap(fees, cap=cap) == (fees[-1] <= cap and 4 * place <= len(fees))


def test_gas_that_never_changes_is_cheap() -> None:
    assert is_cheap([7] * 1024, cap=7)
    assert not is_cheap([7] * 1024, cap=6)


def test_the_dearest_hour_is_not_cheap() -> None:
    assert not is_cheap([*range(1, 100), 1_000], cap=10_000)
    assert is_cheap([1, 2, 3, 2], cap=10_000)
    assert not is_cheap([1, 2, 2], cap=10_000)
