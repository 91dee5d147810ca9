"""What this node thinks of others, and what of that it can prove."""

from dataclasses import dataclass

from protocol.identity import Address, Digest
from protocol.units import Uint16, Uint64, UnixTime


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
