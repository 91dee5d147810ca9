"""States, events and effects of a bidder in one auction. The machine is in `bidding`."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, TypeAlias

from protocol.identity import Digest
from protocol.market.evidence import Conflict
from protocol.market.objects import Award, Bid, Commitment, Offer, Roll, RollLeaf, SealedBid
from protocol.market.roll import MAX_BIDDERS
from protocol.signing.eip712 import Domain
from protocol.signing.signed import Signed
from protocol.units import UnixTime
from protocol.wire.codec import MaxLen, tagged


@dataclass(frozen=True, slots=True, kw_only=True)
class BiddingTerms:
    """What stays the same in every state."""

    domain: Domain
    offer_id: Digest
    signed_offer: Signed[Offer]

    @property
    def offer(self) -> Offer:
        """The offer itself."""
        return self.signed_offer.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """The commitment is out, the bid is still sealed."""

    terms: BiddingTerms
    sealed: SealedBid


@dataclass(frozen=True, slots=True, kw_only=True)
class Revealed:
    """The bid is out.

    Attributes:
        terms: The auction.
        bid: The one bid that was or may be signed; in the open format the best so far.
        roll: The roll that it was revealed to; None in the open format until the list is signed.
    """

    terms: BiddingTerms
    bid: Bid
    roll: Signed[Roll] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Won:
    """This bidder holds an award. Nothing binds it before it signs a Start (M1)."""

    terms: BiddingTerms
    bid: Bid
    roll: Signed[Roll]
    award: Signed[Award]
    bid_ids: tuple[Digest, ...]
    awards: tuple[Signed[Award], ...]


class LossReason(IntEnum):
    """Why a bidder does not hold an award."""

    NOT_IN_ROLL = 1
    """The requester left it out although there was room (A6)."""
    ROLL_FULL = 2
    """Others were heard first."""
    TOO_LATE = 3
    """The roll came after the last second to reveal."""
    OUTBID = 4
    """Another bid won; this bidder is a standby until the offer ends."""
    BID_OMITTED = 5
    """The award leaves out the bid that was revealed (A6)."""
    REPLACED = 6
    """The award was made to a standby instead."""
    REQUESTER_CHEATED = 7
    """The requester signed two things that exclude each other (A7)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """This bidder holds no award, and why.

    Attributes:
        terms: The auction.
        why: Why.
        roll: The first roll that was heard; None if that never came.
        bid: The bid that was revealed; None if it was not.
        sealed: What was committed to; None in the open format.
        awards: Awards heard so far.
    """

    terms: BiddingTerms
    why: LossReason
    roll: Signed[Roll] | None
    bid: Bid | None
    sealed: SealedBid | None
    awards: tuple[Signed[Award], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """The offer ended and no award came."""

    terms: BiddingTerms


BiddingState: TypeAlias = Committed | Revealed | Won | Lost | Expired


@tagged(1)
@dataclass(frozen=True, slots=True, kw_only=True)
class RollHeard:
    """A roll came in with its leaves."""

    at: UnixTime
    signed: Signed[Roll]
    leaves: Annotated[tuple[RollLeaf, ...], MaxLen(MAX_BIDDERS)]


@tagged(2)
@dataclass(frozen=True, slots=True, kw_only=True)
class AwardHeard:
    """An award came in with the digests of the bids under it, by bidder."""

    at: UnixTime
    signed: Signed[Award]
    bid_ids: Annotated[tuple[Digest, ...], MaxLen(MAX_BIDDERS)]


@tagged(3)
@dataclass(frozen=True, slots=True, kw_only=True)
class BidImproved:
    """Open format: this bidder decided to bid better."""

    at: UnixTime
    bid: Bid


@tagged(4)
@dataclass(frozen=True, slots=True, kw_only=True)
class TimePassed:
    """It is `at` now."""

    at: UnixTime


BiddingEvent: TypeAlias = RollHeard | AwardHeard | BidImproved | TimePassed


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishCommitment:
    """Sign the commitment and publish it, also straight to the requester."""

    commitment: Commitment


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishBid:
    """Sign the bid and publish it, also straight to the requester. Signing is deterministic, so twice is harmless."""

    bid: Bid


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishProtest:
    """Sign the bid, if it is not yet, and publish it as a protest against being left out (A6)."""

    bid: Bid


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishProof:
    """Keep the proof of the requester's fault, publish it and deal with this requester no more."""

    conflict: Conflict


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckTranscript:
    """Get the bids under the award and verify the transcript; sign no Start before it holds."""

    award: Signed[Award]
    bid_ids: tuple[Digest, ...]


BiddingEffect: TypeAlias = PublishCommitment | PublishBid | PublishProtest | PublishProof | CheckTranscript
