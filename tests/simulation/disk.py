"""A node's disk in a simulation: real SQLite, at once, and a node that dies at any commit."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast

import trio
from outcome import Error
from sqlalchemy import Connection, Engine, event
from sqlalchemy.util import LRUCache

from node.storage.errors import DiskFull
from node.storage.writer import Writer

T = TypeVar("T")
_COMPILED: Final = LRUCache[Any, Any](2048)


@event.listens_for(Engine, "engine_connect")
def _share_compiled(connection: Connection) -> None:  # pyright: ignore[reportUnusedFunction] - SQLAlchemy calls it
    """Compile a statement once for all nodes and lives: each has an engine, which would compile everything again."""
    connection.execution_options(compiled_cache=_COMPILED)


_COMMIT: Final = Writer._commit_group.__name__  # pyright: ignore[reportPrivateUsage]


class Crash(Exception):
    """The machine is gone: whatever was not committed is lost, and nothing runs after this."""


@dataclass(kw_only=True)
class Disk:
    """`RunBlocking` for one life of a node.

    Attributes:
        crash_at: Dies at this commit, counted from 1; 0 for never.
        loses_it: Just before it is durable rather than just after, so the last writes are lost.
        slow_s: Seconds that each commit takes.
        is_full: Commits are refused.
        on_death: Called at once.
    """

    on_death: Callable[[], None]
    crash_at: int = 0
    loses_it: bool = False
    slow_s: float = 0.0
    is_full: bool = False
    commits: int = field(default=0, init=False)
    is_dead: bool = field(default=False, init=False)

    def die(self) -> None:
        """Take the node down, as of now."""
        if not self.is_dead:
            self.is_dead = True
            self.on_death()

    async def __call__(self, run: Callable[[], T], *, limiter: trio.CapacityLimiter) -> T:
        """See `RunBlocking`."""
        del limiter
        await trio.lowlevel.checkpoint()
        jobs = _jobs_of(run)
        if jobs is not None and self.slow_s:
            await trio.sleep(self.slow_s)
        if self.is_dead:
            raise Crash
        if jobs is None:
            return run()
        if self.is_full:
            for job in jobs:
                job.result = Error(DiskFull("the group"))
            return cast("T", None)
        self.commits += 1
        is_last = self.commits == self.crash_at
        if is_last and self.loses_it:
            self.die()
            raise Crash
        result = run()
        if is_last:
            self.die()
            raise Crash
        return result


def _jobs_of(run: Callable[[], Any]) -> list[Any] | None:
    """Return the jobs of a group that is to be committed; None if it is something else that runs."""
    if isinstance(run, functools.partial) and run.func.__name__ == _COMMIT:
        return run.args[0]
    return None
