"""Paid capacity, and what an attempt was and ran on."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table and columns."""
    op.create_table(
        "capacity",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("replica", sa.Text(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("pricing_model", sa.String(length=32), nullable=False),
        sa.Column("picousd_per_hour", sa.BigInteger(), nullable=False),
        sa.Column("minimum_billing_s", sa.Float(), nullable=False),
        sa.Column("started_s", sa.Float(), nullable=False),
        sa.Column("ready_s", sa.Float(), nullable=True),
        sa.Column("seen_s", sa.Float(), nullable=False),
        sa.Column("stopped_s", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_capacity")),
    )
    op.add_column("ledger", sa.Column("request_seq", _SEQ, nullable=True))
    op.add_column("ledger", sa.Column("batch_seq", _SEQ, nullable=True))
    op.add_column("ledger", sa.Column("attempt", sa.Integer(), server_default="1", nullable=False))
    op.add_column("ledger", sa.Column("replica", sa.Text(), nullable=True))
    op.add_column("ledger", sa.Column("outcome", sa.String(length=16), nullable=True))
    op.add_column("ledger", sa.Column("reasoning_tokens", sa.Integer(), server_default="0", nullable=False))
    op.add_column("ledger", sa.Column("price_basis", sa.String(length=16), nullable=True))


def downgrade() -> None:
    """Drop the table and columns."""
    for column in ("price_basis", "reasoning_tokens", "outcome", "replica", "attempt", "batch_seq", "request_seq"):
        op.drop_column("ledger", column)
    op.drop_table("capacity")
