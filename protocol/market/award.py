"""The award: what is promised to a winner, built from the offer and checked against it (docs/spec/objects.md, O3-O5).

Which bidder wins at which price is `scoring`; here stands everything else that an award says. `build_award`
and `check_award_terms` mirror each other field by field.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.market.errors import AwardError, WrongOffer
from protocol.market.objects import AuctionFormat, Award, Bid, Offer
from protocol.market.scoring import remaining_price
from protocol.signing.eip712 import Domain, digest
from protocol.signing.merkle import leaf_hash, merkle_root
from protocol.signing.signed import Signed, verify_signer
from protocol.units import Amount, Seconds, Uint16, Uint32, UnixTime


class TermsDiffer(AwardError):
    """A field of an award that does not repeat the offer.

    Attributes:
        field: Its name.
    """

    rule = "O4"

    def __init__(self, *, field: str, stated: object, expected: object) -> None:
        super().__init__(f"the award's {field} is {_show(stated)}, the offer makes it {_show(expected)}")
        self.field, self.stated, self.expected = field, stated, expected


class AboveBudgetAward(AwardError):
    """A price above the offer's budget for the parts that it buys."""

    rule = "O4"


class WrongParts(AwardError):
    """Parts that the task does not have, or a first award that does not cover them all."""

    rule = "A5"


class WrongTime(AwardError):
    """Deadlines that do not follow from the offer, or an award before the reveals or after the offer's end."""

    rule = "O4"


class WrongSlot(AwardError):
    """A slot that the offer does not have: there are as many as copies."""

    rule = "O4"


class NotDirect(AwardError):
    """A direct hire that names a roll or bids, or an auction's award that names none."""

    rule = "O5"


_REPEATED: Final = (
    "requester",
    "token",
    "rail",
    "arbiter",
    "liability",
    "dispute_fee",
    "split_bps",
    "pace",
    "resolve_within",
)
"""Fields that an award repeats from its offer under the same name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AwardTerms:
    """What the auction decides of an award. The rest comes from the offer, the rail and the clock.

    Attributes:
        roll: Digest of the roll; zero for a direct hire.
        bids: Root of the revealed bids; zero for a direct hire.
        provider: The winner.
        slot: Which copy, from 0.
        attempt: How many bidders had failed in this auction before (A5).
        first_part: First part that this award covers; it covers all from there.
        whole_price: Clearing price of the whole task, token base units.
        eta: Seconds that the winner promised.
    """

    roll: Digest
    bids: Digest
    provider: Address
    slot: Uint16
    attempt: Uint16
    first_part: Uint32
    whole_price: Amount
    eta: Seconds


def bids_root(bid_ids: Iterable[Digest]) -> Digest:
    """Return the Merkle root over bid digests, given in ascending order of their bidders (C3)."""
    return merkle_root([leaf_hash(bid_id) for bid_id in bid_ids])


def sorted_bid_ids(domain: Domain, bids: Iterable[Bid]) -> tuple[Digest, ...]:
    """Return the digests of `bids` in ascending order of their bidders."""
    return tuple(digest(domain, bid) for bid in sorted(bids, key=lambda bid: bid.bidder))


def build_award(
    offer_id: Digest, offer: Offer, terms: AwardTerms, *, channel: Digest, audit_seal: Digest, at: UnixTime
) -> Award:
    """Return the award to sign, once the rail is known.

    Args:
        offer_id: Digest of the offer.
        offer: The offer.
        terms: What the auction decided (`PrepareAward.terms`).
        channel: Id of the channel with this provider, or zero for escrow (O3).
        audit_seal: keccak of the audit's secret (L5), or zero if there is no audit.
        at: Time of the award, unix seconds.
    """
    start_by = UnixTime(at + offer.start_within)
    return Award(
        offer=offer_id,
        roll=terms.roll,
        bids=terms.bids,
        requester=offer.requester,
        provider=terms.provider,
        token=offer.token,
        rail=offer.rail,
        channel=channel,
        arbiter=offer.arbiter,
        slot=terms.slot,
        attempt=terms.attempt,
        first_part=terms.first_part,
        parts=offer.parts - terms.first_part,
        price=remaining_price(offer, terms.whole_price, terms.first_part),
        liability=offer.liability,
        dispute_fee=offer.dispute_fee,
        split_bps=offer.split_bps,
        start_by=start_by,
        deliver_by=UnixTime(start_by + terms.eta),
        pace=offer.pace,
        resolve_within=offer.resolve_within,
        audit_seal=audit_seal,
    )


def awarded_at(offer: Offer, award: Award) -> int:
    """Return when `award` says that it was made: `start_by - start_within`, unix seconds; negative if it can't be."""
    return award.start_by - offer.start_within


def check_award(domain: Domain, offer_id: Digest, offer: Offer, signed: Signed[Award]) -> Digest:
    """Check all of an award that follows from its offer alone, and return the award's id.

    Whether the right bidder won at the right price takes the roll and the bids: `transcript.verify_transcript`.

    Raises:
        WrongOffer: It names another offer.
        BadSignature: The requester did not sign it.
        AwardError: One of the kinds above.
    """
    award = signed.value
    if award.offer != offer_id:
        raise WrongOffer("the award names another offer")
    award_id = verify_signer(domain, signed, offer.requester)
    check_award_terms(offer, award)
    return award_id


def check_award_terms(offer: Offer, award: Award) -> None:
    """Check the fields of an award against its offer (O4, O5, A5).

    Raises:
        AwardError: Naming the first field that does not follow.
    """
    for name in _REPEATED:
        stated, expected = getattr(award, name), getattr(offer, name)
        if stated != expected:
            raise TermsDiffer(field=name, stated=stated, expected=expected)
    if award.slot >= offer.copies:
        raise WrongSlot(f"slot {award.slot} of {offer.copies} copies")
    if award.parts < 1 or award.first_part + award.parts != offer.parts:
        raise WrongParts(
            f"the award covers {award.parts} parts from {award.first_part}; it must reach to the last of {offer.parts}"
        )
    if award.attempt == 0 and award.first_part != 0:
        raise WrongParts(f"a first award covers all parts, this starts at {award.first_part}")
    if award.price > remaining_price(offer, offer.budget, award.first_part):
        raise AboveBudgetAward(f"{award.price} for {award.parts} of {offer.parts} parts, the budget is {offer.budget}")
    _check_times(offer, award)
    direct = offer.format == AuctionFormat.DIRECT
    # An auction without bids has no award, so no root of an auction's award is zero.
    if (award.roll == ZERO_DIGEST, award.bids == ZERO_DIGEST) != (direct, direct):
        raise NotDirect("roll and bids are zero in a direct hire, and only there")


def _check_times(offer: Offer, award: Award) -> None:
    at = awarded_at(offer, award)
    if at <= offer.reveal_by:
        raise WrongTime(f"awarded at {at}, but bids may be revealed until {offer.reveal_by}")
    if at > offer.expires:
        raise WrongTime(f"awarded at {at}, after the offer's end at {offer.expires}")
    eta = award.deliver_by - award.start_by
    if not 1 <= eta <= offer.max_eta:
        raise WrongTime(f"delivery {eta} s after the latest start, the offer allows 1 to {offer.max_eta}")


def _show(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def is_same_slot(first: Award, second: Award) -> bool:
    """Return whether two awards are for one (offer, slot, attempt)."""
    return (first.offer, first.slot, first.attempt) == (second.offer, second.slot, second.attempt)
