"""What the market gossips, and what a relay checks before it passes a message on (docs/spec/auction.md, section 7).

The checks are cheap (size, decoding, time, one or two signatures) and need only the offer and the roll that this node
heard before. A message that may be somebody's honest mistake or bad luck (late, or about an offer that did not get
here) raises `NotRelayed`: drop it and hold it against nobody. Anything else that raises is the sender's fault, for no
honest relay would have passed it on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Final, TypeAlias, assert_never

from protocol.identity import Digest
from protocol.market.award import bids_root, check_award
from protocol.market.errors import RuleBroken, WrongOffer
from protocol.market.evidence import Conflict, check_conflict
from protocol.market.objects import AuctionFormat, Award, Bid, Commitment, Offer, Roll, RollLeaf
from protocol.market.offer import OfferOver, check_offer
from protocol.market.roll import MAX_BIDDERS, SelfDealing, check_roll
from protocol.market.scoring import check_bid_limits
from protocol.market.sealing import committed_by
from protocol.market.transcript import bids_until, check_bid
from protocol.market.transcript_errors import BidNotInRoll, BidsMismatch
from protocol.signing.eip712 import Domain, digest
from protocol.signing.signed import Signed, verify_signer
from protocol.task.manifest import MANIFEST_MAX_BYTES
from protocol.task.pricing import Rates
from protocol.task.verification import VERIFICATION_MAX_BYTES
from protocol.units import UnixTime
from protocol.wire.codec import MaxLen, TooLarge, decode_as, encode, tagged
from protocol.wire.topics import MarketTopic

SMALL_BYTES: Final = 512
"""Commitments, bids and protests, which are most of what is said."""


class NotRelayed(RuleBroken):
    """A message that is dropped without anybody being at fault."""


class UnknownOffer(NotRelayed):
    """A message about an offer, or a bid to a roll, that this node has not heard."""


class Stale(NotRelayed):
    """A message that came after the last second at which it counts."""

    rule = "C7"


class WrongTopic(RuleBroken):
    """A message on a topic that does not carry its kind."""

    rule = "G1"


@tagged(1)
@dataclass(frozen=True, slots=True, kw_only=True)
class OfferAnnouncement:
    """An offer with everything that a provider needs to decide whether to bid."""

    signed: Signed[Offer]
    manifest: Annotated[bytes, MaxLen(MANIFEST_MAX_BYTES)]
    rates: Rates
    verification: Annotated[bytes, MaxLen(VERIFICATION_MAX_BYTES)]


@tagged(2)
@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentAnnouncement:
    """A sealed bid."""

    signed: Signed[Commitment]


@tagged(3)
@dataclass(frozen=True, slots=True, kw_only=True)
class RollAnnouncement:
    """A roll with its leaves, by bidder."""

    signed: Signed[Roll]
    leaves: Annotated[tuple[RollLeaf, ...], MaxLen(MAX_BIDDERS)]


@tagged(4)
@dataclass(frozen=True, slots=True, kw_only=True)
class BidAnnouncement:
    """A bid, revealed."""

    signed: Signed[Bid]


@tagged(5)
@dataclass(frozen=True, slots=True, kw_only=True)
class AwardAnnouncement:
    """An award with the digests of the bids under it, by bidder; none for a direct hire."""

    signed: Signed[Award]
    bid_ids: Annotated[tuple[Digest, ...], MaxLen(MAX_BIDDERS)]


@tagged(6)
@dataclass(frozen=True, slots=True, kw_only=True)
class ProtestAnnouncement:
    """A bid that was left out, by its bidder (A6)."""

    signed: Signed[Bid]


@tagged(7)
@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictAnnouncement:
    """Proof of a fault by two signatures (A7)."""

    conflict: Conflict


MarketMessage: TypeAlias = (
    OfferAnnouncement
    | CommitmentAnnouncement
    | RollAnnouncement
    | BidAnnouncement
    | AwardAnnouncement
    | ProtestAnnouncement
    | ConflictAnnouncement
)

_TOPICS: Final[dict[type, MarketTopic]] = {
    OfferAnnouncement: MarketTopic.OFFERS,
    CommitmentAnnouncement: MarketTopic.COMMITMENTS,
    RollAnnouncement: MarketTopic.ROLLS,
    BidAnnouncement: MarketTopic.BIDS,
    AwardAnnouncement: MarketTopic.AWARDS,
    ProtestAnnouncement: MarketTopic.FAULTS,
    ConflictAnnouncement: MarketTopic.FAULTS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAuction:
    """What this node knows of an auction when it judges a message about it.

    Attributes:
        signed_offer: The offer.
        roll_id: Digest of the roll, once one was heard.
        leaves: Its leaves.
    """

    signed_offer: Signed[Offer]
    roll_id: Digest | None = None
    leaves: tuple[RollLeaf, ...] = ()


LARGEST: Final = max(topic.max_bytes for topic in MarketTopic)

FindAuction: TypeAlias = Callable[[Digest], KnownAuction | None]


def topic_of(message: MarketMessage) -> MarketTopic:
    """Return the topic that carries `message`."""
    return _TOPICS[type(message)]


def encode_message(message: MarketMessage) -> bytes:
    """Return the bytes to publish."""
    return encode(message, MarketMessage)


def decode_message(topic: MarketTopic, data: bytes) -> MarketMessage:
    """Read a message that came on `topic`.

    Raises:
        DecodeError: Too large for the topic, or not the one encoding of a message.
        WrongTopic: Another topic carries its kind.
    """
    message = read_message(data, max_bytes=topic.max_bytes)
    if topic_of(message) is not topic:
        raise WrongTopic(f"{type(message).__name__} on the topic of {topic.value.label}")
    return message


def read_message(data: bytes, *, max_bytes: int = LARGEST) -> MarketMessage:
    """Read a message that came whichever way. What was read last is remembered: it is judged, then handed on.

    Raises:
        DecodeError: Larger than `max_bytes`, or not the one encoding of a message.
    """
    if len(data) > max_bytes:
        raise TooLarge(f"{len(data)} bytes, at most {max_bytes} are allowed here")
    return _read_small(data) if len(data) <= SMALL_BYTES else _read_large(data)


def _read(data: bytes) -> MarketMessage:
    hint: Any = MarketMessage
    message: MarketMessage = decode_as(hint, data, max_bytes=LARGEST)
    return message


# Bounded by bytes, whoever fills them: 2 MiB of small messages, 3 MiB of large ones, read forms included.
_read_small: Final = lru_cache(maxsize=1024)(_read)
_read_large: Final = lru_cache(maxsize=32)(_read)


def validate(
    domain: Domain, topic: MarketTopic, data: bytes, *, now: UnixTime, find_auction: FindAuction
) -> MarketMessage:
    """Decide whether a message may be relayed, and return it.

    Args:
        domain: The market's domain.
        topic: Where it came.
        data: Its bytes.
        now: Unix seconds.
        find_auction: Looks up what this node knows of an auction (`observer.known_auction`).

    Raises:
        NotRelayed: Drop it; nobody is at fault.
        ProtocolError: Drop it; whoever sent it is at fault.
    """
    message = decode_message(topic, data)
    match message:
        case OfferAnnouncement():
            _check_offer(domain, message, now)
        case CommitmentAnnouncement(signed=signed):
            _check_commitment(domain, _find(find_auction, signed.value.offer), signed, now)
        case RollAnnouncement(signed=signed, leaves=leaves):
            offer = _find(find_auction, signed.value.offer).signed_offer.value
            _not_after(now, offer.expires)
            check_roll(domain, signed.value.offer, offer, signed, leaves)
        case BidAnnouncement(signed=signed):
            known = _find(find_auction, signed.value.offer)
            _not_after(now, bids_until(known.signed_offer.value))
            _check_bid(domain, known, signed)
        case AwardAnnouncement(signed=signed, bid_ids=bid_ids):
            offer = _find(find_auction, signed.value.offer).signed_offer.value
            _not_after(now, offer.expires)
            check_award(domain, signed.value.offer, offer, signed)
            if bids_root(bid_ids) != signed.value.bids:
                raise BidsMismatch("the bid digests that came with the award are not those under its root")
        case ProtestAnnouncement(signed=signed):
            known = _find(find_auction, signed.value.offer)
            _not_after(now, known.signed_offer.value.expires)
            check_bid_limits(known.signed_offer.value, signed.value)
            verify_signer(domain, signed, signed.value.bidder)
        case ConflictAnnouncement(conflict=conflict):
            check_conflict(domain, conflict)
        case _:
            assert_never(message)
    return message


def _check_offer(domain: Domain, message: OfferAnnouncement, now: UnixTime) -> None:
    try:
        check_offer(
            domain,
            message.signed,
            manifest=message.manifest,
            rates=message.rates,
            verification=message.verification,
            now=now,
        )
    except OfferOver as error:
        raise Stale(str(error)) from error


def _find(find_auction: FindAuction, offer_id: Digest) -> KnownAuction:
    known = find_auction(offer_id)
    if known is None:
        raise UnknownOffer(f"offer {offer_id.hex()[:16]} was not heard here")
    return known


def _not_after(now: UnixTime, last: UnixTime) -> None:
    if now > last:
        raise Stale(f"the last second for this was {last}, it is {now}")


def _check_commitment(domain: Domain, known: KnownAuction, signed: Signed[Commitment], now: UnixTime) -> None:
    offer = known.signed_offer.value
    if offer.format in (AuctionFormat.DIRECT, AuctionFormat.OPEN):
        raise WrongOffer("a commitment to an auction that is not sealed")
    _not_after(now, offer.commit_by)
    if signed.value.bidder == offer.requester:
        raise SelfDealing("the requester can't bid on its own offer")
    verify_signer(domain, signed, signed.value.bidder)


def _check_bid(domain: Domain, known: KnownAuction, signed: Signed[Bid]) -> None:
    offer, bid = known.signed_offer.value, signed.value
    if offer.format == AuctionFormat.OPEN:
        # The bid itself is what the list will name.
        leaf = RollLeaf(commitment=digest(domain, bid), bidder=bid.bidder, reputation=0)
        check_bid(domain, bid.offer, offer, bid.roll, leaf, signed)
        return
    if known.roll_id is None or bid.roll != known.roll_id:
        raise UnknownOffer("the bid is to a roll that was not heard here")
    leaf = next((leaf for leaf in known.leaves if leaf.bidder == bid.bidder), None)
    if leaf is None or leaf.commitment != committed_by(domain, bid):
        raise BidNotInRoll("the roll does not name this bid")
    check_bid(domain, bid.offer, offer, known.roll_id, leaf, signed)
