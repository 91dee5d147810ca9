"""Anyone recomputes an auction; whatever is changed in its transcript is found."""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import pytest

from protocol.errors import ProtocolError
from protocol.identity import ZERO_DIGEST
from protocol.market.auction_events import BidderFailed
from protocol.market.award import (
    AboveBudgetAward,
    NotDirect,
    TermsDiffer,
    WrongParts,
    WrongSlot,
    WrongTime,
    bids_root,
    check_award_terms,
    sorted_bid_ids,
)
from protocol.market.evidence import TwoCommitments, check_conflict
from protocol.market.explanation import Lost, Silent, Won, explain
from protocol.market.objects import AuctionFormat, Award
from protocol.market.roll import (
    OverfullRoll,
    ReputationOutOfRange,
    RollMismatch,
    SelfDealing,
    UnorderedLeaves,
    make_roll,
    sort_leaves,
)
from protocol.market.transcript import (
    TRANSCRIPT_MAX_BYTES,
    Heard,
    HeardBid,
    HeardCommitment,
    Transcript,
    latest_awards,
    verify_transcript,
)
from protocol.market.transcript_errors import (
    BidNotInRoll,
    BidsMismatch,
    MissingAward,
    OmittedBid,
    OmittedCommitment,
    RepeatedPart,
    RequesterConflict,
    RollDiffers,
    TwoBidsOfOne,
    UncountableBid,
    WrongEtaAwarded,
    WrongPrice,
    WrongWinner,
)
from protocol.signing.ecdsa import BadSignature
from protocol.signing.eip712 import digest
from protocol.signing.signed import Signed, sign_struct
from protocol.units import UnixTime
from protocol.wire.codec import decode, encode
from tests.protocol.market.market_world import (
    DOMAIN,
    NOW,
    Plan,
    Requester,
    address,
    commit,
    key,
    make_offer,
    reveal,
    run_auction,
    signed_offer,
    word,
)

PLANS = {
    "bob": Plan(price=100_000, eta=300, reputation=6000),
    "carol": Plan(price=120_000, eta=200, reputation=5000),
    "dave": Plan(price=300_000, eta=600, reputation=1000),
    "erin": Plan(price=90_000, eta=10, reputation=9000, reveals=False),
}


def auction(**changes: Any) -> Requester:
    return run_auction(make_offer(**changes), PLANS)


def resign_award(transcript: Transcript, index: int = 0, **changes: Any) -> Transcript:
    """Mallory, the requester, signs a changed award."""
    awards = list(transcript.awards)
    awards[index] = sign_struct(key("alice"), DOMAIN, replace(awards[index].value, **changes))
    return replace(transcript, awards=tuple(awards))


@pytest.mark.parametrize(
    "kind", [AuctionFormat.SEALED_SECOND_PRICE, AuctionFormat.SEALED_FIRST_PRICE, AuctionFormat.OPEN]
)
def test_an_honest_auction_of_any_format_verifies(kind: AuctionFormat) -> None:
    requester = auction(format=kind)
    verified = verify_transcript(DOMAIN, requester.transcript())
    best = "erin" if kind == AuctionFormat.OPEN else "bob"
    assert verified.awards[0].provider == address(best)
    assert decode(Transcript, encode(requester.transcript()), max_bytes=TRANSCRIPT_MAX_BYTES) == requester.transcript()


def test_the_losers_are_told_why() -> None:
    requester = auction()
    offer = requester.offer
    lines = explain(offer, verify_transcript(DOMAIN, requester.transcript()))
    won, carol, dave, erin = lines
    assert isinstance(won, Won)
    assert (won.bidder, won.position, won.slot) == (address("bob"), 1, 0)
    assert isinstance(carol, Lost)
    assert carol.price_needed is not None
    # At that price carol would have won; one base unit above it she would not.
    for price, winner in ((carol.price_needed, "carol"), (carol.price_needed + 1, "bob")):
        changed = run_auction(offer, PLANS | {"carol": replace(PLANS["carol"], price=price)})
        assert verify_transcript(DOMAIN, changed.transcript()).awards[0].provider == address(winner)
    assert isinstance(dave, Lost)
    assert dave.price_needed is None
    assert erin == Silent(bidder=address("erin"))


def _swap(value: Any) -> Any:
    """Another value of the same type and width."""
    if isinstance(value, int):
        return value + 1
    return bytes([value[0] ^ 1]) + value[1:]


def mutations(transcript: Transcript) -> Iterator[tuple[str, Transcript]]:
    """Every field of every message, changed without the signer's key; every signature; every leaf."""

    def each(name: str, signed: Signed[Any], put: Callable[[Any], Transcript]) -> Iterator[tuple[str, Transcript]]:
        for field in fields(signed.value):
            changed = replace(signed.value, **{field.name: _swap(getattr(signed.value, field.name))})
            yield f"{name}.{field.name}", put(Signed(changed, signed.signature))
        yield f"{name} signature", put(Signed(signed.value, _swap(signed.signature)))

    def item(name: str, index: int) -> Callable[[Any], Transcript]:
        items = list(getattr(transcript, name))
        return lambda new: replace(transcript, **{name: (*items[:index], new, *items[index + 1 :])})

    assert transcript.roll is not None
    yield from each("offer", transcript.offer, lambda new: replace(transcript, offer=new))
    yield from each("roll", transcript.roll, lambda new: replace(transcript, roll=new))
    for name in ("bids", "awards"):
        for index, signed in enumerate(getattr(transcript, name)):
            yield from each(f"{name}[{index}]", signed, item(name, index))
    for index, leaf in enumerate(transcript.leaves):
        for field in fields(leaf):
            changed = replace(leaf, **{field.name: _swap(getattr(leaf, field.name))})
            yield f"leaves[{index}].{field.name}", item("leaves", index)(changed)


def is_sound(transcript: Transcript) -> bool:
    try:
        verify_transcript(DOMAIN, transcript)
    except ProtocolError:
        return False
    return True


def test_every_single_field_that_is_changed_is_found() -> None:
    requester = auction(parts=3)
    requester.apply(BidderFailed(at=UnixTime(NOW + 60), slot=0, attempt=0, next_part=1))
    transcript = requester.transcript()
    verify_transcript(DOMAIN, transcript)
    changes = dict(mutations(transcript))
    assert len(changes) == 29 + 1 + 3 + 1 + 3 * (6 + 1) + 2 * (22 + 1) + 4 * 3
    assert [name for name, changed in changes.items() if is_sound(changed)] == []


REQUESTER_LIES: dict[str, tuple[type[Exception], Callable[[Award], dict[str, Any]]]] = {
    "winner": (WrongWinner, lambda _: {"provider": address("dave")}),
    "price up": (WrongPrice, lambda award: {"price": award.price + 1}),
    "price down": (WrongPrice, lambda award: {"price": award.price - 1}),
    "above budget": (AboveBudgetAward, lambda _: {"price": 400_001}),
    "delivery": (WrongEtaAwarded, lambda award: {"deliver_by": award.deliver_by + 1}),
    "delivery before start": (WrongTime, lambda award: {"deliver_by": award.start_by}),
    "delivery beyond max_eta": (WrongTime, lambda award: {"deliver_by": award.start_by + 601}),
    "awarded in the reveal window": (WrongTime, lambda award: {"start_by": NOW + 50, "deliver_by": NOW + 350}),
    "awarded after the end": (WrongTime, lambda award: {"start_by": NOW + 1031, "deliver_by": NOW + 1331}),
    "another token": (TermsDiffer, lambda _: {"token": address("x")}),
    "another rail": (TermsDiffer, lambda _: {"rail": address("x")}),
    "another arbiter": (TermsDiffer, lambda _: {"arbiter": address("x")}),
    "another requester": (TermsDiffer, lambda _: {"requester": address("x")}),
    "liability": (TermsDiffer, lambda award: {"liability": award.liability + 1}),
    "dispute fee": (TermsDiffer, lambda award: {"dispute_fee": award.dispute_fee - 1}),
    "split": (TermsDiffer, lambda award: {"split_bps": award.split_bps - 1}),
    "pace": (TermsDiffer, lambda award: {"pace": award.pace - 1}),
    "resolve within": (TermsDiffer, lambda award: {"resolve_within": award.resolve_within + 1}),
    "slot": (WrongSlot, lambda _: {"slot": 1}),
    "attempt": (MissingAward, lambda _: {"attempt": 1}),
    "first part": (WrongParts, lambda _: {"first_part": 1, "parts": 2}),
    "fewer parts": (WrongParts, lambda award: {"parts": award.parts - 1}),
    "no bids": (NotDirect, lambda _: {"bids": ZERO_DIGEST}),
    "another roll": (RollDiffers, lambda _: {"roll": word("roll")}),
    "other bids": (BidsMismatch, lambda _: {"bids": word("bids")}),
}


@pytest.mark.parametrize("name", REQUESTER_LIES)
def test_mallory_as_requester_signs_a_changed_award_and_is_found(name: str) -> None:
    transcript = auction(parts=3).transcript()
    error, change = REQUESTER_LIES[name]
    with pytest.raises(error):
        verify_transcript(DOMAIN, resign_award(transcript, **change(transcript.awards[0].value)))


def with_leaves(transcript: Transcript, leaves: Any) -> Transcript:
    """Mallory signs another roll over `leaves`."""
    roll = make_roll(digest(DOMAIN, transcript.offer.value), leaves)
    return replace(transcript, leaves=leaves, roll=sign_struct(key("alice"), DOMAIN, roll))


def test_a_roll_that_does_not_hold_together_is_found() -> None:
    transcript = auction().transcript()
    leaves = transcript.leaves
    with pytest.raises(UnorderedLeaves):
        verify_transcript(DOMAIN, with_leaves(transcript, leaves[::-1]))
    with pytest.raises(UnorderedLeaves):
        verify_transcript(DOMAIN, with_leaves(transcript, (leaves[0], *leaves)))
    with pytest.raises(ReputationOutOfRange):
        verify_transcript(DOMAIN, with_leaves(transcript, (replace(leaves[0], reputation=10_001), *leaves[1:])))
    own = sort_leaves((*leaves, replace(leaves[0], bidder=address("alice"))))
    with pytest.raises(SelfDealing):
        verify_transcript(DOMAIN, with_leaves(transcript, own))
    with pytest.raises(RollMismatch):
        verify_transcript(DOMAIN, replace(transcript, leaves=leaves[:-1]))
    # A smaller maximum makes another offer, so the messages must be of that auction.
    full = run_auction(make_offer(max_bidders=4), PLANS).transcript()
    fifth = sort_leaves((*full.leaves, replace(full.leaves[0], bidder=address("frank"))))
    with pytest.raises(OverfullRoll):
        verify_transcript(DOMAIN, with_leaves(full, fifth))


def test_a_bid_left_out_of_the_award_moves_its_root() -> None:
    transcript = auction().transcript()
    with pytest.raises(BidsMismatch):
        verify_transcript(DOMAIN, replace(transcript, bids=transcript.bids[1:]))


def under_new_root(transcript: Transcript, bids: tuple[Any, ...]) -> Transcript:
    """Mallory puts other bids under the award."""
    root = bids_root(sorted_bid_ids(DOMAIN, [signed.value for signed in bids]))
    return resign_award(replace(transcript, bids=bids), bids=root)


def test_a_bid_that_was_heard_in_time_and_left_out_is_found() -> None:
    requester = auction()
    transcript = requester.transcript()
    carols = next(signed for signed in transcript.bids if signed.value.bidder == address("carol"))
    without = under_new_root(transcript, tuple(signed for signed in transcript.bids if signed is not carols))
    heard = Heard(bids=(HeardBid(signed=carols, at=requester.offer.reveal_by),))
    late = Heard(bids=(HeardBid(signed=carols, at=UnixTime(requester.offer.reveal_by + 1)),))
    with pytest.raises(OmittedBid) as caught:
        verify_transcript(DOMAIN, without, heard)
    assert caught.value.bidder == address("carol")
    # The price changes with the next bid, so even who heard nothing, or too late, sees a wrong price here.
    for ears in (Heard(), late):
        with pytest.raises(WrongPrice):
            verify_transcript(DOMAIN, without, ears)


def test_bids_that_must_not_count_are_found_under_an_award() -> None:
    plans = PLANS | {"dave": Plan(price=400_001)}
    requester = run_auction(make_offer(), plans)
    transcript = requester.transcript()
    roll_id = transcript.awards[0].value.roll
    daves = reveal(requester.offer, "dave", plans["dave"], roll_id)
    verify_transcript(DOMAIN, transcript)
    with pytest.raises(UncountableBid):
        verify_transcript(DOMAIN, under_new_root(transcript, (*transcript.bids, daves)))
    stranger = reveal(requester.offer, "frank", Plan(price=1), roll_id)
    with pytest.raises(BidNotInRoll):
        verify_transcript(DOMAIN, under_new_root(transcript, (*transcript.bids, stranger)))
    with pytest.raises(TwoBidsOfOne):
        verify_transcript(DOMAIN, replace(transcript, bids=(*transcript.bids, transcript.bids[0])))
    other = reveal(requester.offer, "carol", Plan(price=1), roll_id)
    with pytest.raises(BidNotInRoll):
        verify_transcript(DOMAIN, under_new_root(transcript, (other,)))


def omitted() -> tuple[Requester, Signed[Any]]:
    """An auction whose requester left out carol's commitment."""
    offer = make_offer()
    plans = {name: plan for name, plan in PLANS.items() if name != "carol"}
    return run_auction(offer, plans), commit(offer, "carol", PLANS["carol"])


def test_a_commitment_heard_before_the_close_and_left_out_fails_the_transcript() -> None:
    requester, carols = omitted()
    transcript = requester.transcript()
    bidder = address("carol")
    verify_transcript(DOMAIN, transcript)
    in_time = Heard(commitments={bidder: HeardCommitment(signed=carols, at=requester.offer.commit_by)})
    with pytest.raises(OmittedCommitment) as caught:
        verify_transcript(DOMAIN, transcript, in_time)
    assert caught.value.bidder == bidder
    late = HeardCommitment(signed=carols, at=UnixTime(requester.offer.commit_by + 1))
    verify_transcript(DOMAIN, transcript, Heard(commitments={bidder: late}))


def test_leaving_out_a_bidder_that_committed_twice_is_excused_by_the_proof() -> None:
    requester, carols = omitted()
    second = commit(requester.offer, "carol", Plan(price=1))
    heard = Heard(commitments={address("carol"): HeardCommitment(signed=carols, at=UnixTime(NOW))})
    proof = TwoCommitments(first=carols, second=second)
    verify_transcript(DOMAIN, replace(requester.transcript(), excuses=(proof,)), heard)
    verify_transcript(DOMAIN, requester.transcript(), replace(heard, conflicts=(proof,)))
    false_proof = TwoCommitments(first=carols, second=carols)
    with pytest.raises(OmittedCommitment):
        verify_transcript(DOMAIN, replace(requester.transcript(), excuses=(false_proof,)), heard)


def test_a_full_roll_excuses_an_omission_only_if_its_bidders_really_committed() -> None:
    offer = make_offer(max_bidders=3)
    requester = run_auction(offer, PLANS, order=["bob", "dave", "erin", "carol"])
    carols = commit(offer, "carol", PLANS["carol"])
    heard = Heard(commitments={address("carol"): HeardCommitment(signed=carols, at=UnixTime(NOW))})
    transcript = requester.transcript()
    verify_transcript(DOMAIN, transcript, heard)
    padded = replace(
        transcript, commitments=tuple(one for one in transcript.commitments if one.value.bidder != address("erin"))
    )
    with pytest.raises(OmittedCommitment):
        verify_transcript(DOMAIN, padded, heard)
    forged = sign_struct(key("alice"), DOMAIN, commit(offer, "erin", PLANS["erin"]).value)
    with pytest.raises(BadSignature):
        verify_transcript(DOMAIN, replace(padded, commitments=(*padded.commitments, forged)), heard)


def test_another_roll_or_award_that_was_heard_is_proof_against_the_requester() -> None:
    transcript = auction().transcript()
    assert transcript.roll is not None
    other_roll = sign_struct(key("alice"), DOMAIN, replace(transcript.roll.value, root=word("x")))
    other_award = sign_struct(key("alice"), DOMAIN, replace(transcript.awards[0].value, audit_seal=word("x")))
    for heard in (Heard(rolls=(other_roll,)), Heard(awards=(other_award,))):
        with pytest.raises(RequesterConflict) as caught:
            verify_transcript(DOMAIN, transcript, heard)
        assert check_conflict(DOMAIN, caught.value.conflict).signer == address("alice")
    with pytest.raises(RequesterConflict):
        verify_transcript(DOMAIN, replace(transcript, awards=(*transcript.awards, other_award)))
    verify_transcript(DOMAIN, transcript, Heard(rolls=(transcript.roll,), awards=transcript.awards))


def test_every_attempt_is_recomputed_and_none_may_be_missing() -> None:
    requester = auction(parts=4)
    requester.apply(BidderFailed(at=UnixTime(NOW + 60), slot=0, attempt=0, next_part=2))
    requester.now = NOW + 90
    requester.apply(BidderFailed(at=UnixTime(NOW + 90), slot=0, attempt=1, next_part=3))
    transcript = requester.transcript()
    verified = verify_transcript(DOMAIN, transcript)
    assert [award.provider for award in verified.awards] == [address(name) for name in ("bob", "carol", "dave")]
    assert [award.parts for award in verified.awards] == [4, 2, 1]
    assert latest_awards(verified.awards) == verified.awards[-1:]
    for index in range(2):
        rest = (*transcript.awards[:index], *transcript.awards[index + 1 :])
        with pytest.raises(MissingAward):
            verify_transcript(DOMAIN, replace(transcript, awards=rest))
    with pytest.raises(MissingAward):
        verify_transcript(DOMAIN, replace(transcript, awards=()))
    with pytest.raises(WrongPrice):
        verify_transcript(DOMAIN, resign_award(transcript, 1, price=transcript.awards[1].value.price - 1))
    with pytest.raises(RepeatedPart):
        verify_transcript(DOMAIN, resign_award(transcript, 2, first_part=1, parts=3, price=1))


def test_an_attempt_made_before_the_one_that_it_follows_is_found() -> None:
    requester = auction(parts=4)
    requester.now = NOW + 90
    requester.apply(BidderFailed(at=UnixTime(NOW + 90), slot=0, attempt=0, next_part=2))
    transcript = requester.transcript()
    first, second = (signed.value for signed in transcript.awards)
    earlier = {"start_by": first.start_by + 9, "deliver_by": first.start_by + 9 + second.deliver_by - second.start_by}
    moved = resign_award(resign_award(transcript, 0, **later(first)), 1, **earlier)
    with pytest.raises(RepeatedPart):
        verify_transcript(DOMAIN, moved)


def later(award: Award) -> dict[str, Any]:
    return {"start_by": award.start_by + 10, "deliver_by": award.deliver_by + 10}


def test_copies_go_to_the_best_and_their_standbys_follow_in_the_order_of_failures() -> None:
    plans = {name: replace(plan, reveals=True) for name, plan in PLANS.items()}
    requester = run_auction(make_offer(copies=2), plans)
    assert [award.value.provider for award in requester.awards] == [address("erin"), address("bob")]
    prices = {award.value.price for award in requester.awards}
    requester.apply(BidderFailed(at=UnixTime(NOW + 60), slot=1, attempt=0, next_part=0))
    requester.apply(BidderFailed(at=UnixTime(NOW + 61), slot=0, attempt=0, next_part=0))
    verified = verify_transcript(DOMAIN, requester.transcript())
    found = [(award.slot, award.attempt, award.provider) for award in verified.awards]
    only_first = replace(requester.transcript(), awards=requester.transcript().awards[:1])
    lines = explain(requester.offer, verify_transcript(DOMAIN, only_first))
    assert [type(line) for line in lines] == [Won, Won, Lost, Lost]
    assert found[2:] == [(1, 1, address("carol")), (0, 2, address("dave"))]
    assert len(prices) == 2


def test_a_direct_hire_verifies_by_its_award_alone() -> None:
    from protocol.market.auction_events import ProviderChosen  # noqa: PLC0415 - used here only

    offer = make_offer(format=AuctionFormat.DIRECT)
    requester = Requester(offer, now=NOW + 30)
    requester.apply(ProviderChosen(at=UnixTime(NOW + 30), provider=address("bob"), price=400_000, eta=600))  # pyright: ignore[reportArgumentType] - plain ints read better here
    transcript = requester.transcript()
    assert verify_transcript(DOMAIN, transcript).awards[0].provider == address("bob")
    check_award_terms(offer, transcript.awards[0].value)
    with pytest.raises(NotDirect):
        verify_transcript(DOMAIN, resign_award(transcript, roll=word("roll")))


def test_a_transcript_of_another_offer_is_not_believed() -> None:
    transcript = auction().transcript()
    other = replace(transcript, offer=signed_offer(make_offer(salt=word("other salt"))))
    with pytest.raises(ProtocolError, match="another offer"):
        verify_transcript(DOMAIN, other)


def test_an_open_bid_that_was_heard_and_not_listed_is_found() -> None:
    offer = make_offer(format=AuctionFormat.OPEN)
    plans = {name: plan for name, plan in PLANS.items() if name != "carol"}
    requester = run_auction(offer, plans)
    carols = reveal(offer, "carol", PLANS["carol"], ZERO_DIGEST)
    verify_transcript(DOMAIN, requester.transcript())
    with pytest.raises(OmittedBid):
        verify_transcript(DOMAIN, requester.transcript(), Heard(bids=(HeardBid(signed=carols, at=offer.commit_by),)))
    late = HeardBid(signed=carols, at=UnixTime(offer.commit_by + 1))
    verify_transcript(DOMAIN, requester.transcript(), Heard(bids=(late,)))
