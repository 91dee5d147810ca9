"""A case as users see it, in each of its states."""

from dataclasses import replace

import pytest

from node.app.doors.disputes import NoSuchDispute, dispute_view, pick
from node.arbitration.party import CaseView
from protocol.dispute.acting import Sight
from protocol.dispute.case import Stage
from protocol.dispute.objects import Finding
from protocol.dispute.party import (
    Abandoned,
    Brief,
    CaseBegan,
    CaseEnded,
    File,
    RoundAsked,
    VoteCarried,
    begin,
    transition,
)
from protocol.identity import Address, Digest
from protocol.units import Amount, Seconds, UnixTime
from tests.node.arbitration.party_lab import NO_ROUND, vote
from tests.protocol.dispute.dispute_samples import AWARD, AWARD_ID, BUYER, OFFER, RECEIPT, SELLER


def file_of(own: Address) -> File:
    brief = Brief(award=AWARD, award_id=AWARD_ID, offer=OFFER, own=own, receipt=RECEIPT, reason="another output")
    return begin(brief)


def opened(own: Address) -> File:
    return transition(file_of(own), CaseBegan(opener=BUYER, part=1, receipt=Digest(b"\x01" * 32)))


def test_before_it_is_opened_a_case_says_why_and_what_is_in_the_way() -> None:
    view = dispute_view(CaseView(file=file_of(BUYER), problem="the cap per day is reached"))
    assert (view.state, view.role, view.peer, view.part) == ("held", "requester", SELLER, 1)
    assert (view.opened_by_us, view.round, view.deadline, view.due) == (None, None, None, None)
    assert (view.reason, view.problem) == ("another output", "the cap per day is reached")
    given_up = dispute_view(CaseView(file=transition(file_of(BUYER), Abandoned(reason="too late"))))
    assert (given_up.state, given_up.reason) == ("given-up", "too late")


def test_an_open_case_says_its_round_its_decision_and_until_when_that_can_be_appealed() -> None:
    began = replace(NO_ROUND, began=UnixTime(1_000), time=Seconds(2_400), stage=Stage.VOTING)
    case = transition(opened(SELLER), VoteCarried(round=0, vote=vote(Finding.WRONG_RESULT, 9)))
    view = dispute_view(CaseView(file=case, sight=Sight(now=UnixTime(1_001), round=began)))
    assert (view.state, view.role, view.peer, view.opened_by_us) == ("open", "provider", BUYER, False)
    assert (view.round, view.deadline, view.finding, view.due) == (0, 2_200, "wrong result", 9)
    after = dispute_view(CaseView(file=transition(case, RoundAsked(round=1, appellant=SELLER))))
    assert (after.round, after.deadline, after.finding) == (1, None, "")
    assert after.bonds == AWARD.dispute_fee // 5 * 11


@pytest.mark.parametrize(
    ("finding", "buyer", "seller"),
    [
        (Finding.WRONG_RESULT, "won", "lost"),
        (Finding.UPHELD, "lost", "won"),
        (Finding.NOT_JUDGED, "undecided", "undecided"),
        (Finding.NONE, "undecided", "undecided"),
    ],
)
def test_a_closed_case_says_who_won_and_what_the_award_is_worth(finding: Finding, buyer: str, seller: str) -> None:
    for own, state in ((BUYER, buyer), (SELLER, seller)):
        case = transition(opened(own), CaseEnded(finding=finding, due=Amount(5)))
        view = dispute_view(CaseView(file=case))
        assert view.state == state
        assert (view.due, view.price, view.liability) == (None if finding is Finding.NONE else 5, 2_000_000, 500_000)


def test_a_case_is_found_by_the_first_digits_of_its_award_and_by_no_less() -> None:
    one = dispute_view(CaseView(file=file_of(BUYER)))
    other = replace(one, award=Digest(bytes([AWARD_ID[0] ^ 1]) + AWARD_ID[1:]))
    for words in (AWARD_ID.hex(), AWARD_ID.hex()[:2].upper(), f"0x{AWARD_ID.hex()[:8]}"):
        assert pick((other, one), words) is one
    for words in ("", "0x", "zz"):
        with pytest.raises(NoSuchDispute, match="no case is about an award that begins with"):
            pick((one,), words)
    with pytest.raises(NoSuchDispute, match="several cases"):
        pick((one, one), AWARD_ID.hex()[:1])
