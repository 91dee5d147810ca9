"""Logs of the deployment's contracts, read into what they report (contracts/interfaces/)."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, TypeAlias

from node.chain.abi import UndecodableLog, build, load_artifact
from node.chain.chain import RawLog
from node.chain.channel_events import (
    ChannelClaimed,
    ChannelClosed,
    ChannelOpened,
    ClaimSkipped,
    ExitStarted,
    HoldEnforced,
    HoldsPresented,
    ToppedUp,
    Withdrawn,
)
from node.chain.court_events import Collected, Enlisted, Resigned, SeatsEnded
from node.chain.deployment import Deployment
from node.chain.escrow_events import (
    AwardClaimAccepted,
    AwardClaimed,
    AwardClosed,
    AwardDisputed,
    AwardFunded,
    AwardJudged,
    AwardRecalled,
    AwardReleased,
    AwardReleaseSkipped,
    AwardStarted,
)
from node.chain.stake_events import (
    BonusDeposited,
    BonusPaid,
    ContradictionPunished,
    LeaveRequested,
    LiabilityFreed,
    LiabilityLocked,
    LiabilitySlashed,
    ScoresAnchored,
    Staked,
    StakeWithdrawn,
)
from protocol.dispute.case import Appealed, CaseClosed, CaseOpened, CommitteeDrawn, RoundDecided, VoteOpened, VoteSealed
from protocol.dispute.objects import Finding, Vote
from protocol.identity import Address


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
