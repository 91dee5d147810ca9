"""Tests of outputs: what is run and what it says; the bill of what can't be run again (docs/spec/bill.md, 6)."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.identity import ZERO_DIGEST, ContentDigest
from protocol.signing.signed import sign_struct
from protocol.task.audit import Finding, Rerun
from protocol.task.manifest import MAX_FUEL, MAX_MEMORY_MIB, Blob, InputFile, Part
from protocol.task.outcome import Outcome, is_judged
from protocol.task.receipt import NothingDue, WrongDue, first_progress, verify_receipt
from protocol.task.testing import (
    STDIN_PATH,
    TEST_LOG_BYTES,
    TEST_OUTPUT_BYTES,
    check_testable,
    derive_test,
    judge_by_test,
    may_be_provoked,
    price_of_tests,
)
from protocol.task.verification import (
    VERIFICATION_MAX_BYTES,
    ByTest,
    InvalidVerification,
    Trust,
    assess_deterrence,
    blobs_of,
    copies_of,
    decode_verification,
    describe_policy,
    encode_verification,
    verification_digest,
)
from protocol.units import Amount
from protocol.wire.codec import DecodeError
from tests.protocol.task.test_task_receipt import DOMAIN, GFUEL_ONLY, MANIFEST, PROVIDER, TERMS, blob, receipt

CHECK = Blob(digest=ContentDigest(b"\xcc" * 32), size=900)
POLICY = ByTest(module=CHECK, fuel=5_000, memory_mib=8)
TESTED = replace(TERMS, policy=POLICY)
OUTPUT = Blob(digest=ContentDigest(b"\x01" * 32), size=7)
PART_PRICE = 1_000  # 2,001 for two parts; the last takes the remainder
ALL_OUTCOMES = [*range(127), *(int(each) for each in Outcome if each > 126)]


def ended(outcome: int) -> Rerun:
    return Rerun(outcome=outcome, output=OUTPUT.digest, fuel=9, peak_mib=1, bytes_in=7, bytes_out=0)


def test_the_longest_policy_fits_what_an_offer_may_carry() -> None:
    longest = ByTest(module=replace(CHECK, size=2**64 - 1), fuel=MAX_FUEL, memory_mib=MAX_MEMORY_MIB)
    data = encode_verification(longest)
    assert len(data) <= VERIFICATION_MAX_BYTES
    assert decode_verification(data, verification_digest(longest)) == longest


@pytest.mark.parametrize(
    "changes", [{"fuel": 0}, {"fuel": MAX_FUEL + 1}, {"memory_mib": 0}, {"memory_mib": MAX_MEMORY_MIB + 1}]
)
def test_a_test_that_could_not_run_is_no_policy_even_from_the_wire(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidVerification):
        replace(POLICY, **changes)
    bent = replace(POLICY)
    for name, value in changes.items():
        object.__setattr__(bent, name, value)
    with pytest.raises((InvalidVerification, DecodeError)):
        decode_verification(encode_verification(bent), verification_digest(bent))


def test_what_is_said_and_needed_of_a_tested_task() -> None:
    assert "cccccccccccccccc" in describe_policy(POLICY)
    assert blobs_of(POLICY) == (CHECK,)
    assert blobs_of(Trust()) == ()
    assert copies_of(POLICY) == 1
    judged = assess_deterrence(POLICY, price=Amount(100), liability=Amount(0), budget=Amount(100))
    assert (judged.deters, judged.needed) == (True, 0)


def test_a_test_is_given_the_output_the_inputs_and_the_arguments_of_the_part() -> None:
    common, own = InputFile(path="/data/all", blob=blob(3)), InputFile(path="/data/own", blob=blob(4))
    part = Part(args=("--fast",), stdin=blob(50), files=(own,))
    manifest = replace(
        MANIFEST, args=("search", "--deep"), env=(("LANG", "C"),), files=(common,), parts=(Part(), part, Part(), Part())
    )
    test = derive_test(replace(TESTED, manifest=manifest), 1, OUTPUT)
    assert (test.module, test.engine, test.clock, test.env) == (CHECK, manifest.engine, manifest.clock, manifest.env)
    assert (*test.args, *test.parts[0].args) == ("test", "1", "--deep", "--fast")
    assert test.parts[0].stdin == OUTPUT
    files = {file.path: file.blob for file in (*test.files, *test.parts[0].files)}
    assert files == {"/data/all": common.blob, "/data/own": own.blob, STDIN_PATH: blob(50)}
    limits = test.limits
    assert (limits.fuel, limits.memory_mib) == (5_000, 8)
    assert (limits.output_bytes, limits.log_bytes) == (TEST_OUTPUT_BYTES, TEST_LOG_BYTES)
    without = derive_test(TESTED, 0, OUTPUT)
    assert STDIN_PATH not in {file.path for file in (*without.files, *without.parts[0].files)}


def test_the_chance_of_a_test_is_settled_by_the_output_and_by_nothing_that_is_known_before() -> None:
    seeds = {
        derive_test(TESTED, 1, OUTPUT).seed,
        derive_test(TESTED, 2, OUTPUT).seed,
        derive_test(TESTED, 1, replace(OUTPUT, digest=ContentDigest(b"\x02" * 32))).seed,
        derive_test(replace(TESTED, award_id=ZERO_DIGEST), 1, OUTPUT).seed,
        derive_test(replace(TESTED, manifest=replace(MANIFEST, seed=TERMS.award_id)), 1, OUTPUT).seed,
    }
    assert len(seeds) == 5
    assert MANIFEST.seed not in seeds
    assert derive_test(TESTED, 1, OUTPUT) == derive_test(TESTED, 1, OUTPUT)


@pytest.mark.parametrize("path", ["/input", STDIN_PATH, f"{STDIN_PATH}/more"])
def test_a_file_in_the_place_of_the_tests_input_is_refused_before_anybody_bids(path: str) -> None:
    file = InputFile(path=path, blob=blob(3))
    manifest = replace(MANIFEST, parts=(Part(), Part(stdin=blob(50), files=(file,))))
    with pytest.raises(InvalidVerification, match="part 1"):
        check_testable(manifest, POLICY)
    check_testable(manifest, Trust())
    check_testable(replace(manifest, parts=(Part(files=(file,)),)), POLICY)  # without standard input nothing is there


def test_only_a_policy_with_a_test_has_one() -> None:
    with pytest.raises(InvalidVerification):
        derive_test(TERMS, 1, OUTPUT)


@pytest.mark.parametrize("fuel", [1, 500, 1000])
def test_what_succeeds_is_due_its_whole_price_whatever_it_says_it_used(fuel: int) -> None:
    signed = sign_struct(PROVIDER, DOMAIN, receipt(fuel=fuel, due=Amount(PART_PRICE)))
    _, progress = verify_receipt(DOMAIN, TESTED, first_progress(TESTED.award), signed)
    assert progress.due == PART_PRICE


@pytest.mark.parametrize("due", [0, PART_PRICE - 1, PART_PRICE + 1])
def test_any_other_sum_is_refused(due: int) -> None:
    signed = sign_struct(PROVIDER, DOMAIN, receipt(due=Amount(due)))
    with pytest.raises(WrongDue):
        verify_receipt(DOMAIN, TESTED, first_progress(TESTED.award), signed)


@pytest.mark.parametrize("outcome", [1, 125, Outcome.OUT_OF_FUEL, Outcome.DIVISION_BY_ZERO, Outcome.STACK_OVERFLOW])
@pytest.mark.parametrize("due", [0, PART_PRICE])
def test_a_run_that_failed_has_no_receipt(outcome: int, due: int) -> None:
    signed = sign_struct(PROVIDER, DOMAIN, receipt(outcome=outcome, due=Amount(due)))
    with pytest.raises(NothingDue):
        verify_receipt(DOMAIN, TESTED, first_progress(TESTED.award), signed)


@given(outcome=st.sampled_from(ALL_OUTCOMES))
def test_only_exit_code_0_passes_and_only_a_judged_end_convicts(outcome: int) -> None:
    finding = judge_by_test(receipt(), ended(outcome)).finding
    if outcome in (Outcome.OK, Outcome.INVALID_MODULE):
        assert finding is Finding.EQUAL
    elif is_judged(outcome):
        assert finding is Finding.DIFFERENT
    else:
        assert finding is Finding.UNDECIDED


@given(outcome=st.sampled_from(ALL_OUTCOMES))
def test_what_an_output_could_bring_about_is_not_the_machines_fault(outcome: int) -> None:
    provoked = {Outcome.STACK_OVERFLOW, Outcome.CPU_LIMIT, Outcome.WALL_LIMIT}
    assert may_be_provoked(ended(outcome)) == (outcome in provoked)


def test_a_provider_asks_for_its_own_runs_of_the_test() -> None:
    assert price_of_tests(GFUEL_ONLY, POLICY, 4) == 4 * 5_000  # a base unit for each of fuel
    assert price_of_tests(GFUEL_ONLY, Trust(), 4) == 0
