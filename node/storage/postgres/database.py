"""A database of a PostgreSQL server as the node's store: one writer by an advisory lock, a few readers."""

import select
import time
from collections.abc import Mapping
from typing import Any, Final

import psycopg
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import NullPool

from node.storage.binding import SERVER_CURSOR
from node.storage.cursors import get_cursor, set_cursor
from node.storage.engine import READERS
from node.storage.errors import DatabaseDamaged, DatabaseInUse, DatabaseTaken, DatabaseUnreachable, DatabaseUnusable
from node.storage.postgres.address import PostgresAddress
from node.storage.postgres.server import FROM_THE_START, OLDEST, SESSION, ServerFacts, read_facts, require_fit
from node.storage.translation import one_line, translate_postgres

LOCK_KEY: Final = 0x53746F61_4E6F6465  # "StoaNode": the same for all nodes, one lock a database
LOCK_PATIENCE_S: Final = 5.0
"""How long a lock may stay with a session that is ending: a node that was killed a moment ago, or our own."""
LOCK_POLL_S: Final = 0.05

_READ_ONLY: Final = (
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY; "
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ"
)
_SELF: Final = "SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()"
_HOLDER: Final = """
SELECT l.pid, coalesce(a.client_addr::text, 'this machine') FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.classid = %(high)s::bigint::oid AND l.objid = %(low)s::bigint::oid
"""
_END: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %(pid)s AND backend_start::text = %(start)s"
)
# What a client library says before the server has said anything; with a server that speaks another language the
# failure counts as one that may pass, and its words are shown all the same.
_FOR_GOOD: Final = {
    "password authentication failed": "Correct the user or its password (storage.password_file, ~/.pgpass).",
    "no password supplied": "Give the password: storage.password_file, or ~/.pgpass.",
    "does not exist": "Make the user and its database: createuser stoa; createdb --owner stoa stoa.",
    "invalid port number": "Correct the port in storage.url.",
    "unrecognized configuration parameter": f"Take PostgreSQL {OLDEST} or newer, or correct `options` in storage.url.",
    "no pg_hba.conf entry": "Let the user in: pg_hba.conf on the server.",
    "Peer authentication failed": "Run the node as the system user of that name, or connect by TCP with a password.",
    "permission denied for database": "GRANT CONNECT ON DATABASE ... TO ...",
}


class PostgresDatabase:
    """See `Database`."""

    can_be_lost = True
    next_savepoint = ("RELEASE job; SAVEPOINT job",)

    def __init__(self, address: PostgresAddress) -> None:
        self._address = address
        self.place = address.place
        self._facts: ServerFacts | None = None
        self._session: tuple[int, str] | None = None  # of the writer: number and start
        # Whatever makes a connection of this engine, the lock comes with it: none can write without.
        self._engine = create_engine(
            "postgresql+psycopg://",
            creator=self._connect_locked,
            poolclass=NullPool,
            use_native_hstore=False,
            hide_parameters=True,
        )

    def connect_writer(self) -> Connection:
        """See `Database`."""
        return self._engine.connect()

    def is_lost(self, connection: Connection) -> bool:
        """See `Database`."""
        if connection.closed or connection.invalidated:
            return True
        raw: Any = connection.connection.dbapi_connection
        return raw is None or raw.closed

    def is_alive(self, connection: Connection) -> bool:
        """See `Database`."""
        if self.is_lost(connection):
            return False
        raw: Any = connection.connection.dbapi_connection
        try:
            poll = select.poll()
            poll.register(raw.fileno(), select.POLLIN)
            if poll.poll(0):  # the server said something unasked: most often that it ends
                raw.execute("SELECT 1")
                raw.rollback()
        except psycopg.Error:
            return False
        return True

    def open_reader(self) -> Engine:
        """See `Database`."""
        return create_engine(
            "postgresql+psycopg://",
            creator=self._connect_reading,
            pool_size=READERS,
            max_overflow=0,
            use_native_hstore=False,
            hide_parameters=True,
        )

    def is_suspect(self, connection: Connection) -> bool:
        """See `Database`. A server that started anew may have been killed; only it knows."""
        assert self._facts is not None
        if connection.exec_driver_sql("SELECT to_regclass('cursor_value')").scalar_one() is None:
            return False  # a new database
        noted = get_cursor(connection, SERVER_CURSOR)
        return noted is not None and noted != self._facts.started_at.encode()

    def check_structure(self, connection: Connection) -> None:
        """See `Database`: count the journal's rows by the table and by each index."""
        _use(connection, seqscan="on", indexscan="off", indexonlyscan="off", bitmapscan="off")
        rows = connection.exec_driver_sql("SELECT count(*) FROM journal").scalar_one()
        _use(connection, seqscan="off", indexscan="on", indexonlyscan="on", bitmapscan="off")
        for index, columns in (("pk_journal", "seq"), ("uq_journal_stream_version", "stream, version")):
            query = f"SELECT count(*) FROM (SELECT {columns} FROM journal ORDER BY {columns}) AS walked"  # noqa: S608 - constants
            found = connection.exec_driver_sql(query).scalar_one()
            if found != rows:
                raise DatabaseDamaged(f"the database is damaged: index {index} has {found} of {rows} rows")
        _use(connection, seqscan="on", indexscan="on", indexonlyscan="on", bitmapscan="on")

    def note_opened(self, connection: Connection) -> None:
        """See `Database`."""
        assert self._facts is not None
        set_cursor(connection, SERVER_CURSOR, self._facts.started_at.encode())

    def look(self, times: int) -> tuple[ServerFacts, list[float]]:
        """Return what the server says of itself, and how long it took to answer `times` times, without the lock.

        Raises:
            DatabaseUnreachable, DatabaseUnusable: Nobody answers, or lets this user in; one that is not fit does.
        """
        connection = self._connect()
        try:
            facts, seconds = read_facts(connection), list[float]()
            for _ in range(times):
                began = time.perf_counter()
                connection.execute("SELECT 1")
                seconds.append(time.perf_counter() - began)
            return facts, seconds
        finally:
            connection.close()

    def dispose(self) -> None:
        """See `Database`."""
        self._engine.dispose()

    def _connect_locked(self) -> "psycopg.Connection[Any]":
        connection = self._connect()
        try:
            facts = read_facts(connection)
            require_fit(facts)
            connection.execute(SESSION)
            if facts.synchronous_commit == "off":
                connection.execute("SET synchronous_commit = on")
            self._lock(connection)
            self._session = connection.execute(_SELF).fetchone()  # type: ignore[assignment]
            self._facts = facts
            connection.autocommit = False
        except psycopg.Error as error:
            connection.close()
            raise translate_postgres(error, lost=True) or DatabaseUnreachable(one_line(error)) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _lock(self, connection: "psycopg.Connection[Any]") -> None:
        """Take the lock. What the session that had it last was doing is then decided: a lock outlives its commit."""
        if self._session is not None:  # the server may not have noticed yet that we lost it
            pid, start = self._session
            connection.execute(_END, {"pid": pid, "start": start})
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while True:
            row = connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,)).fetchone()
            if row is not None and row[0]:
                return
            if time.monotonic() > deadline:
                break
            time.sleep(LOCK_POLL_S)
        where = {"high": LOCK_KEY >> 32, "low": LOCK_KEY & 0xFFFFFFFF}
        found = connection.execute(_HOLDER, where).fetchone()
        holder = f"session {found[0]} from {found[1]}" if found else "which has just let go"
        raise (DatabaseInUse if self._session is None else DatabaseTaken)(self.place, holder)

    def _connect_reading(self) -> "psycopg.Connection[Any]":
        connection = self._connect()
        try:
            connection.execute(SESSION)
            connection.execute(_READ_ONLY)
            connection.autocommit = False
        except psycopg.Error as error:
            connection.close()
            raise translate_postgres(error, lost=True) or DatabaseUnreachable(one_line(error)) from error
        return connection

    def _connect(self) -> "psycopg.Connection[Any]":
        try:
            return psycopg.connect(**_with_options(self._address.parameters), autocommit=True)
        except psycopg.Error as error:
            text = one_line(error)
            for words, advice in _FOR_GOOD.items():
                if words in text:
                    raise DatabaseUnusable(text, advice=advice) from None
            raise DatabaseUnreachable(text) from None


def _with_options(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return libpq's parameters with what a session of ours begins with, after what the operator gave."""
    given = parameters.get("options")
    return {**parameters, "options": f"{given} {FROM_THE_START}" if given else FROM_THE_START}


def _use(connection: Connection, **kinds: str) -> None:
    """Choose for this transaction how tables are read."""
    connection.exec_driver_sql("; ".join(f"SET LOCAL enable_{kind} = {value}" for kind, value in kinds.items()))
