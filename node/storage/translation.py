"""What a failure of SQLite or PostgreSQL means, as one of our own errors."""

import sqlite3
from typing import Final

from sqlalchemy.exc import DBAPIError

from node.storage.errors import (
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseFailed,
    DatabaseUnreachable,
    DatabaseUnusable,
    DiskFull,
)

_NOT_TEXT: Final = "Could not decode to UTF-8"
_NO_ROOM_TEXT: Final = "File too large"
"""How a file size limit on the server looks: PostgreSQL has a state of its own for a full disk, and none for that."""


def translate(error: DBAPIError) -> Exception:
    """Return the typed error for a failure of the database, or `error` itself where it is a bug (a constraint)."""
    original = error.orig
    if isinstance(original, sqlite3.Error):
        translated = translate_sqlite(original)
        return error if translated is original else translated
    if original is None:
        return error
    return translate_postgres(original, lost=error.connection_invalidated) or error


def translate_sqlite(error: sqlite3.Error) -> Exception:
    """Return the typed error for a failure that SQLite reports, or `error` itself where it is a bug."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # the module's own complaint, not SQLite's
        return DatabaseDamaged(f"the database is damaged: {error}") if _NOT_TEXT in str(error) else error
    match code & 0xFF:  # the low byte is the primary code, the rest details it
        case sqlite3.SQLITE_FULL:
            return DiskFull("a change to the database")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return DatabaseBusy(f"the database is locked: {error}")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return DatabaseDamaged(f"the database is damaged: {error}")
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return DatabaseFailed(f"the database can't be used: {error}")
        case _:
            return error


def translate_postgres(error: BaseException, *, lost: bool) -> Exception | None:
    """Return the typed error for a failure of PostgreSQL, None where it is a bug.

    The driver is an optional package, so its classes are not named here; all of them carry the server's SQLSTATE.

    Args:
        error: One of psycopg's.
        lost: The connection is gone.
    """
    state: str = getattr(error, "sqlstate", None) or ""
    text = one_line(error)
    match state[:2], state:
        case _, "53100":
            return DiskFull("a change to the database", advice="Free space on the disk of the PostgreSQL server.")
        case "XX", "XX000" if _NO_ROOM_TEXT in text:
            return DiskFull("a change to the database", advice="Raise the file size limit of the PostgreSQL server.")
        case ("08", _) | (_, "57P01" | "57P02" | "57P03" | "57P05"):
            return DatabaseUnreachable(text)
        case _, "25006":
            return DatabaseUnreachable("the server takes no changes: it is a standby, or set read-only")
        case ("53", _) | (_, "40001" | "40P01" | "55P03" | "57014"):
            return DatabaseBusy(
                f"the database is busy: {text}", advice="Look at what else works in this database: pg_stat_activity."
            )
        case _, "42501":
            return DatabaseUnusable(
                text,
                advice="Make the user the owner of the database (ALTER DATABASE ... OWNER TO ...), or grant it "
                "what is missing.",
            )
        case _, "XX001" | "XX002":
            return DatabaseDamaged(f"the database is damaged: {text}")
        case "58", _:
            return DatabaseFailed(f"the database can't be used: {text}")
        case _:
            return DatabaseUnreachable(text) if lost else None


def one_line(error: BaseException) -> str:
    """Return what an error says as one line. The driver never quotes a password; our own addresses are not in it."""
    return " ".join(str(error).split()) or type(error).__name__
