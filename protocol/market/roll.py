"""The roll: who takes part, fixed and signed before any price is known (docs/spec/auction.md, A1).

The signed struct holds a Merkle root; the leaves travel beside it, sorted by bidder, so that one set of bidders has one
root and no bidder stands in it twice.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from protocol.identity import Digest, format_address
from protocol.market.errors import RollError, WrongOffer
from protocol.market.objects import AuctionFormat, Offer, Roll, RollLeaf
from protocol.signing.eip712 import Domain, encode_words
from protocol.signing.merkle import leaf_hash, merkle_root
from protocol.signing.signed import Signed, verify_signer
from protocol.units import WHOLE, Uint16

MAX_BIDDERS: Final = 256
"""Most bidders of one auction: a roll with its leaves must fit one gossip message (topics.ROLLS)."""


class RollMismatch(RollError):
    """The leaves beside a roll are not those under its root, or not as many as it says."""

    rule = "A1"


class UnorderedLeaves(RollError):
    """Leaves that are not in strictly ascending order of bidders, so one may stand there twice."""

    rule = "A1"


class ReputationOutOfRange(RollError):
    """A reputation above 10,000."""

    rule = "O4"


class OverfullRoll(RollError):
    """More bidders than the offer admits."""

    rule = "A1"


class SelfDealing(RollError):
    """A requester that bids on its own offer."""

    rule = "A8"


class NoRollHere(RollError):
    """A roll for an offer that has none: a direct hire."""

    rule = "O5"


def sort_leaves(leaves: Iterable[RollLeaf]) -> tuple[RollLeaf, ...]:
    """Return the leaves in the order in which they stand under a root."""
    return tuple(sorted(leaves, key=lambda leaf: leaf.bidder))


def roll_root(leaves: Sequence[RollLeaf]) -> Digest:
    """Return the Merkle root over `leaves` as they stand."""
    return merkle_root([leaf_hash(encode_words(leaf)) for leaf in leaves])


def make_roll(offer_id: Digest, leaves: Sequence[RollLeaf]) -> Roll:
    """Return the roll over sorted `leaves`, to be signed by the requester."""
    return Roll(offer=offer_id, root=roll_root(leaves), count=len(leaves))


def check_leaves(offer: Offer, roll: Roll, leaves: Sequence[RollLeaf]) -> None:
    """Check that `leaves` are those of `roll`, and that `offer` admits them.

    Raises:
        RollError: One of the kinds above.
    """
    if offer.format == AuctionFormat.DIRECT:
        raise NoRollHere("a direct hire has no roll")
    if len(leaves) > min(offer.max_bidders, MAX_BIDDERS):
        raise OverfullRoll(f"the roll has {len(leaves)} bidders, the offer admits {offer.max_bidders}")
    if len(leaves) != roll.count:
        raise RollMismatch(f"the roll counts {roll.count} bidders, {len(leaves)} leaves came with it")
    for before, after in pairwise(leaves):
        if before.bidder >= after.bidder:
            raise UnorderedLeaves(f"{format_address(after.bidder)} is out of order, or stands in the roll twice")
    for leaf in leaves:
        check_reputation(leaf.reputation)
        if leaf.bidder == offer.requester:
            raise SelfDealing("the requester stands in its own roll")
    if roll_root(leaves) != roll.root:
        raise RollMismatch("the leaves that came with the roll are not those under its root")


def check_reputation(reputation: Uint16) -> None:
    """Check that a reputation is at most 10,000.

    Raises:
        ReputationOutOfRange: It is not.
    """
    if not 0 <= reputation <= WHOLE:
        raise ReputationOutOfRange(f"reputation {reputation} is outside 0..{WHOLE}")


def check_roll(
    domain: Domain, offer_id: Digest, offer: Offer, signed: Signed[Roll], leaves: Sequence[RollLeaf]
) -> Digest:
    """Check a roll with its leaves against its offer, and return the roll's id.

    Raises:
        WrongOffer: It names another offer.
        BadSignature: The requester did not sign it.
        RollError: It does not hold together.
    """
    if signed.value.offer != offer_id:
        raise WrongOffer("the roll names another offer")
    roll_id = verify_signer(domain, signed, offer.requester)
    check_leaves(offer, signed.value, leaves)
    return roll_id
