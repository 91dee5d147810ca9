"""Queries: each runs on a thread of its own, on one snapshot of the database, beside the writer."""

from collections.abc import Callable
from typing import Final, TypeVar

import trio
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from node.storage.blocking import RunBlocking
from node.storage.engine import READERS
from node.storage.errors import DatabaseUnreachable
from node.storage.translation import translate

T = TypeVar("T")

PATIENCE_S: Final = 30.0
"""How long a query waits for a server that is away: a restart, a failover."""
FIRST_DELAY_S: Final = 0.05
LONGEST_DELAY_S: Final = 2.0
_READ_ONLY: Final = "25006"


class ReadModel:
    """The way to read any table: projections', rooms' own, storage's."""

    def __init__(self, engine: Engine, run_blocking: RunBlocking) -> None:
        self._engine, self._run_blocking = engine, run_blocking
        self._limiter = trio.CapacityLimiter(READERS)

    async def query(self, run: Callable[[Connection], T]) -> T:
        """Return `run(connection)`, called on a thread. It can change nothing and must bound what it returns.

        What was acknowledged before the call is seen. A cancelled caller waits until `run` returns. It is called again
        if the connection to a server breaks.

        Raises:
            DatabaseUnreachable: The server was away for `PATIENCE_S`.
            DatabaseDamaged: The database found its files malformed.
            DatabaseFailed: The operating system refused a read.
        """
        began, delay_s = trio.current_time(), FIRST_DELAY_S
        while True:
            try:
                return await self._run_blocking(lambda: self._query(run), limiter=self._limiter)
            except DatabaseUnreachable:
                if trio.current_time() - began > PATIENCE_S:
                    raise
            await trio.sleep(delay_s)
            delay_s = min(2 * delay_s, LONGEST_DELAY_S)

    def _query(self, run: Callable[[Connection], T]) -> T:
        try:
            with self._engine.connect() as connection, connection.begin():
                return run(connection)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) == _READ_ONLY:
                raise  # a query that wants to change something, which no waiting mends
            translated = translate(error)
            if translated is error:
                raise
            raise translated from error
