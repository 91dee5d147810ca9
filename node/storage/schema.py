"""Migrations: each room that owns tables brings a linear Alembic history of its own.

A room's history lives in `<room>/migrations/versions/*.py` beside its code and is recorded in its own version table,
so rooms add revisions without agreeing on an order. A projection (`projections.py`) needs none: it is rebuilt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData

from node.storage.errors import DatabaseTooNew
from node.storage.tables import core


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaPart:
    """The tables of one room.

    Attributes:
        name: Short and stable; names the version table.
        metadata: The tables as the code sees them now, from `new_metadata()`.
        migrations: Folder that holds `versions/`.
    """

    name: str
    metadata: MetaData
    migrations: Path

    @property
    def version_table(self) -> str:
        """Name of the table that records this part's revision."""
        return f"schema_version_{self.name}"


CORE: Final = SchemaPart(name="core", metadata=core, migrations=Path(__file__).parent / "migrations")


def migrate(connection: Connection, parts: Sequence[SchemaPart]) -> None:
    """Bring `parts` to their newest revision, in the caller's transaction: after a crash either all or nothing is done.

    Raises:
        DatabaseTooNew: A part is at a revision that this release doesn't have.
    """
    for part in parts:
        _migrate(connection, part)


def _migrate(connection: Connection, part: SchemaPart) -> None:
    script = ScriptDirectory(str(part.migrations))
    known = {revision.revision for revision in script.walk_revisions()}
    applied = MigrationContext.configure(connection, opts={"version_table": part.version_table}).get_current_heads()
    for revision in applied:
        if revision not in known:
            raise DatabaseTooNew(part.name, revision)
    if set(applied) == set(script.get_heads()):
        return

    def steps(revision: tuple[str, ...], _context: MigrationContext) -> list[RevisionStep]:
        # What Alembic's own `upgrade` command does; it has no public name.
        return script._upgrade_revs("heads", cast("str", revision))  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]

    with EnvironmentContext(Config(), script, fn=steps) as environment:
        environment.configure(
            connection=connection,
            target_metadata=part.metadata,
            version_table=part.version_table,
            render_as_batch=True,
        )
        environment.run_migrations()


def schema_differences(connection: Connection, part: SchemaPart) -> Sequence[object]:
    """Return how the migrated tables of `part` differ from its metadata: each room tests that this is empty."""
    mine = set(part.metadata.tables)

    def is_mine(name: str | None, kind: str, _parents: object) -> bool:
        return kind != "table" or name in mine

    context = MigrationContext.configure(
        connection, opts={"version_table": part.version_table, "compare_type": True, "include_name": is_mine}
    )
    return compare_metadata(context, part.metadata)
