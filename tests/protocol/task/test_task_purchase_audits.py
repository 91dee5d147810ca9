"""The purchase machine while a receipt is looked at again: every row, and restarts."""

import pytest

from protocol.errors import UnexpectedEvent
from protocol.identity import Digest
from protocol.market.objects import Award
from protocol.signing.eip712 import digest
from protocol.signing.signed import Signed
from protocol.task.audit import Finding, Rerun
from protocol.task.purchase import (
    AuditDrawn,
    AuditPassed,
    AuditRefuted,
    CancelRequested,
    DisputeTaken,
    Event,
    NoWinner,
    ProviderFailed,
    outstanding,
    transition,
)
from protocol.task.purchase_states import Seeking
from tests.protocol.market.market_world import DOMAIN
from tests.protocol.task.purchase_walk import EMPTY, Walk, chosen, received, replayed
from tests.protocol.task.test_task_purchase_rules import WRONG_ID


def drawn(award: Signed[Award], part: int, due: int) -> AuditDrawn:
    held = received(award, part, due)
    return AuditDrawn(receipt=held.receipt, receipt_id=held.receipt_id)


def found(receipt_id: Digest, finding: Finding = Finding.EQUAL) -> AuditPassed:
    return AuditPassed(receipt_id=receipt_id, finding=finding, reason="")


def refuted(receipt_id: Digest) -> AuditRefuted:
    rerun = Rerun(outcome=0, output=EMPTY, fuel=2, peak_mib=1, bytes_in=0, bytes_out=0)
    return AuditRefuted(receipt_id=receipt_id, rerun=rerun, reason="fuel")


@pytest.mark.parametrize("finding", [Finding.EQUAL, Finding.UNDECIDED])
def test_every_row_of_an_audit_that_finds_nothing_wrong(finding: Finding) -> None:
    walk = Walk()
    award = walk.to_running()
    held = drawn(award, 0, 10)
    assert walk.apply(held) == ["AuditPart"]
    assert walk.apply(found(held.receipt_id, finding)) == ["TakePart"]
    assert walk.state.progress.paid_parts == 0, "the finding pays nothing by itself"
    assert walk.apply(received(award, 0, 10)) == ["PayPart", "AwaitPart"]
    assert walk.apply(received(award, 1, 25)) == ["PayPart", "CloseRail"]
    assert (walk.phase, walk.state.progress.spent) == ("Done", 25)


def test_every_row_of_an_audit_that_refutes() -> None:
    walk = Walk()
    award = walk.to_running()
    walk.apply(received(award, 0, 7))
    held = drawn(award, 1, 25)
    walk.apply(held)
    assert walk.apply(refuted(held.receipt_id)) == ["CloseRail", "OpenDispute"]
    state = walk.state
    assert isinstance(state, Seeking)
    assert state.case is not None
    assert (state.case.receipt, state.case.before) == (held.receipt, 7)
    assert (state.progress.paid_parts, state.progress.spent, state.progress.failed) == (1, 7, (award.value.provider,))
    assert walk.apply(DisputeTaken(receipt_id=held.receipt_id)) == ["SeekWinner"]
    second = walk.to_running()
    assert second.value.provider != award.value.provider


def test_a_receipt_in_question_is_the_only_one_and_nothing_but_a_finding_ends_it() -> None:
    walk = Walk()
    award = walk.to_running()
    award_id = digest(DOMAIN, award.value)
    held = drawn(award, 0, 10)
    walk.apply(held)
    other = received(award, 0, 11)
    for event in (
        received(award, 0, 10),
        other,
        drawn(award, 0, 11),
        ProviderFailed(award_id=award_id, reason="gone"),
        CancelRequested(),
        found(other.receipt_id),
        found(held.receipt_id, Finding.DIFFERENT),
        refuted(other.receipt_id),
        DisputeTaken(receipt_id=held.receipt_id),
    ):
        with pytest.raises(UnexpectedEvent):
            transition(walk.state, event)
    walk.apply(found(held.receipt_id))
    for event in (other, refuted(held.receipt_id), found(held.receipt_id), CancelRequested()):
        with pytest.raises(UnexpectedEvent):
            transition(walk.state, event)


def test_nobody_is_hired_before_the_court_has_the_case() -> None:
    walk = Walk()
    held = drawn(walk.to_running(), 0, 10)
    walk.apply(held)
    walk.apply(refuted(held.receipt_id))
    for event in (chosen(walk.award()), NoWinner(reason="none"), CancelRequested(), DisputeTaken(receipt_id=WRONG_ID)):
        with pytest.raises(UnexpectedEvent):
            transition(walk.state, event)


def test_a_drawn_receipt_must_be_the_next_one() -> None:
    walk = Walk()
    award = walk.to_running()
    for wrong in (drawn(award, 1, 10), drawn(award, 0, award.value.price + 1)):
        with pytest.raises(UnexpectedEvent):
            transition(walk.state, wrong)


def test_a_restart_takes_an_audit_up_where_it_stood() -> None:
    walk = Walk()
    held = drawn(walk.to_running(), 0, 10)
    ends: list[list[Event]] = [[], [found(held.receipt_id)], [refuted(held.receipt_id)]]
    for rest in ends:
        state = replayed(2, [*walk.events, held, *rest])
        again, effects = state, outstanding(state)
        assert effects
        assert replayed(2, [*walk.events, held, *rest]) == again
