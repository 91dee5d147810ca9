"""The signed object of a dispute (docs/spec/objects.md). The dispute's own machine comes with the arbiter."""

from dataclasses import dataclass

from protocol.identity import ContentDigest, Digest
from protocol.units import Amount, BasisPoints, Uint8, Uint32, Uint64


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
