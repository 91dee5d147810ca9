"""Doing things at a bounded pace: token buckets for others, a schedule for ourselves."""

from collections.abc import Awaitable, Callable

from node.operations.clock import Clock
from node.operations.randomness import RandomSource


class TokenBucket:
    """At most `burst` at once and `per_second` in the long run. It starts full and needs no task of its own."""

    def __init__(self, *, per_second: float, burst: float, clock: Clock) -> None:
        if per_second <= 0 or burst <= 0:
            raise ValueError(f"a bucket of {burst} refilled by {per_second}/s never lets anything through")
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._level = burst
        self._measured_at = clock.monotonic()

    def try_take(self, count: float = 1.0) -> bool:
        """Take `count` tokens if they are there, else take none and return false. More than `burst` is never there."""
        self._refill()
        if count > self._level:
            return False
        self._level -= count
        return True

    def is_full(self) -> bool:
        """Tell whether nothing was taken lately: a full bucket can be dropped and made again when needed."""
        self._refill()
        return self._level >= self._burst

    def _refill(self) -> None:
        now = self._clock.monotonic()
        self._level = min(self._burst, self._level + (now - self._measured_at) * self._per_second)
        self._measured_at = now


async def run_every(
    run: Callable[[], Awaitable[object]], *, period_s: float, clock: Clock, random: RandomSource | None = None
) -> None:
    """Call `run` now and then every `period_s` until cancelled; a run that takes longer delays the next.

    With `random`, each wait is shortened by up to a tenth, so that nodes started together drift apart.
    """
    while True:
        began = clock.monotonic()
        await run()
        wait_s = period_s * (1.0 - 0.1 * random.uniform()) if random is not None else period_s
        await clock.sleep(wait_s - (clock.monotonic() - began))
