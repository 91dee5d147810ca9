"""Facts that the contracts report, as typed values (contracts/interfaces/). Base units and Unix seconds."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, TypeAlias

from node.chain.abi import UndecodableLog, build, load_artifact
from node.chain.chain import RawLog
from node.chain.deployment import Deployment
from protocol.dispute.case import (
    Appealed,
    CaseClosed,
    CaseOpened,
    CommitteeDrawn,
    RoundDecided,
    VoteOpened,
    VoteSealed,
)
from protocol.dispute.objects import Finding, Vote
from protocol.identity import Address, Digest
from protocol.units import Amount, Uint8, Uint32, Uint64, UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelOpened:
    """A channel exists; its key is (payer, signer, payee, token, counter)."""

    channel: Digest
    payer: Address
    payee: Address
    signer: Address
    token: Address
    counter: Uint64
    deposit: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class ToppedUp:
    """Somebody added `amount` to a channel's deposit, which is now `deposit`."""

    channel: Digest
    funder: Address
    amount: Amount
    deposit: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelClaimed:
    """The payee was paid `paid`; `claimed` is its total in the channel."""

    channel: Digest
    claimed: Amount
    paid: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSkipped:
    """A batch left this claim out; `reason` is the selector of the error."""

    channel: Digest
    reason: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldsPresented:
    """The payee presented a voucher: its holds now count against the payer's exit."""

    channel: Digest
    sequence: Uint64
    cumulative: Amount
    held: Amount
    holds: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitStarted:
    """The payer began to leave; `exits_at` is the last second of the challenge."""

    channel: Digest
    payer: Address
    exits_at: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldEnforced:
    """An arbiter enforced the hold of `award` on the voucher presented last."""

    channel: Digest
    award: Digest
    arbiter: Address
    to_payee: Amount
    to_arbiter: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """`amount` of a channel went back to its payer."""

    channel: Digest
    payer: Address
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelClosed:
    """A channel is closed and empty; `to_payee` is what the payee got in all."""

    channel: Digest
    to_payee: Amount


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatsEnded:
    """What became of the seats of a round of a case, as bits."""

    award: Digest
    round: Uint8
    paid: int
    wrong: int
    absent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Enlisted:
    """`arbiter` has ticket `index` for `engine`."""

    engine: Digest
    arbiter: Address
    index: Uint32


@dataclass(frozen=True, slots=True, kw_only=True)
class Resigned:
    """Ticket `index` of `arbiter` is drawn no more."""

    engine: Digest
    arbiter: Address
    index: Uint32


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """`arbiter` took `amount` from the bench."""

    arbiter: Address
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutCredited:
    """The token refused a payout; `owner` may withdraw it."""

    owner: Address
    token: Address
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditWithdrawn:
    """`owner` withdrew its credit."""

    owner: Address
    token: Address
    to: Address
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBusinessPaused:
    """The guardian stopped new business of one contract."""

    guardian: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBusinessResumed:
    """The guardian allowed new business again."""

    guardian: Address


ContractEvent: TypeAlias = (
    ChannelOpened
    | ToppedUp
    | ChannelClaimed
    | ClaimSkipped
    | HoldsPresented
    | ExitStarted
    | HoldEnforced
    | Withdrawn
    | ChannelClosed
    | AwardFunded
    | AwardRecalled
    | AwardStarted
    | AwardReleased
    | AwardReleaseSkipped
    | AwardClaimed
    | AwardClaimAccepted
    | AwardDisputed
    | AwardJudged
    | AwardClosed
    | Staked
    | LeaveRequested
    | StakeWithdrawn
    | LiabilityLocked
    | LiabilityFreed
    | LiabilitySlashed
    | BonusDeposited
    | BonusPaid
    | ContradictionPunished
    | ScoresAnchored
    | CaseOpened
    | CommitteeDrawn
    | VoteSealed
    | VoteOpened
    | RoundDecided
    | SeatsEnded
    | Appealed
    | CaseClosed
    | Enlisted
    | Resigned
    | Collected
    | PayoutCredited
    | CreditWithdrawn
    | NewBusinessPaused
    | NewBusinessResumed
)

_TREASURY: Final[Mapping[str, type[ContractEvent]]] = {
    "Credited": PayoutCredited,
    "CreditWithdrawn": CreditWithdrawn,
    "Paused": NewBusinessPaused,
    "Resumed": NewBusinessResumed,
}
EVENTS: Final[Mapping[str, Mapping[str, type[ContractEvent]]]] = {
    "PaymentChannel": {
        **_TREASURY,
        "ChannelOpened": ChannelOpened,
        "ToppedUp": ToppedUp,
        "Claimed": ChannelClaimed,
        "ClaimSkipped": ClaimSkipped,
        "HoldsPresented": HoldsPresented,
        "ExitStarted": ExitStarted,
        "HoldEnforced": HoldEnforced,
        "Withdrawn": Withdrawn,
        "ChannelClosed": ChannelClosed,
    },
    "Escrow": {
        **_TREASURY,
        "Funded": AwardFunded,
        "Recalled": AwardRecalled,
        "Started": AwardStarted,
        "Released": AwardReleased,
        "ReleaseSkipped": AwardReleaseSkipped,
        "Claimed": AwardClaimed,
        "ClaimAccepted": AwardClaimAccepted,
        "Disputed": AwardDisputed,
        "Judged": AwardJudged,
        "Closed": AwardClosed,
    },
    "Reputation": {
        **_TREASURY,
        "Staked": Staked,
        "LeaveRequested": LeaveRequested,
        "Withdrawn": StakeWithdrawn,
        "LiabilityLocked": LiabilityLocked,
        "LiabilityFreed": LiabilityFreed,
        "LiabilitySlashed": LiabilitySlashed,
        "BonusDeposited": BonusDeposited,
        "BonusPaid": BonusPaid,
        "ContradictionPunished": ContradictionPunished,
        "ScoresAnchored": ScoresAnchored,
    },
    "DisputeArbiter": {
        **_TREASURY,
        "CaseOpened": CaseOpened,
        "CommitteeDrawn": CommitteeDrawn,
        "VoteSealed": VoteSealed,
        "VoteOpened": VoteOpened,
        "RoundDecided": RoundDecided,
        "SeatsEnded": SeatsEnded,
        "Appealed": Appealed,
        "CaseClosed": CaseClosed,
    },
    "Bench": {**_TREASURY, "Enlisted": Enlisted, "Resigned": Resigned, "Collected": Collected},
}
"""By contract and Solidity name. What the court tells of a case is in the protocol's own words."""
_READERS: Final[Mapping[str, Callable[[Any], object]]] = {
    "vote": lambda words: build(Vote, words),
    "finding": Finding,
}
"""Arguments that aren't plain values, by name."""


def names_of(deployment: Deployment) -> Mapping[Address, str]:
    """Return the contracts of a deployment that report events, by address."""
    names = {deployment.payment_channel: "PaymentChannel", deployment.escrow: "Escrow"}
    if deployment.has_stakes:
        names[deployment.reputation] = "Reputation"
    if deployment.has_court:
        names |= {deployment.court: "DisputeArbiter", deployment.bench: "Bench"}
    return names


def decode_log(deployment: Deployment, log: RawLog) -> ContractEvent | None:
    """Read a log of the deployment's contracts; None for other contracts and for events that mean nothing to us.

    Raises:
        UndecodableLog: It is not built as its contract builds it, so the chain's node is wrong or lies.
    """
    name = names_of(deployment).get(log.address)
    if name is None:
        return None
    decoded = load_artifact(name).abi.decode_event(log.topics, log.data)
    if decoded is None or decoded[0] not in EVENTS[name]:
        return None
    cls = EVENTS[name][decoded[0]]
    values = {snake(key): value for key, value in decoded[1].items()}
    try:
        wanted = {
            field.name: _READERS[field.name](values[field.name]) if field.name in _READERS else values[field.name]
            for field in fields(cls)
        }
    except ValueError as error:
        raise UndecodableLog(f"{decoded[0]}: {error}") from error
    return cls(**wanted)  # pyright: ignore[reportArgumentType] - types come from the ABI; a test compares the two


def snake(name: str) -> str:
    """Turn a Solidity name into ours."""
    return re.sub(r"(?<=[a-z0-9])[A-Z]", lambda match: "_" + match[0].lower(), name)
