"""Sealed bids: what a commitment hides, and how it is opened (docs/spec/auction.md, A1).

The hash covers the offer and the bidder besides price and time, so a commitment copied from somebody else can never be
opened by the copier; the salt, 32 random bytes, keeps a small set of likely prices from being tried one by one.
"""

from protocol.identity import Digest
from protocol.market.errors import BidError
from protocol.market.objects import Bid, Commitment, SealedBid
from protocol.signing.eip712 import Domain, digest, encode_words
from protocol.signing.keccak import keccak256


class OpensNothing(BidError):
    """A bid that is not what its bidder committed to."""

    rule = "A2"


def seal(sealed: SealedBid) -> Digest:
    """Return the hash of a sealed bid, `keccak(abi.encode(offer, bidder, price, eta, salt))`."""
    return keccak256(encode_words(sealed))


def commitment_of(sealed: SealedBid) -> Commitment:
    """Return the commitment that hides `sealed`, to be signed by its bidder."""
    return Commitment(offer=sealed.offer, bidder=sealed.bidder, hash=seal(sealed))


def opened(bid: Bid) -> SealedBid:
    """Return what `bid` says was sealed."""
    return SealedBid(offer=bid.offer, bidder=bid.bidder, price=bid.price, eta=bid.eta, salt=bid.salt)


def bid_for(sealed: SealedBid, roll: Digest) -> Bid:
    """Return the bid that opens `sealed` to the roll with digest `roll`, to be signed by its bidder."""
    return Bid(
        offer=sealed.offer, roll=roll, bidder=sealed.bidder, price=sealed.price, eta=sealed.eta, salt=sealed.salt
    )


def committed_by(domain: Domain, bid: Bid) -> Digest:
    """Return the digest of the only commitment that `bid` opens: a roll's leaf must name it.

    No signature is needed to compute it, so whoever checks a bid against a roll needs neither the commitment nor trust.
    """
    return digest(domain, commitment_of(opened(bid)))


def check_opening(commitment: Commitment, bid: Bid) -> None:
    """Check that `bid` opens `commitment`.

    Raises:
        OpensNothing: Another offer or bidder, or another price, time or salt than was sealed.
    """
    if (bid.offer, bid.bidder) != (commitment.offer, commitment.bidder):
        raise OpensNothing("the bid is for another offer, or of another bidder, than the commitment")
    if seal(opened(bid)) != commitment.hash:
        raise OpensNothing("price, time and salt of the bid are not those that were sealed")
