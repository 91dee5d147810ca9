"""Time, as a service receives it (DESIGN, D14): nobody calls `time` but the classes here."""

import time
from dataclasses import dataclass
from typing import Protocol

import trio

from protocol.units import UnixTime


class Clock(Protocol):
    """Unix time and monotonic time. The two are never compared with each other."""

    def now(self) -> UnixTime:
        """Return Unix time in whole seconds, rounded down: the only time that goes into a signed object."""
        ...

    def unix_time(self) -> float:
        """Return Unix time with its fraction, to compute how long to wait for a `UnixTime`."""
        ...

    def monotonic(self) -> float:
        """Return seconds since an arbitrary moment, never going back: for durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; returns at once (after a checkpoint) when `seconds` is not positive."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> UnixTime:
        """Return Unix time in whole seconds."""
        return UnixTime(int(time.time()))

    def unix_time(self) -> float:
        """Return Unix time with its fraction."""
        return time.time()

    def monotonic(self) -> float:
        """Return the operating system's monotonic time."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait on trio's clock."""
        await trio.sleep(max(0.0, seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrioClock:
    """Unix time derived from trio's own clock, so that it is virtual wherever trio's is.

    Under `trio.testing.MockClock` an hour passes as soon as nobody has anything left to do. Beware of `autojump_clock`
    where threads work: trio can't see them, and jumps ahead while they do.

    Attributes:
        epoch: Unix time when trio's clock showed `started_at`. Give a node another to make its clock run ahead.
        started_at: In seconds of trio's clock, which starts anywhere.
    """

    epoch: UnixTime
    started_at: float

    @classmethod
    def starting_at(cls, epoch: UnixTime) -> "TrioClock":
        """Return a clock that shows `epoch` now. Call it inside `trio.run`."""
        return cls(epoch=epoch, started_at=trio.current_time())

    def now(self) -> UnixTime:
        """Return the virtual Unix time in whole seconds."""
        return UnixTime(int(self.unix_time()))

    def unix_time(self) -> float:
        """Return the virtual Unix time with its fraction."""
        return self.epoch + (trio.current_time() - self.started_at)

    def monotonic(self) -> float:
        """Return trio's current time."""
        return trio.current_time()

    async def sleep(self, seconds: float) -> None:
        """Wait on trio's clock."""
        await trio.sleep(max(0.0, seconds))


async def sleep_until(clock: Clock, when: UnixTime) -> None:
    """Wait until `clock.now() >= when`.

    An `xBy` time is the last second at which its act still counts (docs/spec/conventions.md, C7): to act when that is
    over, wait until `xBy + 1`.

    A wall clock may be set back while we sleep, so the wait is checked again afterwards.
    """
    await clock.sleep(0)
    while clock.now() < when:
        await clock.sleep(when - clock.unix_time())
