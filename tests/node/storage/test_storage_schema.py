import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

from node.operations.clock import Clock
from node.storage.engine import new_metadata
from node.storage.errors import DatabaseTooNew, DataFolderUnusable
from node.storage.schema import CORE, SchemaPart, schema_differences
from tests.stores import Store

FIRST = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "0001_logs", None
def upgrade():
    key = sa.PrimaryKeyConstraint("block", name="pk_chain_log")
    op.create_table("chain_log", sa.Column("block", sa.Integer, nullable=False), key)
"""
SECOND = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "0002_hash", "0001_logs"
def upgrade():
    with op.batch_alter_table("chain_log") as table:
        table.add_column(sa.Column("hash", sa.LargeBinary(32), nullable=False, server_default=sa.text("''")))
"""
BROKEN = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "0003_broken", "0002_hash"
def upgrade():
    op.create_table("half", sa.Column("id", sa.Integer))
    op.execute("INSERT INTO nowhere VALUES (1)")
"""


def room(path: Path, *revisions: str) -> SchemaPart:
    """A room called `chain` whose history has `revisions`."""
    folder = path / f"room-{len(revisions)}"
    (folder / "versions").mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(revisions):
        (folder / "versions" / f"r{number}.py").write_text(text)
    metadata = new_metadata()
    table = sa.Table("chain_log", metadata, sa.Column("block", sa.Integer, primary_key=True))
    if len(revisions) > 1:
        table.append_column(sa.Column("hash", sa.LargeBinary(32), nullable=False, server_default=sa.text("''")))
    return SchemaPart(name="chain", metadata=metadata, migrations=folder)


async def test_the_migrations_make_the_tables_that_the_code_uses(folder: Path, clock: Clock, store: Store) -> None:
    async with store.open(folder, clock=clock) as storage:
        assert await storage.read.query(lambda connection: list(schema_differences(connection, CORE))) == []


async def test_schema_differences_sees_a_missing_column(
    folder: Path, clock: Clock, tmp_path: Path, store: Store
) -> None:
    wanted = room(tmp_path, FIRST, SECOND)
    migrated = SchemaPart(name="chain", metadata=wanted.metadata, migrations=room(tmp_path, FIRST).migrations)
    async with store.open(folder, clock=clock, schema_parts=[migrated]) as storage:
        differences = await storage.read.query(lambda connection: list(schema_differences(connection, wanted)))
        assert "hash" in str(differences)


async def test_a_room_brings_its_tables_and_later_changes_them(
    folder: Path, clock: Clock, tmp_path: Path, store: Store
) -> None:
    insert = sa.text("INSERT INTO chain_log (block) VALUES (7)")
    async with store.open(folder, clock=clock, schema_parts=[room(tmp_path, FIRST)]) as storage:
        await storage.transact(lambda transaction: transaction.connection.execute(insert).rowcount)
    later = room(tmp_path, FIRST, SECOND)
    for _ in range(2):
        async with store.open(folder, clock=clock, schema_parts=[later]) as storage:
            assert await storage.read.query(lambda connection: list(schema_differences(connection, later))) == []
            rows = await storage.read.query(
                lambda c: [tuple(row) for row in c.execute(sa.text("SELECT block, length(hash) FROM chain_log"))]
            )
            assert rows == [(7, 0)]


async def test_a_database_of_a_later_release_is_left_alone(
    folder: Path, clock: Clock, tmp_path: Path, store: Store
) -> None:
    async with store.open(folder, clock=clock, schema_parts=[room(tmp_path, FIRST, SECOND)]):
        pass
    with pytest.raises(DatabaseTooNew, match="0002_hash"):
        async with store.open(folder, clock=clock, schema_parts=[room(tmp_path, FIRST)]):
            pytest.fail("opened")


async def test_a_migration_that_fails_leaves_the_database_as_it_was(
    folder: Path, clock: Clock, tmp_path: Path, store: Store
) -> None:
    good = room(tmp_path, FIRST, SECOND)
    async with store.open(folder, clock=clock, schema_parts=[good]):
        pass
    with pytest.raises(DBAPIError, match="nowhere"):
        async with store.open(folder, clock=clock, schema_parts=[room(tmp_path, FIRST, SECOND, BROKEN)]):
            pytest.fail("opened")
    async with store.open(folder, clock=clock, schema_parts=[good]) as storage:
        names = await storage.read.query(lambda connection: sa.inspect(connection).get_table_names())
        assert "chain_log" in names
        assert "half" not in names


def test_the_tables_are_ones_that_postgresql_takes_with_wide_numbers_and_names_in_byte_order() -> None:
    dialect = postgresql.dialect()
    ddl = {name: str(CreateTable(table).compile(dialect=dialect)) for name, table in CORE.metadata.tables.items()}
    assert "seq BIGINT NOT NULL" in ddl["journal"]
    assert 'stream VARCHAR(160) COLLATE "C" NOT NULL' in ddl["journal"]
    assert all("INTEGER" not in statement for statement in ddl.values())


async def test_a_query_can_change_nothing(folder: Path, clock: Clock, store: Store) -> None:
    async with store.open(folder, clock=clock) as storage:
        with pytest.raises(Exception, match=r"read-?only"):
            await storage.read.query(lambda c: c.execute(sa.text("DELETE FROM journal")).rowcount)


async def test_a_folder_that_cannot_be_made_is_a_mistake_of_the_user(
    tmp_path: Path, clock: Clock, store: Store
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataFolderUnusable, match="Not a directory") as caught:
        async with store.open(tmp_path / "file" / "data", clock=clock):
            pytest.fail("opened")
    assert "node.data_dir" in caught.value.advice


@pytest.mark.parametrize(("name", "is_folder"), [("blobs", False), ("journal.anchor", True), ("stoa.lock", True)])
async def test_something_else_under_a_name_of_ours_is_a_mistake_of_the_user(
    name: str, *, is_folder: bool, folder: Path, clock: Clock, store: Store
) -> None:
    async with store.open(folder, clock=clock):
        pass
    ours = folder / name
    if ours.is_dir():
        shutil.rmtree(ours)
    else:
        ours.unlink()
    if is_folder:
        ours.mkdir()
    else:
        ours.write_text("in the way")
    with pytest.raises(DataFolderUnusable):
        async with store.open(folder, clock=clock):
            pytest.fail("opened")
