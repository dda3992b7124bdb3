"""Provider batches."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "chunks",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("batch_seq", _SEQ, nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=True),
        sa.Column("created_s", sa.Float(), nullable=False),
        sa.Column("cancelled", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["batch_seq"], ["batches.seq"], name=op.f("fk_chunks_batch_seq_batches")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_chunks")),
        sa.UniqueConstraint("id", name=op.f("uq_chunks_id")),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("chunks")
