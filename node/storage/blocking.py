"""How storage runs what blocks: on threads in a node, in line in a simulator.

trio's `MockClock` can't see threads: with `autojump` it takes a node whose disk is busy for one with nothing to do, and
jumps. In line, a simulated node's writes take no virtual time, and a seed replays exactly (DESIGN, D14).
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

import trio

T = TypeVar("T")


class RunBlocking(Protocol):
    """Runs a function that blocks."""

    async def __call__(self, run: Callable[[], T], *, limiter: trio.CapacityLimiter) -> T:
        """Return `run()`; at most `limiter` of them at a time. A caller that is cancelled waits until it returns."""
        ...


async def on_thread(run: Callable[[], T], *, limiter: trio.CapacityLimiter) -> T:
    """Run on a thread: the event loop goes on meanwhile."""
    return await trio.to_thread.run_sync(run, limiter=limiter)


async def in_line(run: Callable[[], T], *, limiter: trio.CapacityLimiter) -> T:
    """Run at once: for simulators and for tests on a virtual clock."""
    del limiter
    await trio.lowlevel.checkpoint()
    return run()
