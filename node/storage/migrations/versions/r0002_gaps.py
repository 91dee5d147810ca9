"""Where records of the journal were pruned."""

import sqlalchemy as sa
from alembic import op

revision = "0002_gaps"
down_revision = "0001_core"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "journal_gap",
        sa.Column("first", _BIG, autoincrement=False, nullable=False),
        sa.Column("last", _BIG, nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("first", name="pk_journal_gap"),
        sa.UniqueConstraint("last", name="uq_journal_gap_last"),
    )
