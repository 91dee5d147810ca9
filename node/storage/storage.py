"""Opening the data folder: lock, migrations, journal check, projections, then the writer."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import structlog
import trio
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from node.operations.clock import Clock
from node.storage.access import AccessList
from node.storage.anchor import Anchor, open_anchor
from node.storage.blobs import BlobStore, open_blob_store
from node.storage.blocking import RunBlocking, on_thread
from node.storage.cursors import Cursors
from node.storage.engine import DATABASE_NAME, check_structure, open_reader_engine, open_writer_engine
from node.storage.errors import DatabaseDamaged, translate
from node.storage.folder_lock import hold_folder
from node.storage.journal import Journal, Ledger, Transaction, check_all, check_end
from node.storage.projections import Projection, Projections
from node.storage.read_model import ReadModel
from node.storage.schema import CORE, SchemaPart, migrate
from node.storage.writer import OnCommit, Writer

T = TypeVar("T")
log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

DEFAULT_BLOB_QUOTA_BYTES: Final = 10 * 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The open data folder.

    Attributes:
        folder: Where it is. Other rooms keep their files beside `blobs/` and `stoa.sqlite3`.
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
        DatabaseDamaged: SQLite found its file malformed.
    """
    with hold_folder(folder), open_anchor(folder) as anchor, ExitStack() as engines:
        was_killed = (folder / f"{DATABASE_NAME}-wal").exists()  # a writer that ends in order leaves none
        write_engine = open_writer_engine(folder)
        engines.callback(write_engine.dispose)
        prepared = Projections(projections)
        ledger = await run_blocking(
            lambda: _prepare(
                write_engine,
                anchor,
                prepared,
                [CORE, *schema_parts],
                was_killed=was_killed,
                accept_lost_tail=accept_lost_tail,
            ),
            limiter=trio.CapacityLimiter(1),
        )
        read_engine = open_reader_engine(folder)
        engines.callback(read_engine.dispose)
        writer = Writer(engines.enter_context(write_engine.connect()), ledger, run_blocking, on_commit)
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
                    writer=writer,
                    ledger=ledger,
                    projections=prepared,
                )
            finally:
                writer.close()


def _prepare(
    engine: Engine,
    anchor: Anchor,
    projections: Projections,
    parts: Sequence[SchemaPart],
    *,
    was_killed: bool,
    accept_lost_tail: bool,
) -> Ledger:
    try:
        with engine.connect() as connection, connection.begin():
            if was_killed:
                check_structure(connection)
            migrate(connection, parts)
            head = check_end(connection, anchor.read(), accept_lost_tail=accept_lost_tail)
            if was_killed:
                check_all(connection)
            rebuilt = projections.bring_up(connection, head)
    except DBAPIError as error:
        translated = translate(error)
        if translated is error and was_killed and isinstance(error, OperationalError):
            # "no such column", say: the schema changed on disk. After an orderly stop it is a bug of a migration.
            raise DatabaseDamaged(f"the database is damaged: {error.orig}") from error
        if translated is error:
            raise
        raise translated from error
    if accept_lost_tail:
        anchor.reset(head)
    if rebuilt:
        log.info("storage.projections_rebuilt", names=rebuilt, seq=head.seq)
    return Ledger(anchor, projections, head)
