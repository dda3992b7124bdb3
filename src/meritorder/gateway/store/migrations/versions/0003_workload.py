"""The workload of a deferrable call, and the span in which work was submitted."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("requests", sa.Column("workload", sa.Text(), nullable=True))
    op.add_column("requests", sa.Column("trace", sa.Text(), nullable=True))
    op.add_column("batches", sa.Column("trace", sa.Text(), nullable=True))


def downgrade() -> None:
    """Drop the columns."""
    op.drop_column("batches", "trace")
    op.drop_column("requests", "trace")
    op.drop_column("requests", "workload")
