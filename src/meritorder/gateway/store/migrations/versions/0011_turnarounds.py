"""How long the latest batches of each provider took."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "turnarounds",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("turnaround_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_turnarounds")),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("turnarounds")
