"""Receipts of batches, and an index to find the ledger rows of a batch."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_OF_BATCH = sa.text("batch_seq IS NOT NULL")


def upgrade() -> None:
    """Add the table and the index."""
    op.create_table(
        "receipts",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.String(length=96), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "batch_id", name=op.f("pk_receipts")),
    )
    op.create_index("ix_ledger_batch", "ledger", ["batch_seq"], sqlite_where=_OF_BATCH, postgresql_where=_OF_BATCH)


def downgrade() -> None:
    """Drop the table and the index."""
    op.drop_index("ix_ledger_batch", table_name="ledger")
    op.drop_table("receipts")
