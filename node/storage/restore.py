"""Putting a backup in place: checked in full beside its place, marked as restored, then renamed (S18, S19)."""

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import trio
from sqlalchemy.exc import DBAPIError

from node.operations.clock import Clock
from node.storage.backup import flush_folder, open_copy
from node.storage.backup_file import Manifest, unpack
from node.storage.chain import Head
from node.storage.engine import DATABASE_NAME
from node.storage.errors import BackupBroken, BackupUnusable, DiskFull, FolderNotEmpty, is_no_room
from node.storage.folder_lock import LOCK_NAME
from node.storage.postgres.address import PostgresAddress
from node.storage.progress import Progress
from node.storage.records import verify_steps
from node.storage.restoration import Restored, entry_of
from node.storage.schema import SchemaPart
from node.storage.storage import open_database, open_storage
from node.storage.transfer import copy_in
from node.storage.translation import translate

Tell = Callable[[Progress], None]


async def restore_backup(
    source: Path,
    folder: Path,
    *,
    clock: Clock,
    address: PostgresAddress | None = None,
    parts: Sequence[SchemaPart] = (),
    adjust: Callable[[Path], None] = lambda _folder: None,
    tell: Tell = lambda _progress: None,
) -> Manifest:
    """Make `folder` from a backup, whole or not at all. The node that opens it knows that it was restored.

    Args:
        source: The backup.
        folder: Missing or empty; absolute.
        clock: Says when.
        address: A new PostgreSQL database for the journal; None puts it into the folder, in SQLite.
        parts: Rooms that own tables; needed with `address`.
        adjust: Called on a thread with the unpacked folder before it gets its name, to correct paths in files.
        tell: Told about progress, on a thread.

    Raises:
        FolderNotEmpty: There is something in `folder`.
        BackupBroken: A digest or the journal's chain is wrong.
        BackupUnusable: The backup can't be read, or the folder not written.
        DiskFull: There is no room for it.
        JournalBroken, DatabaseDamaged, DatabaseTooNew: The journal in the backup can't be used.
        DatabaseNotEmpty, DatabaseInUse, DatabaseUnusable, DatabaseUnreachable: The database at `address` can't be.
    """
    staging = folder.with_name(f".{folder.name}.{os.getpid()}.restoring")
    try:
        manifest = await trio.to_thread.run_sync(partial(_unpack, source, folder, staging, tell))
        await _mark(staging, manifest, source, clock, parts)
        if address is not None:
            await trio.to_thread.run_sync(partial(_move_in, staging, address, parts, tell))
        await trio.to_thread.run_sync(partial(_put_in_place, staging, folder, adjust))
    except OSError as error:
        if is_no_room(error):
            raise DiskFull(f"the folder {folder}") from error
        advice = "Look at the backup and at the place for the folder, and try again."
        raise BackupUnusable(source, error.strerror or str(error), advice=advice) from error
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(partial(shutil.rmtree, staging, ignore_errors=True))
    return manifest


def _unpack(source: Path, folder: Path, staging: Path, tell: Tell) -> Manifest:
    _require_empty(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(staging, ignore_errors=True)  # of a process with our number that was killed
    staging.mkdir(mode=0o700)
    total, done = source.stat().st_size, 0

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        trio.from_thread.check_cancelled()
        tell(Progress("files", done, total))

    manifest = unpack(source, staging, on_bytes=on_bytes)
    found = _verify(staging, tell)
    if found != manifest.head:
        raise BackupBroken(source, f"its journal ends at record {found.seq}, not at {manifest.head.seq}")
    return manifest


def _verify(staging: Path, tell: Tell) -> Head:
    with open_copy(staging).connect() as connection:
        checking = verify_steps(connection)
        while True:
            try:
                tell(next(checking))
            except StopIteration as end:
                return end.value
            except DBAPIError as error:
                raise translate(error) from error


async def _mark(staging: Path, manifest: Manifest, source: Path, clock: Clock, parts: Sequence[SchemaPart]) -> None:
    async with open_storage(staging, clock=clock, schema_parts=parts) as storage:
        if storage.journal.head != manifest.head:
            raise BackupBroken(source, "its anchor does not fit its journal")
        restored = Restored(at=clock.now(), made_at=manifest.made_at, last=manifest.head.seq)
        await storage.journal.append([entry_of(restored)])


def _move_in(staging: Path, address: PostgresAddress, parts: Sequence[SchemaPart], tell: Tell) -> None:
    """Write the database of `staging` to a server, and take its file away."""
    database = open_database(staging, address)
    try:
        for step in copy_in(staging, database, parts):
            trio.from_thread.check_cancelled()
            tell(step)
    except DBAPIError as error:
        raise translate(error) from error
    finally:
        database.dispose()
    (staging / DATABASE_NAME).unlink()


def _put_in_place(staging: Path, folder: Path, adjust: Callable[[Path], None]) -> None:
    adjust(staging)
    (staging / LOCK_NAME).unlink(missing_ok=True)
    for path in (staging, *(each for each in staging.rglob("*") if each.is_dir())):
        flush_folder(path)
    _require_empty(folder)
    with suppress(FileNotFoundError):
        folder.rmdir()
    staging.rename(folder)
    flush_folder(folder.parent)


def _require_empty(folder: Path) -> None:
    try:
        if any(folder.iterdir()):
            raise FolderNotEmpty(folder)
    except FileNotFoundError:
        return
    except NotADirectoryError as error:
        raise FolderNotEmpty(folder) from error
