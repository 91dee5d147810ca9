"""The bidder's side of one auction. Pure: docs/spec/auction.md, sections 3 and 6.

Theory. A bidder shows its price once, to a roll that it stands in and that the requester can't take back (A1). The
state keeps the first roll heard; another one of the same signature is proof of a fault and never draws a second reveal.
A bidder that is left out reveals nothing until the award is out, and then only as a protest (A6), when its price can no
longer be used against it.

    state       event                next
    -----       -----                ----
    Committed   RollHeard            Revealed   it stands there: PublishBid
                                     Lost       it does not, or the time to reveal is over
    Revealed    RollHeard            Revealed   open format, first roll: the signed list names this bid
                                     Lost       second roll: PublishProof
    Revealed    BidImproved          Revealed   open format, before the list: PublishBid
    Revealed    AwardHeard           Won        CheckTranscript
                                     Lost       to another, or without this bid: PublishProtest
    Lost        AwardHeard           Won        as standby, at a later attempt: CheckTranscript
                                     Lost       left out of the roll: PublishProtest
    Won         AwardHeard           Lost       a later attempt took this slot
    any         RollHeard, AwardHeard   Lost    contradicts an earlier one: PublishProof
    any         TimePassed           Expired    past the offer's end without an award

A direct hire needs no bidder: its provider checks the award (`award.check_award`) against the price that it agreed to.
"""

from dataclasses import replace
from typing import Final, assert_never

from protocol.identity import ZERO_DIGEST, Address
from protocol.market.award import bids_root, check_award, is_same_slot
from protocol.market.bidding_states import (
    AwardHeard,
    BiddingEffect,
    BiddingEvent,
    BiddingState,
    BiddingTerms,
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
from protocol.market.evidence import Conflict, TwoAwards, TwoRolls
from protocol.market.objects import AuctionFormat, Award, Bid, Roll, SealedBid
from protocol.market.offer import CheckedOffer, check_open
from protocol.market.roll import MAX_BIDDERS, check_roll
from protocol.market.scoring import check_bid_limits, compute_score, remaining_price
from protocol.market.sealing import bid_for, commitment_of
from protocol.market.transcript_errors import BidsMismatch, RollDiffers, WrongEtaAwarded, WrongPrice
from protocol.signing.eip712 import Domain, digest
from protocol.signing.signed import Signed, verify_signer
from protocol.units import UnixTime

AWARDS_KEPT: Final = 2 * MAX_BIDDERS
"""No honest auction makes more awards: one a slot and one a failure."""

_SEALED: Final = (AuctionFormat.SEALED_SECOND_PRICE, AuctionFormat.SEALED_FIRST_PRICE)


def open_sealed_bidding(domain: Domain, checked: CheckedOffer, sealed: SealedBid, now: UnixTime) -> Committed:
    """Return the first state of a bidder in a sealed auction. Log it before performing `outstanding`.

    Args:
        domain: The market's domain.
        checked: The offer.
        sealed: The bid; its salt is 32 bytes from a secure random source.
        now: Unix seconds.

    Raises:
        OfferOver: It is too late to commit.
        UnexpectedEvent: The auction is not sealed.
        WrongOffer, BidError: The bid does not fit the offer.
    """
    if checked.offer.format not in _SEALED:
        raise UnexpectedEvent("this auction takes no sealed bids")
    _check_own(checked, bid_for(sealed, ZERO_DIGEST), now)
    return Committed(terms=_terms(domain, checked), sealed=sealed)


def open_visible_bidding(domain: Domain, checked: CheckedOffer, bid: Bid, now: UnixTime) -> Revealed:
    """Return the first state of a bidder in an open auction. `bid.roll` is zero.

    Raises:
        OfferOver: It is too late to bid.
        UnexpectedEvent: The auction is not open, or the bid names a roll.
        WrongOffer, BidError: The bid does not fit the offer.
    """
    if checked.offer.format != AuctionFormat.OPEN or bid.roll != ZERO_DIGEST:
        raise UnexpectedEvent("this auction takes no visible bids, or the bid names a roll")
    _check_own(checked, bid, now)
    return Revealed(terms=_terms(domain, checked), bid=bid, roll=None)


def transition(state: BiddingState, event: BiddingEvent) -> tuple[BiddingState, tuple[BiddingEffect, ...]]:
    """Apply a fact.

    Raises:
        BadSignature: The requester did not sign the message.
        RuleBroken: The message does not hold together, or has no place here. The state did not change.
    """
    match event:
        case RollHeard():
            return _roll_heard(state, event)
        case AwardHeard():
            return _award_heard(state, event)
        case BidImproved():
            return _bid_improved(state, event)
        case TimePassed(at=at):
            waits = isinstance(state, (Committed, Revealed))
            return (Expired(terms=state.terms) if waits and at > state.terms.offer.expires else state), ()
        case _:
            assert_never(event)


def outstanding(state: BiddingState) -> tuple[BiddingEffect, ...]:
    """Return what `state` still needs done: asked after a replay, when sent effects are unknown."""
    match state:
        case Committed(sealed=sealed):
            return (PublishCommitment(commitment=commitment_of(sealed)),)
        case Revealed(bid=bid):
            return (PublishBid(bid=bid),)
        case Won(award=award, bid_ids=bid_ids):
            return (CheckTranscript(award=award, bid_ids=bid_ids),)
        case Lost() | Expired():
            return ()
        case _:
            assert_never(state)


def _terms(domain: Domain, checked: CheckedOffer) -> BiddingTerms:
    return BiddingTerms(domain=domain, offer_id=checked.id, signed_offer=checked.signed)


def _check_own(checked: CheckedOffer, bid: Bid, now: UnixTime) -> None:
    if bid.offer != checked.id:
        raise WrongOffer("the bid names another offer")
    check_open(checked.offer, now)
    check_bid_limits(checked.offer, bid)


def _first_roll(state: BiddingState) -> Signed[Roll] | None:
    return state.roll if isinstance(state, (Revealed, Won, Lost)) else None


def _caught(state: BiddingState, conflict: Conflict) -> tuple[BiddingState, tuple[BiddingEffect, ...]]:
    """Stop dealing with a requester that contradicted itself."""
    if isinstance(state, Lost) and state.why is LossReason.REQUESTER_CHEATED:
        return state, ()
    lost = Lost(
        terms=state.terms,
        why=LossReason.REQUESTER_CHEATED,
        roll=_first_roll(state),
        bid=state.bid if isinstance(state, (Revealed, Won, Lost)) else None,
        sealed=None,
        awards=_awards(state),
    )
    return lost, (PublishProof(conflict=conflict),)


def _roll_heard(state: BiddingState, event: RollHeard) -> tuple[BiddingState, tuple[BiddingEffect, ...]]:
    terms, signed = state.terms, event.signed
    known = _first_roll(state)
    if known is not None:
        if signed.value.offer != terms.offer_id:
            raise WrongOffer("the roll names another offer")
        verify_signer(terms.domain, signed, terms.offer.requester)
        if signed.value == known.value:
            return state, ()
        return _caught(state, TwoRolls(offer=terms.signed_offer, first=known, second=signed))
    if not isinstance(state, (Committed, Revealed)):
        raise UnexpectedEvent(f"a roll in {type(state).__name__}")
    roll_id = check_roll(terms.domain, terms.offer_id, terms.offer, signed, event.leaves)
    me, entry = _entry(state)
    listed = any(leaf.bidder == me and leaf.commitment == entry for leaf in event.leaves)
    why = _why_out(state, event, listed=listed)
    if why is not None:
        return _out(state, signed, why), ()
    if isinstance(state, Revealed):
        return replace(state, roll=signed), ()
    after = Revealed(terms=terms, bid=bid_for(state.sealed, roll_id), roll=signed)
    return after, outstanding(after)


def _entry(state: Committed | Revealed) -> tuple[Address, bytes]:
    """This bidder, and the digest by which a leaf must name it."""
    domain = state.terms.domain
    if isinstance(state, Revealed):
        return state.bid.bidder, digest(domain, state.bid)
    return state.sealed.bidder, digest(domain, commitment_of(state.sealed))


def _why_out(state: Committed | Revealed, event: RollHeard, *, listed: bool) -> LossReason | None:
    offer = state.terms.offer
    if not listed:
        full = len(event.leaves) >= offer.max_bidders
        return LossReason.ROLL_FULL if full else LossReason.NOT_IN_ROLL
    if isinstance(state, Committed) and event.at > offer.reveal_by:
        return LossReason.TOO_LATE
    return None


def _out(state: Committed | Revealed, roll: Signed[Roll], why: LossReason) -> Lost:
    return Lost(
        terms=state.terms,
        why=why,
        roll=roll,
        bid=state.bid if isinstance(state, Revealed) else None,
        sealed=state.sealed if isinstance(state, Committed) else None,
    )


def _bid_improved(state: BiddingState, event: BidImproved) -> tuple[BiddingState, tuple[BiddingEffect, ...]]:
    if not isinstance(state, Revealed) or state.terms.offer.format != AuctionFormat.OPEN or state.roll is not None:
        raise UnexpectedEvent("bids can be improved in an open auction only, until its list is signed")
    offer, old, new = state.terms.offer, state.bid, event.bid
    if (new.offer, new.roll, new.bidder) != (old.offer, old.roll, old.bidder):
        raise WrongOffer("the new bid is for another offer, roll or bidder")
    check_open(offer, event.at)
    check_bid_limits(offer, new)
    if compute_score(offer, new, 0).total <= compute_score(offer, old, 0).total:
        raise UnexpectedEvent("the new bid scores no higher than the old one")
    after = replace(state, bid=new)
    return after, outstanding(after)


def _awards(state: BiddingState) -> tuple[Signed[Award], ...]:
    return state.awards if isinstance(state, (Won, Lost)) else ()


def _award_heard(state: BiddingState, event: AwardHeard) -> tuple[BiddingState, tuple[BiddingEffect, ...]]:
    if not isinstance(state, (Revealed, Won, Lost)) or state.roll is None:
        raise UnexpectedEvent(f"an award in {type(state).__name__}, before any roll was heard")
    terms, signed, award = state.terms, event.signed, event.signed.value
    check_award(terms.domain, terms.offer_id, terms.offer, signed)
    known = _awards(state)
    for other in known:
        if other.value == award:
            return state, ()
        if is_same_slot(other.value, award):
            return _caught(state, TwoAwards(offer=terms.signed_offer, first=other, second=signed))
    if len(known) >= AWARDS_KEPT:
        raise UnexpectedEvent(f"{AWARDS_KEPT} awards are known already")
    if award.roll != digest(terms.domain, state.roll.value):
        raise RollDiffers("the award names another roll")
    if bids_root(event.bid_ids) != award.bids:
        raise BidsMismatch("the bid digests that came with the award are not those under its root")
    awards = (*known, signed)
    if isinstance(state, Won):
        return _award_after_winning(state, award, awards)
    if isinstance(state, Lost) and state.why not in (LossReason.OUTBID, LossReason.REPLACED):
        return _award_after_being_out(state, awards)
    return _award_after_reveal(state, state.roll, event, awards)


def _award_after_winning(
    state: Won, award: Award, awards: tuple[Signed[Award], ...]
) -> tuple[BiddingState, tuple[BiddingEffect, ...]]:
    mine = state.award.value
    if award.slot != mine.slot or award.attempt < mine.attempt:
        return replace(state, awards=awards), ()
    replaced = Lost(
        terms=state.terms, why=LossReason.REPLACED, roll=state.roll, bid=state.bid, sealed=None, awards=awards
    )
    return replaced, ()


def _award_after_being_out(
    state: Lost, awards: tuple[Signed[Award], ...]
) -> tuple[BiddingState, tuple[BiddingEffect, ...]]:
    """Protest once, at the first award, if the bidder was left out though there was room."""
    after = replace(state, awards=awards)
    if state.awards or state.why is not LossReason.NOT_IN_ROLL or state.roll is None:
        return after, ()
    bid = state.bid
    if bid is None:
        assert state.sealed is not None  # a bidder without a visible bid has sealed one
        bid = bid_for(state.sealed, digest(state.terms.domain, state.roll.value))
    return replace(after, bid=bid), (PublishProtest(bid=bid),)


def _award_after_reveal(
    state: Revealed | Lost, roll: Signed[Roll], event: AwardHeard, awards: tuple[Signed[Award], ...]
) -> tuple[BiddingState, tuple[BiddingEffect, ...]]:
    terms, award, bid = state.terms, event.signed.value, state.bid
    assert bid is not None  # it was revealed
    if digest(terms.domain, bid) not in event.bid_ids:
        lost = Lost(terms=terms, why=LossReason.BID_OMITTED, roll=roll, bid=bid, sealed=None, awards=awards)
        return lost, (PublishProtest(bid=bid),)
    if award.provider != bid.bidder:
        lost = Lost(terms=terms, why=LossReason.OUTBID, roll=roll, bid=bid, sealed=None, awards=awards)
        return lost, ()
    # A winner is never paid less than it asked (A4). The exact price takes all bids: CheckTranscript.
    if award.price < remaining_price(terms.offer, bid.price, award.first_part):
        raise WrongPrice(f"the award pays {award.price}, less than this bid asks for its parts")
    if award.deliver_by != award.start_by + bid.eta:
        raise WrongEtaAwarded("the award allows another time than this bid promised")
    won = Won(terms=terms, bid=bid, roll=roll, award=event.signed, bid_ids=event.bid_ids, awards=awards)
    return won, outstanding(won)
