"""Who may try to become a peer: the handshakes that are under way, how many begin, and which addresses are refused.

A handshake costs us milliseconds and a stranger next to nothing, and no identity is known before it ends. So all that
can be counted here is addresses; and since those of a botnet are many, also all together (docs/adr/1513).
"""

from collections import Counter
from typing import Final

import trio

from node.networking.limits import Buckets, Rate, TokenBucket
from node.networking.peers.groups import host_group, network_group

ARRIVAL_RATE: Final = Rate(per_s=10, burst=100)
"""Handshakes that one public network may begin."""
ALL_ARRIVALS: Final = Rate(per_s=15, burst=100)
"""And all together: a newcomer costs 10 ms, with all that greets and asks it."""
SHARE: Final = 4
"""One network may hold one part in so many of the unfinished handshakes."""
CHANCE_S: Final = 1.0
"""An unfinished handshake is not ended for another before it had so long."""
BANS_FORGIVEN: Final = Rate(per_s=3 / 600, burst=3)
"""Banned peers that one address may bring within ten minutes; one more, and it is refused itself."""
REFUSED_S: Final = 600.0
MAX_REFUSED: Final = 4096


class Handshake:
    """One that is under way; `scope` ends it."""

    def __init__(self, host: str) -> None:
        self.host, self.network = host_group(host), network_group(host)
        self.scope = trio.CancelScope()
        self.began = trio.current_time()


class Doorway:
    """What is known of strangers before they have shown who they are."""

    def __init__(self, max_handshakes: int) -> None:
        self._max = max_handshakes
        self._under_way: dict[Handshake, None] = {}
        self._arrivals: Buckets[str] = Buckets(ARRIVAL_RATE)
        self._all = TokenBucket(ALL_ARRIVALS)
        self._bans: Buckets[str] = Buckets(BANS_FORGIVEN)
        self._refused: dict[str, float] = {}

    def enter(self, host: str) -> Handshake | None:
        """Begin a handshake with a stranger at `host`; None if it can't have one now. `leave` ends it."""
        newcomer = Handshake(host)
        of_network = [each for each in self._under_way if each.network == newcomer.network]
        if newcomer.network is not None and len(of_network) >= max(1, self._max // SHARE):
            return None
        if len(self._under_way) >= self._max and not self._end_oldest():
            return None
        if newcomer.network is not None and not self._arrivals.take(newcomer.network):
            return None
        if not self._all.take():
            return None
        self._under_way[newcomer] = None
        return newcomer

    def leave(self, handshake: Handshake) -> None:
        """The handshake is over, well or not."""
        self._under_way.pop(handshake, None)

    def note_ban(self, host: str) -> bool:
        """A peer at `host` was banned; return whether its address is refused from now on."""
        group = host_group(host)
        if self._bans.take(group):
            return False
        self._refused.pop(group, None)
        self._refused[group] = trio.current_time() + REFUSED_S
        if len(self._refused) > MAX_REFUSED:
            del self._refused[next(iter(self._refused))]
        return True

    def is_refused(self, host: str) -> bool:
        """Whether nobody at `host` is let in now."""
        until = self._refused.get(host_group(host))
        return until is not None and trio.current_time() < until

    def _end_oldest(self) -> bool:
        """End the oldest unfinished handshake of the host that has most, unless all are young."""
        sizes = Counter(each.host for each in self._under_way)
        since = trio.current_time() - CHANCE_S
        old = [each for each in self._under_way if each.began <= since]
        if not old:
            return False
        victim = max(old, key=lambda each: (sizes[each.host], -each.began))
        del self._under_way[victim]
        victim.scope.cancel()
        return True
