"""Arbiters of a task that names a test: the test is what they run (docs/spec/bill.md, section 6)."""

from dataclasses import replace
from pathlib import Path

import pytest
from trio.testing import MockClock

from protocol.dispute.evidence import Evidence, Matter, read_dossier, vote_on_test, vote_untested
from protocol.dispute.objects import Finding
from protocol.errors import ProtocolError
from protocol.signing.eip712 import digest
from protocol.task.audit import Rerun
from protocol.task.outcome import Outcome
from protocol.task.verification import ByTest, InvalidVerification, Trust, encode_verification
from protocol.units import Amount
from tests.node.arbitration.case_papers import (
    MARKET,
    OUTPUT,
    PART,
    PROVIDER,
    REQUESTER,
    Papers,
    blob_of,
    make_papers,
    rerun,
)
from tests.node.arbitration.court_lab import Lab, open_case

POLICY = ByTest(module=blob_of(b"check"), fuel=1_000_000, memory_mib=16)
PASSES, FAILS = rerun(b"", 100), rerun(b"no route", 100, 1)


def papers(*, outcome: int = 0) -> Papers:
    return make_papers(output=OUTPUT, outcome=outcome, policy=POLICY)


def evidence_of(case: Papers) -> Evidence:
    receipt, before = case.receipt.value, case.before.value.due
    return Evidence(matter=open_matter(case), terms=case.terms, receipt=receipt, before=before)


def with_both_sides(lab: Lab, *, has_output: bool = True) -> Lab:
    for side in (REQUESTER, PROVIDER):
        lab.network.show(lab.case, side, lab.case.dossier())
    lab.network.holders[lab.case.receipt.value.output] = {PROVIDER.address} if has_output else set()
    for runner in lab.runners.values():
        runner.tested = lab.case.receipt.value.output
    return lab


@pytest.mark.parametrize(
    ("test", "finding", "is_due"),
    [
        (PASSES, Finding.UPHELD, True),
        (FAILS, Finding.WRONG_RESULT, False),
        (rerun(b"", 1_000_000, Outcome.OUT_OF_FUEL), Finding.WRONG_RESULT, False),
        (rerun(b"", 1_000_000, Outcome.MEMORY_OUT_OF_BOUNDS), Finding.WRONG_RESULT, False),
        (rerun(b"", 5, Outcome.OUTPUT_LIMIT), Finding.WRONG_RESULT, False),
        (rerun(b"", 5, Outcome.STACK_OVERFLOW), Finding.NOT_JUDGED, False),
        (rerun(b"", 0, Outcome.INVALID_MODULE), Finding.UPHELD, True),
    ],
)
def test_the_end_of_the_test_is_the_vote(test: Rerun, finding: Finding, *, is_due: bool) -> None:
    case = papers()
    vote = vote_on_test(evidence_of(case), test)
    receipt = case.receipt.value
    assert (vote.finding, vote.part) == (finding, PART)
    assert vote.due == (receipt.due if is_due else case.before.value.due)
    if finding is Finding.UPHELD:
        assert (vote.outcome, vote.output, vote.fuel) == (0, receipt.output, receipt.fuel)
    assert receipt.due == case.before.value.due + 100_000, "the price of the part, whatever its fuel"


@pytest.mark.parametrize("more", [1, -1])
def test_another_sum_than_the_parts_price_is_the_providers_fault_and_pays_the_lesser(more: int) -> None:
    evidence = evidence_of(papers())
    assert evidence.receipt is not None
    right = evidence.receipt.due
    bent = replace(evidence, receipt=replace(evidence.receipt, due=Amount(right + more)))
    vote = vote_on_test(bent, PASSES)
    assert (vote.finding, vote.due) == (Finding.OVERBILLED, min(right, right + more))


@pytest.mark.parametrize("outcome", [7, 250])
def test_of_a_run_that_failed_nothing_is_due_and_nobody_is_slashed_who_asks_nothing(outcome: int) -> None:
    evidence = evidence_of(papers(outcome=outcome))
    assert evidence.receipt is not None
    assert evidence.receipt.due == evidence.before
    honest = vote_untested(evidence, has_output=False)
    greedy = replace(evidence, receipt=replace(evidence.receipt, due=Amount(evidence.before + 1)))
    asked = vote_untested(greedy, has_output=True)
    assert honest is not None
    assert asked is not None
    assert (honest.finding, honest.due) == (Finding.UPHELD, evidence.before)
    assert (asked.finding, asked.due) == (Finding.OVERBILLED, evidence.before)


def test_a_dossier_shows_the_policy_that_the_offer_names_and_no_other() -> None:
    case = papers()
    matter = open_matter(case)
    assert read_dossier(MARKET, matter, case.dossier()).terms.policy == POLICY
    for other in (Trust(), replace(POLICY, fuel=1)):
        with pytest.raises(InvalidVerification):
            read_dossier(MARKET, matter, replace(case.dossier(), verification=encode_verification(other)))
    with pytest.raises(ProtocolError):
        read_dossier(MARKET, matter, replace(case.dossier(), verification=b"\xff"))


def open_matter(case: Papers) -> Matter:
    return Matter(
        award=case.terms.award_id,
        opener=REQUESTER.address,
        part=PART,
        receipt=digest(MARKET, case.receipt.value),
    )


@pytest.mark.parametrize(("found", "finding"), [(FAILS, Finding.WRONG_RESULT), (PASSES, Finding.UPHELD)])
async def test_five_arbiters_run_the_test_and_settle(
    tmp_path: Path, autojump_clock: MockClock, found: Rerun, finding: Finding
) -> None:
    lab = with_both_sides(open_case(tmp_path, papers()))
    for runner in lab.runners.values():
        runner.finds = found
    async with lab.sitting():
        await lab.wait_over(30)
    assert lab.hall.vote is not None
    assert lab.hall.vote.finding == finding
    assert len(lab.hall.sent) == 1
    assert lab.hall.round.opened_seats.bit_count() == 5
    assert [runner.runs for runner in lab.runners.values()] == [1] * 5


async def test_an_output_that_nobody_shows_is_lost_by_its_provider(tmp_path: Path, autojump_clock: MockClock) -> None:
    lab = with_both_sides(open_case(tmp_path, papers()), has_output=False)
    async with lab.sitting():
        await lab.wait_over()
    assert lab.hall.vote is not None
    assert (lab.hall.vote.finding, lab.hall.vote.due) == (Finding.OUTPUT_MISSING, lab.case.before.value.due)
    assert not any(runner.runs for runner in lab.runners.values())


async def test_a_test_that_nobody_shows_is_lost_by_who_opened_the_case(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    lab = with_both_sides(open_case(tmp_path, papers()))
    del lab.network.holders[POLICY.module.digest]
    async with lab.sitting():
        await lab.wait_over()
    assert lab.hall.vote is not None
    assert (lab.hall.vote.finding, lab.hall.vote.due) == (Finding.INPUTS_MISSING, lab.case.receipt.value.due)


async def test_the_tasks_own_module_is_not_needed(tmp_path: Path, autojump_clock: MockClock) -> None:
    lab = with_both_sides(open_case(tmp_path, papers()))
    del lab.network.holders[lab.case.manifest.module.digest]
    for runner in lab.runners.values():
        runner.finds = FAILS
    async with lab.sitting():
        await lab.wait_over(30)
    assert lab.hall.vote is not None
    assert lab.hall.vote.finding == Finding.WRONG_RESULT
