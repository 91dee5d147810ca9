"""The requester's side of one auction. Pure: docs/spec/auction.md, sections 3 to 5.

Theory. What the requester does is bound by order, not by clocks (A1): it lists the commitments before any bid exists,
names the list in every bid, and names the bids in every award. Three promises must never be made twice: the roll, and
each award of one (slot, attempt). The roll follows from logged events alone. An award also needs a rail and a time, so
it is made in two steps: `PrepareAward` asks the shell for it, `AwardMade` logs the one that it built, and only then is
it published. After a crash the logged award is published again and no other can be made.

    state        event                  next
    -----        -----                  ----
    Collecting   CommitmentHeard        Collecting     kept in the order heard; a second one of a bidder excludes it
    Collecting   BidHeard               Collecting     open format only: the bidder's best bid is kept
    Collecting   BiddersUnbacked        Collecting     too little stake for this offer: they take no part
    Collecting   CommitWindowClosed     Revealing      PublishRoll
                                        Failed         nobody committed
    Collecting   ProviderChosen         Decided        direct hire only: PrepareAward
    Revealing    BidHeard               Revealing      sealed formats only
    Revealing    RevealWindowClosed     Decided        PrepareAward for each slot, NoteSilence
                                        Failed         fewer bids that count than copies
    Decided      SecretDrawn            Decided        audits only: before the award that seals it
    Decided      AwardMade              Decided        PublishAward
    Decided      BidderFailed           Decided        PrepareAward for the standby (A5)
                                        Failed         no standby is left, or the offer is over
    any but Failed   Cancelled          Failed

The shell decides when a window closes, never before its last second. It may wait a moment longer for messages on their
way: a peer nearer to the bidder may have heard in time what reaches the requester late, and would miss it in the roll.
"""

from protocol.market.auction_awarding import award_made, bidder_failed, secret_drawn
from protocol.market.auction_closing import (
    bidders_unbacked,
    commit_window_closed,
    provider_chosen,
    reveal_window_closed,
)
from protocol.market.auction_events import (
    AuctionEffect,
    AuctionEvent,
    AwardMade,
    BidderFailed,
    BiddersUnbacked,
    BidHeard,
    Cancelled,
    CommitmentHeard,
    CommitWindowClosed,
    ProviderChosen,
    RevealWindowClosed,
    SecretDrawn,
)
from protocol.market.auction_hearing import bid_heard, commitment_heard, open_bid_heard
from protocol.market.auction_states import (
    AuctionState,
    AuctionTerms,
    Collecting,
    Decided,
    Failed,
    FailureReason,
    Revealing,
)
from protocol.market.auction_views import candidates_of, failed_after
from protocol.market.errors import UnexpectedEvent
from protocol.market.objects import AuctionFormat, Award, Offer, Roll
from protocol.market.offer import check_offer_terms
from protocol.market.roll import MAX_BIDDERS
from protocol.market.transcript import Transcript
from protocol.signing.eip712 import Domain, digest
from protocol.signing.signed import Signed


def open_auction(domain: Domain, offer: Offer) -> Collecting:
    """Return the first state of an auction.

    Raises:
        OfferError: Nobody should sign this offer.
    """
    check_offer_terms(offer)
    return Collecting(terms=AuctionTerms(domain=domain, offer_id=digest(domain, offer), offer=offer))


def transition(  # noqa: C901, PLR0912 - the table above, one case a row
    state: AuctionState, event: AuctionEvent
) -> tuple[AuctionState, tuple[AuctionEffect, ...]]:
    """Apply a fact.

    Raises:
        BadSignature: A message is not of its bidder.
        RuleBroken: A message does not count, or the event has no place in this state. The state did not change.
    """
    match state, event:
        case Failed(), _:
            raise UnexpectedEvent(f"{type(event).__name__}, but the auction has failed")
        case _, Cancelled():
            return failed_after(state, FailureReason.CANCELLED), ()
        case Collecting(), CommitmentHeard(signed=commitment):
            return commitment_heard(state, commitment)
        case Collecting(), BidHeard(signed=bid):
            return open_bid_heard(state, bid), ()
        case Collecting(), BiddersUnbacked():
            return bidders_unbacked(state, event), ()
        case Collecting(), CommitWindowClosed():
            return commit_window_closed(state, event)
        case Collecting(), ProviderChosen():
            return provider_chosen(state, event)
        case Revealing(), BidHeard(signed=bid):
            return bid_heard(state, bid), ()
        case Revealing(), RevealWindowClosed():
            return reveal_window_closed(state, event)
        case Decided(), SecretDrawn():
            return secret_drawn(state, event)
        case Decided(), AwardMade():
            return award_made(state, event)
        case Decided(), BidderFailed():
            return bidder_failed(state, event)
        case _:
            raise UnexpectedEvent(f"{type(event).__name__} in {type(state).__name__}")


def make_transcript(
    state: Decided | Failed, *, offer: Signed[Offer], roll: Signed[Roll] | None, awards: tuple[Signed[Award], ...]
) -> Transcript:
    """Return what proves the outcome to anyone, from the state and the signed forms of what was published.

    Raises:
        UnexpectedEvent: The auction failed before an award was made.
    """
    revealing = state.revealing
    if revealing is None:
        if state.terms.offer.format != AuctionFormat.DIRECT:
            raise UnexpectedEvent("the auction was not decided, so there is nothing to prove")
        return Transcript(offer=offer, roll=None, awards=awards)
    counted = {candidate.bid.bidder for candidate in candidates_of(revealing)}
    return Transcript(
        offer=offer,
        roll=roll,
        leaves=revealing.leaves,
        commitments=revealing.commitments,
        bids=tuple(signed for signed in revealing.bids if signed.value.bidder in counted),
        awards=awards,
        excuses=revealing.conflicts[:MAX_BIDDERS],
    )
