"""What a user orders is done whatever the node would do by itself, as far as the court takes it."""

from dataclasses import replace
from typing import Any

import pytest

from protocol.dispute.acting import (
    Abandon,
    Act,
    AppealCase,
    Attitude,
    CloseCase,
    HoldSight,
    OpenCase,
    SecureHold,
    Sight,
    next_act,
)
from protocol.dispute.bond import bond_of
from protocol.dispute.case import Round, Stage
from protocol.dispute.objects import Finding, Vote
from protocol.dispute.party import (
    Abandoned,
    AppealOrdered,
    Brief,
    CaseBegan,
    CaseEnded,
    CaseOrdered,
    File,
    GivenUp,
    Held,
    Open,
    RoundAsked,
    VoteCarried,
    begin,
    transition,
)
from protocol.identity import ZERO_DIGEST, ContentDigest, Digest
from protocol.settlement.deadlines import deadlines_of
from protocol.units import Amount, Seconds, UnixTime
from tests.protocol.dispute.dispute_samples import AWARD, AWARD_ID, BUYER, OFFER, RECEIPT, SELLER

UNWILLING = Attitude(open=False, appeal=False, max_bond=Amount(0), min_resolve_within=300, stagger=30)
"""Does nothing by itself."""
FEE = AWARD.dispute_fee
LAST = deadlines_of(AWARD).latest_dispute_by
RECEIPT_ID = Digest(b"\x01" * 32)
NO_ROUND = Round(
    began=UnixTime(0), time=Seconds(0), ended_after=0, draw_block=0, places=0, sealed_seats=0, opened_seats=0,
    seat_fee=Amount(0), number=0, stage=Stage.NONE, by_provider=False,
)  # fmt: skip
HELD = HoldSight(unpaid=Amount(1), held=Amount(FEE + 1))


def brief(*, requester: bool = True, channel: bool = True) -> Brief:
    award = replace(AWARD, liability=Amount(0), channel=AWARD.channel if channel else ZERO_DIGEST)
    own = BUYER if requester else SELLER
    return Brief(award=award, award_id=AWARD_ID, offer=OFFER, own=own, receipt=RECEIPT)


def ordered(**which: bool) -> File:
    return transition(begin(brief(**which)), CaseOrdered())


def act_at(file: File, now: int, **seen: Any) -> Act | None:
    return next_act(file, Sight(now=UnixTime(now), round=NO_ROUND, **seen), UNWILLING)


def test_a_case_that_a_requester_orders_over_a_channel_is_opened_until_the_last_second_of_the_court() -> None:
    assert act_at(begin(brief()), 0) is None, "by itself it would not"
    assert act_at(ordered(), 0) == act_at(ordered(), LAST) == OpenCase()
    assert isinstance(act_at(ordered(), LAST + 1), Abandon)


def test_a_case_that_a_provider_orders_over_a_channel_waits_for_no_payment_and_is_secured_first() -> None:
    file, early = ordered(requester=False), deadlines_of(AWARD).deliver_by
    assert act_at(begin(brief(requester=False)), early, hold=HELD) is None
    assert act_at(file, early, hold=HELD) == SecureHold()
    assert act_at(file, LAST, hold=replace(HELD, is_secured=True)) == OpenCase()
    assert isinstance(act_at(file, LAST + 1, hold=HELD), Abandon)


@pytest.mark.parametrize("hold", [replace(HELD, unpaid=Amount(0)), replace(HELD, held=Amount(0)), None])
def test_what_was_paid_meanwhile_or_is_held_no_more_is_opened_by_no_order(hold: HoldSight | None) -> None:
    file = ordered(requester=False)
    assert act_at(file, 0, hold=hold) is None, "the other side may still open one: so it is not given up yet"
    assert isinstance(act_at(file, LAST + 1, hold=hold), Abandon)


def test_a_case_that_a_requester_orders_over_a_claim_is_opened_while_that_can_be_disputed_or_judged() -> None:
    file, now = ordered(channel=False), 1_000
    assert act_at(file, now) is None, "nothing is claimed"
    assert act_at(file, now, dispute_by=UnixTime(now)) == OpenCase()
    assert act_at(file, now + 1, dispute_by=UnixTime(now)) is None
    assert act_at(file, now, resolve_by=UnixTime(now + 300)) == OpenCase()
    assert isinstance(act_at(file, now, resolve_by=UnixTime(now + 299)), Abandon)
    assert isinstance(act_at(file, now, escrow_over=True), Abandon)


def test_a_case_that_a_provider_orders_over_its_claim_waits_for_the_dispute_and_no_longer() -> None:
    file, now = ordered(requester=False, channel=False), 1_000
    whole = UnixTime(now + AWARD.resolve_within)
    assert act_at(file, now, dispute_by=UnixTime(now + 9)) is None, "a claim that nobody disputes is paid"
    assert act_at(file, now, resolve_by=whole) == OpenCase()
    assert act_at(begin(brief(requester=False, channel=False)), now, resolve_by=whole) is None


def test_an_order_is_known_once_and_ends_with_the_case_that_it_asked_for() -> None:
    file = ordered()
    assert file.state == Held(is_ordered=True)
    assert transition(file, CaseOrdered()) is file
    case = transition(file, CaseBegan(opener=BUYER, part=1, receipt=RECEIPT_ID))
    assert isinstance(case.state, Open)
    assert case.state.bonds == FEE
    assert transition(case, CaseOrdered()) is case
    assert transition(file, Abandoned(reason="too late")).state == GivenUp(reason="too late")


def decided(finding: Finding) -> File:
    case = transition(begin(brief()), CaseBegan(opener=SELLER, part=1, receipt=RECEIPT_ID))
    vote = Vote(finding=finding, part=1, outcome=0, output=ContentDigest(bytes(32)), fuel=1, due=Amount(0))
    return transition(case, VoteCarried(round=0, vote=vote))


def in_round(number: int, after: int, **changes: Any) -> Sight:
    begun = replace(NO_ROUND, began=UnixTime(1_000), time=Seconds(2_400), stage=Stage.VOTING, number=number)
    return Sight(now=UnixTime(1_000 + after), round=replace(begun, **changes))


@pytest.mark.parametrize("finding", [Finding.UPHELD, Finding.WRONG_RESULT, Finding.NOT_JUDGED])
def test_an_appeal_that_is_ordered_is_made_whatever_was_decided_within_its_time(finding: Finding) -> None:
    plain, bond = decided(finding), bond_of(FEE, 1)
    file = transition(plain, AppealOrdered(round=1))
    for after, act in (
        (1_000, None),
        (1_001, AppealCase(number=1, bond=bond)),
        (1_200, AppealCase(number=1, bond=bond)),
    ):
        assert next_act(file, in_round(0, after), UNWILLING) == act
        assert next_act(plain, in_round(0, after), UNWILLING) is None
    late = next_act(file, in_round(0, 1_231), UNWILLING)
    assert late == CloseCase(), "what was ordered too late is not waited for"


def test_an_order_of_a_round_is_for_that_round_alone() -> None:
    plain = decided(Finding.UPHELD)
    assert transition(plain, AppealOrdered(round=2)) is plain
    file = transition(plain, AppealOrdered(round=1))
    assert transition(file, AppealOrdered(round=1)) is file
    second = transition(file, RoundAsked(round=1, appellant=BUYER))
    assert isinstance(second.state, Open)
    assert second.state.bonds == bond_of(FEE, 1)
    assert transition(second, AppealOrdered(round=1)) is second
    assert next_act(second, in_round(1, 600), UNWILLING) is None
    third = transition(transition(second, AppealOrdered(round=2)), RoundAsked(round=2, appellant=BUYER))
    over = transition(third, CaseEnded(finding=Finding.NONE, due=Amount(0)))
    assert transition(over, AppealOrdered(round=3)) is over
