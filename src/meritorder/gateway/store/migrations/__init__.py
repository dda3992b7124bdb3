"""Migrations of the store's tables.

To add one, change `schema.py` and write the next file in `versions`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from meritorder.errors import ConfigError
from meritorder.gateway.store.database import Database

_FOLDER: Final = Path(__file__).parent
# An arbitrary lock number: several gateways may start at once.
_LOCK: Final = 0x6D65726974


def upgrade(database: Database) -> None:
    """Create or alter the tables of a store up to this version.

    Raises:
        ConfigError: The store cannot be reached, or a newer Meritorder has altered it.
    """
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    try:
        with database.engine.connect() as connection, without_foreign_keys(connection), connection.begin():
            if not database.is_sqlite:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            if MigrationContext.configure(connection).get_current_revision() != _newest(config):
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    except CommandError as error:
        raise ConfigError(
            f"the store is of another version: {error}", where="store.url", fix="upgrade meritorder"
        ) from error
    except DBAPIError as error:
        message = str(error.orig).strip().splitlines()
        raise ConfigError(
            f"cannot be used: {message[0] if message else 'no reason given'}",
            where="store.url",
            fix="check that the database exists and can be written",
        ) from error


@contextmanager
def without_foreign_keys(connection: Connection) -> Iterator[None]:
    """Let SQLite replace tables that others refer to: it alters a constraint by copying the table."""
    if connection.dialect.name != "sqlite":
        yield
        return
    driver: Any = connection.connection.driver_connection
    driver.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys=ON")


def _newest(config: Config) -> str | None:
    return ScriptDirectory.from_config(config).get_current_head()
