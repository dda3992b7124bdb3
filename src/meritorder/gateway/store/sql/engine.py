"""Engines of SQLAlchemy for the databases of a store."""

import contextlib
import os
import stat
import threading
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from meritorder.errors import ConfigError
from meritorder.gateway.store.sql import clock

WRITER: Final = "store-write"
"""Name of the thread that writes."""

_PRIVATE: Final = stat.S_IRUSR | stat.S_IWUSR
_BUSY_TIMEOUT_S: Final = 30.0
# A server whose machine vanishes is detected after seconds instead of minutes or hours.
_POSTGRES: Final = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,  # milliseconds
}


def connect(url: str, connections: int) -> Engine:
    """Return the engine of a store: `sqlite:///path` or `postgresql://user@host/name`.

    Args:
        url: Its URL.
        connections: How many connections it keeps open.

    Raises:
        ConfigError: The URL is not one of these, or the file cannot be created.
    """
    try:
        parsed = make_url(url)
        kind = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError):
        kind = None
    if kind in {"postgresql", "postgres"}:
        return create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            connect_args={name: value for name, value in _POSTGRES.items() if name not in parsed.query},
            pool_pre_ping=True,
            pool_size=connections,
            max_overflow=2,
        )
    if kind != "sqlite":
        raise ConfigError(
            "not the URL of a store", where="store.url", fix="write sqlite:///FILE or postgresql://USER@HOST/NAME"
        )
    if not parsed.database or parsed.database == ":memory:":
        raise ConfigError(
            "names no file", where="store.url", fix="write sqlite:///FILE: queued requests must survive a restart"
        )
    _create_private(Path(parsed.database))
    engine = create_engine(
        parsed, connect_args={"check_same_thread": False, "timeout": _BUSY_TIMEOUT_S}, pool_size=connections
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _create_private(path: Path) -> None:
    """Create a database that only its owner can read; SQLite gives the files beside it the same permissions.

    Raises:
        ConfigError: It cannot be created.
    """
    try:
        path.parent.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, _PRIVATE))
        with contextlib.suppress(PermissionError):  # another user's file, which is theirs to protect
            path.chmod(path.stat().st_mode & _PRIVATE)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be used: {error.strerror}", where="store.url", fix="name a file that can be written"
        ) from error


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's
    connection.isolation_level = None  # _begin_sqlite begins transactions
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-32768"):
        connection.execute(f"PRAGMA {pragma}")
    clock.prepare_sqlite(connection)


def _begin_sqlite(connection: Connection) -> None:
    writer = threading.current_thread().name == WRITER
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")
