"""The facts of a purchase, each one record of its journal stream. The machine is in `purchase`."""

from dataclasses import dataclass
from typing import Annotated, TypeAlias

from protocol.identity import Digest
from protocol.market.objects import Award
from protocol.signing.signed import Signed
from protocol.task.audit import Finding, Rerun
from protocol.task.objects import Receipt, Start
from protocol.wire.codec import MaxLen, tagged

Reason = Annotated[str, MaxLen(512)]


@tagged(1)
@dataclass(frozen=True, slots=True, kw_only=True)
class WinnerChosen:
    """The auction named a provider, and the requester signed the award."""

    award: Signed[Award]
    award_id: Digest


@tagged(2)
@dataclass(frozen=True, slots=True, kw_only=True)
class NoWinner:
    """Nobody (else) bid."""

    reason: Reason


@tagged(3)
@dataclass(frozen=True, slots=True, kw_only=True)
class RailFunded:
    """The hold is signed, or the escrow is confirmed."""

    award_id: Digest


@tagged(4)
@dataclass(frozen=True, slots=True, kw_only=True)
class RailFailed:
    """The money can't be promised: a spending cap, an empty wallet, a chain that is not there."""

    award_id: Digest
    reason: Reason


@tagged(5)
@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The provider's start arrived in time."""

    start: Signed[Start]


@tagged(6)
@dataclass(frozen=True, slots=True, kw_only=True)
class PartReceived:
    """A receipt passed every check and its output is on this disk."""

    receipt: Signed[Receipt]
    receipt_id: Digest


@tagged(7)
@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFailed:
    """The provider did not start, fell silent, or broke a rule."""

    award_id: Digest
    reason: Reason


@tagged(8)
@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """The user wants no more of it."""


@tagged(9)
@dataclass(frozen=True, slots=True, kw_only=True)
class AuditDrawn:
    """A receipt passed every check and its output is on this disk, and the policy has it looked at again."""

    receipt: Signed[Receipt]
    receipt_id: Digest


@tagged(10)
@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPassed:
    """Nothing speaks against the receipt: the second result is equal, or there is none that counts."""

    receipt_id: Digest
    finding: Finding
    reason: Reason


@tagged(11)
@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRefuted:
    """The receipt is wrong. It stands here with what was found instead: the evidence."""

    receipt_id: Digest
    rerun: Rerun
    reason: Reason


@tagged(12)
@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeTaken:
    """The court has a case, durably."""

    receipt_id: Digest


@tagged(13)
@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptContested:
    """Another provider states something else, `rerun`, and nobody could say who is right: it is not paid."""

    receipt_id: Digest
    rerun: Rerun
    reason: Reason


Event: TypeAlias = (
    WinnerChosen
    | NoWinner
    | RailFunded
    | RailFailed
    | Started
    | PartReceived
    | ProviderFailed
    | CancelRequested
    | AuditDrawn
    | AuditPassed
    | AuditRefuted
    | DisputeTaken
    | ReceiptContested
)
