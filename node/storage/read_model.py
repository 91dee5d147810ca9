"""Queries: each runs on a thread of its own, on one snapshot of the database, beside the writer."""

from collections.abc import Callable
from typing import TypeVar

import trio
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from node.storage.blocking import RunBlocking
from node.storage.engine import READERS
from node.storage.errors import translate

T = TypeVar("T")


class ReadModel:
    """The way to read any table: projections', rooms' own, storage's."""

    def __init__(self, engine: Engine, run_blocking: RunBlocking) -> None:
        self._engine, self._run_blocking = engine, run_blocking
        self._limiter = trio.CapacityLimiter(READERS)

    async def query(self, run: Callable[[Connection], T]) -> T:
        """Return `run(connection)`, called on a thread. It can change nothing and must bound what it returns.

        What was acknowledged before the call is seen. A cancelled caller waits until `run` returns.

        Raises:
            DatabaseDamaged: SQLite found its file malformed.
            DatabaseFailed: The operating system refused a read.
        """
        return await self._run_blocking(lambda: self._query(run), limiter=self._limiter)

    def _query(self, run: Callable[[Connection], T]) -> T:
        try:
            with self._engine.connect() as connection, connection.begin():
                return run(connection)
        except DBAPIError as error:
            translated = translate(error)
            if translated is error:
                raise
            raise translated from error
