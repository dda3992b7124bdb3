"""What a call that waits is called in the ledger, and in the plan."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("requests", sa.Column("workload", sa.Text(), nullable=True))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("requests", "workload")
