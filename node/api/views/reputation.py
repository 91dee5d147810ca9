"""What this node thinks of others, and what of that it can prove."""

from dataclasses import dataclass

from protocol.identity import Address, Digest
from protocol.units import Amount, Uint16, Uint64, UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class OpinionView:
    """What this node has seen of one provider, and the reputation that follows (docs/spec/reputation.md)."""

    provider: Address
    reputation: Uint16
    settled: Uint64
    failed: Uint64
    silent: Uint64
    refuted: Uint64


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetView:
    """Opinions of one epoch whose root is on the chain.

    Attributes:
        epoch: When the epoch began, which is its name.
        scores: How many.
        root: What is anchored.
        block: Where that is confirmed; None while it is not.
    """

    epoch: UnixTime
    scores: Uint64
    root: Digest
    block: Uint64 | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReputationReport:
    """This node's opinions, and what of them it can prove.

    Attributes:
        publisher: This wallet.
        anchors: Whether opinions are anchored unasked.
        epoch_s: Length of an epoch, seconds.
        sheets: That can be proved, newest first.
        opinions: Of providers that this node has hired, those that it dealt with most first.
    """

    publisher: Address
    anchors: bool
    epoch_s: Uint64
    sheets: tuple[SheetView, ...]
    opinions: tuple[OpinionView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreView:
    """A line of a publisher's sheet with its proof (docs/spec/scores.md): what `stoa reputation verify` reads."""

    publisher: Address
    epoch: UnixTime
    subject: Address
    score: Uint16
    siblings: tuple[Digest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackView:
    """A paid award and the feedback about its provider in a registry of ERC-8004.

    Attributes:
        due: What was paid, base units.
        ended_at: When the award was over.
        fate: waiting, intended (on its way), written or skipped.
        reason: Why it was skipped.
        agent: The provider's number in the registry, decimal; None while it isn't known.
        index: The registry's number of the feedback for this agent and this wallet; 0 before it is written.
        transaction: In which it was written; None before.
    """

    award: Digest
    provider: Address
    parts: Uint64
    paid_parts: Uint64
    due: Amount
    ended_at: UnixTime
    fate: str
    reason: str
    agent: str | None
    index: Uint64
    transaction: Digest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryView:
    """The mean of some feedback: `clients` gave `count`, `value` is decimal; None if there is none."""

    whose: str
    clients: Uint64
    count: Uint64
    value: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentView:
    """What a registry of ERC-8004 says of an agent. For display: nothing in the market follows from it."""

    agent: str
    registry: Address
    summaries: tuple[SummaryView, ...]
