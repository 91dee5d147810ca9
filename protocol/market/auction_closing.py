"""What follows when a window closes: the roll, then the ranking; or a direct hire. docs/spec/auction.md, section 4."""

from collections.abc import Iterable
from dataclasses import replace

from protocol.identity import ZERO_DIGEST, Address, Digest, format_address
from protocol.market.auction_events import (
    AuctionEffect,
    BiddersUnbacked,
    CommitWindowClosed,
    NoteSilence,
    Opinion,
    ProviderChosen,
    RevealWindowClosed,
)
from protocol.market.auction_states import (
    Assignment,
    Collecting,
    Decided,
    Failed,
    FailureReason,
    Revealing,
)
from protocol.market.auction_views import (
    candidates_of,
    entries_of,
    failed_after,
    outstanding,
)
from protocol.market.award import AwardTerms, bids_root, sorted_bid_ids
from protocol.market.errors import UnexpectedEvent
from protocol.market.objects import AuctionFormat, RollLeaf
from protocol.market.roll import SelfDealing, check_reputation, make_roll, sort_leaves
from protocol.market.scoring import (
    AboveBudget,
    Placement,
    WrongEta,
    place,
    rank,
)
from protocol.signing.eip712 import digest
from protocol.stake.terms import least_stake
from protocol.units import Uint16


def commit_window_closed(
    state: Collecting, event: CommitWindowClosed
) -> tuple[Revealing | Failed, tuple[AuctionEffect, ...]]:
    """Fix who takes part; see `transition`."""
    terms = state.terms
    if terms.offer.format == AuctionFormat.DIRECT:
        raise UnexpectedEvent("a direct hire has no commit window")
    if event.at <= terms.offer.commit_by:
        raise UnexpectedEvent(f"the commit window is open until {terms.offer.commit_by}, it is {event.at}")
    entries = entries_of(state)
    if not entries:
        return failed_after(state, FailureReason.NO_COMMITMENTS), ()
    taking_part = dict(entries[: terms.offer.max_bidders])
    reputations = _reputations(event.opinions, taking_part)
    leaves = sort_leaves(
        RollLeaf(commitment=entry, bidder=bidder, reputation=reputations[bidder])
        for bidder, entry in taking_part.items()
    )
    roll = make_roll(terms.offer_id, leaves)
    after = Revealing(
        terms=terms,
        roll=roll,
        roll_id=digest(terms.domain, roll),
        leaves=leaves,
        commitments=tuple(signed for signed in state.commitments if signed.value.bidder in taking_part),
        conflicts=state.conflicts,
        turned_away=len(entries) - len(taking_part),
        bids=tuple(signed for signed in state.bids if signed.value.bidder in taking_part),
    )
    return after, outstanding(after)


def bidders_unbacked(state: Collecting, event: BiddersUnbacked) -> Collecting:
    """Leave bidders out for want of stake; see `transition`."""
    if not least_stake(state.terms.offer):
        raise UnexpectedEvent("this offer asks for no stake")
    heard = {bidder for bidder, _ in entries_of(state)}
    return replace(state, unbacked=state.unbacked | (heard & set(event.bidders)))


def _reputations(opinions: Iterable[Opinion], bidders: Iterable[Address]) -> dict[Address, Uint16]:
    given = {opinion.bidder: opinion.reputation for opinion in opinions}
    for bidder in bidders:
        if bidder not in given:
            raise UnexpectedEvent(f"no opinion of {format_address(bidder)} was given")
        check_reputation(given[bidder])
    return given


def provider_chosen(state: Collecting, event: ProviderChosen) -> tuple[Decided, tuple[AuctionEffect, ...]]:
    """Hire without bids; see `transition`."""
    terms, offer = state.terms, state.terms.offer
    if offer.format != AuctionFormat.DIRECT:
        raise UnexpectedEvent("a provider was chosen, but this auction is no direct hire")
    if event.provider == offer.requester:
        raise SelfDealing("the requester can't hire itself")
    if event.price > offer.budget:
        raise AboveBudget(f"the price is {event.price}, the budget {offer.budget}")
    if not 1 <= event.eta <= offer.max_eta:
        raise WrongEta(f"the time is {event.eta} s, the offer allows 1 to {offer.max_eta}")
    hired = AwardTerms(
        roll=ZERO_DIGEST,
        bids=ZERO_DIGEST,
        provider=event.provider,
        slot=0,
        attempt=0,
        first_part=0,
        whole_price=event.price,
        eta=event.eta,
    )
    after = Decided(terms=terms, revealing=None, ranked=(), bid_ids=(), assignments=(Assignment(terms=hired),))
    return after, outstanding(after)


def reveal_window_closed(
    state: Revealing, event: RevealWindowClosed
) -> tuple[Decided | Failed, tuple[AuctionEffect, ...]]:
    """Rank the bids and place the copies; see `transition`."""
    terms, offer = state.terms, state.terms.offer
    if event.at <= offer.reveal_by:
        raise UnexpectedEvent(f"the reveal window is open until {offer.reveal_by}, it is {event.at}")
    candidates = candidates_of(state)
    revealed = {candidate.bid.bidder for candidate in candidates}
    silent = tuple(leaf.bidder for leaf in state.leaves if leaf.bidder not in revealed)
    notes = (NoteSilence(bidders=silent),) if silent else ()
    if len(candidates) < offer.copies:
        return failed_after(state, FailureReason.TOO_FEW_BIDS), notes
    ranked = rank(state.roll_id, candidates)
    bid_ids = sorted_bid_ids(terms.domain, [candidate.bid for candidate in ranked])
    root = bids_root(bid_ids)
    assignments = tuple(
        Assignment(terms=terms_for(state.roll_id, root, placement, slot=slot, attempt=0, first_part=0))
        for slot, placement in enumerate(place(offer, ranked))
    )
    after = Decided(terms=terms, revealing=state, ranked=ranked, bid_ids=bid_ids, assignments=assignments)
    return after, (*outstanding(after), *notes)


def terms_for(
    roll_id: Digest, root: Digest, placement: Placement, *, slot: int, attempt: int, first_part: int
) -> AwardTerms:
    """Return what an award of this placement says."""
    bid = placement.candidate.bid
    return AwardTerms(
        roll=roll_id,
        bids=root,
        provider=bid.bidder,
        slot=slot,
        attempt=attempt,
        first_part=first_part,
        whole_price=placement.price,
        eta=bid.eta,
    )
