"""The writer of the database, and its URLs."""

import time

import pytest
from sqlalchemy import Connection, text

from meritorder.errors import ConfigError
from meritorder.gateway.store import heartbeats
from meritorder.gateway.store.database import Database


def test_failed_change_rolls_back_alone(database: Database) -> None:
    def beats(name: str):  # noqa: ANN202
        return database.submit(lambda connection: heartbeats.beat(connection, name, alive_until_s=1.0))

    def fails(connection):  # noqa: ANN001, ANN202
        heartbeats.beat(connection, "undone", alive_until_s=1.0)
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


@pytest.mark.asyncio
async def test_settled_changes_are_seen(database: Database) -> None:
    """A queued change takes longer than a query, which does not wait for it; after `settle` the query sees it."""

    def beats_late(connection: Connection) -> None:
        time.sleep(0.1)
        heartbeats.beat(connection, "late", alive_until_s=1.0)

    database.submit(beats_late)
    await database.settle()
    query = text("SELECT id FROM instances")
    assert await database.read_soon(lambda connection: list(connection.execute(query).scalars())) == ["late"]
