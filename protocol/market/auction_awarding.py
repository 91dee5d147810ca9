"""Awards, one for each slot and attempt, and the standby of a bidder that failed: docs/spec/auction.md, section 5."""

from dataclasses import replace

from protocol.market.auction_closing import terms_for
from protocol.market.auction_events import (
    AuctionEffect,
    AwardMade,
    BidderFailed,
    PrepareAward,
    PublishAward,
    SecretDrawn,
)
from protocol.market.auction_states import (
    Assignment,
    Decided,
    Failed,
    FailureReason,
)
from protocol.market.auction_views import failed_after
from protocol.market.award import awarded_at, build_award
from protocol.market.errors import UnexpectedEvent
from protocol.market.scoring import (
    NoCandidates,
    place_standby,
)
from protocol.task.verification import seal
from protocol.units import UnixTime


class WrongAward(UnexpectedEvent):
    """An award that is not the one that the auction asked for, or a second one for its slot and attempt."""

    rule = "A7"


def secret_drawn(state: Decided, event: SecretDrawn) -> tuple[Decided, tuple[AuctionEffect, ...]]:
    """Keep the secret of an award that is not made yet; see `transition`."""
    index = _assignment_of(state, event.slot, event.attempt)
    assignment = state.assignments[index]
    if assignment.award is not None or assignment.secret is not None:
        raise UnexpectedEvent(f"slot {event.slot}, attempt {event.attempt} has its secret or its award already")
    sealed = replace(assignment, secret=event.secret)
    assignments = (*state.assignments[:index], sealed, *state.assignments[index + 1 :])
    return replace(state, assignments=assignments), ()


def award_made(state: Decided, event: AwardMade) -> tuple[Decided, tuple[AuctionEffect, ...]]:
    """Log an award that the shell has built; see `transition`."""
    award, terms = event.award, state.terms
    index = _assignment_of(state, award.slot, award.attempt)
    assignment = state.assignments[index]
    if assignment.award is not None:
        raise WrongAward(f"slot {award.slot}, attempt {award.attempt} has its award already")
    if assignment.secret is not None and award.audit_seal != seal(assignment.secret):
        raise WrongAward("the award does not seal the secret that was drawn for it")
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
    if any(made.slot == award.slot and award.start_by < made.start_by for made in state.awards):
        raise WrongAward(f"attempt {award.attempt} is dated before the one that it follows")
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


def bidder_failed(state: Decided, event: BidderFailed) -> tuple[Decided | Failed, tuple[AuctionEffect, ...]]:
    """Place the standby; see `transition`."""
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
        terms=terms_for(
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
    return state if state.assignments else failed_after(state, reason)
