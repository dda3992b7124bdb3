"""Indexes of the batches in progress by deadline, of all tenants and of each."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_IN_PROGRESS = sa.text("status = 'in_progress'")


def upgrade() -> None:
    """Add the indexes."""
    for name, columns in (("ix_batches_due", ["expires_s"]), ("ix_batches_due_of_tenant", ["tenant", "expires_s"])):
        op.create_index(name, "batches", columns, sqlite_where=_IN_PROGRESS, postgresql_where=_IN_PROGRESS)


def downgrade() -> None:
    """Drop the indexes."""
    op.drop_index("ix_batches_due_of_tenant", "batches")
    op.drop_index("ix_batches_due", "batches")
