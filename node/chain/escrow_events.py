"""What Escrow reports. Base units and Unix seconds."""

from dataclasses import dataclass

from protocol.identity import Address, Digest
from protocol.units import Amount, Uint8, Uint32, UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class AwardFunded:
    """`amount` is locked in escrow for an award."""

    award: Digest
    requester: Address
    provider: Address
    token: Address
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class AwardRecalled:
    """The requester saw no start; one may be proved until `start_proof_by`."""

    award: Digest
    start_proof_by: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class AwardStarted:
    """The provider's start is proved."""

    award: Digest
    started_at: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class AwardReleased:
    """The provider was paid `amount` for the parts up to `part`; `paid` is its total."""

    award: Digest
    part: Uint32
    amount: Amount
    paid: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class AwardReleaseSkipped:
    """A batch left this acceptance out; `reason` is the selector of the error."""

    award: Digest
    reason: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AwardClaimed:
    """The provider claims `due` in all; a dispute may be opened until `dispute_by`."""

    award: Digest
    part: Uint32
    due: Amount
    receipt: Digest
    dispute_by: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class AwardClaimAccepted:
    """An open claim was accepted; the award goes on."""

    award: Digest
    due: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class AwardDisputed:
    """A party disputes the claim; `arbiter` decides until `resolve_by`."""

    award: Digest
    opener: Address
    arbiter: Address
    resolve_by: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class AwardJudged:
    """The arbiter's verdict was applied."""

    award: Digest
    arbiter: Address
    finding: Uint8
    due: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class AwardClosed:
    """The escrow of an award is closed as `outcome` (`EscrowState`); the amounts add up to what was locked."""

    award: Digest
    outcome: Uint8
    to_provider: Amount
    to_requester: Amount
    to_arbiter: Amount
