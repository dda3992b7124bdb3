"""What survives a kill: journals of ledger entries, tokens lost by earlier attempts, and how far an input was read."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables and columns."""
    op.create_table(
        "journals",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journals")),
    )
    op.create_table(
        "ledger_rejected",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_ledger_rejected")),
        sqlite_autoincrement=True,
    )
    op.add_column("requests", sa.Column("lost_tokens", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("requests", sa.Column("lost_attempts", sa.Integer(), server_default="0", nullable=False))
    # Earlier versions did not store how far they had read: those inputs are read from the start.
    op.execute("DELETE FROM requests WHERE batch_seq IN (SELECT seq FROM batches WHERE status = 'validating')")
    op.add_column("batches", sa.Column("input_state", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    """Drop the tables and columns."""
    op.drop_column("batches", "input_state")
    for column in ("lost_attempts", "lost_tokens"):
        op.drop_column("requests", column)
    for table in ("ledger_rejected", "journals"):
        op.drop_table(table)
