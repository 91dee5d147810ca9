"""The journal: every event that a service acts on, in order, durable before it is visible (DESIGN, D1).

Appending happens on the writer's thread (`Ledger`), reading on reader threads (`Journal`). Both check the chain.
"""

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, func, insert, select

from node.operations.clock import Clock
from node.storage.anchor import Anchor
from node.storage.chain import EMPTY, GENESIS, Entry, Head, Record, compute_hash
from node.storage.cursors import get_cursor, set_cursor
from node.storage.errors import ConcurrentAppend, JournalBroken, JournalRolledBack
from node.storage.projections import Projections
from node.storage.read_model import ReadModel
from node.storage.records import PAGE_RECORDS, read_all_after, read_linked, replay_stream
from node.storage.tables import NAME_CHARS, journal
from node.storage.writer import Writer
from protocol.units import UnixTime

MAX_BODY_BYTES: Final = 1_048_576
TAIL_RECORDS: Final = 1000
"""Records checked at each open; the rest when they are replayed, or by `verify`."""
_CACHED_STREAMS: Final = 10_000

GROUPS_CURSOR: Final = "storage:groups"
_GROUPS: Final = struct.Struct(">Q")
_NAME: Final = re.compile(rf"[A-Za-z0-9_.:/-]{{1,{NAME_CHARS}}}")
_AFTER_ALL_NAMES: Final = "~"  # sorts after every character that a name may have


class Ledger:
    """The writing side. Lives on the writer's thread; its memory is undone with the transaction."""

    def __init__(
        self, anchor: Anchor, projections: Projections, head: Head, *, groups: int = 0, counts_groups: bool = False
    ) -> None:
        """Take over where the journal ends.

        Args:
            anchor: Of the data folder.
            projections: Brought up to `head`.
            head: The last record.
            groups: As `read_groups` found it.
            counts_groups: Leave a trace of each group that appends nothing, so that `is_committed` can answer for it.
        """
        self._anchor, self._projections = anchor, projections
        self._head = self._durable = head
        self._groups = self._durable_groups = groups
        self._counts_groups = counts_groups
        self._versions: dict[str, int] = {}

    @property
    def durable_head(self) -> Head:
        """The last committed record."""
        return self._durable

    def append(
        self, connection: Connection, entries: Sequence[Entry], expected_versions: Mapping[str, int], at: UnixTime
    ) -> int:
        """Append `entries` and apply them to the projections; return the last one's seq. See `Journal.append`."""
        for stream, expected in expected_versions.items():
            found = self._version(connection, stream)
            if found != expected:
                raise ConcurrentAppend(stream=stream, expected=expected, found=found)
        records = [self._place(connection, entry, at) for entry in entries]
        rows = [_to_row(record) for record in records]
        if rows:  # a single row takes the drivers' shorter way
            connection.execute(insert(journal), rows if len(rows) > 1 else rows[0])
        for record in records:
            self._projections.apply(connection, record)
        return self._head.seq

    def forget(self, stream: str) -> None:
        """Drop what is remembered of a stream that is pruned."""
        self._versions.pop(stream, None)

    def mark(self) -> Head:
        """See `TransactionState`."""
        return self._head

    def roll_back(self, mark: object) -> None:
        """See `TransactionState`."""
        assert isinstance(mark, Head)
        self._head = mark
        self._groups = self._durable_groups
        self._versions.clear()

    def before_commit(self, connection: Connection) -> None:
        """See `TransactionState`."""
        if self._head != self._durable:
            self._projections.note_applied(connection, self._head)
        elif self._counts_groups:
            self._groups = self._durable_groups + 1
            set_cursor(connection, GROUPS_CURSOR, _GROUPS.pack(self._groups))

    def after_commit(self) -> None:
        """See `TransactionState`."""
        self._durable_groups = self._groups
        if self._head != self._durable:
            self._durable = self._head
            self._anchor.write(self._head)

    def is_committed(self, connection: Connection) -> bool:
        """See `TransactionState`. The hash of the newest record stands for all before it."""
        query = select(journal.c.seq, journal.c.hash).order_by(journal.c.seq.desc()).limit(1)
        row = connection.execute(query).one_or_none()
        found = (Head(row.seq, row.hash) if row is not None else EMPTY, read_groups(connection))
        if found == (self._head, self._groups):
            return True
        if found == (self._durable, self._durable_groups):
            return False
        raise JournalRolledBack(found=found[0].seq, acknowledged=self._durable.seq)

    def _place(self, connection: Connection, entry: Entry, at: UnixTime) -> Record:
        _check(entry)
        version = self._version(connection, entry.stream) + 1
        seq = self._head.seq + 1
        digest = compute_hash(
            previous=self._head.hash,
            seq=seq,
            stream=entry.stream,
            version=version,
            kind=entry.kind,
            at=at,
            body=entry.body,
        )
        self._head = Head(seq, digest)
        self._versions[entry.stream] = version
        return Record(
            seq=seq, stream=entry.stream, version=version, kind=entry.kind, at=at, body=entry.body, hash=digest
        )

    def _version(self, connection: Connection, stream: str) -> int:
        version = self._versions.get(stream)
        if version is None:
            if len(self._versions) >= _CACHED_STREAMS:
                self._versions.clear()
            query = select(func.max(journal.c.version)).where(journal.c.stream == stream)
            version = self._versions[stream] = connection.execute(query).scalar_one() or 0
        return version


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """What a job of `Storage.transact` works with; valid only during that call, on its thread.

    Attributes:
        connection: For a room's own tables. Projections' tables are theirs alone.
    """

    connection: Connection
    ledger: Ledger
    at: UnixTime

    def append(self, entries: Sequence[Entry], *, expected_versions: Mapping[str, int] | None = None) -> int:
        """Append to the journal, as `Journal.append`."""
        return self.ledger.append(self.connection, entries, expected_versions or {}, self.at)

    def get_cursor(self, name: str) -> bytes | None:
        """Return a cursor as this transaction sees it."""
        return get_cursor(self.connection, name)

    def set_cursor(self, name: str, value: bytes | None) -> None:
        """Set a cursor, or forget it with `None`."""
        set_cursor(self.connection, name, value)


class Journal:
    """The journal as services see it."""

    def __init__(self, writer: Writer, reader: ReadModel, ledger: Ledger, clock: Clock) -> None:
        self._writer, self._reader, self._ledger, self._clock = writer, reader, ledger, clock

    @property
    def head(self) -> Head:
        """The last durable record."""
        return self._ledger.durable_head

    async def append(self, entries: Sequence[Entry], *, expected_versions: Mapping[str, int] | None = None) -> int:
        """Append all of `entries` or none, and return once they are durable and every projection includes them.

        A caller that is cancelled here can't know whether they were appended: replay before going on.

        Args:
            entries: In the order in which they happened.
            expected_versions: For each stream named, the version that the caller has seen (0 for a new one).

        Returns:
            The seq of the last entry.

        Raises:
            ConcurrentAppend: A stream has moved on; nothing was appended.
            DiskFull: Nothing was appended.
            ValueError: A name or a body is not allowed (a bug).
        """
        at, expected = self._clock.now(), expected_versions or {}
        return await self._writer.submit(lambda connection: self._ledger.append(connection, entries, expected, at))

    async def replay(self, stream: str, *, after_version: int = 0) -> tuple[Record, ...]:
        """Return the records of `stream` in order, each checked against the chain.

        Raises:
            JournalBroken: A record is not what was written.
        """
        return await self._reader.query(lambda connection: replay_stream(connection, stream, after_version))

    async def streams(self, prefix: str = "") -> tuple[str, ...]:
        """Return the names of all streams that start with `prefix`, sorted."""
        query = (
            select(journal.c.stream)
            .where(journal.c.version == 1, journal.c.stream >= prefix, journal.c.stream < prefix + _AFTER_ALL_NAMES)
            .order_by(journal.c.stream)
        )
        return await self._reader.query(lambda connection: tuple(connection.execute(query).scalars()))

    async def read_after(self, seq: int, *, limit: int = PAGE_RECORDS) -> tuple[Record, ...]:
        """Return at most `limit` records of all streams after `seq`, in order, each checked against the chain.

        Raises:
            JournalBroken: A record is not what was written.
        """
        return await self._reader.query(lambda connection: read_linked(connection, seq, limit))

    async def wait_after(self, seq: int) -> None:
        """Wait until a record after `seq` is durable. With `read_after` this follows the journal live."""
        while self.head.seq <= seq:
            await self._writer.next_commit.wait()

    async def verify(self) -> Head:
        """Check every record from the first to the last acknowledged one.

        Returns:
            The head that was reached.

        Raises:
            JournalBroken: A record is missing or is not what was written.
        """
        goal, seq = self.head, 0
        while seq < goal.seq:
            records = await self.read_after(seq)
            if not records:
                raise JournalBroken(seq + 1, "it is missing")
            seq = records[-1].seq
        return goal


def read_groups(connection: Connection) -> int:
    """Return how many groups left a trace because they appended nothing."""
    written = get_cursor(connection, GROUPS_CURSOR)
    return int(_GROUPS.unpack(written)[0]) if written is not None else 0


def check_end(connection: Connection, noted: Head, *, accept_lost_tail: bool) -> Head:
    """Return the head of the journal after checking it against the anchor and its newest records.

    Raises:
        JournalBroken: One of the newest records is not what was written.
        JournalRolledBack: Acknowledged records are missing, and `accept_lost_tail` is false.
    """
    last = connection.execute(select(func.max(journal.c.seq))).scalar_one() or 0
    records = read_linked(connection, max(0, last - TAIL_RECORDS), TAIL_RECORDS)
    head = Head(records[-1].seq, records[-1].hash) if records else EMPTY
    if not accept_lost_tail:
        query = select(journal.c.hash).where(journal.c.seq == noted.seq)
        found = connection.execute(query).scalar_one_or_none() if noted.seq else GENESIS
        if found != noted.hash:
            raise JournalRolledBack(found=head.seq, acknowledged=noted.seq)
    return head


def check_all(connection: Connection) -> None:
    """Check every record: after a kill, when the machine may have lost more than its process.

    Raises:
        JournalBroken: A record is missing or is not what was written.
    """
    for _ in read_all_after(connection, 0):
        pass


def _check(entry: Entry) -> None:
    if not _NAME.fullmatch(entry.stream) or not _NAME.fullmatch(entry.kind):
        raise ValueError(f"journal names are 1-{NAME_CHARS} of A-Z a-z 0-9 _ . : / -: {entry.stream!r} {entry.kind!r}")
    if len(entry.body) > MAX_BODY_BYTES:
        raise ValueError(f"journal body of {len(entry.body)} bytes, at most {MAX_BODY_BYTES}: put it in a blob")


def _to_row(record: Record) -> dict[str, object]:
    return {
        "seq": record.seq,
        "stream": record.stream,
        "version": record.version,
        "kind": record.kind,
        "at": record.at,
        "body": record.body,
        "hash": record.hash,
    }
