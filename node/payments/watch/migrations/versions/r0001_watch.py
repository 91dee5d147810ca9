"""Orders that are watched, what was done for them, and what our own towers hold."""

import sqlalchemy as sa
from alembic import op

revision = "0001_watch"
down_revision = None
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the first tables."""
    op.create_table(
        "watch_order",
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("client", sa.String(40), nullable=False),
        sa.Column("size", _BIG, nullable=False),
        sa.Column("received_at", _BIG, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("channel", name="pk_watch_order"),
    )
    op.create_table(
        "watch_act",
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("voucher", sa.String(64), nullable=False),
        sa.Column("client", sa.String(40), nullable=False),
        sa.Column("at", _BIG, nullable=False),
        sa.Column("block", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("channel", "voucher", name="pk_watch_act"),
    )
    op.create_table(
        "watch_handed",
        sa.Column("tower", sa.String(40), nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("at", _BIG, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("tower", "channel", name="pk_watch_handed"),
    )
