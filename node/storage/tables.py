"""The tables that belong to storage itself. A change here needs a migration in `migrations/versions/`."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from node.storage.engine import new_metadata

DIGEST_BYTES: Final = 32
NAME_CHARS: Final = 160

# SQLite makes only INTEGER PRIMARY KEY its row id; PostgreSQL's INTEGER is too small.
BIG: Final = BigInteger().with_variant(Integer, "sqlite")
# Range queries on names need byte order, which SQLite has by default.
NAME: Final = String(NAME_CHARS).with_variant(String(NAME_CHARS, collation="C"), "postgresql")


class ForeignText(TypeDecorator[str]):
    """Text that somebody else wrote, to be shown: PostgreSQL refuses U+0000, and must not refuse a record for that."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Replace what can't be kept by the sign for it."""
        del dialect
        return value.replace("\0", "\ufffd") if value is not None else None


core = new_metadata()

journal = Table(
    "journal",
    core,
    Column("seq", BIG, primary_key=True, autoincrement=False),
    Column("stream", NAME, nullable=False),
    Column("version", BIG, nullable=False),
    Column("kind", NAME, nullable=False),
    Column("at", BIG, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("hash", LargeBinary(DIGEST_BYTES), nullable=False),
    UniqueConstraint("stream", "version"),
)

journal_gap = Table(
    "journal_gap",
    core,
    Column("first", BIG, primary_key=True, autoincrement=False),
    Column("last", BIG, nullable=False, unique=True),
    Column("hash", LargeBinary(DIGEST_BYTES), nullable=False),
)
"""Records `first` to `last` were pruned; `hash` is that of the last of them, from which the next record's follows."""

projection = Table(
    "projection",
    core,
    Column("name", NAME, primary_key=True),
    Column("version", BIG, nullable=False),
    Column("shape", LargeBinary(DIGEST_BYTES), nullable=False),
    Column("table_names", Text, nullable=False),
    Column("applied_seq", BIG, nullable=False),
)

cursor_value = Table(
    "cursor_value",
    core,
    Column("name", NAME, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

blob_retention = Table(
    "blob_retention",
    core,
    Column("digest", LargeBinary(DIGEST_BYTES), primary_key=True),
    Column("keep_until", BIG, nullable=False),
)

blob_grant = Table(
    "blob_grant",
    core,
    Column("digest", LargeBinary(DIGEST_BYTES), primary_key=True),
    Column("grantee", NAME, primary_key=True),
    Column("until", BIG, nullable=False),
)
