"""What relays let through, what observers keep, and what they hold against whom."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ProtocolError
from protocol.identity import ZERO_DIGEST, Address
from protocol.market import observer
from protocol.market.evidence import NoConflict, TwoAwards, TwoCommitments, TwoRolls, check_conflict
from protocol.market.messages import (
    AwardAnnouncement,
    BidAnnouncement,
    CommitmentAnnouncement,
    ConflictAnnouncement,
    MarketMessage,
    NotRelayed,
    OfferAnnouncement,
    ProtestAnnouncement,
    RollAnnouncement,
    Stale,
    UnknownOffer,
    WrongTopic,
    decode_message,
    encode_message,
    topic_of,
    validate,
)
from protocol.market.objects import AuctionFormat, Offer, RollLeaf
from protocol.market.observer import (
    KEPT_AFTER,
    MAX_PER_REQUESTER,
    ObserverFull,
    heard_of,
    is_refused,
    known_auction,
    proof_against,
    strikes_of,
)
from protocol.market.observer_states import (
    AwardSeen,
    BidSeen,
    CommitmentSeen,
    ConflictSeen,
    ObserverState,
    OfferSeen,
    ProtestSeen,
    RollSeen,
    Strike,
    StrikeRecalled,
    TimePassed,
    VerificationFailed,
)
from protocol.market.roll import MAX_BIDDERS, RollMismatch, make_roll, sort_leaves
from protocol.market.transcript import verify_transcript
from protocol.market.transcript_errors import BidsMismatch, OmittedCommitment
from protocol.reputation.strikes import FORGOTTEN_AFTER, HALF_LIFE
from protocol.signing.ecdsa import BadSignature
from protocol.signing.eip712 import digest
from protocol.signing.signed import Signed, sign_struct
from protocol.units import UnixTime
from protocol.wire.codec import DecodeError, TooLarge, encode
from protocol.wire.topics import MarketTopic, topic_name
from tests.protocol.market.market_world import (
    DOMAIN,
    ELSEWHERE,
    NOW,
    Plan,
    Requester,
    address,
    announcement,
    at,
    commit,
    key,
    make_manifest,
    make_offer,
    reveal,
    run_auction,
    signed_offer,
    word,
)

PLANS = {"bob": Plan(price=100_000), "carol": Plan(price=200_000)}
ALICE = address("alice")


def seen(state: ObserverState, *events: Any) -> ObserverState:
    for event in events:
        state, _ = observer.transition(state, event)
    return state


def followed(offer: Offer) -> ObserverState:
    return seen(ObserverState(domain=DOMAIN), OfferSeen(at=at(0), signed=signed_offer(offer)))


def roll_of(requester: Requester) -> RollSeen:
    signed = requester.signed_roll
    assert signed is not None
    return RollSeen(at=at(12), signed=signed, leaves=requester.transcript().leaves)


def award_of(requester: Requester) -> AwardSeen:
    state: Any = requester.state
    return AwardSeen(at=at(30), signed=requester.awards[0], bid_ids=state.bid_ids)


def relay(state: ObserverState, message: MarketMessage, seconds: int) -> MarketMessage:
    return validate(
        DOMAIN,
        topic_of(message),
        encode_message(message),
        now=at(seconds),
        find_auction=lambda offer_id: known_auction(state, offer_id),
    )


def everything() -> tuple[ObserverState, dict[str, tuple[MarketMessage, int]]]:
    """An auction, and each of its messages with the last second at which it is relayed."""
    requester = run_auction(make_offer(), PLANS)
    offer = requester.offer
    roll, award = roll_of(requester), award_of(requester)
    bobs = commit(offer, "bob", PLANS["bob"])
    bid = reveal(offer, "bob", PLANS["bob"], digest(DOMAIN, roll.signed.value))
    proof = TwoCommitments(first=bobs, second=commit(offer, "bob", PLANS["carol"]))
    return seen(followed(offer), roll), {
        "offer": (announcement(offer), 10),
        "commitment": (CommitmentAnnouncement(signed=bobs), 10),
        "roll": (RollAnnouncement(signed=roll.signed, leaves=roll.leaves), 1000),
        "bid": (BidAnnouncement(signed=bid), 20),
        "award": (AwardAnnouncement(signed=award.signed, bid_ids=award.bid_ids), 1000),
        "protest": (ProtestAnnouncement(signed=bid), 1000),
        "conflict": (ConflictAnnouncement(conflict=proof), 10**6),
    }


@pytest.mark.parametrize("name", everything()[1])
def test_a_message_is_relayed_in_its_last_second_and_dropped_without_blame_after(name: str) -> None:
    state, messages = everything()
    message, last = messages[name]
    assert relay(state, message, last) == message
    if name != "conflict":  # a proof does not age
        with pytest.raises(Stale):
            relay(state, message, last + 1)


@pytest.mark.parametrize("name", ["commitment", "roll", "bid", "award", "protest"])
def test_a_message_about_an_unknown_offer_is_dropped_without_blame(name: str) -> None:
    message, last = everything()[1][name]
    with pytest.raises(UnknownOffer):
        relay(ObserverState(domain=DOMAIN), message, last)


def test_a_bid_to_a_roll_that_was_not_heard_is_dropped_without_blame() -> None:
    message, last = everything()[1]["bid"]
    with pytest.raises(UnknownOffer):
        relay(followed(make_offer()), message, last)


@pytest.mark.parametrize("name", ["offer", "commitment", "roll", "bid", "award", "protest"])
def test_a_forged_message_is_the_senders_fault(name: str) -> None:
    state, messages = everything()
    message: Any = messages[name][0]
    forger = sign_struct(key("mallory"), DOMAIN, message.signed.value)
    elsewhere = sign_struct(
        key("bob" if name in ("commitment", "bid", "protest") else "alice"), ELSEWHERE, message.signed.value
    )
    for signed in (forger, elsewhere):
        with pytest.raises(BadSignature):
            relay(state, replace(message, signed=signed), 5)


def test_content_that_does_not_belong_to_a_message_is_the_senders_fault() -> None:
    state, messages = everything()
    roll, award, offer = (messages[name][0] for name in ("roll", "award", "offer"))
    assert isinstance(roll, RollAnnouncement)
    assert isinstance(award, AwardAnnouncement)
    assert isinstance(offer, OfferAnnouncement)
    wrong: list[MarketMessage] = [
        replace(roll, leaves=roll.leaves[:1]),
        replace(award, bid_ids=award.bid_ids[::-1][:1]),
        replace(offer, manifest=encode(make_manifest(2))),
        BidAnnouncement(signed=reveal(make_offer(), "bob", Plan(price=7), digest(DOMAIN, roll.signed.value))),
        BidAnnouncement(signed=reveal(make_offer(), "mallory", Plan(price=7), digest(DOMAIN, roll.signed.value))),
        CommitmentAnnouncement(signed=commit(make_offer(), "alice", Plan(price=7))),
    ]
    for message in wrong:
        with pytest.raises(ProtocolError) as caught:
            relay(state, message, 5)
        assert not isinstance(caught.value, NotRelayed)


def test_open_bids_are_relayed_until_the_commit_window_closes() -> None:
    offer = make_offer(format=AuctionFormat.OPEN)
    state = followed(offer)
    bid = BidAnnouncement(signed=reveal(offer, "bob", PLANS["bob"], ZERO_DIGEST))
    relay(state, bid, 10)
    with pytest.raises(Stale):
        relay(state, bid, 11)
    with pytest.raises(ProtocolError, match="another roll"):
        relay(state, BidAnnouncement(signed=reveal(offer, "bob", PLANS["bob"], word("roll"))), 10)
    with pytest.raises(ProtocolError, match="not sealed"):
        relay(state, CommitmentAnnouncement(signed=commit(offer, "bob", PLANS["bob"])), 10)


def test_every_message_has_one_topic_and_its_largest_fits() -> None:
    _, messages = everything()
    offer = messages["commitment"][0]
    with pytest.raises(WrongTopic):
        decode_message(MarketTopic.BIDS, encode_message(offer))
    with pytest.raises(TooLarge):
        decode_message(MarketTopic.BIDS, bytes(513))
    leaves = tuple(
        RollLeaf(commitment=word("x"), bidder=Address(word(str(n))[:20]), reputation=10_000) for n in range(MAX_BIDDERS)
    )
    roll, award = messages["roll"][0], messages["award"][0]
    assert isinstance(roll, RollAnnouncement)
    assert isinstance(award, AwardAnnouncement)
    largest: list[MarketMessage] = [
        replace(roll, leaves=leaves),
        replace(award, bid_ids=(word("x"),) * MAX_BIDDERS),
        announcement(make_offer(), manifest=bytes(32 * 1024), verification=bytes(64)),
        ConflictAnnouncement(
            conflict=TwoAwards(offer=signed_offer(make_offer()), first=award.signed, second=award.signed)
        ),
    ]
    for message in (*largest, *(message for message, _ in messages.values())):
        assert len(encode_message(message)) <= topic_of(message).max_bytes


def test_topic_names_carry_version_chain_and_contract() -> None:
    assert topic_name(DOMAIN, MarketTopic.OFFERS) == "/stoa/1/31337/0x1111111111111111111111111111111111111111/offers"
    assert len({topic_name(DOMAIN, topic) for topic in MarketTopic}) == len(MarketTopic)


@given(st.sampled_from(list(MarketTopic)), st.binary(max_size=600))
def test_garbage_is_refused_by_a_typed_error(topic: MarketTopic, data: bytes) -> None:
    with pytest.raises((DecodeError, WrongTopic)):
        decode_message(topic, data)


def test_what_an_observer_heard_finds_an_omission() -> None:
    requester = run_auction(make_offer(), {"bob": PLANS["bob"]})
    offer_id = digest(DOMAIN, requester.offer)
    carols = commit(requester.offer, "carol", PLANS["carol"])
    state = seen(followed(requester.offer), CommitmentSeen(at=at(10), signed=carols))
    with pytest.raises(OmittedCommitment):
        verify_transcript(DOMAIN, requester.transcript(), heard_of(state, offer_id))
    state = seen(state, *[VerificationFailed(at=at(40), offer_id=offer_id)] * 2)
    assert strikes_of(state, ALICE) == 1
    assert is_refused(state, ALICE, at(40))
    assert not is_refused(state, ALICE, UnixTime(at(40) + HALF_LIFE)), "found at 40, not when it was committed"
    assert not is_refused(state, address("bob"), at(40))


def test_the_newest_strikes_count_one_an_auction_and_go_when_they_have_faded() -> None:
    state = ObserverState(domain=DOMAIN)
    for number in (1, 2, 3, 4, 5, 5):
        struck = Strike(offer_id=word(str(number)), at=UnixTime(at(0) + number * 3_600))
        state = seen(state, StrikeRecalled(requester=ALICE, strike=struck))
    assert [strike.offer_id for strike in state.strikes[ALICE]] == [word(each) for each in "2345"]
    state = seen(state, TimePassed(at=UnixTime(at(0) + 2 * 3_600 + FORGOTTEN_AFTER)))
    assert [strike.offer_id for strike in state.strikes[ALICE]] == [word(each) for each in "345"]
    state = seen(state, TimePassed(at=UnixTime(at(0) + 6 * 3_600 + FORGOTTEN_AFTER)))
    assert ALICE not in state.strikes


def test_a_protest_counts_only_with_who_heard_in_time_what_was_left_out() -> None:
    requester = run_auction(make_offer(), {"bob": PLANS["bob"]})
    roll = roll_of(requester)
    carols = commit(requester.offer, "carol", PLANS["carol"])
    protest = ProtestSeen(
        at=at(31), signed=reveal(requester.offer, "carol", PLANS["carol"], digest(DOMAIN, roll.signed.value))
    )
    base = followed(requester.offer)
    in_time, late = (CommitmentSeen(at=at(seconds), signed=carols) for seconds in (10, 11))
    assert strikes_of(seen(base, in_time, roll, protest, protest), ALICE) == 1
    for events in ((late, roll, protest), (roll, protest), (in_time, protest)):
        assert strikes_of(seen(base, *events), ALICE) == 0
    other = replace(protest, signed=reveal(requester.offer, "carol", Plan(price=1), protest.signed.value.roll))
    assert strikes_of(seen(base, in_time, roll, other), ALICE) == 0
    twice = CommitmentSeen(at=at(10), signed=commit(requester.offer, "carol", Plan(price=1)))
    assert strikes_of(seen(base, in_time, twice, roll, protest), ALICE) == 0
    full = run_auction(make_offer(max_bidders=1), {"bob": PLANS["bob"]})
    carols_full = CommitmentSeen(at=at(10), signed=commit(full.offer, "carol", PLANS["carol"]))
    in_full = ProtestSeen(at=at(31), signed=reveal(full.offer, "carol", PLANS["carol"], word("r")))
    assert strikes_of(seen(followed(full.offer), carols_full, roll_of(full), in_full), ALICE) == 0


def test_a_bid_heard_in_time_and_left_out_of_the_award_counts_on_protest() -> None:
    requester = run_auction(make_offer(), PLANS | {"carol": replace(PLANS["carol"], reveals=False)})
    roll, award = roll_of(requester), award_of(requester)
    carols = reveal(requester.offer, "carol", PLANS["carol"], digest(DOMAIN, roll.signed.value))
    protest = ProtestSeen(at=at(31), signed=carols)
    base = seen(followed(requester.offer), roll)
    assert strikes_of(seen(base, BidSeen(at=at(20), signed=carols), award, protest), ALICE) == 1
    for events in ((BidSeen(at=at(21), signed=carols), award), (award,), (BidSeen(at=at(20), signed=carols),)):
        assert strikes_of(seen(base, *events, protest), ALICE) == 0


def test_contradictions_are_found_once_and_published() -> None:
    requester = run_auction(make_offer(), PLANS)
    offer, roll, award = requester.offer, roll_of(requester), award_of(requester)
    leaves = sort_leaves(replace(leaf, reputation=1) for leaf in roll.leaves)
    other_roll = RollSeen(
        at=at(13),
        signed=sign_struct(key("alice"), DOMAIN, make_roll(digest(DOMAIN, offer), leaves)),
        leaves=leaves,
    )
    other_award = replace(
        award, signed=sign_struct(key("alice"), DOMAIN, replace(award.signed.value, audit_seal=word("x")))
    )
    commitments = [CommitmentSeen(at=at(1), signed=commit(offer, "bob", plan)) for plan in PLANS.values()]
    pairs: list[tuple[Any, Any, str]] = [
        (commitments[0], commitments[1], "bob"),
        (roll, other_roll, "alice"),
        (award, other_award, "alice"),
    ]
    for first, second, culprit in pairs:
        state, effects = observer.transition(seen(followed(offer), first), second)
        assert [check_conflict(DOMAIN, effect.conflict).signer for effect in effects] == [address(culprit)]
        assert proof_against(state, address(culprit)) == effects[0].conflict
        assert observer.transition(state, second)[1] == ()
        told = seen(ObserverState(domain=DOMAIN), ConflictSeen(at=at(2), conflict=effects[0].conflict))
        assert proof_against(told, address(culprit)) == effects[0].conflict


def test_messages_that_do_not_exclude_each_other_are_no_proof() -> None:
    requester = run_auction(make_offer(copies=2), PLANS)
    offer = signed_offer(requester.offer)
    bobs = commit(requester.offer, "bob", PLANS["bob"])
    elsewhere = commit(make_offer(salt=word("x")), "bob", PLANS["carol"])
    carols = commit(requester.offer, "carol", PLANS["carol"])
    roll = requester.signed_roll
    assert roll is not None
    no_proofs: list[Any] = [
        TwoCommitments(first=bobs, second=commit(requester.offer, "bob", PLANS["bob"])),
        TwoCommitments(first=bobs, second=elsewhere),
        TwoCommitments(first=bobs, second=carols),
        TwoRolls(offer=offer, first=roll, second=roll),
        TwoRolls(offer=signed_offer(make_offer(salt=word("x"))), first=roll, second=roll),
        TwoAwards(offer=offer, first=requester.awards[0], second=requester.awards[1]),
    ]
    for conflict in no_proofs:
        with pytest.raises(NoConflict):
            check_conflict(DOMAIN, conflict)
    framed = Signed(replace(bobs.value, hash=word("x")), bobs.signature)
    with pytest.raises(BadSignature):
        check_conflict(DOMAIN, TwoCommitments(first=bobs, second=framed))
    forged_roll = sign_struct(key("bob"), DOMAIN, replace(roll.value, root=word("x")))
    with pytest.raises(BadSignature):
        check_conflict(DOMAIN, TwoRolls(offer=offer, first=roll, second=forged_roll))


def test_an_observer_believes_no_message_unchecked() -> None:
    requester = run_auction(make_offer(), PLANS)
    roll, award = roll_of(requester), award_of(requester)
    state = followed(requester.offer)
    bid = reveal(requester.offer, "bob", PLANS["bob"], digest(DOMAIN, roll.signed.value))
    for event in (
        roll,
        award,
        CommitmentSeen(at=at(1), signed=commit(requester.offer, "bob", PLANS["bob"])),
        BidSeen(at=at(12), signed=bid),
        ProtestSeen(at=at(31), signed=bid),
        OfferSeen(at=at(0), signed=signed_offer(make_offer(salt=word("x")))),
    ):
        forged: Any = replace(event, signed=sign_struct(key("mallory"), DOMAIN, event.signed.value))
        with pytest.raises(BadSignature):
            seen(state, forged)
    with pytest.raises(RollMismatch):
        seen(state, replace(roll, leaves=roll.leaves[:1]))
    with pytest.raises(BidsMismatch):  # or a third peer could make a true award look like an omission
        seen(state, replace(award, bid_ids=award.bid_ids[:1]))


def test_a_full_observer_forgets_what_it_would_keep_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "MAX_AUCTIONS", 3)

    def offered(name: str, ends: int, *, own: bool = False) -> OfferSeen:
        times = {"commit_by": at(ends - 1), "reveal_by": at(ends), "expires": at(86_400 * 7)}
        offer = make_offer(requester=address(name), salt=word(name), **times)
        return OfferSeen(at=at(0), signed=sign_struct(key(name), DOMAIN, offer), own=own)

    def left(state: ObserverState) -> set[Address]:
        return {auction.offer.requester for auction in state.auctions.values()}

    shams = [offered(f"sham {number}", 86_400 * 6 + number) for number in range(3)]
    full = seen(ObserverState(domain=DOMAIN), *shams)
    state = seen(full, offered("alice", 1000))
    assert left(state) == {address("sham 0"), address("sham 1"), address("alice")}
    with pytest.raises(ObserverFull, match="none of which ends later"):
        seen(state, offered("sham 9", 86_400 * 6 + 9))
    state = seen(state, offered("alice", 1000, own=True), offered("bob", 900), offered("carol", 800))
    assert left(state) == {address("alice"), address("bob"), address("carol")}
    state = seen(state, offered("dave", 700))
    assert left(state) == {address("alice"), address("carol"), address("dave")}  # alice's is this node's own
    state = seen(state, offered("erin", 86_400, own=True))
    assert left(state) == {address("alice"), address("dave"), address("erin")}


def test_auctions_that_are_over_make_room_for_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def offered(number: int, at_s: int, name: str = "alice") -> OfferSeen:
        times = {"commit_by": at(at_s + 10), "reveal_by": at(at_s + 20), "expires": at(at_s + 3600)}
        offer = make_offer(requester=address(name), salt=word(str(number)), **times)
        return OfferSeen(at=at(at_s), signed=sign_struct(key(name), DOMAIN, offer))

    # One requester that submits a task every five seconds for an hour, and everybody else.
    state = ObserverState(domain=DOMAIN)
    for number in range(720):
        event = offered(number, number * 5)
        state = seen(state, event)
        assert digest(DOMAIN, event.signed.value) in state.auctions
        assert len(state.auctions) == min(number + 1, MAX_PER_REQUESTER)
    with pytest.raises(ObserverFull, match="of this requester"):
        seen(state, *(offered(number, 3600) for number in range(1000, 1000 + MAX_PER_REQUESTER)))
    monkeypatch.setattr(observer, "MAX_AUCTIONS", MAX_PER_REQUESTER)
    state = seen(state, offered(2000, 3600, "bob"))
    assert len(state.auctions) == MAX_PER_REQUESTER
    assert state.messages == 0


def test_an_observer_is_bounded_and_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    offers = [make_offer(salt=word(str(n))) for n in range(4)]
    events = [OfferSeen(at=at(0), signed=signed_offer(offer)) for offer in offers]
    start = ObserverState(domain=DOMAIN)
    with monkeypatch.context() as patch:
        patch.setattr(observer, "MAX_PER_REQUESTER", 3)
        with pytest.raises(ObserverFull, match="of this requester"):
            seen(start, *events)
    with monkeypatch.context() as patch:
        patch.setattr(observer, "MAX_AUCTIONS", 3)
        with pytest.raises(ObserverFull, match="auctions are followed"):
            seen(start, *events)  # equals: who came first stays
    heard = [CommitmentSeen(at=at(1), signed=commit(offers[0], name, plan)) for name, plan in PLANS.items()]
    with monkeypatch.context() as patch:
        patch.setattr(observer, "MAX_MESSAGES", 1)
        with pytest.raises(ObserverFull, match="messages"):
            seen(start, events[0], *heard)
    state = seen(start, events[0], *heard, heard[0])
    assert state.messages == 2
    end = offers[0].expires + KEPT_AFTER
    assert seen(state, TimePassed(at=UnixTime(end))) is state
    gone = seen(state, TimePassed(at=UnixTime(end + 1)))
    assert (gone.auctions, gone.messages) == ({}, 0)
    with pytest.raises(UnknownOffer):
        seen(gone, heard[0])
    long = make_offer(expires=UnixTime(NOW + 7 * 86_400 + 1))
    with pytest.raises(ObserverFull, match="lives longer"):
        seen(start, OfferSeen(at=at(0), signed=signed_offer(long)))
