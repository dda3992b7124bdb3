"""Budgets of keys and teams with periods, rate limits that gateways share, and the expected cost of queued requests."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ALONE = sa.text("state = 'queued' AND batch_seq IS NULL")
# What was spent before is in the ledger; a budget without a period counts all of it.
_MOVE_BUDGETS = """
INSERT INTO budgets (id, amount_picousd, time_zone, tenant, period_start_s, spent_picousd)
SELECT id, budget_picousd, 'UTC', tenant, 0,
       COALESCE((SELECT SUM(cost_picousd) FROM ledger WHERE ledger.key_id = keys.id), 0)
FROM keys WHERE budget_picousd IS NOT NULL
"""


def upgrade() -> None:
    """Add the tables and columns, and move the budgets of keys."""
    op.create_table(
        "budgets",
        sa.Column("id", sa.String(96), primary_key=True),
        sa.Column("amount_picousd", sa.BigInteger(), nullable=False),
        sa.Column("period", sa.Text(), nullable=True),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("soft_share", sa.Float(), nullable=True),
        sa.Column("webhook", sa.Text(), nullable=True),
        sa.Column("tenant", sa.Text(), nullable=True),
        sa.Column("period_start_s", sa.Float(), nullable=False),
        sa.Column("spent_picousd", sa.BigInteger(), nullable=False),
        sa.Column("exhausted_s", sa.Float(), nullable=True),
        sa.Column("announced_s", sa.Float(), nullable=True),
    )
    op.create_table(
        "budget_leases",
        sa.Column("budget_id", sa.String(96), primary_key=True),
        sa.Column("holder", sa.String(64), primary_key=True),
        sa.Column("amount_picousd", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "rate_windows",
        sa.Column("key_id", sa.String(64), primary_key=True),
        sa.Column("buckets", sa.LargeBinary(), nullable=False),
    )
    op.add_column("keys", sa.Column("team", sa.Text(), nullable=True))
    op.execute(_MOVE_BUDGETS)
    op.drop_column("keys", "budget_picousd")
    op.add_column("requests", sa.Column("expected_picousd", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index("ix_requests_promised", "requests", ["key_id"], sqlite_where=_ALONE, postgresql_where=_ALONE)


def downgrade() -> None:
    """Drop them, and move the budgets of keys back, without their periods."""
    op.drop_index("ix_requests_promised", "requests")
    op.drop_column("requests", "expected_picousd")
    op.add_column("keys", sa.Column("budget_picousd", sa.BigInteger(), nullable=True))
    op.execute("UPDATE keys SET budget_picousd = (SELECT amount_picousd FROM budgets WHERE budgets.id = keys.id)")
    op.drop_column("keys", "team")
    for table in ("rate_windows", "budget_leases", "budgets"):
        op.drop_table(table)
