"""Pruning: histories that are over and old enough are deleted from the journal, and the chain still holds.

A stream goes as a whole or not at all, so a replay sees all of it or nothing. Where its records were, a note of each
gap keeps the hash of the last one: the record after the gap is checked against that. Gaps that touch become one.
docs/spec/storage.md, section 2.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import structlog
from sqlalchemy import Connection, delete, func, insert, or_, select

from node.storage.chain import Record
from node.storage.errors import JournalBroken
from node.storage.journal import TAIL_RECORDS
from node.storage.machine_log import CLOSED
from node.storage.records import replay_stream
from node.storage.storage import Storage
from node.storage.tables import journal, journal_gap

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

STREAMS_AT_A_TIME: Final = 50
"""Streams a transaction: writers wait a few milliseconds, not more."""


async def prune(storage: Storage, keep_s: Mapping[str, int]) -> int:
    """Delete the streams that were closed longer ago than they are kept; return how many.

    The newest `TAIL_RECORDS` records stay whatever they are: an open checks them without reading the rest.

    Args:
        storage: Opened.
        keep_s: For each kind of stream that may be pruned, by the beginning of its name: seconds after its end.

    Raises:
        JournalBroken: A record is not what was written; it is not deleted either.
        DiskFull: The rest is left for the next time.
    """
    count, now = 0, storage.clock.now()
    newest = storage.journal.head.seq - TAIL_RECORDS - 1
    for prefix, seconds in keep_s.items():
        after = 0
        while True:
            start, limit = after, now - seconds
            found = await storage.read.query(
                lambda connection, prefix=prefix, start=start, limit=limit: _find_closed(
                    connection, prefix, start, newest, limit
                )
            )
            if not found:
                break
            after = found[-1][0]
            streams = [stream for _, stream in found]
            await storage.transact(
                lambda transaction, streams=streams: _delete(storage, transaction.connection, streams)
            )
            count += len(streams)
    if count:
        log.info("storage.pruned", streams=count)
    return count


def _find_closed(connection: Connection, prefix: str, after: int, newest: int, limit: int) -> list[tuple[int, str]]:
    """Return the places at which streams were closed, and their names, oldest first."""
    query = (
        select(journal.c.seq, journal.c.stream)
        .where(
            journal.c.seq > after,
            journal.c.seq <= newest,
            journal.c.at < limit,
            journal.c.kind == CLOSED,
            journal.c.stream.startswith(prefix, autoescape=True),
        )
        .order_by(journal.c.seq)
        .limit(STREAMS_AT_A_TIME)
    )
    return [(row.seq, row.stream) for row in connection.execute(query)]


def _delete(storage: Storage, connection: Connection, streams: Sequence[str]) -> None:
    records: list[Record] = []
    for stream in streams:
        history = replay_stream(connection, stream, 0)  # checked: a bad record is told, not swept away
        if history and history[-1].kind != CLOSED:
            raise JournalBroken(history[-1].seq, f"stream {stream!r} goes on after its end")
        records += history
    for stream in streams:  # all were read before: each was checked against what came before it
        storage.projections.forget(connection, stream)
        storage.ledger.forget(stream)
        connection.execute(delete(journal).where(journal.c.stream == stream))
    for first, last in _runs(sorted(records, key=lambda record: record.seq)):
        _note_gap(connection, first.seq, last)


def _runs(records: Iterable[Record]) -> list[tuple[Record, Record]]:
    """Return the first and the last of each run of neighbours."""
    runs: list[tuple[Record, Record]] = []
    for record in records:
        if runs and runs[-1][1].seq + 1 == record.seq:
            runs[-1] = (runs[-1][0], record)
        else:
            runs.append((record, record))
    return runs


def _note_gap(connection: Connection, first: int, last: Record) -> None:
    """Note a gap, as one with those that it touches."""
    touching = or_(journal_gap.c.last == first - 1, journal_gap.c.first == last.seq + 1)
    end, end_hash = last.seq, last.hash
    for gap in connection.execute(select(journal_gap).where(touching)).all():
        if gap.first > last.seq:
            end, end_hash = gap.last, gap.hash
        else:
            first = gap.first
    connection.execute(delete(journal_gap).where(touching))
    connection.execute(insert(journal_gap).values(first=first, last=end, hash=end_hash))


def count_gaps(connection: Connection) -> int:
    """Return how many notes there are."""
    return connection.execute(select(func.count()).select_from(journal_gap)).scalar_one()
