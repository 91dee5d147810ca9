"""What an award asks of its provider's stake, and what its requester adds for success (docs/spec/stakes.md)."""

from dataclasses import dataclass
from typing import Final

from protocol.errors import ProtocolError
from protocol.identity import ZERO_ADDRESS, Digest
from protocol.market.objects import Award, Offer
from protocol.settlement.deadlines import Deadlines, deadlines_of
from protocol.signing.keccak import keccak256
from protocol.units import WHOLE, Amount, format_amount

BONUS_BPS: Final = 500
"""`Reputation.BONUS_BPS`: 5 % of the price (SPEC L6)."""
MAX_LOCKED: Final = (1 << 120) - 1
"""The contract keeps a lock and a bonus in 120 bits each."""


class BackingRefused(ProtocolError):
    """An award or an offer that this stake can't answer for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeTerms:
    """What is fixed from the award on.

    Attributes:
        award: As signed.
        award_id: Its digest.
        deadlines: Its deadlines; the lock lasts until `latest_resolve_by` unless something frees it before.
        bonus: What a bonus for it comes to; 0 if the price is too small for one.
    """

    award: Award
    award_id: Digest
    deadlines: Deadlines
    bonus: Amount


def stake_terms(award: Award, award_id: Digest) -> StakeTerms:
    """Return the terms of an award with liability.

    Raises:
        BackingRefused: No stake can answer for it.
        InvalidDeadlines: Its times are out of order.
    """
    bonus = bonus_of(award.price)
    if not 0 < award.liability <= MAX_LOCKED or bonus > MAX_LOCKED:
        raise BackingRefused("no stake can answer for an award with a liability of zero, or above 2**120 - 1")
    return StakeTerms(award=award, award_id=award_id, deadlines=deadlines_of(award), bonus=bonus)


def bonus_of(price: int) -> Amount:
    """Return the success bonus for a price, rounded down as the contract does, base units."""
    return Amount(price * BONUS_BPS // WHOLE)


def bonus_account(award_id: Digest) -> Digest:
    """Return the account under which an award's bonus counts against the spending caps: it leaves beside the price."""
    return Digest(keccak256(b"bonus " + award_id))


def liability_of(terms: Offer | Award) -> Amount:
    """Return what has to be locked. Without an arbiter that is nothing: nobody could ever take it (docs/adr/1622)."""
    return terms.liability if terms.arbiter != ZERO_ADDRESS else Amount(0)


def asks_for_stake(offer: Offer) -> bool:
    """Tell whether a bidder needs any stake for this offer."""
    return bool(offer.bond or offer.min_stake or liability_of(offer))


def promise_of(offer: Offer) -> int:
    """Return what one bid puts at risk, base units.

    Bond and liability both: a bond is lost out of what isn't locked, so what will be locked can't back it.
    """
    return offer.bond + liability_of(offer)


def least_stake(offer: Offer) -> int:
    """Return the free stake without which a bidder can't keep what it promises by bidding, base units."""
    return max(offer.min_stake, promise_of(offer))


def check_backing(offer: Offer, *, free: int, promised: int) -> None:
    """Check that a bidder can answer for one more offer: its bond and liability beside all that it has promised (A7).

    Args:
        offer: What is bid on.
        free: The bidder's confirmed stake that is neither locked nor leaving, base units.
        promised: `promise_of` over its open bids, and the liabilities of awards that it hasn't locked for yet.

    Raises:
        BackingRefused: It can't, in words for its operator.
    """
    advice = "add stake: stoa stake add AMOUNT"
    if free < offer.min_stake:
        raise BackingRefused(
            f"the offer wants bidders with a free stake of {format_amount(offer.min_stake)},"
            f" this node has {format_amount(free)}",
            advice=advice,
        )
    needed = promise_of(offer)
    if free - promised < needed:
        rest = f", of which {format_amount(promised)} is promised to other bids" if promised else ""
        raise BackingRefused(
            f"the offer puts {format_amount(needed)} of stake at risk (bond and liability), this node has"
            f" {format_amount(free)} free{rest}",
            advice=advice,
        )
