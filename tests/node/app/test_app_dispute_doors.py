"""A case as users see it, in each of its states."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from node.api.json_codec import from_json, to_json
from node.api.views import DisputeQuote
from node.app.doors.disputes import DisputeDoors, NoCourt, NoSuchDispute, dispute_view, pick, quote_view
from node.arbitration.party import CaseView
from node.arbitration.quoting import Quote
from protocol.dispute.acting import PAID, Sight
from protocol.dispute.case import Round, Stage
from protocol.dispute.objects import Finding
from protocol.dispute.party import (
    Abandoned,
    AppealOrdered,
    Brief,
    CaseBegan,
    CaseEnded,
    CaseOrdered,
    CaseSettled,
    File,
    RoundAsked,
    VoteCarried,
    begin,
    transition,
)
from protocol.dispute.prospects import Stakes
from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.settlement.deadlines import deadlines_of
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


TIMES = deadlines_of(AWARD)
VOTING = replace(NO_ROUND, began=UnixTime(1_000), time=Seconds(2_400), stage=Stage.VOTING)


def seen(file: File, now: int = 1_001, round_: Round = NO_ROUND, **changes: Any) -> CaseView:
    return CaseView(file=file, sight=Sight(now=UnixTime(now), round=round_, **changes))


def next_in(view: CaseView) -> tuple[str, int | None]:
    shown = dispute_view(view)
    return shown.next, shown.next_by


def test_before_it_is_opened_a_case_says_who_does_what_next_and_until_when() -> None:
    assert next_in(seen(file_of(BUYER))) == ("your node opens the case", TIMES.latest_dispute_by)
    assert next_in(seen(file_of(SELLER))) == (
        "the requester pays, or your node opens the case after that",
        TIMES.claim_by,
    )
    ordered = transition(file_of(SELLER), CaseOrdered())
    assert next_in(seen(ordered)) == ("your node opens the case, as you ordered", TIMES.latest_dispute_by)
    assert dispute_view(seen(ordered)).ordered
    bare = begin(replace(file_of(BUYER).brief, award=replace(AWARD, liability=Amount(0))))
    assert "the provider may open a case" in next_in(seen(bare))[0]
    for own, words in ((BUYER, "your node disputes"), (SELLER, "the requester may dispute")):
        claimed = begin(replace(file_of(own).brief, award=replace(AWARD, channel=ZERO_DIGEST)))
        assert words in next_in(seen(claimed, dispute_by=UnixTime(9)))[0]
        assert next_in(seen(claimed, resolve_by=UnixTime(9))) == ("your node opens the case", 9)
        assert next_in(seen(claimed)) == ("a claim on the escrow is waited for", TIMES.claim_by)


def test_a_case_that_the_node_leaves_says_why_and_that_its_user_need_not() -> None:
    left = CaseView(
        file=file_of(BUYER), sight=Sight(now=UnixTime(9), round=NO_ROUND), reluctance="disputes.open is false"
    )
    told = next_in(left)
    assert told == (
        "your node opens no case: disputes.open is false; you may, by `stoa disputes open`",
        TIMES.latest_dispute_by,
    )
    claimed = begin(replace(file_of(BUYER).brief, award=replace(AWARD, channel=ZERO_DIGEST)))
    assert next_in(seen(claimed, resolve_by=UnixTime(9)))[1] == 9
    assert next_in(replace(left, file=claimed))[1] is None
    assert next_in(replace(left, reluctance=PAID))[0] == f"your node opens no case: {PAID}"


def test_in_court_a_case_says_its_stage_its_votes_and_what_happens_next() -> None:
    case = opened(SELLER)
    drawing = dispute_view(seen(case, round_=replace(VOTING, stage=Stage.DRAWING)))
    assert (drawing.stage, drawing.seats, drawing.votes) == ("drawing", 5, 0)
    assert (drawing.next, drawing.next_by) == ("5 arbiters are drawn, and vote", 2_000)
    voting = dispute_view(seen(case, round_=replace(VOTING, opened_seats=0b101)))
    assert (voting.stage, voting.votes, voting.next_by) == ("voting", 2, 2_000)
    against = transition(case, VoteCarried(round=0, vote=vote(Finding.WRONG_RESULT)))
    agreed = replace(VOTING, stage=Stage.AGREED, ended_after=101, opened_seats=0b11111)
    lost = dispute_view(seen(against, 1_150, agreed))
    assert (lost.stage, lost.votes, lost.next_by) == ("appeal", 5, agreed.appeal_by)
    assert lost.next.startswith("you may appeal (")
    assert "`stoa disputes appeal`); else the case is closed" in lost.next
    won = dispute_view(
        seen(transition(opened(BUYER), VoteCarried(round=0, vote=vote(Finding.WRONG_RESULT))), 1_150, agreed)
    )
    assert won.next == "the other side may appeal; else the case is closed"
    assert "either side may appeal" in dispute_view(seen(case, 2_001, VOTING)).next
    ordered = dispute_view(seen(transition(against, AppealOrdered(round=1)), 1_150, agreed))
    assert (ordered.ordered, ordered.next) == (True, "your node appeals, as you ordered")
    closing = dispute_view(seen(against, agreed.appeal_by + 1, agreed))
    assert (closing.stage, closing.next_by) == ("closing", TIMES.latest_resolve_by)
    assert closing.next.startswith("the other side, or your node a little later")
    last = replace(VOTING, number=2, stage=Stage.AGREED, ended_after=101)
    third = transition(transition(case, RoundAsked(round=1, appellant=BUYER)), RoundAsked(round=2, appellant=BUYER))
    assert dispute_view(seen(third, 1_102, last)).stage == "closing", "there is no appeal of the last round"


def test_a_case_whose_facts_are_ahead_of_what_was_seen_says_nothing_of_the_round_before() -> None:
    ahead = transition(opened(SELLER), RoundAsked(round=1, appellant=BUYER))
    view = dispute_view(seen(ahead, round_=replace(VOTING, opened_seats=0b11111)))
    assert (view.round, view.stage, view.seats, view.votes, view.next) == (1, "", None, None, "the chain is looked at")


def test_a_case_that_is_over_has_nothing_next_but_for_a_provider_its_hold() -> None:
    for own, step in ((BUYER, ""), (SELLER, "your node takes what the decision gives it out of the channel")):
        over = transition(opened(own), CaseEnded(finding=Finding.UPHELD, due=Amount(5)))
        assert dispute_view(CaseView(file=over)).next == step
        assert dispute_view(CaseView(file=over)).stage == "closed"
        settled = transition(over, CaseSettled(taken=Amount(0)))
        assert dispute_view(CaseView(file=settled)).next == ""


def test_a_quote_says_every_end_in_the_words_of_users() -> None:
    stakes = Stakes(
        is_requester=True, by_provider=False, asked=Amount(900), fee=Amount(250), bond=Amount(250), lock=Amount(400),
        max_bounty=Amount(100), without_bps=5_000, now_bps=10_000,
    )  # fmt: skip
    quote = quote_view(
        Quote(
            brief=file_of(BUYER).brief, number=0, bond=Amount(250), until=UnixTime(9), part=1, claimed=Amount(1_000),
            stakes=stakes, expected=Finding.WRONG_RESULT, found="it ran", warning="", notes=("one",),
        )
    )  # fmt: skip
    assert (quote.role, quote.peer, quote.rail, quote.seats, quote.liability) == (
        "requester",
        SELLER,
        "channel",
        5,
        400,
    )
    assert (quote.expected, quote.otherwise.finding, quote.otherwise.own) == ("wrong result", "", -900)
    assert [each.finding for each in quote.ends] == [
        "upheld", "wrong result", "output missing", "overbilled", "inputs missing", "not judged", "no decision",
    ]  # fmt: skip
    assert from_json(DisputeQuote, to_json(quote)) == quote, "losses cross the socket too"


async def test_a_network_without_a_court_says_so() -> None:
    doors = DisputeDoors(cast("Any", SimpleNamespace(party=None, ordering=None)))
    assert await doors.dispute_list() == ()
    with pytest.raises(NoCourt, match="no court"):
        await doors.dispute_open_quote("7ac3", look=True)
    with pytest.raises(NoCourt, match="no court"):
        await doors.dispute_appeal_quote("7ac3")
    for order in (doors.dispute_open, doors.dispute_appeal):
        with pytest.raises(NoCourt, match="no court"):
            await order("7ac3", Amount(1), anyway=False)


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
