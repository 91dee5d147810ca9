"""Who has to go when a node is full.

A stranger may come from anywhere and as often as it likes, so "first come, first served" hands a full node to whoever
came first with many. Here the network with the most connections pays for a newcomer: a flood from one network only
ever displaces itself. What this node chose to dial is not up for this at all.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A connection, as far as it matters here.

    Attributes:
        group: Its network; something of its own if its network is not counted.
        score: How well its peer has served us.
        opened_at: Any clock.
    """

    group: Hashable
    score: float
    opened_at: float


def choose_victim(held: Sequence[Held], newcomer: Held) -> int | None:
    """Return the index of the connection that makes room for `newcomer`, or None if the newcomer must go.

    It is one of the group that is largest with the newcomer counted in; there the worst score, and of equals the
    youngest: to stay, one must have served, and then have lasted.
    """
    sizes = Counter(each.group for each in (*held, newcomer))
    largest = max(sizes.values())
    candidates = [(each, index) for index, each in enumerate(held) if sizes[each.group] == largest]
    if sizes[newcomer.group] == largest:
        candidates.append((newcomer, -1))
    _, index = min(candidates, key=lambda pair: (pair[0].score, -pair[0].opened_at, pair[1]))
    return index if index >= 0 else None
