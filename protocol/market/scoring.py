"""Who wins, and at what price: a function of the offer, the roll and the bids alone (docs/spec/auction.md, A2-A5).

Theory. With S = 10**6 a bid scores

    floor(w_price * S * (budget - price) / budget)
  + floor(w_reputation * S * reputation / 10,000)
  + floor(w_speed * S * (max_eta - eta) / max_eta)

Each term is measured against the offer and never against other bids, so a bid that is added or withheld can't turn the
order of two others. A reverse auction in which the winner is paid the greatest price at which it would still have
reached the next bid's score makes the true cost the best bid, whatever the others do (Vickrey 1961; with a score in
place of the price: Che 1993, "Design competition through multidimensional auctions"). With k copies the k best win and
each is paid against bid k + 1.

Integers only: any two nodes, and a contract, find the same winner.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from protocol.identity import Address, Digest
from protocol.market.errors import BidError, RuleBroken
from protocol.market.objects import AuctionFormat, Bid, Offer
from protocol.signing.keccak import keccak256
from protocol.units import WHOLE, Amount, Uint16

SCALE: Final = 10**6


class AboveBudget(BidError):
    """A price above the offer's budget."""

    rule = "A2"


class WrongEta(BidError):
    """A time to deliver of zero, or above the offer's longest."""

    rule = "A2"


class NoCandidates(RuleBroken):
    """No bid, or none left, that could win."""

    rule = "A5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A bid's score, term by term. The parts are comparable with those of any bid for the same offer."""

    price: int
    reputation: int
    speed: int

    @property
    def total(self) -> int:
        """The sum that decides."""
        return self.price + self.reputation + self.speed


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A bid that counts, with the reputation that the roll gives its bidder and the score that follows."""

    bid: Bid
    reputation: Uint16
    score: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A candidate that wins, and the price of the whole task that it is paid, token base units."""

    candidate: Candidate
    price: Amount


def check_bid_limits(offer: Offer, bid: Bid) -> None:
    """Check that `bid` lies within `offer`.

    Raises:
        AboveBudget: It asks for more than the budget.
        WrongEta: It promises nothing, or later than the offer allows.
    """
    if bid.price > offer.budget:
        raise AboveBudget(f"the bid asks {bid.price}, the budget is {offer.budget}")
    if not 1 <= bid.eta <= offer.max_eta:
        raise WrongEta(f"the bid promises {bid.eta} s, the offer allows 1 to {offer.max_eta}")


def compute_score(offer: Offer, bid: Bid, reputation: Uint16) -> Score:
    """Return the score of a bid that lies within `offer` (`check_bid_limits`)."""
    return Score(
        price=_price_term(offer, bid.price),
        reputation=offer.w_reputation * SCALE * reputation // WHOLE,
        speed=offer.w_speed * SCALE * (offer.max_eta - bid.eta) // offer.max_eta,
    )


def candidate_of(offer: Offer, bid: Bid, reputation: Uint16) -> Candidate:
    """Return `bid` with its score.

    Raises:
        AboveBudget: It asks for more than the budget.
        WrongEta: It promises nothing, or later than the offer allows.
    """
    check_bid_limits(offer, bid)
    return Candidate(bid=bid, reputation=reputation, score=compute_score(offer, bid, reputation))


def rank(roll: Digest, candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates, best first.

    Equal scores go to the lowest `keccak(roll, sorted salts of the tied bids, bidder)` (A3). No bidder can aim at it:
    the salts of all the tied bids enter, and each was sealed before the others and the roll were known.

    Args:
        roll: Digest of the roll that the bids were revealed to.
        candidates: At most one a bidder.
    """
    by_score: dict[int, list[Candidate]] = {}
    for candidate in candidates:
        by_score.setdefault(candidate.score.total, []).append(candidate)
    ranked: list[Candidate] = []
    for total in sorted(by_score, reverse=True):
        ranked += _break_tie(roll, by_score[total])
    return tuple(ranked)


def clearing_price(offer: Offer, winner: Candidate, following: Candidate | None) -> Amount:
    """Return what `winner` is paid for the whole task (A4).

    Second price: the greatest price up to the budget at which the winner's score still reaches that of `following`; the
    budget without a following bid. First price and open: the winner's own price.

    Args:
        offer: The offer, in any format but direct hire.
        winner: A candidate that wins.
        following: The best candidate that does not: bid k + 1 for k copies; None if every candidate wins.
    """
    if offer.format != AuctionFormat.SEALED_SECOND_PRICE:
        return winner.bid.price
    if following is None:
        return offer.budget
    needed = following.score.total - winner.score.reputation - winner.score.speed
    price = greatest_price(offer, needed)
    assert price is not None  # the winner's own price reaches it
    return price


def greatest_price(offer: Offer, needed: int) -> Amount | None:
    """Return the greatest price up to the budget whose price term is at least `needed`, or None if none is.

    For an integer n, floor(w * (B - p) / B) >= n exactly when w * (B - p) >= n * B, that is p <= B - n * B / w; so the
    greatest such integer is B less n * B / w rounded up.
    """
    if needed <= 0:
        return offer.budget
    weight = offer.w_price * SCALE
    if needed > weight:
        return None
    return Amount(offer.budget + (-needed * offer.budget) // weight)


def place(offer: Offer, ranked: Sequence[Candidate]) -> tuple[Placement, ...]:
    """Return the winners, best first, each with its price: the best `offer.copies`, or all if they are fewer."""
    following = ranked[offer.copies] if len(ranked) > offer.copies else None
    return tuple(
        Placement(candidate=winner, price=clearing_price(offer, winner, following)) for winner in ranked[: offer.copies]
    )


def place_standby(
    offer: Offer, ranked: Sequence[Candidate], *, failed: Iterable[Address], serving: Iterable[Address]
) -> Placement:
    """Return who takes the place of a bidder that failed, and the price of the whole task for it (A5).

    The failed are removed and A2-A4 applied to the rest: of the best `copies` the one that does not serve yet steps in,
    against bid k + 1 of the rest. Those who serve keep the price of their award.

    Args:
        offer: The offer.
        ranked: All candidates of the auction, best first.
        failed: Every bidder that failed so far.
        serving: Bidders whose award stands.

    Raises:
        NoCandidates: Every bidder failed or serves.
    """
    removed, busy = frozenset(failed), frozenset(serving)
    rest = [candidate for candidate in ranked if candidate.bid.bidder not in removed]
    for placement in place(offer, rest):
        if placement.candidate.bid.bidder not in busy:
            return placement
    raise NoCandidates("no standby is left", advice="submit the task again, with a higher budget or a longer time")


def remaining_price(offer: Offer, price: Amount, first_part: int) -> Amount:
    """Return the share of `price`, that of the whole task, for the parts from `first_part` on, rounded down (A5).

    Rounding down keeps the sum over all attempts within the budget: what was paid for k of n parts is at most k/n of
    one price, what is left at most (n - k)/n of another, and neither price exceeds the budget.
    """
    assert 0 <= first_part < offer.parts
    return Amount(price * (offer.parts - first_part) // offer.parts)


def _price_term(offer: Offer, price: int) -> int:
    return offer.w_price * SCALE * (offer.budget - price) // offer.budget


def _break_tie(roll: Digest, tied: list[Candidate]) -> list[Candidate]:
    if len(tied) == 1:
        return tied
    salts = b"".join(sorted(candidate.bid.salt for candidate in tied))

    def lot(candidate: Candidate) -> Digest:
        return keccak256(roll + salts + candidate.bid.bidder.rjust(32, b"\0"))

    return sorted(tied, key=lot)
