"""What can be read off a state of the requester's auction: who takes part, what counts, what is still to be done."""

from dataclasses import replace
from typing import assert_never

from protocol.identity import Address, Digest
from protocol.market.auction_events import (
    AuctionEffect,
    PrepareAward,
    PublishAward,
    PublishConflict,
    PublishRoll,
)
from protocol.market.auction_states import (
    AuctionState,
    Collecting,
    Counts,
    Decided,
    Failed,
    FailureReason,
    Revealing,
)
from protocol.market.errors import BidError
from protocol.market.objects import AuctionFormat
from protocol.market.scoring import (
    Candidate,
    candidate_of,
)
from protocol.signing.eip712 import digest
from protocol.units import UnixTime


def outstanding(state: AuctionState) -> tuple[AuctionEffect, ...]:
    """Return what `state` still needs done: asked after a replay, when sent effects are unknown."""
    match state:
        case Collecting(conflicts=conflicts):
            return tuple(PublishConflict(conflict=conflict) for conflict in conflicts)
        case Revealing(roll=roll, leaves=leaves):
            return (PublishRoll(roll=roll, leaves=leaves),)
        case Decided(assignments=assignments, bid_ids=bid_ids):
            return tuple(
                PrepareAward(terms=assignment.terms)
                if assignment.award is None
                else PublishAward(award=assignment.award, bid_ids=bid_ids)
                for assignment in assignments
            )
        case Failed():
            return ()
        case _:
            assert_never(state)


def next_deadline(state: AuctionState) -> UnixTime | None:
    """Return the first second at which the state's window may be closed, or None if it has none."""
    match state:
        case Collecting(terms=terms) if terms.offer.format != AuctionFormat.DIRECT:
            return UnixTime(terms.offer.commit_by + 1)
        case Revealing(terms=terms):
            return UnixTime(terms.offer.reveal_by + 1)
        case _:
            return None


def admitted(state: Collecting) -> tuple[Address, ...]:
    """Return the bidders that would take part if the window closed now: those first heard, up to `max_bidders`."""
    return tuple(bidder for bidder, _ in entries_of(state)[: state.terms.offer.max_bidders])


def entries_of(state: Collecting) -> list[tuple[Address, Digest]]:
    """Each bidder with the digest that its leaf names: of its commitment, or in the open format of its bid."""
    domain = state.terms.domain
    if state.terms.offer.format == AuctionFormat.OPEN:
        return [
            (signed.value.bidder, digest(domain, signed.value))
            for signed in state.bids
            if signed.value.bidder not in state.unbacked
        ]
    excluded = {conflict.first.value.bidder for conflict in state.conflicts} | state.unbacked
    return [
        (signed.value.bidder, digest(domain, signed.value))
        for signed in state.commitments
        if signed.value.bidder not in excluded
    ]


def candidates_of(state: Revealing) -> list[Candidate]:
    """Return the bids that count, in the order heard."""
    reputations = {leaf.bidder: leaf.reputation for leaf in state.leaves}
    candidates: list[Candidate] = []
    for signed in state.bids:
        try:
            candidates.append(candidate_of(state.terms.offer, signed.value, reputations[signed.value.bidder]))
        except BidError:
            continue
    return candidates


def count(state: AuctionState) -> Counts:
    """Return how many bidders came how far."""
    match state:
        case Collecting():
            entries = len(entries_of(state))
            return Counts(
                committed=entries + len(state.conflicts) + len(state.unbacked),
                excluded=len(state.conflicts),
                unbacked=len(state.unbacked),
                turned_away=max(0, entries - state.terms.offer.max_bidders),
                revealed=len(state.bids),
            )
        case Revealing():
            above = sum(signed.value.price > state.terms.offer.budget for signed in state.bids)
            return Counts(
                committed=len(state.leaves) + state.turned_away + len(state.conflicts),
                excluded=len(state.conflicts),
                turned_away=state.turned_away,
                revealed=len(state.bids),
                above_budget=above,
                too_slow=len(state.bids) - above - len(candidates_of(state)),
            )
        case Decided():
            before = Counts() if state.revealing is None else count(state.revealing)
            return replace(before, failed=len(state.failed))
        case Failed():
            return state.counts
        case _:
            assert_never(state)


def failed_after(state: AuctionState, reason: FailureReason) -> Failed:
    """Return how the auction ends without a result, from wherever it is."""
    decided = state if isinstance(state, Decided) else None
    return Failed(
        terms=state.terms,
        reason=reason,
        counts=count(state),
        revealing=decided.revealing if decided else None,
        bid_ids=decided.bid_ids if decided else (),
        awards=decided.awards if decided else (),
    )
