"""When a provider batch was first sent: before that the provider cannot have it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; existing provider batches count as sent when they were created."""
    op.add_column("chunks", sa.Column("sent_s", sa.Float(), nullable=True))
    op.execute("UPDATE chunks SET sent_s = created_s")


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("chunks", "sent_s")
