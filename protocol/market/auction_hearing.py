"""What the requester makes of a message from a bidder: docs/spec/auction.md, sections 3 and 4."""

from contextlib import suppress
from dataclasses import replace
from typing import Final

from protocol.identity import ZERO_DIGEST, format_address
from protocol.market.auction_events import (
    AuctionEffect,
    PublishConflict,
)
from protocol.market.auction_states import (
    Collecting,
    Revealing,
)
from protocol.market.errors import BidError, CommitmentError, UnexpectedEvent, WrongOffer
from protocol.market.evidence import TwoCommitments
from protocol.market.objects import AuctionFormat, Bid, Commitment
from protocol.market.roll import MAX_BIDDERS, SelfDealing
from protocol.market.scoring import (
    AboveBudget,
    WrongEta,
    check_bid_limits,
    compute_score,
)
from protocol.market.transcript import check_bid
from protocol.market.transcript_errors import BidNotInRoll
from protocol.signing.signed import Signed, verify_signer

KEPT: Final = 2 * MAX_BIDDERS
"""Bidders kept while collecting: more than can take part, so that one excluded late leaves no gap in the roll."""


class Repeated(CommitmentError):
    """A message that was heard before; nothing changed."""

    rule = "A1"


class TooMany(CommitmentError):
    """A commitment beyond all that could take part."""

    rule = "A1"


class NotBetter(BidError):
    """An open bid that scores no higher than the one its bidder already made."""

    rule = "A4"


def commitment_heard(state: Collecting, signed: Signed[Commitment]) -> tuple[Collecting, tuple[AuctionEffect, ...]]:
    """Take a sealed bid's commitment; see `transition`."""
    terms, commitment = state.terms, signed.value
    if terms.offer.format not in (AuctionFormat.SEALED_SECOND_PRICE, AuctionFormat.SEALED_FIRST_PRICE):
        raise UnexpectedEvent("a commitment, but this auction is not sealed")
    if commitment.offer != terms.offer_id:
        raise WrongOffer("the commitment names another offer")
    if commitment.bidder == terms.offer.requester:
        raise SelfDealing("the requester can't bid on its own offer")
    verify_signer(terms.domain, signed, commitment.bidder)
    for other in state.commitments:
        if other.value.bidder != commitment.bidder:
            continue
        if other.value == commitment:
            raise Repeated("this commitment was heard before")
        if any(conflict.first.value.bidder == commitment.bidder for conflict in state.conflicts):
            raise Repeated("this bidder is excluded already")
        conflict = TwoCommitments(first=other, second=signed)
        return replace(state, conflicts=(*state.conflicts, conflict)), (PublishConflict(conflict=conflict),)
    if len(state.commitments) >= KEPT:
        raise TooMany(f"{KEPT} bidders are known already, {terms.offer.max_bidders} can take part")
    return replace(state, commitments=(*state.commitments, signed)), ()


def open_bid_heard(state: Collecting, signed: Signed[Bid]) -> Collecting:
    """Take a bid that everybody may read; see `transition`."""
    terms, bid = state.terms, signed.value
    if terms.offer.format != AuctionFormat.OPEN:
        raise UnexpectedEvent("a bid before the roll, but this auction is not open")
    if bid.offer != terms.offer_id:
        raise WrongOffer("the bid names another offer")
    if bid.roll != ZERO_DIGEST:
        raise BidNotInRoll("an open bid names no roll")
    if bid.bidder == terms.offer.requester:
        raise SelfDealing("the requester can't bid on its own offer")
    verify_signer(terms.domain, signed, bid.bidder)
    check_bid_limits(terms.offer, bid)
    for index, other in enumerate(state.bids):
        if other.value.bidder != bid.bidder:
            continue
        # Only a better bid replaces one, so the list does not depend on the order in which gossip brings them.
        old, new = (compute_score(terms.offer, one, 0).total for one in (other.value, bid))
        if new <= old:
            raise NotBetter(f"the bid scores {new}, the bidder's earlier one {old}")
        return replace(state, bids=(*state.bids[:index], signed, *state.bids[index + 1 :]))
    if len(state.bids) >= KEPT:
        raise TooMany(f"{KEPT} bidders are known already, {terms.offer.max_bidders} can take part")
    return replace(state, bids=(*state.bids, signed))


def bid_heard(state: Revealing, signed: Signed[Bid]) -> Revealing:
    """Take a bid that opens its commitment; see `transition`."""
    if state.terms.offer.format == AuctionFormat.OPEN:
        raise UnexpectedEvent("the open auction's list is signed")
    bidder = signed.value.bidder
    leaf = next((leaf for leaf in state.leaves if leaf.bidder == bidder), None)
    if leaf is None:
        raise BidNotInRoll(f"{format_address(bidder)} does not stand in the roll")
    if any(other.value.bidder == bidder for other in state.bids):
        # Only one bid can open a commitment, so a second is a copy.
        raise Repeated("this bidder has revealed already")
    terms = state.terms
    with suppress(AboveBudget, WrongEta):  # such a bid does not count, but the user should learn that it came
        check_bid(terms.domain, terms.offer_id, terms.offer, state.roll_id, leaf, signed)
    return replace(state, bids=(*state.bids, signed))
