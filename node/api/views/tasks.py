"""A task as its requester orders, plans and follows it."""

from dataclasses import dataclass

from node.api.views.disputes import DisputeView
from node.api.views.names import AuctionFormatName, AuditName, ComparedName, RailName, TaskState, VerificationName
from node.api.views.status import CapView
from protocol.identity import Address, ContentDigest, Digest
from protocol.units import Amount, UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOrder:
    """The module that judges the outputs, and what one run of it may have. Its bytes must be in the store."""

    module: ContentDigest
    module_bytes: int
    fuel: int
    memory_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOrder:
    """A task to plan or to submit. What is None follows the node's configuration.

    Attributes:
        manifest: Canonical encoding of `protocol.task.manifest.Manifest`. To submit, its blobs must be in the store.
        commit_window_s, reveal_window_s: Least time for commitments and reveals.
        weight_price, weight_reputation, weight_speed: Basis points, all or none of them; together 10,000.
        hire: Hire this provider directly, without an auction.
        verification: How results are checked.
        audit_rate: With audit, the least chance of a second run, basis points.
        copies: With copies, how many providers run the task.
        test: With test, what judges the outputs.
    """

    manifest: bytes
    budget: Amount
    max_eta_s: int
    format: AuctionFormatName | None = None
    commit_window_s: float | None = None
    reveal_window_s: float | None = None
    weight_price: int | None = None
    weight_reputation: int | None = None
    weight_speed: int | None = None
    hire: Address | None = None
    verification: VerificationName | None = None
    audit_rate: int | None = None
    copies: int | None = None
    test: JudgeOrder | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPlan:
    """What would happen if the order were submitted now.

    Attributes:
        estimate: Least price at full limits by the records of known sellers; at this node's own rates if none has one.
        budget: The most for one copy.
        cap: The most that can be paid, for all copies: the budgets, and fees that a dispute could cost.
        rail: How it would be paid; None if it can't be.
        rail_reason: Why.
        top_up: What the channel would need first.
        sellers: Known nodes that sell on this engine.
        verification: How results would be checked, in words.
        warnings: What may go wrong, one sentence each.
    """

    name: str
    parts: int
    format: AuctionFormatName
    budget: Amount
    estimate: Amount
    cap: Amount
    rail: RailName | None
    rail_reason: str
    top_up: Amount
    max_eta_s: int
    window_s: float
    sellers: int
    verification: str
    caps: tuple[CapView, ...]
    warnings: tuple[str, ...]
    copies: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """A task that this node buys.

    Attributes:
        task: Digest of its offer.
        reason: Why it failed or changed its provider.
        budget: The most for one copy.
        spent: For all copies.
        provider: Of the award in force; of several copies, of the one that has come farthest.
        rail: Of the award in force.
    """

    task: Digest
    name: str
    state: TaskState
    reason: str
    submitted_at: UnixTime
    changed_at: UnixTime
    budget: Amount
    spent: Amount
    parts: int
    paid_parts: int
    attempt: int
    provider: Address | None
    rail: RailName | None
    copies: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AwardView:
    """One award of a task, the first or a standby's."""

    award: Digest
    provider: Address
    attempt: int
    first_part: int
    parts: int
    price: Amount
    rail: RailName
    deliver_by: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class PartView:
    """A part that was delivered. Read `output` and `logs` with `blob_read`.

    Attributes:
        part: Number, from 0.
        outcome: As in `protocol.task.outcome`; `outcome_text` says it in words.
        cost: What this part cost.
        audit: What its audit found, or its test; empty if the policy looks at nothing.
    """

    part: int
    provider: Address
    outcome: int
    outcome_text: str
    output: ContentDigest
    output_bytes: int
    logs: ContentDigest
    log_bytes: int
    fuel: int
    peak_mib: int
    cost: Amount
    receipt: Digest
    audit: AuditName = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefutedView:
    """A receipt that was found to be different from what the part really gives: not paid, kept as evidence."""

    part: int
    provider: Address
    receipt: Digest
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyView:
    """One of several copies of a task.

    Attributes:
        copy: Number, from 0.
        provider: Who works on it, or did last.
        compared: What came of comparing its last receipt with the other copies; empty before.
        reason: Why it changed its provider, or ended.
    """

    copy: int
    state: TaskState
    provider: Address | None
    paid_parts: int
    spent: Amount
    compared: ComparedName
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDetail:
    """Everything about a task.

    Attributes:
        verification: How its results are checked, in words.
        warning: Why nothing deters a provider from cheating; empty if something does.
        parts: One result a part, also if several copies gave it.
        copies: The copies, if several were asked for.
        disputes: Cases about its awards.
    """

    task: TaskView
    module: ContentDigest
    fuel_limit: int
    memory_limit_mib: int
    verification: str
    warning: str
    awards: tuple[AwardView, ...]
    parts: tuple[PartView, ...]
    refuted: tuple[RefutedView, ...]
    disputes: tuple[DisputeView, ...]
    copies: tuple[CopyView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelQuote:
    """What cancelling costs now: everything delivered, and nothing more.

    Attributes:
        cost: Paid, or to be paid for what is delivered, for the whole task.
        released: Promised money that comes back.
        explanation: For people.
    """

    task: Digest
    cost: Amount
    released: Amount
    explanation: str
