"""Starts, receipts and acceptances: what a stranger may not get away with."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ProtocolError
from protocol.identity import ZERO_DIGEST, ContentDigest, Digest
from protocol.market.objects import Award
from protocol.signing.ecdsa import BadSignature, address_of
from protocol.signing.eip712 import Domain, digest
from protocol.signing.signed import Signed, sign_struct
from protocol.task.manifest import Blob, Limits, Manifest, Part
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.task.outcome import Outcome, UnknownOutcome
from protocol.task.pricing import Rates
from protocol.task.receipt import (
    AcceptanceMismatch,
    DeliveryMismatch,
    PartOutOfOrder,
    Progress,
    StartTooLate,
    Terms,
    UsageAboveLimits,
    WrongAward,
    WrongDue,
    WrongUsage,
    amount_due,
    first_progress,
    is_complete,
    usage_of,
    verify_acceptance,
    verify_delivery,
    verify_receipt,
    verify_start,
)
from protocol.task.verification import Trust
from protocol.units import Amount, BasisPoints, Seconds, UnixTime

REQUESTER, PROVIDER, STRANGER = (bytes([n]) * 32 for n in (1, 2, 3))
DOMAIN = Domain(chain_id=31337, verifying_contract=address_of(STRANGER))
FUEL = 1000


def blob(size: int) -> Blob:
    return Blob(digest=ContentDigest(bytes([7]) * 32), size=size)


MANIFEST = Manifest(
    name="t",
    module=blob(1),
    engine=ZERO_DIGEST,
    limits=Limits(fuel=FUEL, memory_mib=4, output_bytes=100, log_bytes=10),
    clock=UnixTime(0),
    seed=ZERO_DIGEST,
    args=("t",),
    parts=(Part(), Part(stdin=blob(50)), Part(stdin=blob(50)), Part()),
)
AWARD = Award(
    offer=ZERO_DIGEST,
    roll=ZERO_DIGEST,
    bids=ZERO_DIGEST,
    requester=address_of(REQUESTER),
    provider=address_of(PROVIDER),
    token=address_of(STRANGER),
    rail=address_of(STRANGER),
    channel=ZERO_DIGEST,
    arbiter=address_of(STRANGER),
    slot=0,
    attempt=0,
    first_part=1,
    parts=2,
    price=Amount(2001),
    liability=Amount(0),
    dispute_fee=Amount(0),
    split_bps=BasisPoints(5000),
    start_by=UnixTime(100),
    deliver_by=UnixTime(200),
    pace=Seconds(10),
    resolve_within=Seconds(10),
    audit_seal=ZERO_DIGEST,
)
GFUEL_ONLY = Rates(start=Amount(0), gfuel=Amount(10**9), mib_gfuel=Amount(0), mib_in=Amount(0), mib_out=Amount(0))
TERMS = Terms(award=AWARD, award_id=digest(DOMAIN, AWARD), manifest=MANIFEST, rates=GFUEL_ONLY, policy=Trust())


def receipt(**changes: Any) -> Receipt:
    base = Receipt(
        award=TERMS.award_id,
        part=1,
        outcome=Outcome.OK,
        output=ContentDigest(bytes(32)),
        logs=ContentDigest(bytes(32)),
        fuel=500,
        peak_mib=4,
        bytes_in=50,
        bytes_out=110,
        due=Amount(500),
        notes=ContentDigest(bytes(32)),
    )
    return replace(base, **changes)


def check(value: Receipt, progress: Progress | None = None, key: bytes = PROVIDER) -> Progress:
    signed = sign_struct(key, DOMAIN, value)
    return verify_receipt(DOMAIN, TERMS, progress or first_progress(AWARD), signed)[1]


def test_receipts_in_order_build_a_running_total_to_the_end() -> None:
    after_first = check(receipt())
    assert after_first == Progress(next_part=2, due=Amount(500))
    assert not is_complete(AWARD, after_first)
    after_last = check(receipt(part=2, fuel=FUEL, due=Amount(500 + 1001)), after_first)
    assert after_last == Progress(next_part=3, due=Amount(1501))
    assert is_complete(AWARD, after_last)
    with pytest.raises(PartOutOfOrder):
        check(receipt(part=3, bytes_in=0, due=Amount(1501)), after_last)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"award": Digest(b"\1" * 32)}, WrongAward),
        ({"part": 0, "bytes_in": 0}, PartOutOfOrder),
        ({"part": 2}, PartOutOfOrder),
        ({"fuel": FUEL + 1, "due": Amount(1000)}, UsageAboveLimits),
        ({"peak_mib": 5}, UsageAboveLimits),
        ({"bytes_out": 111}, UsageAboveLimits),
        ({"bytes_in": 49}, WrongUsage),
        ({"bytes_in": 51}, WrongUsage),
        ({"due": Amount(501)}, WrongDue),
        ({"due": Amount(499)}, WrongDue),
        ({"outcome": 150}, UnknownOutcome),
        ({"outcome": Outcome.DIVISION_BY_ZERO, "due": Amount(1000)}, WrongUsage),
        ({"outcome": Outcome.STACK_OVERFLOW}, WrongDue),
    ],
)
def test_a_receipt_with_one_wrong_field_is_refused(changes: dict[str, Any], error: type[ProtocolError]) -> None:
    with pytest.raises(error):
        check(receipt(**changes))


def test_a_leaky_trap_is_billed_in_full_and_an_unjudged_part_not_at_all() -> None:
    assert check(receipt(outcome=Outcome.DIVISION_BY_ZERO, fuel=FUEL, due=Amount(1000))).due == 1000
    assert check(receipt(outcome=Outcome.STACK_OVERFLOW, fuel=2**64 - 1, due=Amount(0))).due == 0


def test_only_the_provider_signs_receipts_and_starts() -> None:
    start = Start(award=TERMS.award_id, at=UnixTime(100))
    for key in (REQUESTER, STRANGER):
        with pytest.raises(BadSignature):
            check(receipt(), key=key)
        with pytest.raises(BadSignature):
            verify_start(DOMAIN, TERMS, sign_struct(key, DOMAIN, start))


def test_a_receipt_signed_for_another_chain_is_refused() -> None:
    signed = sign_struct(PROVIDER, replace(DOMAIN, chain_id=1), receipt())
    with pytest.raises(BadSignature):
        verify_receipt(DOMAIN, TERMS, first_progress(AWARD), signed)


def test_a_start_counts_up_to_the_last_second() -> None:
    def start(at: int) -> Signed[Start]:
        return sign_struct(PROVIDER, DOMAIN, Start(award=TERMS.award_id, at=UnixTime(at)))

    assert verify_start(DOMAIN, TERMS, start(100)) == digest(DOMAIN, start(100).value)
    with pytest.raises(StartTooLate):
        verify_start(DOMAIN, TERMS, start(101))
    with pytest.raises(WrongAward):
        verify_start(DOMAIN, TERMS, sign_struct(PROVIDER, DOMAIN, Start(award=ZERO_DIGEST, at=UnixTime(1))))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"award": ZERO_DIGEST}, WrongAward),
        ({"receipt": ZERO_DIGEST}, AcceptanceMismatch),
        ({"part": 2}, AcceptanceMismatch),
        ({"due": Amount(499)}, AcceptanceMismatch),
        ({"due": Amount(501)}, AcceptanceMismatch),
    ],
)
def test_an_acceptance_answers_exactly_one_receipt(changes: dict[str, Any], error: type[ProtocolError]) -> None:
    answered = receipt()
    receipt_id = digest(DOMAIN, answered)
    good = Acceptance(award=TERMS.award_id, part=1, receipt=receipt_id, due=Amount(500))

    def verify(value: Acceptance, key: bytes = REQUESTER) -> Digest:
        return verify_acceptance(DOMAIN, TERMS, receipt_id, answered, sign_struct(key, DOMAIN, value))

    assert verify(good) == digest(DOMAIN, good)
    with pytest.raises(error):
        verify(replace(good, **changes))
    with pytest.raises(BadSignature):
        verify(good, PROVIDER)


def test_delivered_bytes_must_be_the_ones_named_and_billed() -> None:
    named = receipt(output=ContentDigest(b"\1" * 32), logs=ContentDigest(b"\2" * 32), bytes_out=30)
    good: dict[str, Any] = {"output": named.output, "output_bytes": 20, "logs": named.logs, "log_bytes": 10}
    verify_delivery(named, **good)
    changes: list[dict[str, Any]] = [
        {"output": named.logs},
        {"logs": named.output},
        {"output_bytes": 19},
        {"log_bytes": 11},
    ]
    for change in changes:
        with pytest.raises(DeliveryMismatch):
            verify_delivery(named, **{**good, **change})


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 9, 128, 160, 192, 224]), st.sampled_from([0, 1, FUEL - 1, FUEL])),
        min_size=2,
        max_size=2,
    )
)
def test_what_one_side_bills_the_other_accepts_and_the_total_stays_within_the_price(
    runs: list[tuple[int, int]],
) -> None:
    progress = first_progress(AWARD)
    for outcome, fuel in runs:
        stated = receipt(part=progress.next_part, outcome=outcome, fuel=FUEL if outcome == 160 else fuel)
        billed = replace(stated, due=amount_due(TERMS, progress, outcome=outcome, usage=usage_of(stated)))
        after = check(billed, progress)
        assert 0 <= after.due - progress.due <= 1001
        progress = after
    assert progress.due <= AWARD.price
