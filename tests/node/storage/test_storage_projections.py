from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa

from node.operations.clock import Clock
from node.storage.chain import Entry, Record
from node.storage.engine import new_metadata
from node.storage.storage import Storage
from node.storage.tables import ForeignText, projection
from tests.stores import Store


class Refused(Exception):
    """The projection does not want this record."""


@dataclass
class Totals:
    """Sums the bodies of each stream as integers, times `factor`; refuses the body `b"bad"`."""

    name: str = "totals"
    version: int = 1
    factor: int = 1
    extra: Sequence[str] = ()
    applied: list[int] = field(default_factory=list[int])

    def __post_init__(self) -> None:
        columns = [sa.Column(name, sa.Integer, server_default="0") for name in self.extra]
        self.table = sa.Table(
            "totals",
            new_metadata(),
            sa.Column("stream", sa.String(160), primary_key=True),
            sa.Column("total", sa.Integer, nullable=False, index=True),
            *columns,
        )
        self.tables = (self.table,)

    def apply(self, connection: sa.Connection, record: Record) -> None:
        if record.body == b"bad":
            raise Refused
        self.applied.append(record.seq)
        amount = int(record.body) * self.factor
        ours = self.table.c.stream == record.stream
        row = connection.execute(sa.select(self.table.c.total).where(ours)).one_or_none()
        if row is None:
            connection.execute(sa.insert(self.table).values(stream=record.stream, total=amount))
        else:
            connection.execute(sa.update(self.table).where(ours).values(total=row.total + amount))

    def forget(self, connection: sa.Connection, stream: str) -> None:
        connection.execute(sa.delete(self.table).where(self.table.c.stream == stream))


async def totals(storage: Storage, each: Totals) -> dict[str, int]:
    query = sa.select(each.table.c.stream, each.table.c.total)
    return await storage.read.query(lambda connection: {row.stream: row.total for row in connection.execute(query)})


def entries(*amounts: tuple[str, int]) -> list[Entry]:
    return [Entry(stream=stream, kind="added", body=str(amount).encode()) for stream, amount in amounts]


async def test_a_projection_includes_what_was_acknowledged(folder: Path, clock: Clock, store: Store) -> None:
    each = Totals()
    async with store.open(folder, clock=clock, projections=[each]) as storage:
        await storage.journal.append(entries(("a", 1), ("b", 10), ("a", 2)))
        assert await totals(storage, each) == {"a": 3, "b": 10}


async def test_a_projection_that_refuses_undoes_the_append(folder: Path, clock: Clock, store: Store) -> None:
    each = Totals()
    async with store.open(folder, clock=clock, projections=[each]) as storage:
        await storage.journal.append(entries(("a", 1)))
        with pytest.raises(Refused):
            await storage.journal.append([*entries(("a", 5)), Entry(stream="a", kind="added", body=b"bad")])
        assert await totals(storage, each) == {"a": 1}
        assert storage.journal.head.seq == 1
        await storage.journal.append(entries(("a", 2)))
        assert [record.version for record in await storage.journal.replay("a")] == [1, 2]
        assert (await storage.journal.verify()).seq == 2


async def test_an_unchanged_projection_is_not_applied_again_at_the_next_open(
    folder: Path, clock: Clock, store: Store
) -> None:
    async with store.open(folder, clock=clock, projections=[Totals()]) as storage:
        await storage.journal.append(entries(("a", 1), ("a", 2)))
    again = Totals()
    async with store.open(folder, clock=clock, projections=[again]) as storage:
        assert again.applied == []
        assert await totals(storage, again) == {"a": 3}


async def test_a_projection_registered_late_or_again_catches_up(folder: Path, clock: Clock, store: Store) -> None:
    async with store.open(folder, clock=clock) as storage:
        await storage.journal.append(entries(("a", 1)))
    async with store.open(folder, clock=clock, projections=[Totals()]) as storage:
        await storage.journal.append(entries(("a", 2)))
    async with store.open(folder, clock=clock) as storage:
        await storage.journal.append(entries(("a", 4)))
    again = Totals()
    async with store.open(folder, clock=clock, projections=[again]) as storage:
        assert again.applied == [3]
        assert await totals(storage, again) == {"a": 7}


@pytest.mark.parametrize("changed", [Totals(version=2, factor=10), Totals(factor=10, extra=["note"])])
async def test_a_new_version_or_shape_is_rebuilt_at_open(
    changed: Totals, folder: Path, clock: Clock, store: Store
) -> None:
    async with store.open(folder, clock=clock, projections=[Totals()]) as storage:
        await storage.journal.append(entries(*[("a", 1)] * 1100))
    changed.applied.clear()  # one object for both stores
    async with store.open(folder, clock=clock, projections=[changed]) as storage:
        assert changed.applied == list(range(1, 1101))
        assert await totals(storage, changed) == {"a": 11_000}


async def test_rebuild_makes_damaged_tables_whole_again(folder: Path, clock: Clock, store: Store) -> None:
    each = Totals()
    async with store.open(folder, clock=clock, projections=[each]) as storage:
        await storage.journal.append(entries(("a", 1), ("b", 2)))
        await storage.transact(lambda transaction: transaction.connection.execute(sa.delete(each.table)).rowcount)
        assert await totals(storage, each) == {}
        await storage.rebuild("totals")
        assert await totals(storage, each) == {"a": 1, "b": 2}
        with pytest.raises(KeyError):
            await storage.rebuild("unknown")


async def test_a_projection_ahead_of_the_journal_is_rebuilt(folder: Path, clock: Clock, store: Store) -> None:
    async with store.open(folder, clock=clock, projections=[Totals()]) as storage:
        await storage.journal.append(entries(("a", 1)))
        ahead = sa.update(projection).values(applied_seq=9)
        await storage.transact(lambda transaction: transaction.connection.execute(ahead).rowcount)
    again = Totals()
    async with store.open(folder, clock=clock, projections=[again]) as storage:
        assert again.applied == [1]
        assert await totals(storage, again) == {"a": 1}


class Notes:
    """Keeps what somebody else wrote."""

    name = "notes"
    version = 1
    table = sa.Table("note", new_metadata(), sa.Column("text", ForeignText(8)))
    tables = (table,)

    def apply(self, connection: sa.Connection, record: Record) -> None:
        connection.execute(sa.insert(self.table).values(text=record.body.decode()))


async def test_no_letter_of_a_strangers_text_refuses_a_record(folder: Path, clock: Clock, store: Store) -> None:
    async with store.open(folder, clock=clock, projections=[Notes()]) as storage:
        await storage.journal.append(
            [Entry(stream="s", kind="k", body=text.encode()) for text in ("a\0b", "\x01", "é\n")]
        )
        found = await storage.read.query(lambda c: list(c.execute(sa.select(Notes.table.c.text)).scalars()))
    assert sorted(found) == sorted(["a\ufffdb", "\x01", "é\n"])
