"""The phases of a purchase, each with only the fields that it has. Pure: docs/spec/task.md, section 2."""

from dataclasses import dataclass
from typing import Annotated, TypeAlias

from protocol.identity import Address, Digest
from protocol.market.objects import Award
from protocol.signing.signed import Signed
from protocol.task.audit import Finding, Rerun
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.task.purchase_events import Reason
from protocol.units import Amount, Uint16, Uint32
from protocol.wire.codec import MaxLen

MAX_ATTEMPTS = 64

FailedBidders = Annotated[tuple[Address, ...], MaxLen(MAX_ATTEMPTS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The last acceptance under one award: owed for ever, so it can be sent again whatever became of the award."""

    award: Signed[Award]
    acceptance: Acceptance


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A receipt that was found to be wrong, with what was found instead: what a court is given.

    Attributes:
        award: The award that the receipt is under.
        start: That the provider was bound.
        receipt: As the provider signed it.
        receipt_id: Its digest.
        before: Running total due before this part, base units.
        rerun: What this requester found, or another provider states.
        reason: What differs, in words.
    """

    award: Signed[Award]
    start: Signed[Start]
    receipt: Signed[Receipt]
    receipt_id: Digest
    before: Amount
    rerun: Rerun
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is done, whoever did it.

    Attributes:
        parts: How many parts the task has.
        copies: How many slots there are; of several, others may show parts that are missing here.
        slot: Which of them this is.
        paid_parts: Parts received and accepted, from the first on; those that others have shown count as well.
        spent: What all parts accepted here cost, base units.
        attempt: How many awards there were before the one in force, in all slots.
        failed: Providers that failed, in order; they are not asked again.
        accepted: The last acceptance under each award that had one, in order.
    """

    parts: Uint32
    copies: Uint16 = 1
    slot: Uint16 = 0
    paid_parts: Uint32 = 0
    spent: Amount = Amount(0)
    attempt: Uint16 = 0
    failed: FailedBidders = ()
    accepted: tuple[Accepted, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeking:
    """No award is in force; the auction names the best bidder that has not failed.

    Attributes:
        case: A wrong receipt that the court has not taken yet; nobody is hired before it has.
    """

    progress: Progress
    case: Case | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Funding:
    """An award is signed; the money behind it is being promised."""

    progress: Progress
    award: Signed[Award]
    award_id: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaiting:
    """The money stands; the provider has until `start_by` to bind itself."""

    progress: Progress
    award: Signed[Award]
    award_id: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The provider is bound and works part after part.

    Attributes:
        due: Running total under this award, base units (C6).
        latest: The last acceptance given, to be sent again after a crash.
    """

    progress: Progress
    award: Signed[Award]
    award_id: Digest
    start: Signed[Start]
    due: Amount = Amount(0)
    latest: Acceptance | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Auditing:
    """The next part is here and its receipt is looked at again; nothing is paid for it before the finding.

    Attributes:
        running: Where the award stood before this part.
        receipt: The receipt in question; no other is taken for this part.
        receipt_id: Its digest.
        passed: The finding, once it is one to pay on.
    """

    running: Running
    receipt: Signed[Receipt]
    receipt_id: Digest
    passed: Finding | None = None

    @property
    def progress(self) -> Progress:
        """As in the other states."""
        return self.running.progress

    @property
    def award(self) -> Signed[Award]:
        """As in the other states."""
        return self.running.award

    @property
    def award_id(self) -> Digest:
        """As in the other states."""
        return self.running.award_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Every part is here and paid. The last acceptance stays, for a provider that missed it."""

    progress: Progress
    award: Signed[Award]
    award_id: Digest
    latest: Acceptance


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Nobody is left to do the missing parts, or our own money could not be promised."""

    progress: Progress
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """The user gave up; what was delivered is paid."""

    progress: Progress


State: TypeAlias = Seeking | Funding | Awaiting | Running | Auditing | Done | Failed | Cancelled
