"""Which openings make a quorum, and which don't."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from protocol.dispute.ballot import Ballot, Quorum, find_quorum, seal_of, vote_hash
from protocol.dispute.objects import Finding, Vote
from protocol.dispute.schedule import SEATS, schedule_of
from protocol.identity import ZERO_DIGEST, Address, ContentDigest, Digest
from protocol.units import Amount

COMMITTEE = [Address(bytes([seat + 1]) * 20) for seat in range(5)]
VOTE = Vote(finding=Finding.WRONG_RESULT, part=3, outcome=0, output=ContentDigest(bytes(32)), fuel=7, due=Amount(0))
OTHER = replace(VOTE, finding=Finding.UPHELD, due=Amount(9))


def ballot(seat: int, vote: Vote = VOTE) -> Ballot:
    return Ballot(vote=vote, secret=Digest(bytes([seat]) * 32))


def sealed(ballots: dict[int, Ballot]) -> dict[int, Digest]:
    return {seat: seal_of(vote_hash(one.vote), COMMITTEE[seat], one.secret) for seat, one in ballots.items()}


def test_three_equal_votes_of_five_are_a_quorum_and_bring_the_seals_of_the_others() -> None:
    ballots = {0: ballot(0), 1: ballot(1, OTHER), 3: ballot(3), 4: ballot(4)}
    seals = sealed(ballots)
    assert find_quorum(COMMITTEE, seals, ballots) == Quorum(
        vote=VOTE,
        seats=0b11001,
        secrets=(ballot(0).secret, ballot(3).secret, ballot(4).secret),
        others=(seals[1], ZERO_DIGEST),
    )


def test_a_vote_that_was_changed_after_it_was_sealed_does_not_count() -> None:
    ballots = {0: ballot(0), 1: ballot(1), 2: ballot(2)}
    seals = sealed(ballots)
    assert find_quorum(COMMITTEE, seals, ballots) is not None
    assert find_quorum(COMMITTEE, seals, {**ballots, 2: ballot(2, OTHER)}) is None
    assert find_quorum(COMMITTEE, seals, {**ballots, 2: replace(ballots[2], secret=Digest(bytes(32)))}) is None


def test_a_seal_of_another_arbiter_opens_for_nobody_else() -> None:
    ballots = {0: ballot(0), 1: ballot(1), 2: ballot(1)}
    seals = sealed({0: ballot(0), 1: ballot(1)})
    assert find_quorum(COMMITTEE, {**seals, 2: seals[1]}, ballots) is None


def test_a_seat_that_is_not_there_and_one_without_a_seal_do_not_count() -> None:
    ballots = {0: ballot(0), 1: ballot(1), 7: ballot(7)}
    seals = sealed({0: ballot(0), 1: ballot(1)})
    assert find_quorum(COMMITTEE, {**seals, 7: seals[1]}, ballots) is None
    assert find_quorum(COMMITTEE, seals, {0: ballot(0), 1: ballot(1), 2: ballot(2)}) is None


def test_a_vote_that_the_contract_can_not_read_does_not_count() -> None:
    for finding in (Finding.NONE, max(Finding) + 1):
        ballots = {seat: ballot(seat, replace(VOTE, finding=finding)) for seat in range(5)}
        assert find_quorum(COMMITTEE, sealed(ballots), ballots) is None


@given(st.lists(st.sampled_from([VOTE, OTHER, None]), min_size=5, max_size=5))
def test_a_quorum_is_exactly_a_vote_of_more_than_half(votes: list[Vote | None]) -> None:
    ballots = {seat: ballot(seat, vote) for seat, vote in enumerate(votes) if vote is not None}
    quorum = find_quorum(COMMITTEE, sealed(ballots), ballots)
    expected = next((vote for vote in (VOTE, OTHER) if votes.count(vote) > 2), None)
    assert (quorum.vote if quorum else None) == expected
    if quorum:
        assert len(quorum.secrets) + len(quorum.others) == 5
        assert [bool(quorum.seats >> seat & 1) for seat in range(5)] == [vote == expected for vote in votes]


@given(st.integers(min_value=0, max_value=2**40), st.integers(min_value=60, max_value=2**24 - 1))
def test_three_rounds_fit_into_the_time_of_a_case(began: int, time: int) -> None:
    at = began
    for number in range(len(SEATS)):
        times = schedule_of(number, at, time)
        assert at <= times.draw_by <= times.seal_by <= times.open_by <= times.appeal_by
        at = times.appeal_by
    assert at <= began + time
