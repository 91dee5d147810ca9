"""SQLAlchemy engines on one SQLite file: one connection that writes, a few that read.

Everything that knows SQLite by name is here, in `errors.translate` and in the tables' type variants.
"""

import sqlite3
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, MetaData, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from node.storage.errors import DatabaseDamaged

DATABASE_NAME: Final = "stoa.sqlite3"
READERS: Final = 4
BUSY_TIMEOUT_S: Final = 5.0

# Alembic needs a name for every constraint that it may later have to drop.
NAMING_CONVENTION: Final = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def new_metadata() -> MetaData:
    """Return an empty `MetaData` with the naming convention that all tables of the node share."""
    return MetaData(naming_convention=NAMING_CONVENTION)


def open_writer_engine(folder: Path) -> Engine:
    """Return the engine of the one connection that writes.

    Its transactions start with BEGIN IMMEDIATE: one that starts as a reader and then writes fails with "database is
    locked" as soon as anyone else wrote in between, and no timeout helps.
    """
    return _open(folder, readers=0)


def open_reader_engine(folder: Path) -> Engine:
    """Return the engine for queries: each transaction sees one snapshot and can change nothing."""
    return _open(folder, readers=READERS)


def check_structure(connection: Connection) -> None:
    """Have SQLite check every page and that indexes and tables agree: a row that an index has lost is a lost record.

    Raises:
        DatabaseDamaged: They do not.
    """
    found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one()
    if found != "ok":
        raise DatabaseDamaged(f"the database is damaged: {found}")


def _open(folder: Path, *, readers: int) -> Engine:
    engine = create_engine(
        f"sqlite:///{folder / DATABASE_NAME}",
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_S},
        pool_size=max(1, readers),
        max_overflow=0,
    )

    def configure(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves; the module's own idea of it breaks savepoints
        cursor = connection.cursor()
        if readers:
            cursor.execute("PRAGMA query_only=ON")
        else:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")  # a commit that returned survives a power cut
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA cell_size_check=ON")
        cursor.close()

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if readers else "BEGIN IMMEDIATE")

    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", begin)
    return engine
