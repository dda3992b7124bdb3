"""Quotes of batches."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "quotes",
        sa.Column("id", sa.String(length=96), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("input_file_id", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_s", sa.Float(), nullable=False),
        sa.Column("valid_until_s", sa.Float(), nullable=False),
        sa.Column("batch_id", sa.String(length=96), nullable=True),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("quoted_picousd", sa.BigInteger(), nullable=True),
        sa.Column("honored", sa.Boolean(), nullable=False),
        sa.Column("paid_picousd", sa.BigInteger(), nullable=True),
        sa.Column("charged_picousd", sa.BigInteger(), nullable=True),
        sa.Column("adjusted_picousd", sa.BigInteger(), nullable=True),
        sa.Column("settled_s", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quotes")),
    )
    op.create_index("ix_quotes_batch", "quotes", ["tenant", "batch_id"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_index("ix_quotes_batch", table_name="quotes")
    op.drop_table("quotes")
