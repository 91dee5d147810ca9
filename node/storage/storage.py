"""Opening the data folder: lock, migrations, journal check, projections, then the writer."""

from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import structlog
import trio
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, OperationalError

from node.operations.clock import Clock
from node.storage.access import AccessList
from node.storage.anchor import Anchor, open_anchor
from node.storage.binding import bind, require_no_file, require_unbound
from node.storage.blobs import BlobStore, open_blob_store
from node.storage.blocking import RunBlocking, on_thread
from node.storage.cursors import Cursors
from node.storage.database import Database, SqliteDatabase
from node.storage.errors import DatabaseDamaged
from node.storage.folder_lock import hold_folder
from node.storage.journal import Journal, Ledger, Transaction, check_all, check_end, read_groups
from node.storage.postgres.address import PostgresAddress
from node.storage.projections import Projection, Projections
from node.storage.read_model import ReadModel
from node.storage.schema import CORE, SchemaPart, migrate
from node.storage.translation import translate
from node.storage.writer import OnCommit, Writer

T = TypeVar("T")
log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

DEFAULT_BLOB_QUOTA_BYTES: Final = 10 * 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The open data folder.

    Attributes:
        folder: Where it is. Other rooms keep their files beside `blobs/`, and `stoa.sqlite3` if the journal is there.
        journal: Append, replay, follow, verify.
        read: Queries.
        cursors: Small named values.
        blobs: Bytes named by digest.
        access: Who may fetch which blob.
    """

    folder: Path
    journal: Journal
    read: ReadModel
    cursors: Cursors
    blobs: BlobStore
    access: AccessList
    clock: Clock
    database: Database
    writer: Writer
    ledger: Ledger
    projections: Projections

    async def transact(self, run: Callable[[Transaction], T]) -> T:
        """Run `run` on the writer's thread and return its result once all that it changed is durable.

        Changes to a room's own tables, cursors and appended entries happen together or not at all.
        `run` must be quick and touch only its `Transaction`; an exception in it undoes its changes and is raised here.
        """
        at = self.clock.now()
        return await self.writer.submit(
            lambda connection: run(Transaction(connection=connection, ledger=self.ledger, at=at))
        )

    async def rebuild(self, name: str) -> None:
        """Make the tables of the projection `name` again from the whole journal; writers wait meanwhile."""
        await self.writer.submit(lambda connection: self.projections.rebuild(connection, name))


@asynccontextmanager
async def open_storage(
    folder: Path,
    *,
    clock: Clock,
    address: PostgresAddress | None = None,
    projections: Sequence[Projection] = (),
    schema_parts: Sequence[SchemaPart] = (),
    blob_quota_bytes: int = DEFAULT_BLOB_QUOTA_BYTES,
    accept_lost_tail: bool = False,
    run_blocking: RunBlocking = on_thread,
    on_commit: OnCommit | None = None,
) -> AsyncGenerator[Storage]:
    """Open the data folder for this process alone; writes in flight are finished before it closes.

    Args:
        folder: Created if missing.
        clock: Stamps records, retention and grants.
        address: The PostgreSQL database of journal and tables; None keeps them in the folder, in SQLite.
        projections: Built or brought up to date before this returns.
        schema_parts: Rooms that own tables; migrated before this returns.
        blob_quota_bytes: Most that all blobs together may take.
        accept_lost_tail: Go on although acknowledged records are missing (see `JournalRolledBack`).
        run_blocking: `on_thread`, or `in_line` for simulators and tests on a virtual clock.
        on_commit: Told how long each group of writes took.

    Raises:
        DataFolderInUse: Another node has it.
        DataFolderUnusable: It can't be written.
        DatabaseTooNew: A later release has written it.
        JournalBroken: One of the newest records is damaged, or after a kill, any.
        JournalRolledBack: Acknowledged records are missing.
        DatabaseDamaged: The database found its files malformed.
        DatabaseInUse: Another node works on this database.
        DatabaseMismatch: The journal of this folder is elsewhere, or that database is another folder's.
        DatabaseUnusable: The server, the user or the address is not fit.
        DatabaseUnreachable: The server does not answer.
    """
    with hold_folder(folder), open_anchor(folder) as anchor, ExitStack() as engines:
        database = open_database(folder, address)
        engines.callback(database.dispose)
        prepared = Projections(projections)
        connection, ledger = await run_blocking(
            lambda: _prepare(
                database, folder, anchor, prepared, [CORE, *schema_parts], accept_lost_tail=accept_lost_tail
            ),
            limiter=trio.CapacityLimiter(1),
        )
        read_engine = database.open_reader()
        engines.callback(read_engine.dispose)
        engines.callback(connection.close)
        writer = Writer(database, connection, ledger, run_blocking, on_commit)
        reader = ReadModel(read_engine, run_blocking)
        blobs = await open_blob_store(
            folder / "blobs", writer, clock, quota_bytes=blob_quota_bytes, run_blocking=run_blocking
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            try:
                yield Storage(
                    folder=folder,
                    journal=Journal(writer, reader, ledger, clock),
                    read=reader,
                    cursors=Cursors(writer, reader),
                    blobs=blobs,
                    access=AccessList(writer, reader, clock),
                    clock=clock,
                    database=database,
                    writer=writer,
                    ledger=ledger,
                    projections=prepared,
                )
            finally:
                writer.close()


def open_database(folder: Path, address: PostgresAddress | None) -> Database:
    """Return the store of a folder; nothing is connected yet.

    Raises:
        DatabaseMismatch: The journal of `folder` is in PostgreSQL, and no address is given.
    """
    if address is None:
        require_unbound(folder)
        return SqliteDatabase(folder)
    from node.storage.postgres.database import PostgresDatabase  # noqa: PLC0415 - its driver is optional

    return PostgresDatabase(address)


def _prepare(
    database: Database,
    folder: Path,
    anchor: Anchor,
    projections: Projections,
    parts: Sequence[SchemaPart],
    *,
    accept_lost_tail: bool,
) -> tuple[Connection, Ledger]:
    """Return the writing connection and the memory that mirrors it, once everything is checked and up to date."""
    if database.can_be_lost:
        require_no_file(folder)
    with ExitStack() as undo:
        try:
            connection = undo.enter_context(database.connect_writer())
            with connection.begin():
                suspect = database.is_suspect(connection)
                if suspect:
                    database.check_structure(connection)
                with _damage_if(suspect):
                    migrate(connection, parts)
                    if database.can_be_lost:
                        bind(connection, folder, database.place)
                    database.note_opened(connection)
                    head = check_end(connection, anchor.read(), accept_lost_tail=accept_lost_tail)
                    if suspect:
                        check_all(connection)
                    rebuilt = projections.bring_up(connection, head)
                    groups = read_groups(connection)
        except DBAPIError as error:
            translated = translate(error)
            if translated is error:
                raise
            raise translated from error
        undo.pop_all()
    if accept_lost_tail:
        anchor.reset(head)
    if rebuilt:
        log.info("storage.projections_rebuilt", names=rebuilt, seq=head.seq)
    return connection, Ledger(anchor, projections, head, groups=groups, counts_groups=database.can_be_lost)


@contextmanager
def _damage_if(suspect: bool) -> Generator[None]:  # noqa: FBT001
    """Take a changed schema ("no such column") for damage after a kill; after an orderly stop it is a bug."""
    try:
        yield
    except OperationalError as error:
        if suspect and translate(error) is error:
            raise DatabaseDamaged(f"the database is damaged: {error.orig}") from error
        raise
