"""A clock that never shows less than the chain: for who has to act before a second of the chain's."""

from collections.abc import Callable
from dataclasses import dataclass

from node.operations.clock import Clock
from protocol.units import UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterClock:
    """This machine's clock, or the newest block's if that is ahead: a deadline is missed by whichever is slow.

    Attributes:
        clock: The machine's.
        chain_time: Of the newest block that is known; 0 before the first.
    """

    clock: Clock
    chain_time: Callable[[], UnixTime]

    def now(self) -> UnixTime:
        """Return Unix time in whole seconds."""
        return max(self.clock.now(), self.chain_time())

    def unix_time(self) -> float:
        """Return Unix time with its fraction."""
        return max(self.clock.unix_time(), float(self.chain_time()))

    def monotonic(self) -> float:
        """Return the machine's monotonic time."""
        return self.clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait on the machine's clock."""
        await self.clock.sleep(seconds)
