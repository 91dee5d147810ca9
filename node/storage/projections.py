"""Projections: tables that say what the journal means, written in the transaction of each append.

A projection can always be thrown away and made again from the journal, so its tables need no migrations: when its
version or the shape of its tables changes, it is rebuilt at open.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Protocol

from blake3 import blake3
from sqlalchemy import Connection, MetaData, Table, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateIndex, CreateTable

from node.storage.chain import Head, Record
from node.storage.errors import DatabaseDamaged
from node.storage.records import read_all_after
from node.storage.tables import projection


class Projection(Protocol):
    """What a service registers with `open_storage`.

    Attributes:
        name: Stable name.
        version: Raise it when `apply` changes its mind about old records: the tables are rebuilt at the next open.
        tables: Tables of this projection alone, from `new_metadata()`, in the order in which they can be created.
    """

    @property
    def name(self) -> str:
        """See the class."""
        ...

    @property
    def version(self) -> int:
        """See the class."""
        ...

    @property
    def tables(self) -> Sequence[Table]:
        """See the class."""
        ...

    def apply(self, connection: Connection, record: Record) -> None:
        """Write what `record` changes.

        Runs on the writer's thread, for every record of the journal in order: ignore streams and kinds of others
        first. It may read and write its own tables and nothing else, and must depend on nothing but these and the
        record, or a rebuild would give other tables. An exception refuses the append.
        """
        ...

    def forget(self, connection: Connection, stream: str) -> None:
        """Drop what leads to a stream that is pruned. What was counted of it may stay.

        Runs on the writer's thread, in the transaction that deletes the records.
        """
        ...


class Projections:
    """The registered projections and how far each has come."""

    def __init__(self, projections: Iterable[Projection]) -> None:
        self._by_name = {each.name: each for each in projections}

    def apply(self, connection: Connection, record: Record) -> None:
        """Apply a new record to all."""
        for each in self._by_name.values():
            each.apply(connection, record)

    def forget(self, connection: Connection, stream: str) -> None:
        """Tell all that a stream is pruned."""
        for each in self._by_name.values():
            each.forget(connection, stream)

    def note_applied(self, connection: Connection, head: Head) -> None:
        """Record that all registered projections include `head`."""
        if self._by_name:
            ours = projection.c.name.in_(self._by_name)
            connection.execute(update(projection).where(ours).values(applied_seq=head.seq))

    def bring_up(self, connection: Connection, head: Head) -> list[str]:
        """Create, rebuild or continue each projection so that it includes the whole journal.

        Returns:
            The names of those that were rebuilt (or built for the first time).
        """
        rebuilt: list[str] = []
        for each in self._by_name.values():
            row = connection.execute(select(projection).where(projection.c.name == each.name)).one_or_none()
            if (
                row is None
                or row.version != each.version
                or row.shape != _shape(connection, each)
                or row.applied_seq > head.seq  # the journal lost its tail and the operator accepted that
            ) or not self._continue_whole(connection, each, row.applied_seq):
                self._rebuild(connection, each)
                rebuilt.append(each.name)
        return rebuilt

    def rebuild(self, connection: Connection, name: str) -> None:
        """Make the tables of projection `name` again from the whole journal.

        Raises:
            KeyError: No such projection is registered.
        """
        self._rebuild(connection, self._by_name[name])

    def _rebuild(self, connection: Connection, each: Projection) -> None:
        row = connection.execute(select(projection).where(projection.c.name == each.name)).one_or_none()
        if row is not None:
            _drop(connection, _names(row.table_names))
            connection.execute(delete(projection).where(projection.c.name == each.name))
        for table in each.tables:
            table.create(connection)
        connection.execute(
            insert(projection).values(
                name=each.name,
                version=each.version,
                shape=_shape(connection, each),
                table_names=json.dumps([table.name for table in each.tables]),
                applied_seq=0,
            )
        )
        self._continue(connection, each, 0)

    def _continue_whole(self, connection: Connection, each: Projection, applied_seq: int) -> bool:
        """Continue; False, and nothing done, if records were applied before after all (a damaged `applied_seq`)."""
        try:
            with connection.begin_nested():
                self._continue(connection, each, applied_seq)
        except IntegrityError:
            return False
        return True

    def _continue(self, connection: Connection, each: Projection, applied_seq: int) -> None:
        """Apply what was appended while this projection was not registered."""
        seq = applied_seq
        for record in read_all_after(connection, applied_seq):
            each.apply(connection, record)
            seq = record.seq
        if seq != applied_seq:
            connection.execute(update(projection).where(projection.c.name == each.name).values(applied_seq=seq))


def _shape(connection: Connection, each: Projection) -> bytes:
    """Hash the DDL, so that a changed column rebuilds even when nobody raised the version."""
    lines = [
        str(statement.compile(dialect=connection.dialect))
        for table in each.tables
        for statement in (
            CreateTable(table),
            *(CreateIndex(i) for i in sorted(table.indexes, key=lambda i: str(i.name))),
        )
    ]
    return blake3("\n".join(lines).encode()).digest()


def _names(written: str) -> list[str]:
    try:
        return [str(name) for name in json.loads(written)]
    except (ValueError, TypeError) as error:
        raise DatabaseDamaged("the database is damaged: a projection's tables are not named") from error


def _drop(connection: Connection, names: Sequence[str]) -> None:
    """Drop tables by the names under which the last version made them, later ones first."""
    for name in reversed(names):
        Table(name, MetaData()).drop(connection, checkfirst=True)
