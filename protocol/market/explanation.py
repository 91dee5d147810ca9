"""Why a bidder won or lost, computed from a verified auction (docs/spec/auction.md, A2-A4)."""

from dataclasses import dataclass
from typing import TypeAlias

from protocol.identity import Address
from protocol.market.objects import Offer
from protocol.market.scoring import Candidate, Score, greatest_price
from protocol.market.transcript import Verified
from protocol.units import Amount, Uint16, Uint32


@dataclass(frozen=True, slots=True, kw_only=True)
class Won:
    """The bidder won a slot.

    Attributes:
        bidder: Whose bid it is.
        position: Place among the bids that count, from 1.
        slot: The slot of its latest award.
        attempt: How many bidders had failed before it was asked.
        price: What the award pays, token base units.
        score: Its score, term by term.
    """

    bidder: Address
    position: Uint32
    slot: Uint16
    attempt: Uint16
    price: Amount
    score: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The bidder revealed a bid that was not good enough; it is a standby.

    Attributes:
        bidder: Whose bid it is.
        position: Place among the bids that count, from 1.
        score: Its score, term by term.
        needed: Score of the last winner, which it did not pass.
        price_needed: Greatest price at which it would have passed that score; None if no price would have done.
    """

    bidder: Address
    position: Uint32
    score: Score
    needed: int
    price_needed: Amount | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Silent:
    """The bidder stands in the roll, but no bid of it counts: it revealed none, too late, or outside the offer."""

    bidder: Address


Explanation: TypeAlias = Won | Lost | Silent


def explain(offer: Offer, verified: Verified) -> tuple[Explanation, ...]:
    """Return one explanation for each bidder of the roll: bids first, best first, then the silent."""
    awards = {award.provider: award for award in verified.awards}
    lines: list[Explanation] = []
    for position, candidate in enumerate(verified.ranked, start=1):
        award = awards.get(candidate.bid.bidder)
        if award is not None:
            lines.append(_won(position, candidate, award.slot, award.attempt, award.price))
        elif position <= len(verified.initial):  # with several copies, an award that this transcript does not show
            lines.append(_won(position, candidate, position - 1, 0, verified.initial[position - 1].price))
        else:
            lines.append(_lost(offer, position, candidate, verified.initial[-1].candidate))
    return (*lines, *(Silent(bidder=bidder) for bidder in verified.silent))


def _won(position: int, candidate: Candidate, slot: int, attempt: int, price: Amount) -> Won:
    return Won(
        bidder=candidate.bid.bidder,
        position=position,
        slot=slot,
        attempt=attempt,
        price=price,
        score=candidate.score,
    )


def _lost(offer: Offer, position: int, candidate: Candidate, last_winner: Candidate) -> Lost:
    needed = last_winner.score.total
    # One more than the winner's score: at an equal score the lot decides (A3).
    term = needed + 1 - candidate.score.reputation - candidate.score.speed
    return Lost(
        bidder=candidate.bid.bidder,
        position=position,
        score=candidate.score,
        needed=needed,
        price_needed=greatest_price(offer, term),
    )
