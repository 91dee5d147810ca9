"""The signed objects of a task that runs: start, receipt, acceptance (docs/spec/objects.md)."""

from dataclasses import dataclass, field

from protocol.identity import ContentDigest, Digest
from protocol.units import Amount, Uint8, Uint32, Uint64, UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Funds confirmed, all inputs held, bound from here (M1). Signed by the provider."""

    award: Digest
    at: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What one part did and what is due for all parts so far. Signed by the provider.

    `due` is a running total over the parts of this award (C6). `notes` names the host's own measurements; they
    are signed but never judged.
    """

    award: Digest
    part: Uint32
    outcome: Uint8
    output: ContentDigest
    logs: ContentDigest
    fuel: Uint64
    peak_mib: Uint32 = field(metadata={"solidity": "peakMiB"})
    bytes_in: Uint64
    bytes_out: Uint64
    due: Amount
    notes: ContentDigest


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """The requester's answer: all parts up to `part` are accepted and `due` is owed. Signed by the requester."""

    award: Digest
    part: Uint32
    receipt: Digest
    due: Amount
