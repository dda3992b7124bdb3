"""Rate limits of teams."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; the windows of rates are those of teams too."""
    op.create_table(
        "team_rates",
        sa.Column("id", sa.String(length=96), nullable=False),
        sa.Column("requests_per_minute", sa.Integer(), nullable=True),
        sa.Column("tokens_per_minute", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_team_rates")),
    )
    _rename("key_id", "id", length=96)


def downgrade() -> None:
    """Drop the table, and the windows of teams."""
    op.drop_table("team_rates")
    op.execute("DELETE FROM rate_windows WHERE id LIKE 'team:%'")
    _rename("id", "key_id", length=64)


def _rename(before: str, after: str, *, length: int) -> None:
    with op.batch_alter_table("rate_windows") as batch:
        batch.alter_column(before, new_column_name=after, type_=sa.String(length=length))
