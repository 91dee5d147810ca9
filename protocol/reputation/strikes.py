"""How long a peer holds an omission against a requester (docs/spec/auction.md, A6b).

A strike is no proof: an honest requester on a bad line gets one when its peers heard in time what it did not. So
strikes fade, by time alone. Fading by auctions that went well would be cheaper for a cheat than for anyone else: it can
make up auctions with itself, as many as it likes, for nothing.

    weight = sum over the 4 newest strikes of less than 18 h of floor(1,024 / 2**floor(age / 6 h))
    refused while weight > 512

One strike is held for 6 hours, two of one moment for 12, more for 18. A requester that leaves somebody out every 6
hours or more often is refused for ever, one that does so every 12 half of the time.
"""

from collections.abc import Iterable
from typing import Final

from protocol.units import Seconds, UnixTime

HALF_LIFE: Final = Seconds(6 * 3_600)
COUNTED: Final = 4
"""The newest strikes that weigh: a bad hour must not cost days."""
FRESH: Final = 1_024
TOLERATED: Final = 512
FORGOTTEN_AFTER: Final = Seconds(3 * HALF_LIFE)


def compute_weight(struck_at: Iterable[UnixTime], now: UnixTime) -> int:
    """Return what strikes weigh now.

    Args:
        struck_at: When this peer found each auction in which the requester left somebody out; any order.
        now: This peer's clock. A strike that lies ahead, as the clock was set back, fades like one as far behind.
    """
    ages = sorted(abs(now - at) for at in struck_at if not is_forgotten(at, now))
    return sum(FRESH >> (age // HALF_LIFE) for age in ages[:COUNTED])


def is_refused(struck_at: Iterable[UnixTime], now: UnixTime) -> bool:
    """Return whether a provider bids on nothing of a requester with these strikes."""
    return compute_weight(struck_at, now) > TOLERATED


def is_forgotten(struck_at: UnixTime, now: UnixTime) -> bool:
    """Return whether a strike is so old that it weighs nothing."""
    return abs(now - struck_at) >= FORGOTTEN_AFTER
