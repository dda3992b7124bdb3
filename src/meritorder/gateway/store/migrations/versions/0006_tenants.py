"""Ids of files, batches and stored answers are unique by tenant; uploads are recorded before their blobs are written."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_KEYS = {"files": ["id"], "batches": ["id"], "kept": ["kind", "id"]}


def upgrade() -> None:
    """Replace the constraints, and add the table."""
    for table, columns in _KEYS.items():
        _replace(table, columns, ["tenant", *columns])
    op.create_table(
        "uploads",
        sa.Column("blob", sa.String(length=160), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("blob", name=op.f("pk_uploads")),
    )


def downgrade() -> None:
    """Restore the constraints, and drop the table."""
    op.drop_table("uploads")
    for table, columns in _KEYS.items():
        _replace(table, ["tenant", *columns], columns)


def _replace(table: str, before: list[str], after: list[str]) -> None:
    """Replace a unique constraint by another; SQLite copies the table."""
    with op.batch_alter_table(table, table_kwargs={"sqlite_autoincrement": True}) as batch:
        batch.drop_constraint(f"uq_{table}_{'_'.join(before)}", type_="unique")
        batch.create_unique_constraint(op.f(f"uq_{table}_{'_'.join(after)}"), after)
