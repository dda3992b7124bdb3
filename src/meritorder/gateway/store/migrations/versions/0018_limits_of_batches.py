"""The most that the requests of a batch may generate."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; it is zero where it is not known."""
    op.add_column("batches", sa.Column("limit_tokens", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("batches", "limit_tokens")
