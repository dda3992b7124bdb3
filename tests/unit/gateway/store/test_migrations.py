"""Migrations of the store."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from meritorder.errors import ConfigError
from meritorder.gateway.store import migrations
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.schema import METADATA


def test_migrations_lead_to_the_schema(database: Database) -> None:
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    migrations.upgrade(database)  # again: nothing to do


def test_missing_database_is_one_line(tmp_path: Path) -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=1")
    with pytest.raises(ConfigError, match=r"store\.url: cannot be used"):
        migrations.upgrade(database)
    database.close()
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"this is not a database" * 100)
    database = Database(f"sqlite:///{broken}")
    with pytest.raises(ConfigError, match="not a database"):
        migrations.upgrade(database)
    database.close()
