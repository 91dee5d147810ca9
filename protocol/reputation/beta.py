"""What a node thinks of a provider after dealing with it: the lower end of a beta (docs/spec/reputation.md).

Theory. Let every settled part be a success and every part that was awarded, started and not delivered a failure. If
all that is known beforehand is the prior Beta(1, 1), each rate of success equally likely, then after s successes and f
failures the rate is distributed as Beta(a, b) with a = s + 1, b = f + 1, n = a + b (Jøsang and Ismail 2002, "The beta
reputation system"). Its mean is a / n and its variance a b / (n**2 (n + 1)). The score is the mean less one standard
deviation: a stranger's 2,113 of 10,000 rises quickly with the first parts, and nobody reaches the top without a record.

    score = floor((10,000 a - ceil(sqrt(10**8 a b / (n + 1)))) / n), at least 0

Computed in integers, so that every machine gives the same number. Only what this node settled itself counts: no
payment, no reputation (DESIGN D6). Decay, stake, specialty and others' opinions come with the reputation issue.
"""

from dataclasses import dataclass, replace
from math import isqrt
from typing import Final

from protocol.units import WHOLE, Uint16, Uint64

PRIOR_SUCCESSES: Final = 1
PRIOR_FAILURES: Final = 1
REFUTED_WEIGHS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What this node has seen of one provider.

    Attributes:
        settled: Parts that were accepted and paid.
        failed: Parts that were awarded to it and not delivered: no start, silence after the start, a late or a false
            receipt. Unjudged outcomes (B3) count as neither.
        silent: Auctions in which it committed and revealed no bid that counts. Each is a failure.
        refuted: Parts whose receipt this node found to be wrong by running them again. Each weighs as 50 failures: a
            deterministic part has no second answer, so that was a lie, or a machine that should not sell.
        caught: Whether a fault of it is proved (A7, or a verdict): it is dealt with no more.
    """

    settled: Uint64 = 0
    failed: Uint64 = 0
    silent: Uint64 = 0
    refuted: Uint64 = 0
    caught: bool = False


NEWCOMER: Final = Record()


def with_settled(record: Record, parts: Uint64 = 1) -> Record:
    """Return the record after `parts` more were accepted and paid."""
    return replace(record, settled=record.settled + parts)


def with_failed(record: Record, parts: Uint64 = 1) -> Record:
    """Return the record after `parts` more were not delivered."""
    return replace(record, failed=record.failed + parts)


def with_silence(record: Record) -> Record:
    """Return the record after one more auction without a reveal."""
    return replace(record, silent=record.silent + 1)


def with_refuted(record: Record) -> Record:
    """Return the record after one more receipt that this node refuted."""
    return replace(record, refuted=record.refuted + 1)


def with_proof(record: Record) -> Record:
    """Return the record of a provider whose fault was proved."""
    return replace(record, caught=True)


def is_refused(record: Record) -> bool:
    """Return whether this node deals with the provider no more."""
    return record.caught


def compute_reputation(record: Record) -> Uint16:
    """Return the reputation to put into a roll, 0..10,000; 0 for one that was caught."""
    if record.caught:
        return 0
    return lower_bound(record.settled, record.failed + record.silent + REFUTED_WEIGHS * record.refuted)


def lower_bound(successes: int, failures: int) -> Uint16:
    """Return the mean of the posterior less one standard deviation, 0..10,000, rounded down.

    Args:
        successes: Not negative.
        failures: Not negative.
    """
    assert successes >= 0
    assert failures >= 0
    a, b = successes + PRIOR_SUCCESSES, failures + PRIOR_FAILURES
    n = a + b
    return max(0, (WHOLE * a - _ceil_sqrt(WHOLE * WHOLE * a * b, n + 1)) // n)


def _ceil_sqrt(numerator: int, denominator: int) -> int:
    """Return the least integer whose square is at least numerator / denominator."""
    least = -(-numerator // denominator)  # an integer square reaches x exactly when it reaches x rounded up
    root = isqrt(least)
    return root if root * root == least else root + 1
