"""Which network and contracts the index has read."""

import sqlalchemy as sa
from alembic import op

revision = "0002_source"
down_revision = "0001_events"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the table; it is filled at the next start."""
    op.create_table(
        "chain_source",
        sa.Column("chain_id", _BIG, autoincrement=False, nullable=False),
        sa.Column("contracts", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("chain_id", name="pk_chain_source"),
    )
