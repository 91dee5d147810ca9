"""Making a backup of an open data folder, beside the node that works on it (docs/spec/storage.md, section 5).

A backup is a sequence of steps, each short enough to be told about and to be stopped after: whoever takes them decides
on which thread.
"""

import os
import sqlite3
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, create_engine, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from node.storage.anchor import ANCHOR_NAME, open_anchor
from node.storage.backup_file import open_backup_writer
from node.storage.database import Database
from node.storage.engine import BUSY_TIMEOUT_S, DATABASE_NAME
from node.storage.errors import BackupUnusable, DiskFull, is_no_room
from node.storage.progress import Progress, Steps
from node.storage.records import verify_steps
from node.storage.schema import SchemaPart
from node.storage.tables import blob_retention
from node.storage.transfer import copy_out_steps
from node.storage.translation import translate, translate_sqlite
from protocol.units import UnixTime

PAGES_PER_STEP: Final = 1024
"""4 MiB of database between two looks at whether anybody still waits."""
TELL_EVERY_S: Final = 0.1


def backup_steps(
    folder: Path,
    target: Path,
    *,
    files: Mapping[str, Path],
    with_blobs: bool,
    now: UnixTime,
    database: Database | None = None,
    parts: Sequence[SchemaPart] = (),
) -> Steps:
    """Write a backup of the data folder `folder` to `target`, whole or not at all, telling how far it is.

    The caller holds the folder's lock, by way of an open `Storage` that may be writing, and closes the generator if it
    stops early: nothing is left behind then. Steps block for some milliseconds of disk each; any thread may take them.

    Args:
        folder: The data folder.
        target: Must not exist.
        files: What else to take, by name in the backup; missing ones are left out.
        with_blobs: Take the blobs that are kept.
        now: Time of the backup.
        database: Of a server; None if the journal lies in the folder. What is written is the same.
        parts: Rooms that own tables in it.

    Raises:
        BackupUnusable: `target` exists or can't be written.
        DatabaseUnreachable: The server went away: no backup was made.
        DiskFull: There is no room for it, or for the snapshot beside it.
        JournalBroken, DatabaseDamaged: The journal is broken: no backup of it would be one.
    """
    if target.exists():
        raise BackupUnusable(target, "it exists", advice="Choose another name, or move the old backup away.")
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.partial")
    scratch = target.with_name(f".{target.name}.{os.getpid()}.snapshot")
    try:
        scratch.mkdir(mode=0o700)
        if database is not None and database.can_be_lost:
            yield from copy_out_steps(database, scratch, parts)
        else:
            yield from _copy_database(folder, scratch)
        yield from _write(folder, scratch, unfinished, files, with_blobs=with_blobs, now=now)
        os.link(unfinished, target)  # unlike a rename it never replaces what somebody else put there meanwhile
        flush_folder(target.parent)
    except DBAPIError as error:
        raise translate(error) from error
    except sqlite3.Error as error:
        raise translate_sqlite(error) from error
    except FileExistsError as error:
        raise BackupUnusable(Path(error.filename2 or error.filename), "it exists") from error
    except OSError as error:
        if is_no_room(error):
            raise DiskFull(f"the backup {target}") from error
        raise BackupUnusable(target, error.strerror or str(error)) from error
    finally:
        _sweep(scratch, unfinished)
    size = target.stat().st_size
    yield Progress("done", size, size)


@dataclass(slots=True)
class _Copying:
    """What the copying thread and the one that waits for it tell each other."""

    done: int = 0
    total: int = 0
    stopped: bool = field(default=False)


class _Stopped(Exception):
    """Nobody waits for the backup any more."""


def _copy_database(folder: Path, scratch: Path) -> Steps:
    state = _Copying()
    # SQLite copies in one call, so the steps come from beside it.
    with ThreadPoolExecutor(1, thread_name_prefix="backup") as pool:
        copying = pool.submit(_copy, folder / DATABASE_NAME, scratch / DATABASE_NAME, state)
        try:
            while True:
                try:
                    copying.result(timeout=TELL_EVERY_S)
                except NotYet:
                    yield Progress("database", state.done, state.total)
                else:
                    return
        finally:
            state.stopped = True


def _copy(source_path: Path, target: Path, state: _Copying) -> None:
    def step(_status: int, remaining: int, total: int) -> None:
        state.done, state.total = total - remaining, total
        if state.stopped:
            raise _Stopped

    uri = f"{source_path.resolve().as_uri()}?mode=rw"
    with (
        closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as source,
        closing(sqlite3.connect(target)) as copy,
    ):
        # One snapshot from here to the end: without it, each commit of the node would begin the copy anew.
        source.execute("PRAGMA query_only=ON")
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        source.backup(copy, pages=PAGES_PER_STEP, progress=step, sleep=0.0)
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, without a -wal beside it


def _write(
    folder: Path, scratch: Path, unfinished: Path, files: Mapping[str, Path], *, with_blobs: bool, now: UnixTime
) -> Steps:
    """Check the snapshot's journal, make an anchor for it, and write everything into `unfinished`, flushed."""
    with open_copy(scratch).connect() as connection:
        head = yield from verify_steps(connection)
        kept = connection.execute(select(blob_retention.c.digest).where(blob_retention.c.keep_until >= now))
        blobs = sorted(digest.hex() for digest in kept.scalars()) if with_blobs else []
    with open_anchor(scratch) as anchor:
        anchor.reset(head)
    sources = {DATABASE_NAME: scratch / DATABASE_NAME, ANCHOR_NAME: scratch / ANCHOR_NAME, **files}
    sources |= {f"blobs/{name[:2]}/{name}": folder / "blobs" / name[:2] / name for name in blobs}
    total, done = sum(map(_size, sources.values())), 0
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with open_backup_writer(file) as writer:
            for name, path in sources.items():
                # A blob may be gone since the snapshot; one that the disk has changed is found when it is used.
                writer.add(name, path)
                done += _size(path)
                yield Progress("files", done, total)
            writer.finish(now, head)
        file.flush()
        os.fsync(file.fileno())


def open_copy(folder: Path) -> Engine:
    """Return an engine on a database that nobody works with; several threads may use it, one after the other."""
    return create_engine(
        f"sqlite:///{folder / DATABASE_NAME}", poolclass=NullPool, connect_args={"check_same_thread": False}
    )


def flush_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _sweep(scratch: Path, unfinished: Path) -> None:
    for name in (DATABASE_NAME, f"{DATABASE_NAME}-journal", ANCHOR_NAME):
        (scratch / name).unlink(missing_ok=True)
    with suppress(OSError):
        scratch.rmdir()
    unfinished.unlink(missing_ok=True)
