"""What Reputation reports: stakes, what they answer for, and anchored scores. Base units and Unix seconds."""

from dataclasses import dataclass

from protocol.identity import Address, Digest
from protocol.units import Amount, Uint64, UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Staked:
    """`payer` added `amount` to the stake of `owner`."""

    owner: Address
    payer: Address
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveRequested:
    """`owner` asked for `amount` of its stake; it may take it after `ready_at`."""

    owner: Address
    amount: Amount
    ready_at: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeWithdrawn:
    """`owner` took `amount` of its stake out."""

    owner: Address
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class LiabilityLocked:
    """`amount` of the provider's stake answers for an award until `until`."""

    award: Digest
    provider: Address
    amount: Amount
    until: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class LiabilityFreed:
    """What was locked for an award is free again."""

    award: Digest
    provider: Address
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class LiabilitySlashed:
    """An arbiter's verdict took `fee + bounty + penalty` from what was locked; the rest is free."""

    award: Digest
    provider: Address
    arbiter: Address
    fee: Amount
    bounty: Amount
    penalty: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class BonusDeposited:
    """`payer` deposited the bonus for the success of an award."""

    award: Digest
    payer: Address
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class BonusPaid:
    """The bonus went to the provider (`earned`) or back to the requester."""

    award: Digest
    receiver: Address
    amount: Amount
    earned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ContradictionPunished:
    """Two signatures of `offender` exclude each other: it lost `amount`, of which `accuser` got `bounty`."""

    offer: Digest
    offender: Address
    accuser: Address
    amount: Amount
    bounty: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoresAnchored:
    """`publisher` anchored the Merkle root of its scores for `epoch`."""

    publisher: Address
    epoch: Uint64
    root: Digest
