"""Deadlines, the choice of the rail, and credits."""

from dataclasses import replace
from typing import Any

import pytest

from protocol.identity import ZERO_ADDRESS, Address
from protocol.settlement.credit import Credited, CreditKey, Credits, CreditWithdrawn, UnknownCredit, WithdrawCredit
from protocol.settlement.credit import outstanding as credits_outstanding
from protocol.settlement.credit import transition as credit_transition
from protocol.settlement.deadlines import InvalidDeadlines, deadlines_of, dispute_by, is_open, is_over, resolve_by
from protocol.settlement.rail import THRESHOLD, ChannelOutlook, Charge, NoRail, Rail, choose_rail
from protocol.units import MAX_AMOUNT, Amount, Seconds, UnixTime
from tests.samples import sample_award

SOMEBODY = Address(b"\7" * 20)
NOW = UnixTime(10_000)
AWARD = sample_award(
    requester=SOMEBODY,
    provider=SOMEBODY,
    token=SOMEBODY,
    rail=SOMEBODY,
    arbiter=SOMEBODY,
    start_by=UnixTime(100),
    deliver_by=UnixTime(200),
    pace=Seconds(30),
    resolve_within=Seconds(7),
)


def test_deadlines_follow_one_another() -> None:
    found = deadlines_of(AWARD)
    assert (found.start_by, found.deliver_by, found.claim_by) == (100, 200, 230)
    assert (found.latest_dispute_by, found.latest_resolve_by) == (260, 267)
    assert dispute_by(found.claim_by, AWARD.pace) == found.latest_dispute_by
    assert resolve_by(found.latest_dispute_by, AWARD.resolve_within) == found.latest_resolve_by


def test_a_deadline_counts_to_its_last_second() -> None:
    by = UnixTime(100)
    assert [is_open(by, UnixTime(now)) for now in (99, 100, 101)] == [True, True, False]
    assert [is_over(by, UnixTime(now)) for now in (99, 100, 101)] == [False, False, True]


@pytest.mark.parametrize(
    "changes",
    [
        {"start_by": UnixTime(200)},
        {"pace": Seconds(0)},
        {"deliver_by": UnixTime(2**64 - 1 - 67)},
    ],
)
def test_deadlines_that_no_contract_could_keep_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidDeadlines):
        deadlines_of(replace(AWARD, **changes))
    deadlines_of(replace(AWARD, deliver_by=UnixTime(2**64 - 1 - 68)))


CHARGE = Charge(
    price=THRESHOLD,
    dispute_fee=Amount(5),
    highest_part=THRESHOLD,
    arbiter=SOMEBODY,
    credit_limit=Amount(1),
    latest_resolve_by=UnixTime(NOW + 500),
)
CHANNEL = ChannelOutlook(
    free=Amount(THRESHOLD + 5),
    reachable=Amount(THRESHOLD + 5),
    leaving=False,
    challenge=Seconds(40),
    hold_period=Seconds(500),
    seen_at=UnixTime(NOW - 10),
)


def test_a_small_task_goes_over_a_channel_to_the_base_unit() -> None:
    choice = choose_rail(CHARGE, CHANNEL, now=NOW)
    assert (choice.rail, choice.top_up) == (Rail.CHANNEL, 0)
    assert choose_rail(CHARGE, replace(CHANNEL, free=Amount(0)), now=NOW).top_up == THRESHOLD + 5
    unjudged = replace(CHARGE, arbiter=ZERO_ADDRESS, highest_part=Amount(1))
    assert choose_rail(unjudged, CHANNEL, now=NOW).rail is Rail.CHANNEL


@pytest.mark.parametrize(
    ("charge", "channel", "word"),
    [
        ({"price": Amount(THRESHOLD + 1)}, {"reachable": MAX_AMOUNT}, "threshold"),
        ({"arbiter": ZERO_ADDRESS, "highest_part": Amount(2)}, {}, "credit limit"),
        ({}, {"leaving": True}, "closed"),
        ({}, {"seen_at": UnixTime(NOW - 11)}, "old"),
        ({"latest_resolve_by": UnixTime(NOW + 501)}, {}, "longer"),
        ({}, {"reachable": Amount(THRESHOLD + 4)}, "hold"),
    ],
)
def test_what_a_channel_cannot_keep_goes_into_escrow_and_says_why(
    charge: dict[str, Any], channel: dict[str, Any], word: str
) -> None:
    task, outlook = replace(CHARGE, **charge), replace(CHANNEL, **channel)
    choice = choose_rail(task, outlook, now=NOW)
    assert choice.rail is Rail.ESCROW
    assert word in choice.reason
    with pytest.raises(NoRail, match=word):
        choose_rail(task, outlook, now=NOW, can_escrow=False)


def test_credits_grow_and_go_as_a_whole() -> None:
    key, other = CreditKey(contract=SOMEBODY, token=ZERO_ADDRESS), CreditKey(contract=ZERO_ADDRESS, token=SOMEBODY)
    state = credit_transition(Credits(), Credited(key=key, amount=Amount(5)))
    state = credit_transition(state, Credited(key=key, amount=Amount(2)))
    state = credit_transition(state, Credited(key=other, amount=Amount(1)))
    assert set(credits_outstanding(state)) == {
        WithdrawCredit(key=key, amount=Amount(7)),
        WithdrawCredit(key=other, amount=Amount(1)),
    }
    with pytest.raises(UnknownCredit):
        credit_transition(state, CreditWithdrawn(key=key, amount=Amount(8)))
    after = credit_transition(state, CreditWithdrawn(key=key, amount=Amount(7)))
    assert credits_outstanding(after) == (WithdrawCredit(key=other, amount=Amount(1)),)
