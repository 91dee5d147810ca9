"""Logs, checkpoints and reverts of the event index."""

import sqlalchemy as sa
from alembic import op

revision = "0001_events"
down_revision = None
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the first tables."""
    op.create_table(
        "chain_log",
        sa.Column("block", _BIG, autoincrement=False, nullable=False),
        sa.Column("log_index", _BIG, autoincrement=False, nullable=False),
        sa.Column("block_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("transaction", sa.LargeBinary(32), nullable=False),
        sa.Column("address", sa.LargeBinary(20), nullable=False),
        sa.Column("topics", sa.LargeBinary, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("block", "log_index", name="pk_chain_log"),
    )
    op.create_table(
        "chain_checkpoint",
        sa.Column("number", _BIG, autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("time", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_chain_checkpoint"),
    )
    op.create_table(
        "chain_revert",
        sa.Column("epoch", _BIG, autoincrement=False, nullable=False),
        sa.Column("to_block", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("epoch", name="pk_chain_revert"),
    )
