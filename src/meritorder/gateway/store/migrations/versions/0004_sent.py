"""Whether a chunk was ever sent: only then can the provider have it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of chunks that are there nobody knows, so they count as sent when they were made."""
    op.add_column("chunks", sa.Column("sent_s", sa.Float(), nullable=True))
    op.execute("UPDATE chunks SET sent_s = created_s")


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("chunks", "sent_s")
