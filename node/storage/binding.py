"""A data folder and the server's database that holds its journal know each other by one random number.

Without it a mistyped address would have a node go on from another node's promises, and a copied folder from none.
"""

import os
import re
import secrets
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from node.storage.cursors import get_cursor, set_cursor
from node.storage.engine import DATABASE_NAME
from node.storage.errors import DatabaseMismatch, DataFolderUnusable

ID_NAME: Final = "database.id"
ID_CURSOR: Final = "storage:database"
SERVER_CURSOR: Final = "storage:server"
"""When the server started that the database was last opened on."""
_ID: Final = re.compile(r"[0-9a-f]{32}\n?")
_MOVE: Final = "Move a journal from one to the other by stoa backup and stoa restore"


def require_unbound(folder: Path) -> None:
    """Refuse to begin a journal in SQLite in a folder whose journal is in a server's database.

    Raises:
        DatabaseMismatch: It is.
    """
    if (folder / ID_NAME).exists():
        raise DatabaseMismatch(
            f"the journal of {folder} is in a PostgreSQL database, and storage.url is not set",
            advice=f"Set storage.url to that database. {_MOVE}.",
        )


def require_no_file(folder: Path) -> None:
    """Refuse to go to a server with a folder whose journal is in SQLite.

    Raises:
        DatabaseMismatch: It is.
    """
    if (folder / DATABASE_NAME).exists():
        raise DatabaseMismatch(
            f"{folder} holds a journal in SQLite, and storage.url names PostgreSQL",
            advice=f"{_MOVE} (--url), or remove storage.url.",
        )


def bind(connection: Connection, folder: Path, place: str) -> None:
    """Make the folder and a new database know each other, or check that they do; in the transaction of the open.

    Raises:
        DatabaseMismatch: They belong to others.
        DataFolderUnusable: The folder can't be written.
    """
    ours, theirs = _read(folder), get_cursor(connection, ID_CURSOR)
    if theirs is not None and ours != theirs:
        raise DatabaseMismatch(
            f"{place} holds the journal of another data folder than {folder}",
            advice="Correct storage.url or node.data_dir. If this folder was lost, put back its newest copy; without "
            "it, restore a backup into a new folder and a new database.",
        )
    if theirs is None:
        if ours is None:
            ours = _write(folder)  # first: a crash now leaves a number that the next open gives to the database
        set_cursor(connection, ID_CURSOR, ours)


def _read(folder: Path) -> bytes | None:
    try:
        text = (folder / ID_NAME).read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataFolderUnusable(folder, error.strerror or str(error)) from error
    if not _ID.fullmatch(text):
        raise DatabaseMismatch(f"{folder / ID_NAME} is damaged", advice="Put back the newest copy of the data folder.")
    return text.strip().encode()


def _write(folder: Path) -> bytes:
    number = secrets.token_hex(16)
    temporary = folder / f".{ID_NAME}.new"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{number}\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(folder / ID_NAME)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DataFolderUnusable(folder, error.strerror or str(error)) from error
    return number.encode()
