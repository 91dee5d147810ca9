"""Journal, projections, cursors, blob retention and grants."""

import sqlalchemy as sa
from alembic import op

revision = "0001_core"
down_revision = None
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_NAME = sa.String(160).with_variant(sa.String(160, collation="C"), "postgresql")


def upgrade() -> None:
    """Create the first tables."""
    op.create_table(
        "journal",
        sa.Column("seq", _BIG, autoincrement=False, nullable=False),
        sa.Column("stream", _NAME, nullable=False),
        sa.Column("version", _BIG, nullable=False),
        sa.Column("kind", _NAME, nullable=False),
        sa.Column("at", _BIG, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_journal"),
        sa.UniqueConstraint("stream", "version", name="uq_journal_stream_version"),
    )
    op.create_table(
        "projection",
        sa.Column("name", _NAME, nullable=False),
        sa.Column("version", _BIG, nullable=False),
        sa.Column("shape", sa.LargeBinary(32), nullable=False),
        sa.Column("table_names", sa.Text, nullable=False),
        sa.Column("applied_seq", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_projection"),
    )
    op.create_table(
        "cursor_value",
        sa.Column("name", _NAME, nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_cursor_value"),
    )
    op.create_table(
        "blob_retention",
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("keep_until", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_blob_retention"),
    )
    op.create_table(
        "blob_grant",
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("grantee", _NAME, nullable=False),
        sa.Column("until", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("digest", "grantee", name="pk_blob_grant"),
    )
