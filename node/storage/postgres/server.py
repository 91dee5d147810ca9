"""What a server must be before a node trusts it with promises, and what to say of one that is not."""

from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection

from node.storage.errors import DatabaseUnreachable, DatabaseUnusable

OLDEST: Final = 14
_FACTS: Final = """
SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), current_setting('fsync'),
       current_setting('full_page_writes'), current_setting('data_checksums'), current_setting('synchronous_commit'),
       pg_is_in_recovery(), current_setting('default_transaction_read_only'), current_schema(),
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false), pg_postmaster_start_time()::text
"""

# Limits of server or role are for people who forget a session: a node must not lose its lock to one. A server that
# loses the node's machine must let go of the lock soon. (Settings of TCP are ignored on a local socket.)
FROM_THE_START: Final = "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0"
"""Said with the connection: a limit of the user's may be too short for the first statement already."""
SESSION: Final = """
SET lock_timeout = '10s'; SET client_min_messages = 'warning';
SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
SET tcp_user_timeout = 20000;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What a server says of itself.

    Attributes:
        version: Such as 150018.
        encoding: Of the database.
        fsync: Whether it flushes what it says is durable.
        full_page_writes: Whether a page that was torn by a power cut can be mended.
        checksums: Whether pages carry checksums.
        synchronous_commit: As this session has it.
        standby: Whether it follows another server.
        read_only: Whether transactions are read-only unless they say otherwise.
        schema: Where tables would be made; None if there is no such place.
        may_create: Whether this user may make tables there.
        started_at: When the server started: another text after each start.
    """

    version: int
    encoding: str
    fsync: bool
    full_page_writes: bool
    checksums: bool
    synchronous_commit: str
    standby: bool
    read_only: bool
    schema: str | None
    may_create: bool
    started_at: str


def read_facts(connection: "Connection[Any]") -> ServerFacts:
    """Ask the server."""
    row = connection.execute(_FACTS).fetchone()
    assert row is not None
    version, encoding, fsync, pages, checksums, commit, standby, read_only, schema, create, started = row
    return ServerFacts(
        version=version,
        encoding=encoding,
        fsync=fsync == "on",
        full_page_writes=pages == "on",
        checksums=checksums == "on",
        synchronous_commit=commit,
        standby=standby,
        read_only=read_only == "on",
        schema=schema,
        may_create=create,
        started_at=started,
    )


def require_fit(facts: ServerFacts) -> None:
    """Refuse a server that can't keep a promise.

    Raises:
        DatabaseUnusable: It never will, as it is set up.
        DatabaseUnreachable: It is a standby: it may be promoted, or the address may lead to the primary soon.
    """
    if facts.version < OLDEST * 10_000:
        raise DatabaseUnusable(
            f"PostgreSQL {facts.version // 10_000} is too old", advice=f"Use PostgreSQL {OLDEST} or newer."
        )
    if facts.standby:
        raise DatabaseUnreachable("the server is a standby, which takes no changes")
    if facts.read_only:
        raise DatabaseUnusable(
            "its transactions are read-only",
            advice="ALTER DATABASE ... SET default_transaction_read_only = off, and the same for the user.",
        )
    if facts.encoding != "UTF8":
        raise DatabaseUnusable(
            f"its encoding is {facts.encoding}",
            advice="Make a new one: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0.",
        )
    if not facts.fsync:
        raise DatabaseUnusable(
            "the server runs with fsync off, and forgets promises in a power cut",
            advice="Set fsync = on in postgresql.conf and restart the server.",
        )
    if facts.schema is None or not facts.may_create:
        where = f"schema {facts.schema}" if facts.schema else "any schema of its search path"
        raise DatabaseUnusable(
            f"the user may not make tables in {where}",
            advice="Make the user the owner of the database (ALTER DATABASE ... OWNER TO ...), or GRANT USAGE, CREATE "
            "ON SCHEMA ... TO ...",
        )


def list_worries(facts: ServerFacts) -> list[tuple[str, str]]:
    """Return what an operator should know of a server that is fit, each with what to do."""
    worries: list[tuple[str, str]] = []
    if not facts.full_page_writes:
        worries.append(
            ("full_page_writes is off: a power cut may tear pages for good", "set full_page_writes = on and reload")
        )
    if not facts.checksums:
        worries.append(
            (
                "the cluster has no data checksums: a failing disk is noticed late",
                "stop the server and run pg_checksums --enable",
            )
        )
    return worries
