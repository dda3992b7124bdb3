"""The writer of the database, and its URLs."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, text

from meritorder.errors import ConfigError
from meritorder.gateway.store import heartbeats
from meritorder.gateway.store.database import Database


def test_failed_change_rolls_back_alone(database: Database) -> None:
    def beats(name: str):  # noqa: ANN202
        return database.submit(lambda connection: heartbeats.beat(connection, name, lease_s=60.0))

    def fails(connection):  # noqa: ANN001, ANN202
        heartbeats.beat(connection, "undone", lease_s=60.0)
        raise ValueError

    first, bad, last = beats("first"), database.submit(fails), beats("last")
    first.result()
    last.result()
    with pytest.raises(ValueError):  # noqa: PT011
        bad.result()
    query = text("SELECT id FROM instances ORDER BY id")
    assert database.read_now(lambda connection: list(connection.execute(query).scalars())) == ["first", "last"]


@pytest.mark.parametrize("url", ["mysql://here/db", "nonsense", "sqlite://", "sqlite:///:memory:"])
def test_invalid_store_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"store\.url"):
        Database(url)


def test_items_share_statements(database: Database) -> None:
    """Items that wait together are one call of their change; an invalid one fails alone, and order is kept."""
    sizes: list[int] = []

    def beat_all(connection: Connection, names: Sequence[str]) -> Sequence[str]:
        sizes.append(len(names))
        for name in names:
            if name == "bad":
                raise ValueError(name)
            heartbeats.beat(connection, name, lease_s=60.0)
        return [name.upper() for name in names]

    async def write() -> list[Any]:
        hold = threading.Event()
        database.submit(lambda _: hold.wait(5))
        names = ["a", "bad", "b"]
        writes = [asyncio.ensure_future(database.write_item(beat_all, name)) for name in names]
        await asyncio.sleep(0)
        hold.set()
        return await asyncio.gather(*writes, return_exceptions=True)

    first, bad, last = asyncio.run(write())
    assert (first, last) == ("A", "B")
    assert isinstance(bad, ValueError)
    assert sizes == [3, 3, 1, 1, 1]
    query = text("SELECT id FROM instances ORDER BY id")
    assert database.read_now(lambda connection: list(connection.execute(query).scalars())) == ["a", "b"]


def test_conflicts_are_repeated(database: Database) -> None:
    """Two gateways lock two rows in opposite order: PostgreSQL ends one, whose changes are made again, maybe twice."""
    if database.is_sqlite:
        pytest.skip("SQLite has one writer")
    for name in ("x", "y"):
        database.submit(lambda connection, name=name: heartbeats.beat(connection, name, lease_s=60.0)).result()
    other = Database(database.engine.url.render_as_string(hide_password=False))
    both = threading.Barrier(2)
    tries: list[str] = []

    def change(first: str, second: str) -> Callable[[Connection], None]:
        def beat(connection: Connection) -> None:
            tries.append(first)
            heartbeats.beat(connection, first, lease_s=60.0)
            if len(tries) <= 2:
                both.wait(60)
            heartbeats.beat(connection, second, lease_s=60.0)

        return beat

    outcomes = [database.submit(change("x", "y")), other.submit(change("y", "x"))]
    for outcome in outcomes:
        outcome.result(timeout=90)
    other.close()
    assert set(tries) == {"x", "y"}
    assert len(tries) > 2, "one of them was made again"
    alive = text("SELECT id FROM instances ORDER BY id")
    assert list(database.read_now(lambda connection: connection.execute(alive).scalars().all())) == ["x", "y"]


def test_writer_survives_any_error(database: Database) -> None:
    """An error that no driver should raise, at the worst place: the writer goes on."""
    begin = database.engine.connect
    calls: list[int] = []

    def connect() -> Connection:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("no driver raises this")
        return begin()

    database.engine.connect = connect  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        database.submit(lambda _: None).result(timeout=5)
    assert database.submit(lambda _: 7).result(timeout=5) == 7
