"""The one writer: jobs wait in a queue and are committed in groups.

A commit costs a flush to disk whatever it holds, so all jobs that arrived during the last flush share the next one.
Each job has a savepoint: one that fails is undone alone and its group goes on. A job's caller hears of it after the
commit and never before.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Final, Generic, Protocol, TypeAlias, TypeVar, cast

import trio
from outcome import Error, Outcome, Value, capture
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from node.storage.blocking import RunBlocking
from node.storage.errors import translate

T = TypeVar("T")

QUEUE_JOBS: Final = 1024
"""Jobs that may wait; a caller beyond that waits to enqueue."""
GROUP_JOBS: Final = 512
"""Most jobs in one transaction: bounds how long a reader's snapshot and a caller wait."""


class TransactionState(Protocol):
    """Memory that mirrors the database and must be undone with it. Called on the writer's thread."""

    def mark(self) -> object:
        """Return what `roll_back` needs to come back to this point."""
        ...

    def roll_back(self, mark: object) -> None:
        """Forget everything since `mark`."""
        ...

    def before_commit(self, connection: Connection) -> None:
        """Write, once per group, what depends on all its jobs."""
        ...

    def after_commit(self) -> None:
        """Take note that everything so far is durable."""
        ...


class _Job(Generic[T]):
    """One change to the database and where its result goes."""

    __slots__ = ("done", "result", "run")

    def __init__(self, run: Callable[[Connection], T]) -> None:
        self.run = run
        self.done = trio.Event()
        self.result: Outcome[T] | None = None


OnCommit: TypeAlias = Callable[[float, int], None]
"""Told after each group: the seconds that it took as its callers saw it, and how many jobs it held."""


class WriterClosed(RuntimeError):
    """A change was asked for after the storage had closed: a service outlived it, which is a bug."""


class Writer:
    """Nobody else uses its connection; `run` must be running for `submit` to return."""

    def __init__(
        self,
        connection: Connection,
        state: TransactionState,
        run_blocking: RunBlocking,
        on_commit: OnCommit | None = None,
    ) -> None:
        self._connection, self._run_blocking, self._on_commit = connection, run_blocking, on_commit
        self._state = state
        self._send, self._inbox = trio.open_memory_channel[_Job[object]](QUEUE_JOBS)
        self._limiter = trio.CapacityLimiter(1)
        self.next_commit = trio.Event()
        """Set, and replaced by a new one, after each group."""

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return self._send.statistics().current_buffer_used

    async def submit(self, run: Callable[[Connection], T]) -> T:
        """Run `run(connection)` in the next group and return its result once that is durable.

        `run` is called on a thread; it must be quick, touch only the connection, and leave BEGIN, COMMIT and
        savepoints alone.

        A caller that is cancelled here can't know whether its change was made.

        Raises:
            DiskFull: Nothing of the group was kept.
            Exception: Whatever `run` raised; its change was undone.
        """
        job = _Job(run)
        try:
            await self._send.send(cast("_Job[object]", job))
        except (trio.ClosedResourceError, trio.BrokenResourceError) as error:
            raise WriterClosed("storage is closed") from error
        await job.done.wait()
        if job.result is None:
            raise WriterClosed("storage failed; the next start shows whether this change was made")
        return job.result.unwrap()

    def close(self) -> None:
        """Take no more jobs; `run` finishes those that wait and returns."""
        self._send.close()

    async def run(self) -> None:
        """Commit groups until closed. Shielded: services may still write while they are cancelled."""
        jobs: list[_Job[object]] = []
        with trio.CancelScope(shield=True), self._inbox:
            try:
                async for first in self._inbox:
                    jobs = [first, *self._take_waiting()]
                    began = trio.current_time()
                    await self._run_blocking(functools.partial(self._commit_group, jobs), limiter=self._limiter)
                    if self._on_commit is not None:
                        self._on_commit(trio.current_time() - began, len(jobs))
                    for job in jobs:
                        job.done.set()
                    self.next_commit.set()
                    self.next_commit = trio.Event()
            finally:
                while jobs := [job for job in jobs if not job.done.is_set()] or self._take_waiting():
                    for job in jobs:  # only after a bug in here: let nobody wait for ever
                        job.done.set()

    def _take_waiting(self) -> list[_Job[object]]:
        jobs: list[_Job[object]] = []
        while len(jobs) < GROUP_JOBS - 1:
            try:
                jobs.append(self._inbox.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                break
        return jobs

    def _commit_group(self, jobs: Sequence[_Job[object]]) -> None:
        mark = self._state.mark()
        results: list[Outcome[object]] = []
        try:
            with self._connection.begin():
                results.extend(self._run_in_savepoint(job) for job in jobs)
                self._state.before_commit(self._connection)
        except DBAPIError as error:
            self._state.roll_back(mark)
            for index, job in enumerate(jobs):
                own = results[index] if index < len(results) else None
                job.result = own if isinstance(own, Error) else Error(translate(error))
            return
        self._state.after_commit()
        for job, result in zip(jobs, results, strict=True):
            job.result = result

    def _run_in_savepoint(self, job: _Job[object]) -> Outcome[object]:
        mark = self._state.mark()
        self._connection.exec_driver_sql("SAVEPOINT job")
        result = capture(job.run, self._connection)
        match result:
            case Value():
                pass
            case Error(error):
                self._state.roll_back(mark)
                if isinstance(error, DBAPIError):
                    if not self._in_transaction():  # SQLite gave up the whole group, not this job alone
                        raise error
                    result = Error(translate(error))
                self._connection.exec_driver_sql("ROLLBACK TO job")
        self._connection.exec_driver_sql("RELEASE job")
        return result

    def _in_transaction(self) -> bool:
        return bool(getattr(self._connection.connection.dbapi_connection, "in_transaction", True))
