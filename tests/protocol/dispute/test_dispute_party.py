"""What a party of a dispute does, and when."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.dispute.acting import (
    SURE_BPS,
    Abandon,
    AppealCase,
    Attitude,
    CloseCase,
    HoldSight,
    OpenCase,
    SecureHold,
    SettleCase,
    Sight,
    TakeHold,
    due_from_hold,
    is_worth,
    next_act,
)
from protocol.dispute.bond import bond_of
from protocol.dispute.case import (
    Appealed,
    CaseClosed,
    CaseOpened,
    CommitteeDrawn,
    Round,
    RoundDecided,
    Stage,
)
from protocol.dispute.objects import Finding, Vote
from protocol.dispute.party import (
    Abandoned,
    Brief,
    CaseBegan,
    CaseEnded,
    CaseSettled,
    Closed,
    Event,
    EvidenceFound,
    File,
    GivenUp,
    Open,
    RoundAsked,
    VoteCarried,
    begin,
    event_of,
    is_done,
    is_won,
    transition,
)
from protocol.identity import ZERO_DIGEST, Address, ContentDigest, Digest
from protocol.settlement.deadlines import deadlines_of
from protocol.task.audit import Rerun
from protocol.units import Amount, Seconds, UnixTime
from tests.protocol.dispute.dispute_samples import AWARD, AWARD_ID, BUYER, OFFER, RECEIPT, SELLER

FEE = AWARD.dispute_fee
ATTITUDE = Attitude(min_resolve_within=300, stagger=30)
RERUN = Rerun(outcome=0, output=ContentDigest(b"\x02" * 32), fuel=7, peak_mib=1, bytes_in=0, bytes_out=1)
RECEIPT_ID = Digest(b"\x77" * 32)
BEGAN = UnixTime(deadlines_of(AWARD).deliver_by + 5)
TIME = 2_400
NO_ROUND = Round(
    began=UnixTime(0), time=Seconds(0), ended_after=0, draw_block=0, places=0, sealed_seats=0, opened_seats=0,
    seat_fee=Amount(0), number=0, stage=Stage.NONE, by_provider=False,
)  # fmt: skip


def brief(*, requester: bool = True, channel: bool = True, convinced: bool = True) -> Brief:
    award = AWARD if channel else replace(AWARD, channel=ZERO_DIGEST)
    return Brief(
        award=award,
        award_id=AWARD_ID,
        offer=OFFER,
        own=BUYER if requester else SELLER,
        receipt=RECEIPT if convinced else None,
        rerun=RERUN if convinced and requester else None,
    )


def vote(finding: Finding) -> Vote:
    return Vote(finding=finding, part=0, outcome=0, output=ContentDigest(bytes(32)), fuel=1, due=Amount(0))


def seen(after: int = 0, **changes: Any) -> Sight:
    """Return what is seen `after` seconds into a round of 1,200 that began at BEGAN."""
    given = {"began": BEGAN, "time": Seconds(TIME), "stage": Stage.VOTING}
    return Sight(now=UnixTime(BEGAN + after), round=replace(NO_ROUND, **{**given, **changes}))


def opened(file: File, opener: Address = BUYER) -> File:
    return transition(file, CaseBegan(opener=opener, part=0, receipt=RECEIPT_ID))


def decided(finding: Finding, *, requester: bool = True, opener: Address = BUYER, convinced: bool = True) -> File:
    file = opened(begin(brief(requester=requester, convinced=convinced)), opener)
    return transition(file, VoteCarried(round=0, vote=vote(finding)))


# ------------------------------------------------------------------------------------------------------- opening


def test_over_a_channel_a_case_is_opened_until_two_paces_after_the_delivery_and_not_a_second_later() -> None:
    last = deadlines_of(AWARD).latest_dispute_by
    file = begin(brief())
    for now, act in ((0, OpenCase), (last, OpenCase), (last + 1, Abandon)):
        assert isinstance(next_act(file, Sight(now=UnixTime(now), round=NO_ROUND), ATTITUDE), act)


def test_on_an_escrow_a_case_waits_for_a_dispute_that_leaves_the_court_its_time() -> None:
    file, now = begin(brief(channel=False)), UnixTime(1_000)
    waiting = Sight(now=now, round=NO_ROUND)
    assert next_act(file, waiting, ATTITUDE) is None
    assert next_act(file, replace(waiting, resolve_by=UnixTime(now + 300)), ATTITUDE) == OpenCase()
    assert isinstance(next_act(file, replace(waiting, resolve_by=UnixTime(now + 299)), ATTITUDE), Abandon)
    assert isinstance(next_act(file, replace(waiting, escrow_over=True), ATTITUDE), Abandon)


def test_a_case_that_is_open_already_is_not_opened_again() -> None:
    assert next_act(begin(brief()), seen(), ATTITUDE) is None


def test_no_case_is_opened_for_a_bond_above_the_limit_or_where_none_is_wanted() -> None:
    file, sight = begin(brief()), Sight(now=UnixTime(0), round=NO_ROUND)
    assert next_act(file, sight, replace(ATTITUDE, max_bond=FEE)) == OpenCase()
    assert_waits_and_abandons(file, sight, replace(ATTITUDE, max_bond=Amount(FEE - 1)))
    assert_waits_and_abandons(file, sight, replace(ATTITUDE, open=False))


def assert_waits_and_abandons(file: File, sight: Sight, attitude: Attitude = ATTITUDE) -> None:
    """Nothing is opened, and what would be given up is kept until the other side can't go to court either."""
    assert next_act(file, sight, attitude) is None
    last = deadlines_of(AWARD).latest_dispute_by
    assert next_act(file, replace(sight, now=last), attitude) is None
    assert isinstance(next_act(file, replace(sight, now=UnixTime(last + 1)), attitude), Abandon)


# --------------------------------------------------------------------------------------------- appealing, closing


@pytest.mark.parametrize(
    ("requester", "opener", "finding", "appeals"),
    [
        (True, BUYER, Finding.UPHELD, True),
        (True, BUYER, Finding.WRONG_RESULT, False),
        (True, BUYER, Finding.OVERBILLED, False),
        (True, BUYER, Finding.OUTPUT_MISSING, False),
        (True, BUYER, Finding.INPUTS_MISSING, True),
        (True, SELLER, Finding.INPUTS_MISSING, False),
        (True, BUYER, Finding.NOT_JUDGED, False),
        (False, BUYER, Finding.UPHELD, False),
        (False, BUYER, Finding.WRONG_RESULT, True),
        (False, BUYER, Finding.OVERBILLED, True),
        (False, BUYER, Finding.OUTPUT_MISSING, True),
        (False, BUYER, Finding.INPUTS_MISSING, False),
        (False, SELLER, Finding.INPUTS_MISSING, True),
        (False, BUYER, Finding.NOT_JUDGED, False),
    ],
)
def test_who_was_found_wrong_and_knows_better_appeals(
    *, requester: bool, opener: Address, finding: Finding, appeals: bool
) -> None:
    file = decided(finding, requester=requester, opener=opener)
    act = next_act(file, seen(1_001), ATTITUDE)
    assert act == (AppealCase(number=1, bond=Amount(FEE // 5 * 11)) if appeals else None)


def test_who_never_saw_the_output_does_not_contradict_those_who_did() -> None:
    assert next_act(decided(Finding.UPHELD, convinced=False), seen(1_001), ATTITUDE) is None


def test_an_appeal_is_made_only_within_its_time() -> None:
    file = decided(Finding.UPHELD)
    for after, act in ((1_000, None), (1_001, AppealCase), (1_200, AppealCase), (1_201, CloseCase)):
        assert isinstance(next_act(file, seen(after), ATTITUDE), act or type(None)), after
    ended = {"ended_after": 501}  # all seats opened 500 seconds after its beginning
    for after, act in ((500, AppealCase), (700, AppealCase), (701, CloseCase)):
        assert isinstance(next_act(file, seen(after, **ended), ATTITUDE), act), after


def test_an_appeal_costs_the_next_committee_and_counts_against_the_limit_with_what_was_put_down_before() -> None:
    file, total = decided(Finding.UPHELD), FEE + FEE // 5 * 11
    assert next_act(file, seen(1_001), replace(ATTITUDE, max_bond=Amount(total))) == AppealCase(
        number=1, bond=bond_of(FEE, 1)
    )
    assert next_act(file, seen(1_001), replace(ATTITUDE, max_bond=Amount(total - 1))) is None
    assert next_act(file, seen(1_001), replace(ATTITUDE, appeal=False)) is None
    file = transition(file, RoundAsked(round=1, appellant=BUYER))
    assert isinstance(file.state, Open)
    assert file.state.bonds == total


def test_there_are_two_appeals_at_most() -> None:
    file = decided(Finding.UPHELD)
    for number in (1, 2):
        file = transition(file, RoundAsked(round=number, appellant=BUYER))
        assert next_act(file, seen(500, number=number), ATTITUDE) is None, "nothing is decided yet"
        file = transition(file, VoteCarried(round=number, vote=vote(Finding.UPHELD)))
        act = next_act(file, seen(501, number=number, stage=Stage.DECIDED), ATTITUDE)
        assert isinstance(act, AppealCase if number == 1 else CloseCase)


def test_a_decision_of_a_round_that_the_chain_has_left_is_not_appealed() -> None:
    assert next_act(decided(Finding.UPHELD), seen(501, number=1), ATTITUDE) is None


@pytest.mark.parametrize("opener", [BUYER, SELLER])
def test_who_opened_closes_at_once_and_the_other_a_little_later(opener: Address) -> None:
    file = opened(begin(brief()), opener)
    first = 1_201 if opener == BUYER else 1_231
    assert next_act(file, seen(first - 1), ATTITUDE) is None
    assert next_act(file, seen(first), ATTITUDE) == CloseCase()
    assert next_act(file, seen(first, stage=Stage.CLOSED), ATTITUDE) is None


def test_the_other_side_waits_no_longer_than_a_short_case_leaves_it() -> None:
    file = opened(begin(brief()), SELLER)
    assert next_act(file, seen(1_251), replace(ATTITUDE, stagger=1_000)) == CloseCase()


# ------------------------------------------------------------------------------- rounds that come to no decision

APPEAL = bond_of(FEE, 1)
UNDECIDED = seen(1_001)
CLAIMED = RECEIPT.value.due


def without_vote(
    *, requester: bool, channel: bool, opener: Address, convinced: bool = True, liability: int = FEE
) -> File:
    about = brief(requester=requester, channel=channel, convinced=convinced)
    return opened(begin(replace(about, award=replace(about.award, liability=Amount(liability)))), opener)


def lost_on_escrow(amount: int, *, requester: bool) -> Sight:
    """Return what is seen if the split would take `amount` from that party."""
    share = 5_000 / 10_000
    assert AWARD.split_bps == 5_000
    fee = FEE if requester else 0
    return replace(UNDECIDED, paid=Amount(int(CLAIMED - (amount - fee) / share)))


@pytest.mark.parametrize("requester", [True, False])
def test_on_an_escrow_who_loses_more_by_the_split_than_the_next_committee_costs_wants_one(*, requester: bool) -> None:
    file = without_vote(requester=requester, channel=False, opener=BUYER)
    assert SURE_BPS == 9_000
    enough = APPEAL * 10 // 9 + 2
    assert next_act(file, lost_on_escrow(enough, requester=requester), ATTITUDE) == AppealCase(number=1, bond=APPEAL)
    assert next_act(file, lost_on_escrow(enough - 4, requester=requester), ATTITUDE) is None
    shy = without_vote(requester=requester, channel=False, opener=BUYER, convinced=False)
    assert next_act(shy, UNDECIDED, ATTITUDE) is None, "who doesn't know the result hopes for nothing"
    assert next_act(file, UNDECIDED, replace(ATTITUDE, appeal=False)) is None
    assert next_act(file, UNDECIDED, replace(ATTITUDE, max_bond=Amount(APPEAL - 1))) is None


def test_over_a_channel_the_provider_loses_what_is_unpaid_and_the_requester_nothing() -> None:
    seller = without_vote(requester=False, channel=True, opener=BUYER)
    rich = replace(UNDECIDED, hold=HoldSight(unpaid=Amount(APPEAL * 2), held=Amount(APPEAL * 3), is_secured=True))
    poor = replace(UNDECIDED, hold=HoldSight(unpaid=Amount(APPEAL), held=Amount(APPEAL * 3), is_secured=True))
    assert next_act(seller, rich, ATTITUDE) == AppealCase(number=1, bond=APPEAL)
    assert next_act(seller, poor, ATTITUDE) is None
    opener = without_vote(requester=False, channel=True, opener=SELLER)
    assert next_act(opener, poor, ATTITUDE) == AppealCase(number=1, bond=APPEAL), "its bond is at stake as well"
    buyer = without_vote(requester=True, channel=True, opener=SELLER)
    assert next_act(buyer, UNDECIDED, ATTITUDE) is None


def test_a_round_is_undecided_once_its_time_is_over_and_its_committee_was_drawn() -> None:
    file = without_vote(requester=False, channel=False, opener=BUYER)
    for after, act in ((1_000, None), (1_001, AppealCase), (1_200, AppealCase), (1_231, CloseCase)):
        assert isinstance(next_act(file, seen(after), ATTITUDE), act or type(None)), after
    assert next_act(file, seen(1_001, stage=Stage.DRAWING), ATTITUDE) is None, "eleven seats can't be filled either"
    assert next_act(file, seen(501, stage=Stage.AGREED, ended_after=501), ATTITUDE) is None, "its vote is on its way"


@pytest.mark.parametrize(("finding", "appeals"), [(Finding.WRONG_RESULT, True), (Finding.UPHELD, False)])
def test_what_an_earlier_round_decided_stands_if_the_next_one_decides_nothing(
    *, finding: Finding, appeals: bool
) -> None:
    file = transition(decided(finding, requester=False), RoundAsked(round=1, appellant=BUYER))
    assert isinstance(file.state, Open)
    assert (file.state.vote, file.state.standing) == (None, vote(finding))
    act = next_act(file, seen(501, number=1), ATTITUDE)
    assert isinstance(act, AppealCase if appeals else type(None))


# ----------------------------------------------------------------------------------------- a provider and its hold

TIMES = deadlines_of(AWARD)
WHOLE_HOLD = AWARD.price + FEE
UNPAID = HoldSight(unpaid=Amount(900_000), held=Amount(WHOLE_HOLD - 900_000))


def waiting(now: int, hold: HoldSight = UNPAID, costs: int = 0) -> Sight:
    return Sight(now=UnixTime(now), round=NO_ROUND, hold=hold, costs=Amount(costs))


def test_a_part_that_stays_unpaid_is_taken_to_court_once_it_was_to_be_paid_and_before_it_is_too_late() -> None:
    file, secured = begin(brief(requester=False)), replace(UNPAID, is_secured=True)
    assert next_act(file, waiting(TIMES.claim_by), ATTITUDE) is None
    assert next_act(file, waiting(TIMES.claim_by + 1), ATTITUDE) == SecureHold()
    assert next_act(file, waiting(TIMES.claim_by + 1, secured), ATTITUDE) == OpenCase()
    assert next_act(file, waiting(TIMES.latest_dispute_by, secured), ATTITUDE) == OpenCase()
    assert isinstance(next_act(file, waiting(TIMES.latest_dispute_by + 1, secured), ATTITUDE), Abandon)


@pytest.mark.parametrize(
    "sight",
    [
        waiting(0, HoldSight(held=Amount(WHOLE_HOLD))),
        waiting(0, HoldSight(unpaid=Amount(900_000))),
        waiting(TIMES.claim_by + 1, replace(UNPAID, unpaid=Amount(FEE // 9))),
        waiting(TIMES.claim_by + 1, costs=UNPAID.unpaid),
    ],
    ids=["it was paid", "no hold backs it", "it is not worth the bond", "it is not worth the gas"],
)
def test_nothing_is_opened_that_brings_nothing(sight: Sight) -> None:
    assert_waits_and_abandons(begin(brief(requester=False)), sight)


def test_a_provider_opens_under_the_limits_that_its_operator_set() -> None:
    file, sight = begin(brief(requester=False)), waiting(TIMES.claim_by + 1)
    assert_waits_and_abandons(file, sight, replace(ATTITUDE, open=False))
    assert_waits_and_abandons(file, sight, replace(ATTITUDE, max_bond=Amount(FEE - 1)))
    assert next_act(file, sight, replace(ATTITUDE, max_bond=FEE)) == SecureHold()


# ------------------------------------------------------------------------------------------ a provider on an escrow

LEAST = ATTITUDE.min_resolve_within


def disputed(left: int, **changes: Any) -> Sight:
    """What is seen `left` seconds before the escrow waits no more."""
    return Sight(now=UnixTime(10_000), round=NO_ROUND, resolve_by=UnixTime(10_000 + left), **changes)


def test_a_provider_whose_claim_is_disputed_goes_to_court_if_the_requester_leaves_it_at_that() -> None:
    file = begin(brief(requester=False, channel=False))
    turn = AWARD.resolve_within - (AWARD.resolve_within - LEAST) // 2
    assert LEAST < turn < AWARD.resolve_within
    assert next_act(file, Sight(now=UnixTime(10_000), round=NO_ROUND), ATTITUDE) is None
    for left, act in ((AWARD.resolve_within, None), (turn + 1, None), (turn, OpenCase()), (LEAST, OpenCase())):
        assert next_act(file, disputed(left), ATTITUDE) == act
    assert isinstance(next_act(file, disputed(LEAST - 1), ATTITUDE), Abandon)
    assert isinstance(next_act(file, disputed(turn, escrow_over=True), ATTITUDE), Abandon)


def test_a_provider_does_not_go_to_court_for_less_than_bond_and_gas_or_against_its_operators_limits() -> None:
    file, due = begin(brief(requester=False, channel=False)), RECEIPT.value.due
    share = due - due * AWARD.split_bps // 10_000
    for sight, attitude in (
        (disputed(LEAST, costs=Amount(share)), ATTITUDE),
        (disputed(LEAST, paid=due), ATTITUDE),
        (disputed(LEAST), replace(ATTITUDE, open=False)),
        (disputed(LEAST), replace(ATTITUDE, max_bond=Amount(FEE - 1))),
    ):
        assert next_act(file, sight, attitude) is None
        assert isinstance(next_act(file, replace(sight, escrow_over=True), attitude), Abandon)


def test_nine_times_in_ten_is_sure() -> None:
    assert is_worth(112, 1_000, 0)
    assert not is_worth(111, 1_000, 0)
    assert is_worth(1_112, 0, 1_000)
    assert not is_worth(1_111, 0, 1_000)


def test_a_requester_without_a_lock_behind_the_award_waits_for_the_provider_to_come_to_court() -> None:
    unlocked = replace(brief(), award=replace(AWARD, liability=Amount(0)))
    assert next_act(begin(unlocked), Sight(now=TIMES.latest_dispute_by, round=NO_ROUND), ATTITUDE) is None
    late = Sight(now=UnixTime(TIMES.latest_dispute_by + 1), round=NO_ROUND)
    assert isinstance(next_act(begin(unlocked), late, ATTITUDE), Abandon)


def test_a_case_of_the_other_side_has_the_hold_secured_at_once() -> None:
    file = opened(begin(brief(requester=False)))
    assert next_act(file, replace(seen(0), hold=UNPAID), ATTITUDE) == SecureHold()
    assert next_act(file, replace(seen(0), hold=replace(UNPAID, is_secured=True)), ATTITUDE) is None
    assert next_act(file, replace(seen(0), hold=HoldSight()), ATTITUDE) is None


@pytest.mark.parametrize(
    ("opener", "finding", "due", "expected"),
    [
        (SELLER, Finding.UPHELD, 1_800_000, 900_000 + FEE),
        (BUYER, Finding.UPHELD, 1_800_000, 900_000),
        (SELLER, Finding.UPHELD, 900_000, FEE),
        (BUYER, Finding.UPHELD, 900_000, 0),
        (SELLER, Finding.WRONG_RESULT, 900_000, 0),
        (SELLER, Finding.OVERBILLED, 1_000_000, 100_000),
        (SELLER, Finding.INPUTS_MISSING, 900_000, 0),
        (SELLER, Finding.NOT_JUDGED, 900_000, 0),
        (SELLER, Finding.NONE, 0, 0),
    ],
)
def test_a_hold_is_enforced_if_the_decision_gives_something_out_of_it(
    opener: Address, finding: Finding, due: int, expected: int
) -> None:
    file = transition(opened(begin(brief(requester=False)), opener), CaseEnded(finding=finding, due=Amount(due)))
    assert isinstance(file.state, Closed)
    hold = HoldSight(unpaid=Amount(900_000), held=Amount(WHOLE_HOLD - 900_000), is_secured=True)  # 900,000 were paid
    assert due_from_hold(file.brief, file.state, hold.held) == expected
    sight = replace(seen(2_000, stage=Stage.CLOSED), hold=hold)
    assert next_act(file, sight, ATTITUDE) == (TakeHold() if expected else SettleCase(taken=Amount(0)))
    gone = replace(sight, hold=replace(hold, held=Amount(0)))
    assert next_act(file, gone, ATTITUDE) == SettleCase(taken=Amount(0)), "its channel is over"
    taken = replace(sight, hold=HoldSight(taken=Amount(7)))
    assert next_act(file, taken, ATTITUDE) == SettleCase(taken=Amount(7))
    may_come = replace(sight, hold=HoldSight(taken=Amount(7), may_change=True))
    assert next_act(file, may_come, ATTITUDE) is None, "a newer voucher may have to be enforced on"
    again = replace(sight, hold=HoldSight(taken=Amount(7), held=hold.held))
    is_due = due > 900_000 and finding is not Finding.NONE
    assert next_act(file, again, ATTITUDE) == (TakeHold() if is_due else SettleCase(taken=Amount(7)))


@pytest.mark.parametrize("requester", [True, False])
def test_every_closed_case_is_settled_once(*, requester: bool) -> None:
    file = transition(
        opened(begin(brief(requester=requester, channel=False))), CaseEnded(finding=Finding.UPHELD, due=Amount(5))
    )
    assert not is_done(file)
    assert next_act(file, seen(2_000, stage=Stage.CLOSED), ATTITUDE) == SettleCase(taken=Amount(0))
    file = transition(file, CaseSettled(taken=Amount(0)))
    assert is_done(file)
    assert transition(file, CaseSettled(taken=Amount(1))) is file


# ---------------------------------------------------------------------------------------------------- the record


def test_every_fact_of_the_court_says_one_thing_to_a_party() -> None:
    about = {"award": AWARD_ID}
    opening = CaseOpened(**about, opener=BUYER, engine=ZERO_DIGEST, part=3, receipt=RECEIPT_ID)
    assert event_of(opening) == CaseBegan(opener=BUYER, part=3, receipt=RECEIPT_ID)
    assert event_of(CommitteeDrawn(**about, round=0, committee=())) is None
    carried = RoundDecided(**about, round=1, seats=7, vote=vote(Finding.UPHELD))
    assert event_of(carried) == VoteCarried(round=1, vote=vote(Finding.UPHELD))
    assert event_of(Appealed(**about, round=1, appellant=SELLER)) == RoundAsked(round=1, appellant=SELLER)
    ended = CaseClosed(**about, finding=Finding.UPHELD, due=Amount(4))
    assert event_of(ended) == CaseEnded(finding=Finding.UPHELD, due=Amount(4))


@pytest.mark.parametrize(
    ("finding", "requester", "provider"),
    [
        (Finding.NONE, None, None),
        (Finding.NOT_JUDGED, None, None),
        (Finding.UPHELD, False, True),
        (Finding.WRONG_RESULT, True, False),
        (Finding.INPUTS_MISSING, False, True),
    ],
)
def test_a_finding_has_a_winner(*, finding: Finding, requester: bool | None, provider: bool | None) -> None:
    for is_requester, won in ((True, requester), (False, provider)):
        file = opened(begin(brief(requester=is_requester)))
        closed = transition(file, CaseEnded(finding=finding, due=Amount(1))).state
        assert isinstance(closed, Closed)
        assert is_won(file.brief, closed) is won


def test_what_the_requester_finds_out_later_is_its_conviction_from_then_on() -> None:
    file = opened(begin(brief(convinced=False)), SELLER)
    assert not file.brief.is_convinced
    found = EvidenceFound(receipt=RECEIPT, rerun=RERUN, reason="another output")
    after = transition(file, found)
    assert after.brief.is_convinced
    assert after.state == file.state
    assert transition(after, replace(found, reason="again")) is after


EVENTS: tuple[Event, ...] = (
    CaseBegan(opener=BUYER, part=0, receipt=RECEIPT_ID),
    VoteCarried(round=0, vote=vote(Finding.UPHELD)),
    RoundAsked(round=1, appellant=BUYER),
    VoteCarried(round=1, vote=vote(Finding.WRONG_RESULT)),
    RoundAsked(round=2, appellant=SELLER),
    VoteCarried(round=2, vote=vote(Finding.WRONG_RESULT)),
    CaseEnded(finding=Finding.WRONG_RESULT, due=Amount(3)),
    CaseSettled(taken=Amount(0)),
)


@given(st.lists(st.integers(0, len(EVENTS) - 1), max_size=12))
def test_facts_that_are_told_again_from_an_older_place_change_nothing(starts: list[int]) -> None:
    """A reader that comes back after a crash is told facts anew: from an older place on, in their order."""
    file, reached = begin(brief()), 0
    for start in starts:
        first = min(start, reached)
        told = EVENTS[first : first + 3]
        for offset, event in enumerate(told):
            after = transition(file, event)
            if first + offset < reached:
                assert after is file, f"{event} was told before"
            else:
                assert after != file
                reached += 1
            file = after
    once = begin(brief())
    for event in EVENTS[:reached]:
        once = transition(once, event)
    assert file == once


def test_what_was_given_up_or_closed_stays_so() -> None:
    given_up = transition(begin(brief()), Abandoned(reason="too late"))
    assert is_done(given_up)
    assert given_up.state == GivenUp(reason="too late")
    file = begin(brief())
    for event in EVENTS:
        file = transition(file, event)
        assert is_done(file) == isinstance(event, CaseSettled)
        assert transition(given_up, event) is given_up
    assert transition(file, Abandoned(reason="too late")) is file
    for sight in (seen(0), seen(10_000)):
        assert next_act(file, sight, ATTITUDE) is next_act(given_up, sight, ATTITUDE) is None
