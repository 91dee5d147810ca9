"""How much one peer may do: token buckets, strikes and bans.

Everything here counts on the monotonic clock of trio, so that tests and the simulator run it on virtual time.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import trio

from protocol.identity import PeerId

K = TypeVar("K", bound=Hashable)

MAX_KEYS: Final = 4096
"""Buckets kept. A peer that fills them with new identities only ever evicts the ones that were idle longest."""
STRIKES: Final = 10.0
STRIKES_FORGIVEN_PER_S: Final = 1 / 60
BAN_S: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So much per second in the long run, and so much at once."""

    per_s: float
    burst: float


class TokenBucket:
    """Starts full, refills steadily, never holds more than its burst."""

    __slots__ = ("_rate", "_tokens", "_updated")

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._tokens = rate.burst
        self._updated = trio.current_time()

    def take(self, amount: float = 1.0) -> bool:
        """Take `amount`, or nothing if there is less."""
        self._refill()
        if self._tokens < amount:
            return False
        self._tokens -= amount
        return True

    @property
    def full_in_s(self) -> float:
        """After how many seconds it is full again, counted from the last `take`."""
        return (self._rate.burst - self._tokens) / self._rate.per_s

    async def wait(self, amount: float = 1.0) -> None:
        """Take `amount`, as soon as there is so much. For what this node itself does."""
        assert amount <= self._rate.burst
        while not self.take(amount):
            await trio.sleep((amount - self._tokens) / self._rate.per_s + 1e-6)

    def _refill(self) -> None:
        now = trio.current_time()
        self._tokens = min(self._rate.burst, self._tokens + (now - self._updated) * self._rate.per_s)
        self._updated = now


class Buckets(Generic[K]):
    """One bucket a key. Bounded: the key idle longest is forgotten, which only ever forgives."""

    def __init__(self, rate: Rate, *, max_keys: int = MAX_KEYS) -> None:
        self._rate = rate
        self._max_keys = max_keys
        self._buckets: OrderedDict[K, TokenBucket] = OrderedDict()

    def take(self, key: K, amount: float = 1.0) -> bool:
        """Take `amount` from the bucket of `key`, or nothing if there is less."""
        return self.bucket(key).take(amount)

    def bucket(self, key: K) -> TokenBucket:
        """Return the bucket of `key`."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(self._rate)
            if len(self._buckets) > self._max_keys:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return bucket


class Conduct:
    """Strikes against peers, and who is banned for how long.

    A peer may collect `STRIKES`, one is forgiven every minute; one more, and it is banned for `BAN_S`. A ban is a
    matter of this node alone: a peer id costs nothing to make, so bans only slow a peer down, and what protects the
    node are the limits.
    """

    def __init__(self) -> None:
        self._strikes: Buckets[PeerId] = Buckets(Rate(per_s=STRIKES_FORGIVEN_PER_S, burst=STRIKES))
        self._bans: OrderedDict[PeerId, float] = OrderedDict()

    def strike(self, peer: PeerId, weight: float = 1.0) -> bool:
        """Count misconduct; return whether that makes a ban."""
        if self._strikes.take(peer, weight):
            return False
        self.ban(peer)
        return True

    def ban(self, peer: PeerId, *, for_s: float = BAN_S) -> None:
        """Refuse `peer` from now on, for `for_s` seconds."""
        self._bans[peer] = trio.current_time() + for_s
        self._bans.move_to_end(peer)
        if len(self._bans) > MAX_KEYS:
            self._bans.popitem(last=False)

    def is_banned(self, peer: PeerId) -> bool:
        """Whether `peer` is refused now."""
        until = self._bans.get(peer)
        if until is None:
            return False
        if trio.current_time() < until:
            return True
        del self._bans[peer]
        return False

    def bans(self) -> dict[PeerId, float]:
        """Return who is refused now, and for how many seconds more."""
        now = trio.current_time()
        return {peer: until - now for peer, until in self._bans.items() if until > now}
