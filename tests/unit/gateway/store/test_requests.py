"""The store, on real databases."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from tests.samples.stores import empty_store, store_urls

from meritorder.errors import ConfigError
from meritorder.gateway.store import batches, heartbeats, migrations, requests
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.requests import ClaimedRequest, RequestAnswer
from meritorder.gateway.store.schema import METADATA

LINES = 20


@pytest.fixture(params=store_urls())
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with empty_store(request.param, tmp_path) as made:
        migrations.upgrade(made)
        yield made


def batch(database: Database) -> batches.Batch:
    """Return a batch in progress."""

    def make(connection):  # noqa: ANN001, ANN202
        made = batches.add(
            connection,
            id="batch_1",
            tenant="t",
            endpoint="/v1/chat/completions",
            completion_window="1h",
            input_file_id="file-1",
            created_s=0.0,
            expires_s=3600.0,
        )
        row = {"batch_seq": made.seq, "tenant": "t", "endpoint": made.endpoint, "model": "m", "body_bytes": 1}
        row |= {"input_tokens": 1, "output_tokens": 1, "prefix": 0, "arrived_s": 0.0, "deadline_s": 3600.0}
        requests.add(connection, [row | {"line": i, "custom_id": str(i), "state": "queued"} for i in range(LINES)])
        for name in ("a", "b"):
            heartbeats.beat(connection, name, alive_until_s=10.0)
        batches.claim(connection, "a", "validating", now_s=0.0)
        assert batches.begin(connection, "a", made.seq, total=LINES, tokens=2 * LINES, model="m", now_s=1.0)
        return batches.by_seq(connection, made.seq)

    made = database.submit(make).result()
    assert made is not None
    return made


def claim(database: Database, me: str, limit: int, now_s: float = 2.0) -> list[ClaimedRequest]:
    (work,) = database.read_now(lambda connection: requests.queued_work(connection, now_s=now_s))
    return database.submit(lambda connection: requests.claim(connection, me, work, limit=limit, now_s=now_s)).result()


def answer(database: Database, me: str, request: ClaimedRequest, request_id: str = "r") -> bool:
    given = RequestAnswer(request_id=request_id, status_code=200, body=b"{}", input_tokens=3, output_tokens=4)
    return database.submit(lambda connection: requests.store_answer(connection, me, request, given, now_s=5.0)).result()


def test_migrations_lead_to_the_schema(database: Database) -> None:
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    migrations.upgrade(database)  # again: nothing to do


def test_answer_stored_once_last_ends_batch(database: Database) -> None:
    made = batch(database)
    claimed = claim(database, "a", LINES)
    assert len(claimed) == LINES
    assert all(answer(database, "a", each) for each in claimed)
    assert not any(answer(database, "a", each, "again") for each in claimed)
    now = database.read_now(lambda connection: batches.by_seq(connection, made.seq))
    assert now is not None
    assert (now.status, now.ending, now.done) == ("finalizing", "completed", LINES)
    assert (now.queued_tokens, now.input_tokens, now.output_tokens) == (0, 3 * LINES, 4 * LINES)
    rows = database.read_now(
        lambda connection: requests.answers_by_line(connection, made.seq, after_line=-1, limit=100)
    )
    assert [row.line for row in rows] == list(range(LINES))
    assert {row.request_id for row in rows} == {"r"}


def test_two_gateways_claim_disjoint_requests(database: Database) -> None:
    batch(database)
    taken: list[int] = []
    threads = [
        threading.Thread(target=lambda me=me: [taken.append(r.seq) for _ in range(5) for r in claim(database, me, 2)])
        for me in ("a", "b")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == LINES


def test_expired_claims_return_to_queue(database: Database) -> None:
    batch(database)
    (lost,) = claim(database, "a", 1)
    (kept,) = claim(database, "b", 1)
    database.submit(lambda connection: heartbeats.beat(connection, "b", alive_until_s=30.0)).result()
    assert database.submit(lambda connection: heartbeats.requeue_expired(connection, now_s=20.0)).result() == 1
    assert not answer(database, "a", lost)
    assert answer(database, "b", kept)
    again = next(each for each in claim(database, "b", LINES, now_s=21.0) if each.seq == lost.seq)
    assert again.attempt == lost.attempt + 1
    assert not answer(database, "b", lost)
    assert answer(database, "b", again)


def test_paused_batch_is_not_claimed(database: Database) -> None:
    made = batch(database)
    (running,) = claim(database, "a", 1)
    work = database.read_now(lambda connection: requests.queued_work(connection, now_s=2.0))[0]
    database.submit(lambda connection: batches.pause(connection, made.seq, paused_s=3.0)).result()
    assert database.read_now(lambda connection: requests.queued_work(connection, now_s=2.0)) == []
    late = database.submit(lambda connection: requests.claim(connection, "a", work, limit=5, now_s=2.0)).result()
    assert late == []
    database.submit(lambda connection: batches.pause(connection, made.seq, paused_s=None)).result()
    database.submit(lambda connection: batches.finalize(connection, made.seq, ending="expired", now_s=9.0)).result()
    assert not answer(database, "a", running)
    assert database.read_now(lambda connection: requests.queued_work(connection, now_s=2.0)) == []


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
