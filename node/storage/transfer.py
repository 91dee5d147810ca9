"""Moving a journal and the tables beside it between SQLite and PostgreSQL, row by row.

Both stores have the same tables by the same migrations, so a backup holds SQLite whatever the node works with, and is
restored into either. Projections are left behind: they are made again from the journal.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Table, create_engine, func, insert, select
from sqlalchemy.pool import NullPool

from node.storage.binding import ID_CURSOR, SERVER_CURSOR, bind
from node.storage.chain import Head
from node.storage.database import Database
from node.storage.engine import DATABASE_NAME
from node.storage.errors import DatabaseNotEmpty
from node.storage.journal import GROUPS_CURSOR
from node.storage.progress import Progress, Steps
from node.storage.records import verify_steps
from node.storage.schema import CORE, SchemaPart, migrate
from node.storage.tables import cursor_value, journal, projection

ROWS_PER_STEP: Final = 1000
_OF_ONE_DATABASE: Final = (ID_CURSOR, GROUPS_CURSOR, SERVER_CURSOR)
"""Cursors that mean nothing elsewhere."""


def copy_out_steps(database: Database, folder: Path, parts: Sequence[SchemaPart]) -> Steps:
    """Write one moment of a server's database as a new `stoa.sqlite3` in `folder`.

    Args:
        database: Its tables are at the newest revision of `parts`.
        folder: Holds no database.
        parts: Rooms that own tables, beside storage itself.
    """
    target = create_engine(f"sqlite:///{folder / DATABASE_NAME}", poolclass=NullPool, connect_args=_ANY_THREAD)
    source = database.open_reader()
    try:
        with source.connect() as reading, reading.begin(), target.connect() as writing, writing.begin():
            migrate(writing, [CORE, *parts])
            yield from _copy(reading, writing, parts)
    finally:
        source.dispose()
        target.dispose()


def copy_in(folder: Path, database: Database, parts: Sequence[SchemaPart]) -> Steps:
    """Write the `stoa.sqlite3` of `folder` into an empty database, all of it or nothing, and bind the two.

    Args:
        folder: Its database is at the newest revision of `parts`. The caller takes the file away afterwards.
        database: New.
        parts: Rooms that own tables, beside storage itself.

    Raises:
        DatabaseNotEmpty: It holds a journal.
        JournalBroken: What was written is not what was read.
    """
    source = create_engine(f"sqlite:///{folder / DATABASE_NAME}", poolclass=NullPool, connect_args=_ANY_THREAD)
    try:
        with source.connect() as reading, database.connect_writer() as writing, writing.begin():
            migrate(writing, [CORE, *parts])
            if writing.execute(select(func.count()).select_from(journal)).scalar_one():
                raise DatabaseNotEmpty(database.place)
            bind(writing, folder, database.place)
            yield from _copy(reading, writing, parts)
            found = yield from verify_steps(writing)
            assert found == _last(reading)
    finally:
        source.dispose()


_ANY_THREAD: Final = {"check_same_thread": False}


def _copy(reading: Connection, writing: Connection, parts: Sequence[SchemaPart]) -> Steps:
    tables = [table for part in (CORE, *parts) for table in part.metadata.sorted_tables if table is not projection]
    total = sum(reading.execute(select(func.count()).select_from(table)).scalar_one() for table in tables)
    done = 0
    for table in tables:
        for rows in _pages(reading, table):
            writing.execute(insert(table), rows)
            done += len(rows)
            yield Progress("database", done, total)


def _pages(reading: Connection, table: Table) -> Iterator[list[dict[str, object]]]:
    query = select(table)
    if table is cursor_value:
        query = query.where(cursor_value.c.name.not_in(_OF_ONE_DATABASE))
    elif table is journal:
        query = query.order_by(journal.c.seq)
    rows = reading.execution_options(yield_per=ROWS_PER_STEP).execute(query)
    for page in rows.mappings().partitions():
        yield [dict(row) for row in page]


def _last(connection: Connection) -> Head:
    row = connection.execute(select(journal.c.seq, journal.c.hash).order_by(journal.c.seq.desc()).limit(1)).one()
    return Head(row.seq, row.hash)
