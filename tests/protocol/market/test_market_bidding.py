"""The bidder's machine: one reveal, to one roll, whatever Mallory sends."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from protocol.errors import ProtocolError
from protocol.identity import ZERO_DIGEST, Digest
from protocol.market.auction_events import BidderFailed
from protocol.market.bidding import open_sealed_bidding, open_visible_bidding, outstanding, transition
from protocol.market.bidding_states import (
    AwardHeard,
    BiddingState,
    BidImproved,
    CheckTranscript,
    Committed,
    Expired,
    LossReason,
    Lost,
    PublishBid,
    PublishCommitment,
    PublishProof,
    PublishProtest,
    Revealed,
    RollHeard,
    TimePassed,
    Won,
)
from protocol.market.errors import UnexpectedEvent, WrongOffer
from protocol.market.evidence import check_conflict
from protocol.market.objects import AuctionFormat, Award, Offer, RollLeaf
from protocol.market.offer import OfferOver
from protocol.market.roll import RollMismatch, make_roll, sort_leaves
from protocol.market.scoring import AboveBudget
from protocol.market.sealing import commitment_of
from protocol.market.transcript_errors import BidsMismatch, RollDiffers, WrongEtaAwarded, WrongPrice
from protocol.signing.ecdsa import BadSignature
from protocol.signing.eip712 import digest
from protocol.signing.signed import Signed, sign_struct
from tests.protocol.market.market_world import (
    DOMAIN,
    Plan,
    Requester,
    address,
    at,
    checked,
    commit,
    key,
    make_offer,
    reveal,
    run_auction,
    sealed_by,
    word,
)

BOB = Plan(price=100_000)
CAROL = Plan(price=200_000)
PLANS = {"bob": BOB, "carol": CAROL}


def bidder(offer: Offer, name: str = "bob") -> Committed:
    return open_sealed_bidding(DOMAIN, checked(offer), sealed_by(offer, name, PLANS[name]), at(0))


def roll_of(requester: Requester, seconds: int = 12) -> RollHeard:
    signed = requester.signed_roll
    assert signed is not None
    return RollHeard(at=at(seconds), signed=signed, leaves=requester.transcript().leaves)


def award_of(requester: Requester, index: int = 0) -> AwardHeard:
    state: Any = requester.state
    return AwardHeard(at=at(30), signed=requester.awards[index], bid_ids=state.bid_ids)


def roll_over(offer: Offer, *leaves: RollLeaf, seconds: int = 12) -> RollHeard:
    ordered = sort_leaves(leaves)
    signed = sign_struct(key("alice"), DOMAIN, make_roll(digest(DOMAIN, offer), ordered))
    return RollHeard(at=at(seconds), signed=signed, leaves=ordered)


def leaf_of(offer: Offer, name: str, reputation: int = 5000) -> RollLeaf:
    entry = digest(DOMAIN, commit(offer, name, PLANS[name]).value)
    return RollLeaf(commitment=entry, bidder=address(name), reputation=reputation)


def test_a_bidder_reveals_to_the_roll_that_names_it_and_wins() -> None:
    requester = run_auction(make_offer(), PLANS)
    state: BiddingState = bidder(requester.offer)
    assert outstanding(state) == (PublishCommitment(commitment=commitment_of(sealed_by(requester.offer, "bob", BOB))),)
    state, effects = transition(state, roll_of(requester))
    assert isinstance(state, Revealed)
    assert effects == outstanding(state) == (PublishBid(bid=state.bid),)
    state, effects = transition(state, award_of(requester))
    assert isinstance(state, Won)
    assert [type(effect) for effect in effects] == [CheckTranscript]
    assert transition(state, award_of(requester)) == (state, ())
    assert transition(state, roll_of(requester)) == (state, ())


def test_a_loser_is_asked_as_standby_when_the_winner_failed_and_the_winner_is_replaced() -> None:
    requester = run_auction(make_offer(), PLANS)
    states: dict[str, BiddingState] = {name: bidder(requester.offer, name) for name in PLANS}
    for name, state in states.items():
        after, _ = transition(state, roll_of(requester))
        states[name], _ = transition(after, award_of(requester))
    carol = states["carol"]
    assert isinstance(carol, Lost)
    assert carol.why is LossReason.OUTBID
    requester.apply(BidderFailed(at=at(60), slot=0, attempt=0, next_part=0))
    carol, effects = transition(carol, award_of(requester, 1))
    assert isinstance(carol, Won)
    assert [type(effect) for effect in effects] == [CheckTranscript]
    bob, _ = transition(states["bob"], award_of(requester, 1))
    assert isinstance(bob, Lost)
    assert bob.why is LossReason.REPLACED


def test_a_second_roll_draws_proof_and_never_a_second_reveal() -> None:
    offer = make_offer()
    first, second = (roll_over(offer, leaf_of(offer, "bob", reputation)) for reputation in (1, 2))
    state, _ = transition(bidder(offer), first)
    state, effects = transition(state, second)
    assert isinstance(state, Lost)
    assert state.why is LossReason.REQUESTER_CHEATED
    (proof,) = effects
    assert isinstance(proof, PublishProof)
    assert check_conflict(DOMAIN, proof.conflict).signer == address("alice")
    assert transition(state, second) == (state, ())
    assert outstanding(state) == ()


def test_two_awards_for_one_attempt_draw_proof() -> None:
    requester = run_auction(make_offer(), PLANS)
    state, _ = transition(bidder(requester.offer), roll_of(requester))
    state, _ = transition(state, award_of(requester))
    heard = award_of(requester)
    other = sign_struct(key("alice"), DOMAIN, replace(heard.signed.value, audit_seal=word("x")))
    state, effects = transition(state, replace(heard, signed=other))
    assert isinstance(state, Lost)
    assert [type(effect) for effect in effects] == [PublishProof]


def test_who_is_left_out_of_a_roll_with_room_protests_when_the_award_is_out() -> None:
    requester = run_auction(make_offer(), {"bob": BOB})
    state, effects = transition(bidder(requester.offer, "carol"), roll_of(requester))
    assert isinstance(state, Lost)
    assert (state.why, effects) == (LossReason.NOT_IN_ROLL, ())
    state, effects = transition(state, award_of(requester))
    (protest,) = effects
    assert isinstance(protest, PublishProtest)
    assert protest.bid == reveal(requester.offer, "carol", CAROL, requester.awards[0].value.roll).value
    heard = award_of(requester)
    second = sign_struct(key("alice"), DOMAIN, replace(heard.signed.value, attempt=1))
    assert transition(state, replace(heard, signed=second))[1] == ()  # one protest is enough
    requester = run_auction(make_offer(max_bidders=1), {"bob": BOB})
    state, _ = transition(bidder(requester.offer, "carol"), roll_of(requester))
    assert isinstance(state, Lost)
    assert state.why is LossReason.ROLL_FULL
    assert transition(state, award_of(requester))[1] == ()


def test_who_is_left_out_of_the_award_protests() -> None:
    requester = run_auction(make_offer(), PLANS | {"carol": replace(CAROL, reveals=False)})
    state, _ = transition(bidder(requester.offer, "carol"), roll_of(requester))
    state, effects = transition(state, award_of(requester))
    assert isinstance(state, Lost)
    assert state.why is LossReason.BID_OMITTED
    assert [type(effect) for effect in effects] == [PublishProtest]


def test_a_roll_after_the_reveal_window_draws_no_reveal() -> None:
    offer = make_offer()
    state, effects = transition(bidder(offer), roll_over(offer, leaf_of(offer, "bob"), seconds=20))
    assert isinstance(state, Revealed)
    assert effects
    state, effects = transition(bidder(offer), roll_over(offer, leaf_of(offer, "bob"), seconds=21))
    assert isinstance(state, Lost)
    assert (state.why, effects) == (LossReason.TOO_LATE, ())


def test_waiting_ends_with_the_offer() -> None:
    offer = make_offer()
    state = bidder(offer)
    assert transition(state, TimePassed(at=at(1000))) == (state, ())
    after, _ = transition(state, TimePassed(at=at(1001)))
    assert isinstance(after, Expired)
    assert outstanding(after) == ()


def test_a_bid_that_does_not_fit_its_offer_is_never_begun() -> None:
    offer = make_offer()
    sealed = sealed_by(offer, "bob", BOB)
    with pytest.raises(OfferOver):
        open_sealed_bidding(DOMAIN, checked(offer), sealed, at(11))
    with pytest.raises(AboveBudget):
        open_sealed_bidding(DOMAIN, checked(offer), replace(sealed, price=400_001), at(0))
    with pytest.raises(WrongOffer):
        open_sealed_bidding(DOMAIN, checked(make_offer(salt=word("x"))), sealed, at(0))
    with pytest.raises(UnexpectedEvent):
        open_sealed_bidding(DOMAIN, checked(make_offer(format=AuctionFormat.OPEN)), sealed, at(0))


def mallorys_awards(award: Award) -> list[tuple[dict[str, Any], type[Exception]]]:
    return [
        ({"price": 99_999}, WrongPrice),
        ({"deliver_by": award.deliver_by - 1}, WrongEtaAwarded),
        ({"roll": word("x")}, RollDiffers),
        ({"bids": word("x")}, BidsMismatch),
        ({"offer": word("x")}, WrongOffer),
        ({"pace": 1}, ProtocolError),
    ]


def test_mallory_as_requester_gets_no_message_past_a_bidder() -> None:
    requester = run_auction(make_offer(), PLANS)
    offer, heard = requester.offer, award_of(requester)
    committed = bidder(offer)
    good = roll_of(requester)
    for bad, error in (
        (replace(good, leaves=good.leaves[:1]), RollMismatch),
        (replace(good, signed=sign_struct(key("mallory"), DOMAIN, good.signed.value)), BadSignature),
        (roll_over(make_offer(salt=word("x")), leaf_of(offer, "bob")), WrongOffer),
    ):
        with pytest.raises(error):
            transition(committed, bad)
    with pytest.raises(UnexpectedEvent):
        transition(committed, heard)
    revealed, _ = transition(committed, good)
    for changes, error in mallorys_awards(heard.signed.value):
        signed = sign_struct(key("alice"), DOMAIN, replace(heard.signed.value, **changes))
        with pytest.raises(error):
            transition(revealed, replace(heard, signed=signed))
    with pytest.raises(BadSignature):
        transition(revealed, replace(heard, signed=Signed(heard.signed.value, good.signed.signature)))
    with pytest.raises(BidsMismatch):
        transition(revealed, replace(heard, bid_ids=heard.bid_ids[:1]))


def test_an_open_bidder_improves_its_bid_until_the_list_is_signed() -> None:
    offer = make_offer(format=AuctionFormat.OPEN)
    dear, cheap = (reveal(offer, "bob", Plan(price=price), ZERO_DIGEST).value for price in (300_000, 100_000))
    state = open_visible_bidding(DOMAIN, checked(offer), dear, at(0))
    assert outstanding(state) == (PublishBid(bid=dear),)
    improved, effects = transition(state, BidImproved(at=at(1), bid=cheap))
    assert effects == (PublishBid(bid=cheap),)
    with pytest.raises(UnexpectedEvent):
        transition(improved, BidImproved(at=at(2), bid=dear))
    with pytest.raises(OfferOver):
        transition(state, BidImproved(at=at(11), bid=cheap))
    requester = run_auction(offer, {"bob": BOB})
    listed, _ = transition(improved, roll_of(requester))
    assert isinstance(listed, Revealed)
    won, _ = transition(listed, award_of(requester))
    assert isinstance(won, Won)
    older, _ = transition(state, roll_of(requester))
    assert isinstance(older, Lost)


class BidderRules(RuleBasedStateMachine):
    """A bidder that hears rolls and awards of a requester that signs anything, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.honest = run_auction(make_offer(), PLANS)
        self.state: BiddingState = bidder(self.honest.offer)
        self.revealed: set[Digest] = set()
        self.rolls: set[Digest] = set()

    def apply(self, event: Any) -> None:
        before = self.state
        try:
            self.state, effects = transition(before, event)
        except ProtocolError:
            assert self.state is before
            return
        for effect in effects:
            if isinstance(effect, PublishBid):
                self.revealed.add(digest(DOMAIN, effect.bid))
                assert effect.bid.roll in self.rolls
        if isinstance(event, RollHeard):
            caught = isinstance(self.state, Lost) and self.state.why is LossReason.REQUESTER_CHEATED
            assert caught or len(self.rolls) <= 1 or isinstance(before, Expired)

    @rule(
        names=st.sampled_from([(), ("bob",), ("carol",), ("bob", "carol")]),
        reputation=st.sampled_from([0, 5000, 10_000]),
        seconds=st.sampled_from([12, 20, 21]),
    )
    def roll_comes(self, names: tuple[str, ...], reputation: int, seconds: int) -> None:
        offer = self.honest.offer
        event = roll_over(offer, *(leaf_of(offer, name, reputation) for name in names), seconds=seconds)
        self.rolls.add(digest(DOMAIN, event.signed.value))
        self.apply(event)

    @rule(provider=st.sampled_from(["bob", "carol"]), attempt=st.integers(0, 1), price=st.sampled_from([1, 100_000]))
    def award_comes(self, provider: str, attempt: int, price: int) -> None:
        heard = award_of(self.honest)
        changed = replace(heard.signed.value, provider=address(provider), attempt=attempt, price=price)
        self.apply(replace(heard, signed=sign_struct(key("alice"), DOMAIN, changed)))

    @rule(seconds=st.sampled_from([1000, 1001]))
    def time_passes(self, seconds: int) -> None:
        self.apply(TimePassed(at=at(seconds)))

    @invariant()
    def at_most_one_bid_was_ever_revealed(self) -> None:
        assert len(self.revealed) <= 1

    @invariant()
    def an_award_below_its_price_is_never_won(self) -> None:
        if isinstance(self.state, Won):
            assert self.state.award.value.price >= BOB.price
            assert self.state.award.value.provider == address("bob")


TestBidderRules = BidderRules.TestCase
TestBidderRules.settings = settings(max_examples=60, stateful_step_count=10, deadline=None)
