"""Costs by day."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NAMES = ("tenant", "key_id", "workload", "lane", "model", "venue")
_SUMS = (
    *("paid_picousd", "cost_picousd", "requests", "attempts", "unpaid"),
    *("input_tokens", "output_tokens", "lost_tokens", "kept", "missed"),
)


def upgrade() -> None:
    """Add the tables, and an index of the ledger by time."""
    op.create_table(
        "ledger_days",
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sealed_seq", _SEQ, nullable=True),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_ledger_days")),
    )
    op.create_table(
        "daily_costs",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=True) for name in _NAMES),
        sa.Column("use", sa.String(length=24), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _SUMS),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_daily_costs")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_daily_costs_day", "daily_costs", ["day"])
    op.create_index("ix_ledger_ended_s_started_s", "ledger", ["ended_s", "started_s"])


def downgrade() -> None:
    """Drop the tables and the index."""
    op.drop_index("ix_ledger_ended_s_started_s", table_name="ledger")
    op.drop_table("daily_costs")
    op.drop_table("ledger_days")
