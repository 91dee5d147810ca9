"""What a dispute is decided by (docs/spec/objects.md, docs/spec/law.md section 3)."""

from dataclasses import dataclass
from enum import IntEnum

from protocol.identity import ContentDigest, Digest
from protocol.units import Amount, BasisPoints, Uint8, Uint32, Uint64


class Finding(IntEnum):
    """Who was right, in the numbers of the contract (CT9)."""

    NONE = 0
    UPHELD = 1
    """The receipt says what happened."""
    WRONG_RESULT = 2
    """Another output, or another outcome."""
    OVERBILLED = 3
    """The result holds, its bill does not."""
    OUTPUT_MISSING = 4
    """The provider has no output to show."""
    INPUTS_MISSING = 5
    """Neither side has the inputs."""
    NOT_JUDGED = 6
    """Nobody can reproduce it (SPEC B3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """What one arbiter found by running the disputed part (CT4). Equal votes are equal in every field."""

    finding: Uint8
    part: Uint32
    outcome: Uint8
    output: ContentDigest
    fuel: Uint64
    due: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a seat of a quorum signs, in the domain of the court, once it has seen the seals of all (CT6)."""

    award: Digest
    round: Uint8
    vote: Digest
    seals: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an arbiter found about one part. A call from `Award.arbiter`, or its signature if that is a plain key."""

    award: Digest
    part: Uint32
    round: Uint8
    finding: Uint8
    output: ContentDigest
    fuel: Uint64
    due: Amount
    severity: BasisPoints
