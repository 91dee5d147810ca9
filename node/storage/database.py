"""The two places where a journal may lie, as the rest of storage sees them: SQLite in the folder, or PostgreSQL."""

from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Engine

from node.storage.engine import DATABASE_NAME, check_structure, open_reader_engine, open_writer_engine


class Database(Protocol):
    """One of the two.

    Attributes:
        place: Where it is, for people; never a secret.
        can_be_lost: Whether a connection may break while the database goes on. A store that can't lose one knows at
            each moment what was committed; one that can keeps count of its groups (`Ledger`).
        next_savepoint: What keeps the work of one job and begins that of the next, in few statements: each
            is a way to the server and back.
    """

    @property
    def place(self) -> str:
        """See the class."""
        ...

    @property
    def can_be_lost(self) -> bool:
        """See the class."""
        ...

    @property
    def next_savepoint(self) -> tuple[str, ...]:
        """See the class."""
        ...

    def connect_writer(self) -> Connection:
        """Return the one connection that may write, with the lock that makes it the one. Blocks.

        Raises:
            DatabaseUnreachable: Nobody answers; later somebody may.
            DatabaseInUse: Another node has it.
            DatabaseTaken: Another node took it since this one last had it.
            DatabaseUnusable: What answers is not fit.
        """
        ...

    def is_lost(self, connection: Connection) -> bool:
        """Tell whether `connection` broke, as far as is known without asking the server."""
        ...

    def is_alive(self, connection: Connection) -> bool:
        """Tell whether an idle `connection` of the writer is still good; quick. It has no transaction open."""
        ...

    def open_reader(self) -> Engine:
        """Return an engine for queries: each transaction sees one snapshot and can change nothing."""
        ...

    def is_suspect(self, connection: Connection) -> bool:
        """Tell whether everything should be checked: what ran the database may not have ended in order."""
        ...

    def check_structure(self, connection: Connection) -> None:
        """Check what the hash chain can't show: that indexes and tables agree.

        Raises:
            DatabaseDamaged: They do not.
        """
        ...

    def note_opened(self, connection: Connection) -> None:
        """Remember what `is_suspect` compares with; in the transaction of the open."""
        ...

    def dispose(self) -> None:
        """Close what is left open."""
        ...


class SqliteDatabase:
    """`stoa.sqlite3` in the data folder. The folder's lock is its lock."""

    can_be_lost = False
    next_savepoint = ("RELEASE job", "SAVEPOINT job")

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.place = str(folder / DATABASE_NAME)
        self._was_killed = (folder / f"{DATABASE_NAME}-wal").exists()  # a writer that ends in order leaves none
        self._engine = open_writer_engine(folder)

    def connect_writer(self) -> Connection:
        """See `Database`."""
        return self._engine.connect()

    def is_lost(self, connection: Connection) -> bool:
        """See `Database`."""
        del connection
        return False

    def is_alive(self, connection: Connection) -> bool:
        """See `Database`."""
        del connection
        return True

    def open_reader(self) -> Engine:
        """See `Database`."""
        return open_reader_engine(self._folder)

    def is_suspect(self, connection: Connection) -> bool:
        """See `Database`."""
        del connection
        return self._was_killed

    def check_structure(self, connection: Connection) -> None:
        """See `Database`."""
        check_structure(connection)

    def note_opened(self, connection: Connection) -> None:
        """See `Database`."""

    def dispose(self) -> None:
        """See `Database`."""
        self._engine.dispose()
