"""What any peer keeps of the auctions that it hears: the states, events and effects of `observer`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from protocol.identity import Address, Digest
from protocol.market.evidence import Conflict
from protocol.market.objects import Award, Bid, Commitment, Offer, Roll, RollLeaf
from protocol.market.transcript import HeardBid, HeardCommitment
from protocol.signing.eip712 import Domain
from protocol.signing.signed import Signed
from protocol.units import UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardAward:
    """An award and the digests of the bids under it."""

    signed: Signed[Award]
    bid_ids: tuple[Digest, ...]


def _empty() -> Mapping[Address, HeardCommitment]:
    return MappingProxyType({})


def _no_bids() -> Mapping[Address, HeardBid]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedAuction:
    """What was heard of one auction. Every signature was checked; one commitment and one bid a bidder."""

    offer_id: Digest
    signed_offer: Signed[Offer]
    own: bool = False
    """This node takes part: it makes room for no other."""
    commitments: Mapping[Address, HeardCommitment] = field(default_factory=_empty)
    bids: Mapping[Address, HeardBid] = field(default_factory=_no_bids)
    roll: Signed[Roll] | None = None
    leaves: tuple[RollLeaf, ...] = ()
    other_roll: Signed[Roll] | None = None
    awards: tuple[HeardAward, ...] = ()
    conflicts: tuple[Conflict, ...] = ()

    @property
    def offer(self) -> Offer:
        """The offer itself."""
        return self.signed_offer.value

    @property
    def messages(self) -> int:
        """How many commitments and bids are kept."""
        return len(self.commitments) + len(self.bids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """One auction in which a requester left somebody out, and when this peer found it."""

    offer_id: Digest
    at: UnixTime


def _no_auctions() -> Mapping[Digest, ObservedAuction]:
    return MappingProxyType({})


def _no_strikes() -> Mapping[Address, tuple[Strike, ...]]:
    return MappingProxyType({})


def _no_proofs() -> Mapping[Address, Conflict]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserverState:
    """Everything that this peer remembers of auctions.

    Attributes:
        domain: The market's domain.
        auctions: By offer.
        messages: Commitments and bids kept in all.
        strikes: By requester, the newest that count, in the order found; one an auction, whoever was left out of it.
        proofs: One proof a culprit, requesters and bidders alike.
    """

    domain: Domain
    auctions: Mapping[Digest, ObservedAuction] = field(default_factory=_no_auctions)
    messages: int = 0
    strikes: Mapping[Address, tuple[Strike, ...]] = field(default_factory=_no_strikes)
    proofs: Mapping[Address, Conflict] = field(default_factory=_no_proofs)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferSeen:
    """An offer came by; `check_offer` looked at what it names. `own`: this node takes part in its auction."""

    at: UnixTime
    signed: Signed[Offer]
    own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentSeen:
    """A commitment came by."""

    at: UnixTime
    signed: Signed[Commitment]


@dataclass(frozen=True, slots=True, kw_only=True)
class RollSeen:
    """A roll came by."""

    at: UnixTime
    signed: Signed[Roll]
    leaves: tuple[RollLeaf, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BidSeen:
    """A bid came by."""

    at: UnixTime
    signed: Signed[Bid]


@dataclass(frozen=True, slots=True, kw_only=True)
class AwardSeen:
    """An award came by."""

    at: UnixTime
    signed: Signed[Award]
    bid_ids: tuple[Digest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtestSeen:
    """A bidder says that it was left out."""

    at: UnixTime
    signed: Signed[Bid]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictSeen:
    """A proof came by."""

    at: UnixTime
    conflict: Conflict


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationFailed:
    """This peer checked a transcript with what it heard itself, and it failed."""

    at: UnixTime
    offer_id: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class StrikeRecalled:
    """This peer held an omission to a requester before it was restarted."""

    requester: Address
    strike: Strike


@dataclass(frozen=True, slots=True, kw_only=True)
class TimePassed:
    """It is `at` now."""

    at: UnixTime


ObserverEvent: TypeAlias = (
    OfferSeen
    | CommitmentSeen
    | RollSeen
    | BidSeen
    | AwardSeen
    | ProtestSeen
    | ConflictSeen
    | VerificationFailed
    | StrikeRecalled
    | TimePassed
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishConflict:
    """Publish a proof that this peer found."""

    conflict: Conflict
