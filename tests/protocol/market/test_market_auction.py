"""The requester's machine: its table and its bounds."""

from dataclasses import replace
from typing import Any

import pytest

from protocol.identity import ZERO_DIGEST, Digest
from protocol.market.auction import open_auction, transition
from protocol.market.auction_awarding import WrongAward
from protocol.market.auction_events import (
    AuctionEvent,
    AwardMade,
    BidderFailed,
    BidHeard,
    Cancelled,
    CommitmentHeard,
    CommitWindowClosed,
    NoteSilence,
    Opinion,
    PrepareAward,
    ProviderChosen,
    PublishAward,
    PublishConflict,
    PublishRoll,
    RevealWindowClosed,
    SecretDrawn,
)
from protocol.market.auction_hearing import KEPT, NotBetter, Repeated, TooMany
from protocol.market.auction_states import Collecting, Decided, Failed, FailureReason, Revealing, explain_failure
from protocol.market.auction_views import admitted, next_deadline, outstanding
from protocol.market.award import awarded_at, bids_root, build_award
from protocol.market.errors import UnexpectedEvent, WrongOffer
from protocol.market.objects import AuctionFormat
from protocol.market.roll import ReputationOutOfRange, SelfDealing
from protocol.market.scoring import AboveBudget, WrongEta
from protocol.market.transcript import verify_transcript
from protocol.market.transcript_errors import BidNotInRoll
from protocol.signing.ecdsa import BadSignature
from protocol.signing.signed import sign_struct
from protocol.task.verification import seal
from protocol.units import Amount, Seconds, UnixTime
from protocol.wire.codec import decode_as, encode
from tests.protocol.market.market_world import (
    DOMAIN,
    NOW,
    Plan,
    Requester,
    address,
    at,
    commit,
    key,
    make_offer,
    reveal,
    run_auction,
    word,
)

CHEAP = Plan(price=100_000)
DEAR = Plan(price=200_000)


def test_the_roll_waits_for_the_last_second_of_the_commit_window() -> None:
    requester = Requester(make_offer())
    requester.apply(CommitmentHeard(at=at(1), signed=commit(requester.offer, "bob", CHEAP)))
    assert next_deadline(requester.state) == NOW + 11
    opinions = (Opinion(bidder=address("bob"), reputation=1),)
    with pytest.raises(UnexpectedEvent):
        requester.apply(CommitWindowClosed(at=at(10), opinions=opinions))
    effects = requester.apply(CommitWindowClosed(at=at(11), opinions=opinions))
    assert [type(effect) for effect in effects] == [PublishRoll]
    assert next_deadline(requester.state) == NOW + 21
    with pytest.raises(UnexpectedEvent):
        requester.apply(RevealWindowClosed(at=at(20)))


def test_those_first_heard_take_part_when_more_come_than_the_offer_admits() -> None:
    requester = run_auction(
        make_offer(max_bidders=2), {"bob": CHEAP, "carol": DEAR, "dave": CHEAP}, order=["carol", "dave", "bob"]
    )
    assert isinstance(requester.state, Decided)
    assert {one.bid.bidder for one in requester.state.ranked} == {address("carol"), address("dave")}


def test_a_bidder_that_commits_twice_is_left_out_and_the_proof_published() -> None:
    requester = Requester(make_offer(max_bidders=1))
    for name, plan in (("bob", CHEAP), ("carol", DEAR)):
        requester.apply(CommitmentHeard(at=at(1), signed=commit(requester.offer, name, plan)))
    effects = requester.apply(CommitmentHeard(at=at(2), signed=commit(requester.offer, "bob", DEAR)))
    assert [type(effect) for effect in effects] == [PublishConflict]
    assert isinstance(requester.state, Collecting)
    assert admitted(requester.state) == (address("carol"),)
    with pytest.raises(Repeated):
        requester.apply(CommitmentHeard(at=at(2), signed=commit(requester.offer, "bob", Plan(price=1))))
    requester.close_commits({"carol": 5})
    assert isinstance(requester.state, Revealing)
    assert [leaf.bidder for leaf in requester.state.leaves] == [address("carol")]


def test_commitments_beyond_all_that_could_take_part_are_refused() -> None:
    offer = make_offer()
    state = open_auction(DOMAIN, offer)
    crowd = tuple(commit(offer, f"bidder {n}", CHEAP) for n in range(KEPT))
    full = replace(state, commitments=crowd)
    with pytest.raises(TooMany):
        transition(full, CommitmentHeard(at=at(1), signed=commit(offer, "bob", CHEAP)))
    transition(replace(state, commitments=crowd[1:]), CommitmentHeard(at=at(1), signed=commit(offer, "bob", CHEAP)))


def test_mallory_as_bidder_gets_no_message_past_the_requester() -> None:
    offer = make_offer()
    requester = run_auction(offer, {"bob": CHEAP, "carol": replace(DEAR, reveals=False)})
    collecting = open_auction(DOMAIN, offer)
    bobs = commit(offer, "bob", CHEAP)
    other = commit(make_offer(salt=word("x")), "bob", CHEAP)
    stolen = sign_struct(key("mallory"), DOMAIN, bobs.value)
    own = commit(offer, "alice", CHEAP)
    for signed, error in ((other, WrongOffer), (stolen, BadSignature), (own, SelfDealing)):
        with pytest.raises(error):
            transition(collecting, CommitmentHeard(at=at(1), signed=signed))
    assert isinstance(requester.state, Decided)
    revealing = requester.state.revealing
    assert revealing is not None
    revealing = replace(revealing, bids=())
    roll_id = revealing.roll_id
    cases: list[tuple[Any, type[Exception]]] = [
        (reveal(offer, "bob", DEAR, roll_id), BidNotInRoll),  # not what was sealed
        (reveal(offer, "bob", CHEAP, word("x")), BidNotInRoll),
        (reveal(offer, "mallory", CHEAP, roll_id), BidNotInRoll),
        (sign_struct(key("mallory"), DOMAIN, reveal(offer, "bob", CHEAP, roll_id).value), BadSignature),
        (reveal(make_offer(salt=word("x")), "bob", CHEAP, roll_id), WrongOffer),
    ]
    for signed, error in cases:
        with pytest.raises(error):
            transition(revealing, BidHeard(at=at(12), signed=signed))
    after, _ = transition(revealing, BidHeard(at=at(12), signed=reveal(offer, "bob", CHEAP, roll_id)))
    with pytest.raises(Repeated):
        transition(after, BidHeard(at=at(12), signed=reveal(offer, "bob", CHEAP, roll_id)))


def test_a_copied_commitment_can_not_be_opened_by_the_copier() -> None:
    offer = make_offer()
    bobs = commit(offer, "bob", CHEAP)
    copied = sign_struct(key("mallory"), DOMAIN, replace(bobs.value, bidder=address("mallory")))
    requester = Requester(offer)
    for signed in (bobs, copied):
        requester.apply(CommitmentHeard(at=at(1), signed=signed))
    requester.close_commits({"bob": 1, "mallory": 10_000})
    assert isinstance(requester.state, Revealing)
    bobs_bid = reveal(offer, "bob", CHEAP, requester.state.roll_id).value
    opened = sign_struct(key("mallory"), DOMAIN, replace(bobs_bid, bidder=address("mallory")))
    with pytest.raises(BidNotInRoll):
        requester.apply(BidHeard(at=at(12), signed=opened))


def test_an_opinion_is_needed_of_everyone_who_takes_part_and_within_its_range() -> None:
    requester = Requester(make_offer())
    requester.apply(CommitmentHeard(at=at(1), signed=commit(requester.offer, "bob", CHEAP)))
    with pytest.raises(UnexpectedEvent, match="no opinion"):
        requester.close_commits({})
    with pytest.raises(ReputationOutOfRange):
        requester.close_commits({"bob": 10_001})
    requester.close_commits({"bob": 10_000, "stranger": 99_999})


def test_nobody_bidding_is_explained_with_counts_and_advice() -> None:
    requester = Requester(make_offer())
    requester.close_commits({})
    assert isinstance(requester.state, Failed)
    assert requester.state.reason is FailureReason.NO_COMMITMENTS
    assert "no provider bid" in explain_failure(requester.state)[0]
    plans = {"bob": Plan(price=400_001), "carol": Plan(price=1, eta=601), "dave": replace(CHEAP, reveals=False)}
    requester = run_auction(make_offer(), plans)
    assert isinstance(requester.state, Failed)
    counts = requester.state.counts
    assert (counts.committed, counts.revealed, counts.above_budget, counts.too_slow) == (3, 2, 1, 1)
    told, advice = explain_failure(requester.state)
    assert "3 providers committed, 2 revealed" in told
    assert "raise the budget" in advice


def test_silence_is_noted_of_those_whose_bid_does_not_count() -> None:
    requester = Requester(make_offer())
    plans = {"bob": CHEAP, "carol": Plan(price=400_001), "dave": CHEAP}
    for name, plan in plans.items():
        requester.apply(CommitmentHeard(at=at(1), signed=commit(requester.offer, name, plan)))
    requester.close_commits(dict.fromkeys(plans, 1))
    assert isinstance(requester.state, Revealing)
    for name in ("bob", "carol"):
        signed = reveal(requester.offer, name, plans[name], requester.state.roll_id)
        requester.apply(BidHeard(at=at(12), signed=signed))
    requester.now = NOW + 21
    effects = requester.apply(RevealWindowClosed(at=at(21)))
    silent = next(effect for effect in effects if isinstance(effect, NoteSilence))
    assert set(silent.bidders) == {address("carol"), address("dave")}


def test_copies_need_as_many_bids_that_count() -> None:
    assert isinstance(run_auction(make_offer(copies=2), {"bob": CHEAP}).state, Failed)
    assert isinstance(run_auction(make_offer(copies=2), {"bob": CHEAP, "carol": DEAR}).state, Decided)


def decided(**changes: Any) -> Decided:
    state = run_auction(make_offer(**changes), {"bob": CHEAP, "carol": DEAR}).state
    assert isinstance(state, Decided)
    return state


def test_one_award_is_made_for_a_slot_and_attempt_and_it_is_the_one_asked_for() -> None:
    made = decided()
    assignment = made.assignments[0]
    fresh = replace(made, assignments=(replace(assignment, award=None),), awards=())
    assert outstanding(fresh) == (PrepareAward(terms=assignment.terms),)
    offer = made.terms.offer

    def award_at(seconds: int, **changes: Any) -> AwardMade:
        award = build_award(
            made.terms.offer_id, offer, assignment.terms, channel=word("c"), audit_seal=ZERO_DIGEST, at=at(seconds)
        )
        return AwardMade(at=at(seconds), award=replace(award, **changes))

    after, effects = transition(fresh, award_at(21))
    assert [type(effect) for effect in effects] == [PublishAward]
    assert outstanding(after) == effects
    for again in (award_at(21), award_at(22)):
        with pytest.raises(WrongAward):
            transition(after, again)
    for wrong in (award_at(20), award_at(1001), award_at(21, price=1), award_at(21, provider=address("carol"))):
        with pytest.raises(WrongAward):
            transition(fresh, wrong)
    with pytest.raises(WrongAward):
        transition(fresh, replace(award_at(21), at=at(22)))
    with pytest.raises(UnexpectedEvent):
        transition(fresh, award_at(21, attempt=1))
    transition(fresh, award_at(1000))


def test_an_award_seals_the_secret_that_was_drawn_for_it_and_no_other_is_drawn() -> None:
    made = decided()
    fresh = replace(made, assignments=(replace(made.assignments[0], award=None),), awards=())
    secret = SecretDrawn(at=at(21), slot=0, attempt=0, secret=word("secret"))
    sealed, effects = transition(fresh, secret)
    assert isinstance(sealed, Decided)
    assert effects == ()
    offer, terms = made.terms.offer, made.assignments[0].terms

    def award(audit_seal: Digest) -> AwardMade:
        built = build_award(made.terms.offer_id, offer, terms, channel=word("c"), audit_seal=audit_seal, at=at(21))
        return AwardMade(at=at(21), award=built)

    for wrong in (ZERO_DIGEST, word("secret"), seal(word("another"))):
        with pytest.raises(WrongAward, match="seal"):
            transition(sealed, award(wrong))
    for again in (secret, replace(secret, secret=word("another")), replace(secret, attempt=1)):
        with pytest.raises(UnexpectedEvent):
            transition(sealed, again)
    after, _ = transition(sealed, award(seal(word("secret"))))
    with pytest.raises(UnexpectedEvent):
        transition(after, secret)
    standby, _ = transition(after, BidderFailed(at=at(60), slot=0, attempt=0, next_part=0))
    assert isinstance(standby, Decided)
    assert standby.assignments[0].secret is None, "each award has a secret of its own"


def test_a_standby_is_not_dated_before_the_attempt_that_it_follows() -> None:
    """A clock that was set back would else make an award that nobody takes (A5)."""
    made = decided()
    failed, _ = transition(made, BidderFailed(at=at(60), slot=0, attempt=0, next_part=0))
    assert isinstance(failed, Decided)
    terms, offer = failed.assignments[0].terms, made.terms.offer
    first_at = awarded_at(offer, made.awards[0])

    def award_at(seconds: int) -> AwardMade:
        award = build_award(
            made.terms.offer_id, offer, terms, channel=word("c"), audit_seal=ZERO_DIGEST, at=UnixTime(seconds)
        )
        return AwardMade(at=UnixTime(seconds), award=award)

    with pytest.raises(WrongAward, match="before"):
        transition(failed, award_at(first_at - 1))
    transition(failed, award_at(first_at))


def test_the_standby_takes_the_parts_that_are_missing_within_the_budget() -> None:
    requester = run_auction(make_offer(parts=4), {"bob": CHEAP, "carol": DEAR})
    first = requester.awards[0].value
    requester.apply(BidderFailed(at=at(60), slot=0, attempt=0, next_part=3))
    second = requester.awards[1].value
    assert (second.provider, second.attempt, second.first_part, second.parts) == (address("carol"), 1, 3, 1)
    assert 3 * (first.price // 4) + second.price <= requester.offer.budget
    with pytest.raises(UnexpectedEvent):  # bob's failure is told twice
        requester.apply(BidderFailed(at=at(61), slot=0, attempt=0, next_part=3))
    for part in (2, 4):
        with pytest.raises(UnexpectedEvent):
            requester.apply(BidderFailed(at=at(61), slot=0, attempt=1, next_part=part))
    requester.apply(BidderFailed(at=at(61), slot=0, attempt=1, next_part=3))
    assert isinstance(requester.state, Failed)
    assert requester.state.reason is FailureReason.NO_STANDBY
    assert requester.state.counts.failed == 2
    assert explain_failure(requester.state)[0] == "2 providers failed and no standby is left"
    alone = replace(requester.state, counts=replace(requester.state.counts, failed=1))
    assert explain_failure(alone)[0] == "the provider failed and no standby is left"
    assert len(verify_transcript(DOMAIN, requester.transcript()).awards) == 2


def test_no_standby_is_awarded_after_the_offers_end() -> None:
    requester = run_auction(make_offer(), {"bob": CHEAP, "carol": DEAR})
    requester.apply(BidderFailed(at=at(1001), slot=0, attempt=0, next_part=0))
    assert isinstance(requester.state, Failed)
    assert requester.state.reason is FailureReason.OFFER_OVER
    # What was awarded can still be announced and proved.
    assert bids_root(requester.state.bid_ids) == requester.awards[0].value.bids
    verify_transcript(DOMAIN, requester.transcript())


def test_an_open_bidder_may_better_its_bid_and_nothing_else() -> None:
    offer = make_offer(format=AuctionFormat.OPEN)
    requester = Requester(offer)

    def bid(name: str, plan: Plan) -> BidHeard:
        return BidHeard(at=at(1), signed=reveal(offer, name, plan, ZERO_DIGEST))

    requester.apply(bid("bob", DEAR))
    requester.apply(bid("bob", CHEAP))
    for worse in (DEAR, CHEAP):
        with pytest.raises(NotBetter):
            requester.apply(bid("bob", worse))
    with pytest.raises(AboveBudget):
        requester.apply(bid("carol", Plan(price=400_001)))
    with pytest.raises(BidNotInRoll):
        requester.apply(BidHeard(at=at(1), signed=reveal(offer, "carol", CHEAP, word("roll"))))
    with pytest.raises(UnexpectedEvent):
        requester.apply(CommitmentHeard(at=at(1), signed=commit(offer, "carol", CHEAP)))
    requester.close_commits({"bob": 1})
    with pytest.raises(UnexpectedEvent):
        requester.apply(bid("carol", CHEAP))
    requester.close_reveals()
    assert requester.awards[0].value.price == CHEAP.price


def test_a_direct_hire_stays_within_the_offer() -> None:
    offer = make_offer(format=AuctionFormat.DIRECT)
    requester = Requester(offer, now=NOW + 30)

    def hire(name: str, price: int, eta: int) -> ProviderChosen:
        return ProviderChosen(at=at(30), provider=address(name), price=Amount(price), eta=Seconds(eta))

    wrong = {
        AboveBudget: hire("bob", 400_001, 1),
        WrongEta: hire("bob", 1, 601),
        SelfDealing: hire("alice", 1, 1),
        UnexpectedEvent: CommitWindowClosed(at=at(30), opinions=()),
    }
    for error, event in wrong.items():
        with pytest.raises(error):
            requester.apply(event)
    requester.apply(hire("bob", 400_000, 600))
    assert requester.awards[0].value.provider == address("bob")
    requester.apply(BidderFailed(at=at(60), slot=0, attempt=0, next_part=0))
    assert isinstance(requester.state, Failed)


def test_a_cancelled_auction_is_over() -> None:
    for state in (open_auction(DOMAIN, make_offer()), decided()):
        after, effects = transition(state, Cancelled(at=at(1)))
        assert isinstance(after, Failed)
        assert effects == outstanding(after) == ()
        with pytest.raises(UnexpectedEvent):
            transition(after, Cancelled(at=at(2)))


def test_events_survive_the_log() -> None:
    offer = make_offer()
    hint: Any = AuctionEvent
    for event in (
        CommitmentHeard(at=at(1), signed=commit(offer, "bob", CHEAP)),
        CommitWindowClosed(at=at(2), opinions=(Opinion(bidder=address("bob"), reputation=3),)),
        AwardMade(at=at(3), award=decided().awards[0]),
        BidderFailed(at=at(4), slot=0, attempt=1, next_part=2),
    ):
        assert decode_as(hint, encode(event, hint)) == event
