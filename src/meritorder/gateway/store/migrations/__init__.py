"""Migrations of the store's tables.

To add one, change `schema.py` and write the next file in `versions`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError

from meritorder.errors import ConfigError
from meritorder.gateway.store.database import Database

_FOLDER: Final = Path(__file__).parent
NEWEST: Final = max(file.name for file in _FOLDER.glob("versions/[0-9]*.py")).partition("_")[0]
# An arbitrary lock number: several gateways may start at once.
_LOCK: Final = 0x6D65726974


def upgrade(database: Database) -> None:
    """Create or alter the tables of a store up to this version.

    Raises:
        ConfigError: The store cannot be reached, or a newer Meritorder has altered it.
    """
    try:
        with database.engine.connect() as connection, without_foreign_keys(connection), connection.begin():
            if not database.is_sqlite:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            if _revision(connection) != NEWEST:
                _migrate(connection)
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


def _revision(connection: Connection) -> str | None:
    """Return the version of the store's tables, None if it has none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return revision


def _migrate(connection: Connection) -> None:
    """Run the migrations that the store lacks."""
    # Loaded when needed: a fifth of the time that a gateway takes to start.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise ConfigError(
            f"the store is of another version: {error}", where="store.url", fix="upgrade meritorder"
        ) from error
