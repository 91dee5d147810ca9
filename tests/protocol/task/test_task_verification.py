"""Verification policies: their bytes, the audit's lot, and what deters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.identity import Digest
from protocol.signing.keccak import keccak256
from protocol.task.verification import (
    Audit,
    Copies,
    InvalidVerification,
    SealMismatch,
    Trust,
    Verification,
    adapt_rate,
    assess_deterrence,
    copies_of,
    decode_verification,
    encode_verification,
    is_audited,
    seal,
    verification_digest,
    verify_lot,
)
from protocol.units import Amount, BasisPoints
from protocol.wire.codec import DecodeError, UnknownKind

SECRET = b"\5" * 32
POLICIES = [Trust(), Audit(rate=BasisPoints(1)), Audit(rate=BasisPoints(10_000)), Copies(count=2), Copies(count=65535)]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_survives_its_journey_and_only_under_its_digest(policy: Verification) -> None:
    data = encode_verification(policy)
    assert decode_verification(data, verification_digest(policy)) == policy
    with pytest.raises(InvalidVerification):
        decode_verification(data, verification_digest(Audit(rate=BasisPoints(77))))


@pytest.mark.parametrize("data", [b"", b"\x91\x09", b"\x92\x02\x00", b"\x92\x02\xcd\x27\x11", b"\x92\x03\x01"])
def test_bytes_that_are_no_policy_are_refused(data: bytes) -> None:
    with pytest.raises((DecodeError, UnknownKind, InvalidVerification)):
        decode_verification(data, keccak256(data))


def test_copies_follow_from_the_policy() -> None:
    assert [copies_of(policy) for policy in POLICIES] == [1, 1, 1, 2, 65535]


def test_the_lot_is_the_hash_of_secret_and_receipt() -> None:
    receipt = Digest(b"\6" * 32)
    drawn = int.from_bytes(keccak256(SECRET + receipt)) % 10_000
    assert not is_audited(SECRET, receipt, BasisPoints(drawn))
    assert is_audited(SECRET, receipt, BasisPoints(drawn + 1))
    assert verify_lot(seal(SECRET), SECRET, receipt, BasisPoints(drawn + 1))
    with pytest.raises(SealMismatch):
        verify_lot(seal(SECRET), b"\7" * 32, receipt, BasisPoints(1))
    with pytest.raises(InvalidVerification):
        seal(b"short")


def test_the_lot_falls_about_as_often_as_the_rate_says() -> None:
    drawn = sum(is_audited(SECRET, keccak256(bytes([n % 256, n // 256])), BasisPoints(2_000)) for n in range(2_000))
    assert 320 < drawn < 480


@given(st.integers(1, 10_000), st.integers(0, 10**9), st.integers(0, 10**9))
def test_liability_deters_exactly_from_the_figure_of_the_rule_on(rate: int, price: int, liability: int) -> None:
    judged = assess_deterrence(
        Audit(rate=BasisPoints(rate)), price=Amount(price), liability=Amount(liability), budget=Amount(0)
    )
    assert judged.deters == (liability * rate >= price * (10_000 - rate))
    assert judged.needed is not None
    edge = assess_deterrence(
        Audit(rate=BasisPoints(rate)), price=Amount(price), liability=judged.needed, budget=Amount(0)
    )
    assert edge.deters
    assert (judged.needed - 1) * rate < price * (10_000 - rate) <= judged.needed * rate or not judged.needed


def test_the_floor_is_a_fifth_of_the_budget_and_trust_never_deters() -> None:
    def judge(policy: Verification, liability: int) -> bool:
        return assess_deterrence(policy, price=Amount(100), liability=Amount(liability), budget=Amount(101)).deters

    assert [judge(Copies(count=2), liability) for liability in (20, 21)] == [False, True]
    assert [judge(Audit(rate=BasisPoints(9_999)), liability) for liability in (20, 21)] == [False, True]
    assert judge(Audit(rate=BasisPoints(10_000)), 0)  # who is always audited is never paid for a cheat
    assert not judge(Trust(), 10**9)


RATES = st.sampled_from([1, 2, 2_499, 2_500, 2_501, 9_999, 10_000]) | st.integers(1, 10_000)
REPUTATIONS = st.sampled_from([0, 1, 2_113, 9_999, 10_000]) | st.integers(0, 10_000)


@given(RATES, REPUTATIONS)
def test_nobody_is_audited_less_than_the_policy_says_nor_more_than_four_times_as_often(
    rate: int, reputation: int
) -> None:
    adapted = adapt_rate(BasisPoints(rate), reputation)
    assert rate <= adapted <= min(10_000, 4 * rate)


@given(RATES, REPUTATIONS, REPUTATIONS)
def test_a_better_record_is_never_audited_more_often(rate: int, one: int, other: int) -> None:
    worse, better = sorted((one, other))
    assert adapt_rate(BasisPoints(rate), worse) >= adapt_rate(BasisPoints(rate), better)


@given(RATES, REPUTATIONS)
def test_a_higher_rate_is_never_audited_less_often(rate: int, reputation: int) -> None:
    assert adapt_rate(BasisPoints(min(10_000, rate + 1)), reputation) >= adapt_rate(BasisPoints(rate), reputation)


def test_known_rates() -> None:
    assert [adapt_rate(BasisPoints(1_000), each) for each in (0, 2_113, 8_400, 10_000)] == [4_000, 3_367, 1_480, 1_000]
    assert [adapt_rate(BasisPoints(1), each) for each in (0, 9_999, 10_000)] == [4, 2, 1]
    assert adapt_rate(BasisPoints(10_000), 10_000) == adapt_rate(BasisPoints(5_000), 0) == 10_000


@given(RATES, REPUTATIONS, st.integers(0, 10**12))
def test_what_deters_at_the_policys_rate_deters_everybody(rate: int, reputation: int, price: int) -> None:
    def needed(at: BasisPoints) -> int:
        judged = assess_deterrence(Audit(rate=at), price=Amount(price), liability=Amount(0), budget=Amount(price))
        assert judged.needed is not None
        return judged.needed

    assert needed(adapt_rate(BasisPoints(rate), reputation)) <= needed(BasisPoints(rate))
