"""Proven peers and bans."""

import sqlalchemy as sa
from alembic import op

revision = "0001_peers"
down_revision = None
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the first tables."""
    op.create_table(
        "network_peer",
        sa.Column("peer", sa.String(64), nullable=False),
        sa.Column("place", _BIG, nullable=False),
        sa.Column("addresses", sa.Text, nullable=False),
        sa.Column("record", sa.LargeBinary, nullable=False),
        sa.Column("seen_at", _BIG, nullable=False),
        sa.Column("successes", _BIG, nullable=False),
        sa.Column("failures", _BIG, nullable=False),
        sa.Column("score_milli", _BIG, nullable=False),
        sa.Column("score_at", _BIG, nullable=False),
        sa.Column("anchor", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("peer", name="pk_network_peer"),
    )
    op.create_table(
        "network_ban",
        sa.Column("peer", sa.String(64), nullable=False),
        sa.Column("until", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("peer", name="pk_network_ban"),
    )
