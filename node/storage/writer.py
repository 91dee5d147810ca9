"""The one writer: jobs wait in a queue and are committed in groups.

A commit costs a flush to disk whatever it holds, so all jobs that arrived during the last flush share the next one.
Each job has a savepoint: one that fails is undone alone and its group goes on. A job's caller hears of it after the
commit and never before.

The connection to a server may break. Before COMMIT was sent nothing of the group is there. After it, only the database
can tell: the group's callers wait until it is back and was asked.
"""

import functools
import math
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Final, Generic, Protocol, TypeAlias, TypeVar, cast

import structlog
import trio
from outcome import Error, Outcome, Value, capture
from sqlalchemy import Connection, RootTransaction
from sqlalchemy.exc import DBAPIError

from node.storage.blocking import RunBlocking
from node.storage.database import Database
from node.storage.errors import DatabaseUnreachable
from node.storage.translation import translate

T = TypeVar("T")
log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

QUEUE_JOBS: Final = 1024
"""Jobs that may wait; a caller beyond that waits to enqueue."""
GROUP_JOBS: Final = 512
"""Most jobs in one transaction: bounds how long a reader's snapshot and a caller wait."""
PATIENCE_S: Final = 30.0
"""How long a group waits for a server that is away before its callers hear of it: a restart, a failover."""
CLOSING_PATIENCE_S: Final = 5.0
FIRST_DELAY_S: Final = 0.1
LONGEST_DELAY_S: Final = 2.0


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

    def is_committed(self, connection: Connection) -> bool:
        """Tell whether what `before_commit` saw is in the database; true as well if nothing is under way.

        Raises:
            JournalRolledBack: Neither that is there nor what was durable before.
        """
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


class _Attempt(Enum):
    """How it went to commit a group."""

    DECIDED = auto()
    NOT_CONNECTED = auto()  # nothing was run
    IN_DOUBT = auto()  # COMMIT was sent and not answered


class _ConnectionLost(Exception):
    """The connection broke, although the job that noticed it said something else."""


class Writer:
    """Nobody else uses its connection; `run` must be running for `submit` to return."""

    def __init__(
        self,
        database: Database,
        connection: Connection,
        state: TransactionState,
        run_blocking: RunBlocking,
        on_commit: OnCommit | None = None,
    ) -> None:
        """Take over the writing connection; `run` closes it.

        Args:
            database: Says whether the connection is good, and makes a new one.
            connection: What it made.
            state: Memory that mirrors it.
            run_blocking: How to run what blocks.
            on_commit: Told how long each group took.
        """
        self._database, self._connection = database, connection
        self._run_blocking, self._on_commit = run_blocking, on_commit
        self._state = state
        self._send, self._inbox = trio.open_memory_channel[_Job[object]](QUEUE_JOBS)
        self._limiter = trio.CapacityLimiter(1)
        self._results: list[Outcome[object]] = []
        self._mark: object = None
        self._was_committed = False
        self._closed_at: float | None = None
        self.next_commit = trio.Event()
        """Set, and replaced by a new one, after each group."""
        self.trouble: DatabaseUnreachable | None = None
        """Why there is no connection; None while there is one."""

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
            DiskFull, DatabaseUnreachable: Nothing of the group was kept.
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
        self._closed_at = trio.current_time()
        self._send.close()

    async def run(self) -> None:
        """Commit groups until closed. Shielded: services may still write while they are cancelled.

        Raises:
            DatabaseTaken, JournalRolledBack: The database is another than the one whose connection was lost.
        """
        jobs: list[_Job[object]] = []
        with trio.CancelScope(shield=True), self._inbox:
            try:
                async for first in self._inbox:
                    jobs = [first, *self._take_waiting()]
                    began = trio.current_time()
                    await self._commit(jobs)
                    if self._on_commit is not None:
                        self._on_commit(trio.current_time() - began, len(jobs))
                    for job in jobs:
                        job.done.set()
                    self.next_commit.set()
                    self.next_commit = trio.Event()
            finally:
                while jobs := [job for job in jobs if not job.done.is_set()] or self._take_waiting():
                    for job in jobs:  # only after a failure in here: let nobody wait for ever
                        job.done.set()
                self._connection.close()

    async def _commit(self, jobs: Sequence[_Job[object]]) -> None:
        """Give each job its result, or none if nobody can tell before the writer must end."""
        attempt = await self._attempt(jobs)
        if attempt is _Attempt.NOT_CONNECTED and await self._regain(PATIENCE_S):
            attempt = await self._attempt(jobs)
        match attempt:
            case _Attempt.DECIDED:
                pass
            case _Attempt.NOT_CONNECTED:
                reason = self.trouble.reason if self.trouble is not None else "the connection broke"
                for job in jobs:
                    job.result = Error(DatabaseUnreachable(reason))
            case _Attempt.IN_DOUBT:
                log.warning("storage.commit_in_doubt", jobs=len(jobs))
                if await self._regain(math.inf):
                    log.info("storage.commit_found", committed=self._was_committed)
                    self._settle(jobs, committed=self._was_committed)

    async def _attempt(self, jobs: Sequence[_Job[object]]) -> _Attempt:
        return await self._run_blocking(functools.partial(self._commit_group, jobs), limiter=self._limiter)

    async def _regain(self, patience_s: float) -> bool:
        """Connect anew, and see what the database holds. False if that took too long, or the node is ending."""
        began, delay_s = trio.current_time(), FIRST_DELAY_S
        while True:
            try:
                await self._run_blocking(self._reconnect, limiter=self._limiter)
            except DatabaseUnreachable as error:
                if self.trouble is None:
                    log.warning("storage.database_lost", reason=error.reason)
                self.trouble = error
            else:
                log.info("storage.database_back", place=self._database.place)
                self.trouble = None
                return True
            now = trio.current_time()
            if now - began > patience_s or (self._closed_at is not None and now - self._closed_at > CLOSING_PATIENCE_S):
                return False
            await trio.sleep(delay_s)
            delay_s = min(2 * delay_s, LONGEST_DELAY_S)

    def _reconnect(self) -> None:
        if not self._connection.closed:
            self._connection.invalidate()  # never to be used again, whatever is left of it
            self._connection.close()
        try:
            self._connection = self._database.connect_writer()
            with self._connection.begin():
                self._was_committed = self._state.is_committed(self._connection)
        except DBAPIError as error:
            translated = translate(error)
            raise translated if translated is not error else DatabaseUnreachable(str(error.orig)) from error

    def _take_waiting(self) -> list[_Job[object]]:
        jobs: list[_Job[object]] = []
        while len(jobs) < GROUP_JOBS - 1:
            try:
                jobs.append(self._inbox.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                break
        return jobs

    def _commit_group(self, jobs: Sequence[_Job[object]]) -> _Attempt:
        connection = self._connection
        if not self._database.is_alive(connection):
            return _Attempt.NOT_CONNECTED
        self._mark, self._results = self._state.mark(), []
        transaction = connection.begin()
        is_sent = False
        try:
            connection.exec_driver_sql("SAVEPOINT job")
            for job in jobs:
                self._results.append(self._run_in_savepoint(job))
            self._state.before_commit(connection)
            is_sent = True
            transaction.commit()
        except (DBAPIError, _ConnectionLost) as error:
            reason = translate(error) if isinstance(error, DBAPIError) else DatabaseUnreachable(str(error))
            if is_sent and (self._database.is_lost(connection) or isinstance(reason, DatabaseUnreachable)):
                return _Attempt.IN_DOUBT
            self._undo(transaction)
            self._refuse(jobs, reason)
            return _Attempt.DECIDED
        except BaseException:
            self._undo(transaction)
            raise
        self._settle(jobs, committed=True)
        return _Attempt.DECIDED

    def _undo(self, transaction: RootTransaction) -> None:
        try:
            transaction.close()
        except DBAPIError:
            self._connection.invalidate()  # it broke just now; nothing of it was committed

    def _settle(self, jobs: Sequence[_Job[object]], *, committed: bool) -> None:
        if not committed:
            self._refuse(jobs, DatabaseUnreachable("the connection broke before this was durable"))
            return
        self._state.after_commit()
        for job, result in zip(jobs, self._results, strict=True):
            job.result = result

    def _refuse(self, jobs: Sequence[_Job[object]], reason: Exception) -> None:
        self._state.roll_back(self._mark)
        for index, job in enumerate(jobs):
            own = self._results[index] if index < len(self._results) else None
            job.result = own if isinstance(own, Error) else Error(reason)

    def _run_in_savepoint(self, job: _Job[object]) -> Outcome[object]:
        mark, connection = self._state.mark(), self._connection
        result = capture(job.run, connection)
        if self._database.is_lost(connection):  # whatever the job made of that
            raise _ConnectionLost("the connection broke")
        match result:
            case Value():
                pass
            case Error(error):
                self._state.roll_back(mark)
                if isinstance(error, DBAPIError):
                    if not self._in_transaction():  # SQLite gave up the whole group, not this job alone
                        raise error
                    result = Error(translate(error))
                connection.exec_driver_sql("ROLLBACK TO job")  # and the savepoint is as new
                return result
        for statement in self._database.next_savepoint:
            connection.exec_driver_sql(statement)
        return result

    def _in_transaction(self) -> bool:
        return bool(getattr(self._connection.connection.dbapi_connection, "in_transaction", True))
