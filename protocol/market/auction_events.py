"""What a requester's auction is told (facts) and what it asks for (orders). The machine is in `auction`.

Events are encodable, so that the shell can log them before it applies them.
"""

from dataclasses import dataclass
from typing import Annotated, TypeAlias

from protocol.identity import Address, Digest
from protocol.market.award import AwardTerms
from protocol.market.evidence import Conflict
from protocol.market.objects import Award, Bid, Commitment, Roll, RollLeaf
from protocol.market.roll import MAX_BIDDERS
from protocol.signing.signed import Signed
from protocol.units import Amount, Seconds, Uint16, Uint32, UnixTime
from protocol.wire.codec import MaxLen, tagged


@tagged(1)
@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentHeard:
    """A commitment came in, by gossip or directly."""

    at: UnixTime
    signed: Signed[Commitment]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """The reputation, 0..10,000, that this requester gives one bidder."""

    bidder: Address
    reputation: Uint16


@tagged(2)
@dataclass(frozen=True, slots=True, kw_only=True)
class CommitWindowClosed:
    """No more commitments count. `opinions` covers at least the bidders that `admitted` names."""

    at: UnixTime
    opinions: Annotated[tuple[Opinion, ...], MaxLen(2 * MAX_BIDDERS)]


@tagged(3)
@dataclass(frozen=True, slots=True, kw_only=True)
class BidHeard:
    """A bid came in."""

    at: UnixTime
    signed: Signed[Bid]


@tagged(4)
@dataclass(frozen=True, slots=True, kw_only=True)
class RevealWindowClosed:
    """No more bids count."""

    at: UnixTime


@tagged(5)
@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderChosen:
    """The requester hired a provider directly, at a price and time that the two agreed on (O5)."""

    at: UnixTime
    provider: Address
    price: Amount
    eta: Seconds


@tagged(6)
@dataclass(frozen=True, slots=True, kw_only=True)
class AwardMade:
    """The rail is known and the award was built (`build_award`); it is logged with this and may now be signed."""

    at: UnixTime
    award: Award


@tagged(7)
@dataclass(frozen=True, slots=True, kw_only=True)
class BidderFailed:
    """The holder of an award did not start in time, vanished or gave up; `next_part` is the first part not accepted."""

    at: UnixTime
    slot: Uint16
    attempt: Uint16
    next_part: Uint32


@tagged(8)
@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """The user withdrew the task."""

    at: UnixTime


@tagged(9)
@dataclass(frozen=True, slots=True, kw_only=True)
class BiddersUnbacked:
    """These bidders have less confirmed stake than the offer asks for: they take no part (LK8)."""

    bidders: Annotated[tuple[Address, ...], MaxLen(2 * MAX_BIDDERS)]


@tagged(10)
@dataclass(frozen=True, slots=True, kw_only=True)
class SecretDrawn:
    """The award to come will seal this secret (L5). It is logged first: who lost it could show no lot."""

    at: UnixTime
    slot: Uint16
    attempt: Uint16
    secret: Digest


AuctionEvent: TypeAlias = (
    CommitmentHeard
    | BiddersUnbacked
    | CommitWindowClosed
    | BidHeard
    | RevealWindowClosed
    | ProviderChosen
    | AwardMade
    | BidderFailed
    | Cancelled
    | SecretDrawn
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishRoll:
    """Sign the roll and publish it with its leaves. Signing is deterministic, so twice is harmless."""

    roll: Roll
    leaves: tuple[RollLeaf, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareAward:
    """Choose the rail, build the award with `build_award` and post it as `AwardMade`. Sign nothing yet."""

    terms: AwardTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishAward:
    """Sign the award and publish it with the digests of the bids under it, by bidder."""

    award: Award
    bid_ids: tuple[Digest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishConflict:
    """Keep the proof of a fault and publish it."""

    conflict: Conflict


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSilence:
    """Count it against these bidders that they committed and revealed no bid that counts. Once per auction."""

    bidders: tuple[Address, ...]


AuctionEffect: TypeAlias = PublishRoll | PrepareAward | PublishAward | PublishConflict | NoteSilence
