"""Reading the journal's rows: nothing leaves here that the chain does not confirm.

Where records were pruned (`pruning.py`), the gap's note gives the hash from which the next record's follows.
"""

from collections.abc import Generator, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from node.storage.chain import EMPTY, GENESIS, Head, Record, is_linked
from node.storage.errors import JournalBroken
from node.storage.progress import Progress
from node.storage.tables import journal, journal_gap
from protocol.units import UnixTime

PAGE_RECORDS: Final = 1000
RECORDS_PER_STEP: Final = 2000
_NUMBERS_END: Final = 2**64


def replay_stream(connection: Connection, stream: str, after_version: int) -> tuple[Record, ...]:
    """Return the records of `stream` after `after_version`.

    Raises:
        JournalBroken: A record is missing or is not what was written.
    """
    before = journal.alias("before")
    query = (
        select(journal, before.c.hash)
        .join(before, before.c.seq == journal.c.seq - 1, isouter=True)
        .where(journal.c.stream == stream, journal.c.version > after_version)
        .order_by(journal.c.version)
    )
    records: list[Record] = []
    for expected, row in enumerate(connection.execute(query), after_version + 1):
        *columns, previous = row
        record = _to_record(columns)
        if previous is None:
            previous = _hash_before(connection, record.seq)
        if record.version != expected:
            raise JournalBroken(record.seq, f"version {expected} of stream {stream!r} is missing")
        _verify_link(record, previous)
        records.append(record)
    return tuple(records)


def read_linked(connection: Connection, after_seq: int, limit: int) -> tuple[Record, ...]:
    """Return at most `limit` records of all streams after `after_seq`.

    Raises:
        JournalBroken: A record is missing or is not what was written.
    """
    expected, previous = _start(connection, after_seq)
    page = connection.execute(
        select(journal).where(journal.c.seq > after_seq).order_by(journal.c.seq).limit(limit)
    ).all()
    records: list[Record] = []
    gaps: dict[int, Row[Any]] | None = None
    for row in page:
        record = _to_record(row)
        if record.seq != expected:
            gaps = _gaps(connection, expected, page[-1].seq) if gaps is None else gaps
            gap = gaps.get(expected)
            if gap is None or gap.last + 1 != record.seq:
                raise JournalBroken(expected, "it is missing")
            previous = gap.hash
        _verify_link(record, previous)
        records.append(record)
        expected, previous = record.seq + 1, record.hash
    return tuple(records)


def _start(connection: Connection, after_seq: int) -> tuple[int, bytes | None]:
    """Return the record that comes after `after_seq`, if it was not pruned, and the hash that it follows from."""
    found = connection.execute(select(journal.c.hash).where(journal.c.seq == after_seq)).scalar_one_or_none()
    if found is not None:
        return after_seq + 1, found
    inside = select(journal_gap).where(journal_gap.c.first <= after_seq, journal_gap.c.last >= after_seq)
    gap = connection.execute(inside).one_or_none()
    return (after_seq + 1, None) if gap is None else (gap.last + 1, gap.hash)


def _gaps(connection: Connection, first: int, last: int) -> dict[int, Row[Any]]:
    query = select(journal_gap).where(journal_gap.c.first >= first, journal_gap.c.first <= last)
    return {row.first: row for row in connection.execute(query)}


def _hash_before(connection: Connection, seq: int) -> bytes | None:
    query = select(journal_gap.c.hash).where(journal_gap.c.last == seq - 1)
    return connection.execute(query).scalar_one_or_none()


def _verify_link(record: Record, previous: bytes | None) -> None:
    if record.seq == 1:
        previous = GENESIS
    if previous is None:
        raise JournalBroken(record.seq - 1, "it is missing")
    if not is_linked(record, previous):
        raise JournalBroken(record.seq, "its content or the record before it was changed")


def read_all_after(connection: Connection, after_seq: int) -> Iterator[Record]:
    """Yield all records after `after_seq` in order, a page at a time.

    Raises:
        JournalBroken: A record is missing or is not what was written.
    """
    seq = after_seq
    while page := read_linked(connection, seq, PAGE_RECORDS):
        yield from page
        seq = page[-1].seq


def verify_steps(connection: Connection) -> Generator[Progress, None, Head]:
    """Check every record of a journal from the first on; the generator returns the last one's place.

    Raises:
        JournalBroken: A record is missing or is not what was written.
    """
    head = EMPTY
    for record in read_all_after(connection, 0):
        head = Head(record.seq, record.hash)
        if record.seq % RECORDS_PER_STEP == 0:
            yield Progress("journal", record.seq, 0)
    return head


def _to_record(row: Sequence[Any]) -> Record:
    """Return the record of a row. SQLite stores a type with each value, so a bad disk can change it too."""
    seq, stream, version, kind, at, body, found_hash = row
    numbers = all(isinstance(each, int) and 0 <= each < _NUMBERS_END for each in (seq, version, at))
    texts = isinstance(stream, str) and isinstance(kind, str)
    if not (numbers and texts and isinstance(body, bytes) and isinstance(found_hash, bytes)):
        raise JournalBroken(seq if isinstance(seq, int) else 0, "a value in it has another type than was written")
    return Record(seq=seq, stream=stream, version=version, kind=kind, at=UnixTime(at), body=body, hash=found_hash)
