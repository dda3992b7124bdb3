"""An index of the requests outside batches, and receipts of them beside those of batches."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_ALONE = sa.text("batch_seq IS NULL")


def upgrade() -> None:
    """Add the index, and name the column for both."""
    op.create_index("ix_ledger_request", "ledger", ["request_id"], sqlite_where=_ALONE, postgresql_where=_ALONE)
    op.alter_column("receipts", "batch_id", new_column_name="subject_id")


def downgrade() -> None:
    """Drop the index and the receipts of requests."""
    op.execute("DELETE FROM receipts WHERE subject_id NOT LIKE 'batch_%'")
    op.alter_column("receipts", "subject_id", new_column_name="batch_id")
    op.drop_index("ix_ledger_request", "ledger")
