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
    Collecting   CommitWindowClosed     Revealing      PublishRoll
                                        Failed         nobody committed
    Collecting   ProviderChosen         Decided        direct hire only: PrepareAward
    Revealing    BidHeard               Revealing      sealed formats only
    Revealing    RevealWindowClosed     Decided        PrepareAward for each slot, NoteSilence
                                        Failed         fewer bids that count than copies
    Decided      AwardMade              Decided        PublishAward
    Decided      BidderFailed           Decided        PrepareAward for the standby (A5)
                                        Failed         no standby is left, or the offer is over
    any but Failed   Cancelled          Failed

The shell decides when a window closes, never before its last second. It may wait a moment longer for messages on their
way: a peer nearer to the bidder may have heard in time what reaches the requester late, and would miss it in the roll.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Final, assert_never

from protocol.identity import ZERO_DIGEST, Address, Digest, format_address
from protocol.market.auction_events import (
    AuctionEffect,
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
)
from protocol.market.auction_states import (
    Assignment,
    AuctionState,
    AuctionTerms,
    Collecting,
    Counts,
    Decided,
    Failed,
    FailureReason,
    Revealing,
)
from protocol.market.award import AwardTerms, awarded_at, bids_root, build_award, sorted_bid_ids
from protocol.market.errors import BidError, CommitmentError, UnexpectedEvent, WrongOffer
from protocol.market.evidence import TwoCommitments
from protocol.market.objects import AuctionFormat, Award, Bid, Commitment, Offer, Roll, RollLeaf
from protocol.market.offer import check_offer_terms
from protocol.market.roll import MAX_BIDDERS, SelfDealing, check_reputation, make_roll, sort_leaves
from protocol.market.scoring import (
    AboveBudget,
    Candidate,
    NoCandidates,
    Placement,
    WrongEta,
    candidate_of,
    check_bid_limits,
    compute_score,
    place,
    place_standby,
    rank,
)
from protocol.market.transcript import Transcript, check_bid
from protocol.market.transcript_errors import BidNotInRoll
from protocol.signing.eip712 import Domain, digest
from protocol.signing.signed import Signed, verify_signer
from protocol.units import Uint16, UnixTime

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


class WrongAward(UnexpectedEvent):
    """An award that is not the one that the auction asked for, or a second one for its slot and attempt."""

    rule = "A7"


def open_auction(domain: Domain, offer: Offer) -> Collecting:
    """Return the first state of an auction.

    Raises:
        OfferError: Nobody should sign this offer.
    """
    check_offer_terms(offer)
    return Collecting(terms=AuctionTerms(domain=domain, offer_id=digest(domain, offer), offer=offer))


def transition(  # noqa: C901 - the table above, one case a row
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
            return _fail(state, FailureReason.CANCELLED), ()
        case Collecting(), CommitmentHeard(signed=commitment):
            return _commitment_heard(state, commitment)
        case Collecting(), BidHeard(signed=bid):
            return _open_bid_heard(state, bid), ()
        case Collecting(), CommitWindowClosed():
            return _commit_window_closed(state, event)
        case Collecting(), ProviderChosen():
            return _provider_chosen(state, event)
        case Revealing(), BidHeard(signed=bid):
            return _bid_heard(state, bid), ()
        case Revealing(), RevealWindowClosed():
            return _reveal_window_closed(state, event)
        case Decided(), AwardMade():
            return _award_made(state, event)
        case Decided(), BidderFailed():
            return _bidder_failed(state, event)
        case _:
            raise UnexpectedEvent(f"{type(event).__name__} in {type(state).__name__}")


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
    return tuple(bidder for bidder, _ in _entries(state)[: state.terms.offer.max_bidders])


def _entries(state: Collecting) -> list[tuple[Address, Digest]]:
    """Each bidder with the digest that its leaf names: of its commitment, or in the open format of its bid."""
    domain = state.terms.domain
    if state.terms.offer.format == AuctionFormat.OPEN:
        return [(signed.value.bidder, digest(domain, signed.value)) for signed in state.bids]
    excluded = {conflict.first.value.bidder for conflict in state.conflicts}
    return [
        (signed.value.bidder, digest(domain, signed.value))
        for signed in state.commitments
        if signed.value.bidder not in excluded
    ]


def _commitment_heard(state: Collecting, signed: Signed[Commitment]) -> tuple[Collecting, tuple[AuctionEffect, ...]]:
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


def _open_bid_heard(state: Collecting, signed: Signed[Bid]) -> Collecting:
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


def _commit_window_closed(
    state: Collecting, event: CommitWindowClosed
) -> tuple[Revealing | Failed, tuple[AuctionEffect, ...]]:
    terms = state.terms
    if terms.offer.format == AuctionFormat.DIRECT:
        raise UnexpectedEvent("a direct hire has no commit window")
    if event.at <= terms.offer.commit_by:
        raise UnexpectedEvent(f"the commit window is open until {terms.offer.commit_by}, it is {event.at}")
    entries = _entries(state)
    if not entries:
        return _fail(state, FailureReason.NO_COMMITMENTS), ()
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


def _reputations(opinions: Iterable[Opinion], bidders: Iterable[Address]) -> dict[Address, Uint16]:
    given = {opinion.bidder: opinion.reputation for opinion in opinions}
    for bidder in bidders:
        if bidder not in given:
            raise UnexpectedEvent(f"no opinion of {format_address(bidder)} was given")
        check_reputation(given[bidder])
    return given


def _provider_chosen(state: Collecting, event: ProviderChosen) -> tuple[Decided, tuple[AuctionEffect, ...]]:
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


def _bid_heard(state: Revealing, signed: Signed[Bid]) -> Revealing:
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


def _candidates(state: Revealing) -> list[Candidate]:
    reputations = {leaf.bidder: leaf.reputation for leaf in state.leaves}
    candidates: list[Candidate] = []
    for signed in state.bids:
        try:
            candidates.append(candidate_of(state.terms.offer, signed.value, reputations[signed.value.bidder]))
        except BidError:
            continue
    return candidates


def _reveal_window_closed(
    state: Revealing, event: RevealWindowClosed
) -> tuple[Decided | Failed, tuple[AuctionEffect, ...]]:
    terms, offer = state.terms, state.terms.offer
    if event.at <= offer.reveal_by:
        raise UnexpectedEvent(f"the reveal window is open until {offer.reveal_by}, it is {event.at}")
    candidates = _candidates(state)
    revealed = {candidate.bid.bidder for candidate in candidates}
    silent = tuple(leaf.bidder for leaf in state.leaves if leaf.bidder not in revealed)
    notes = (NoteSilence(bidders=silent),) if silent else ()
    if len(candidates) < offer.copies:
        return _fail(state, FailureReason.TOO_FEW_BIDS), notes
    ranked = rank(state.roll_id, candidates)
    bid_ids = sorted_bid_ids(terms.domain, [candidate.bid for candidate in ranked])
    root = bids_root(bid_ids)
    assignments = tuple(
        Assignment(terms=_terms_for(state.roll_id, root, placement, slot=slot, attempt=0, first_part=0))
        for slot, placement in enumerate(place(offer, ranked))
    )
    after = Decided(terms=terms, revealing=state, ranked=ranked, bid_ids=bid_ids, assignments=assignments)
    return after, (*outstanding(after), *notes)


def _terms_for(
    roll_id: Digest, root: Digest, placement: Placement, *, slot: int, attempt: int, first_part: int
) -> AwardTerms:
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


def _award_made(state: Decided, event: AwardMade) -> tuple[Decided, tuple[AuctionEffect, ...]]:
    award, terms = event.award, state.terms
    index = _assignment_of(state, award.slot, award.attempt)
    assignment = state.assignments[index]
    if assignment.award is not None:
        raise WrongAward(f"slot {award.slot}, attempt {award.attempt} has its award already")
    at = awarded_at(terms.offer, award)
    expected = build_award(
        terms.offer_id,
        terms.offer,
        assignment.terms,
        channel=award.channel,
        audit_seal=award.audit_seal,
        at=UnixTime(event.at),
    )
    if award != expected:
        raise WrongAward("the award is not what build_award makes of the terms and the time of this event")
    if not terms.offer.reveal_by < at <= terms.offer.expires:
        raise WrongAward(f"awards are made after {terms.offer.reveal_by} and until {terms.offer.expires}, not at {at}")
    made = replace(assignment, award=award)
    after = replace(
        state,
        assignments=(*state.assignments[:index], made, *state.assignments[index + 1 :]),
        awards=(*state.awards, award),
    )
    return after, (PublishAward(award=award, bid_ids=state.bid_ids),)


def _assignment_of(state: Decided, slot: int, attempt: int) -> int:
    for index, assignment in enumerate(state.assignments):
        if (assignment.terms.slot, assignment.terms.attempt) == (slot, attempt):
            return index
    raise UnexpectedEvent(f"slot {slot}, attempt {attempt} is not being served")


def _bidder_failed(state: Decided, event: BidderFailed) -> tuple[Decided | Failed, tuple[AuctionEffect, ...]]:
    offer = state.terms.offer
    index = _assignment_of(state, event.slot, event.attempt)
    assignment = state.assignments[index]
    if assignment.award is None:
        # Each attempt leaves an award behind: without it nobody could recompute who came next (A5).
        raise UnexpectedEvent("this provider has no award yet, so it can't have failed")
    if not assignment.terms.first_part <= event.next_part < offer.parts:
        raise UnexpectedEvent(f"part {event.next_part} is not one that this award leaves to do")
    failed = (*state.failed, assignment.terms.provider)
    others = (*state.assignments[:index], *state.assignments[index + 1 :])
    without = replace(state, failed=failed, assignments=others)
    if event.at > offer.expires:
        return _end_slot(without, FailureReason.OFFER_OVER), ()
    try:
        placement = place_standby(
            offer, state.ranked, failed=failed, serving=[other.terms.provider for other in others]
        )
    except NoCandidates:
        return _end_slot(without, FailureReason.NO_STANDBY), ()
    standby = Assignment(
        terms=_terms_for(
            assignment.terms.roll,
            assignment.terms.bids,
            placement,
            slot=event.slot,
            attempt=len(failed),
            first_part=event.next_part,
        )
    )
    after = replace(without, assignments=(*others[:index], standby, *others[index:]))
    return after, (PrepareAward(terms=standby.terms),)


def _end_slot(state: Decided, reason: FailureReason) -> Decided | Failed:
    return state if state.assignments else _fail(state, reason)


def _fail(state: AuctionState, reason: FailureReason) -> Failed:
    decided = state if isinstance(state, Decided) else None
    return Failed(
        terms=state.terms,
        reason=reason,
        counts=count(state),
        revealing=decided.revealing if decided else None,
        bid_ids=decided.bid_ids if decided else (),
        awards=decided.awards if decided else (),
    )


def count(state: AuctionState) -> Counts:
    """Return how many bidders came how far."""
    match state:
        case Collecting():
            entries = len(_entries(state))
            return Counts(
                committed=entries + len(state.conflicts),
                excluded=len(state.conflicts),
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
                too_slow=len(state.bids) - above - len(_candidates(state)),
            )
        case Decided():
            before = Counts() if state.revealing is None else count(state.revealing)
            return replace(before, failed=len(state.failed))
        case Failed():
            return state.counts
        case _:
            assert_never(state)


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
    counted = {candidate.bid.bidder for candidate in _candidates(revealing)}
    return Transcript(
        offer=offer,
        roll=roll,
        leaves=revealing.leaves,
        commitments=revealing.commitments,
        bids=tuple(signed for signed in revealing.bids if signed.value.bidder in counted),
        awards=awards,
        excuses=revealing.conflicts[:MAX_BIDDERS],
    )
