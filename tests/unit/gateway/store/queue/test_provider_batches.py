"""Provider batches in the store: they own their requests until they are finished."""

import pytest
from sqlalchemy import Connection
from tests.unit.gateway.store.samples import LINES, batch, claim, store

from meritorder.gateway.store import heartbeats
from meritorder.gateway.store.billing import ledger
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.queue import backlog, batches, provider_batches, requests
from meritorder.gateway.store.queue.answers import AnswerOutcome
from meritorder.gateway.store.queue.provider_batches import ProviderBatch


def create_batch(database: Database, count: int = 5) -> ProviderBatch:
    in_progress = batch(database)
    requests = claim(database, "a", count)
    provider_batch = ProviderBatch(
        id="c1", venue="provider", batch_seq=in_progress.seq, provider_id=None, created_s=2.0, cancelled=False
    )
    database.submit(lambda connection: provider_batches.create(connection, "a", provider_batch, requests)).result()
    return provider_batch


def adopt(database: Database, me: str) -> list[ProviderBatch]:
    return database.submit(lambda connection: provider_batches.adopt(connection, me)).result()


def test_provider_batch_outlives_its_gateway(database: Database) -> None:
    provider_batch = create_batch(database)
    assert adopt(database, "b") == []  # the other is alive
    database.submit(heartbeats.remove_all).result()
    assert database.submit(heartbeats.requeue_expired).result() == 0
    assert adopt(database, "b") == [provider_batch]
    assert len(database.read_now(lambda connection: requests.claimed_by(connection, "c1"))) == 5


def test_provider_batch_state_is_stored(database: Database) -> None:
    create_batch(database)
    database.submit(lambda connection: provider_batches.mark_submitted(connection, "c1", "batch_9")).result()
    database.submit(lambda connection: provider_batches.mark_cancelled(connection, "c1")).result()
    (provider_batch,) = adopt(database, "a")
    assert (provider_batch.provider_id, provider_batch.cancelled) == ("batch_9", True)
    assert database.read_now(provider_batches.provider_ids) == ["batch_9"]


@pytest.mark.parametrize("fault", [False, True])
def test_unanswered_requests_are_requeued(database: Database, *, fault: bool) -> None:
    create_batch(database)
    first, *rest = database.read_now(lambda connection: requests.claimed_by(connection, "c1"))
    assert store(database, "c1", first, "r", is_repeated=True).stored
    # The gateway died and reads it again: nothing was paid twice.
    assert store(database, "c1", first, "r2", is_repeated=True) == AnswerOutcome(stored=False, entry=None)
    assert len(database.read_now(lambda connection: list(ledger.rows(connection)))) == 1
    faulty = [request.seq for request in rest] if fault else []
    database.submit(lambda connection: provider_batches.finish(connection, "c1", faulty=faulty)).result()
    assert adopt(database, "a") == []
    again = claim(database, "a", LINES, now_s=4.0)
    assert len(again) == LINES - 1
    assert {request.faults for request in again if request.seq in {requeued.seq for requeued in rest}} == {int(fault)}


def test_wanted_while_batch_in_progress(database: Database) -> None:
    provider_batch = create_batch(database)
    assert database.read_now(lambda connection: provider_batches.wanted(connection, provider_batch))
    database.submit(
        lambda connection: batches.finalize(connection, provider_batch.batch_seq, ending="expired", now_s=9.0)
    ).result()
    assert not database.read_now(lambda connection: provider_batches.wanted(connection, provider_batch))


def test_claims_stay_within_provider_limits(database: Database) -> None:
    count = 40_000  # more than a statement may have values
    in_progress = batch(database)
    row = {
        "batch_seq": in_progress.seq,
        "tenant": "t",
        "endpoint": in_progress.endpoint,
        "model": "m",
        "body_bytes": 100,
    }
    row |= {"input_tokens": 1, "output_tokens": 1, "prefix": 0, "arrived_s": 0.0, "deadline_s": 3600.0}

    def add(connection: Connection) -> None:
        lines = [row | {"line": LINES + i, "custom_id": f"x{i}", "state": "queued"} for i in range(count)]
        for start in range(0, count, 2000):
            requests.add(connection, lines[start : start + 2000])

    database.submit(add).result()
    (work,) = database.read_now(lambda connection: backlog.queued_work(connection, now_s=2.0))

    def provider_batch(connection: Connection, name: str, max_bytes: int) -> int:
        taken, left = provider_batches.claim_within(
            connection, "a", work, max_lines=35_000, max_bytes=max_bytes, now_s=2.0
        )
        for request in left:
            requests.requeue(connection, "a", request, not_before_s=2.0, fault=False)
        it = ProviderBatch(
            id=name, venue="p", batch_seq=in_progress.seq, provider_id=None, created_s=2.0, cancelled=False
        )
        provider_batches.create(connection, "a", it, taken)
        return len(taken)

    large, small = 2**30, 612 * 1500
    assert database.submit(lambda connection: provider_batch(connection, "large", large)).result() == 35_000
    assert database.submit(lambda connection: provider_batch(connection, "small", small)).result() == 1500
    assert len(database.read_now(lambda connection: requests.claimed_by(connection, "large"))) == 35_000
    assert len(database.read_now(lambda connection: requests.claimed_by(connection, "small"))) == 1500
    left = count + LINES - 36_500
    assert database.read_now(backlog.queued_by_model) == {"m": left}


def test_latest_turnarounds_are_kept(database: Database) -> None:
    def record(connection: Connection) -> None:
        for number in range(provider_batches.KEPT_TURNAROUNDS + 2):
            provider_batches.record_turnaround(connection, "p", float(number))
        provider_batches.record_turnaround(connection, "q", 7.0)

    database.submit(record).result()
    kept = database.read_now(provider_batches.turnarounds)
    assert kept == [*(("p", float(number)) for number in range(2, provider_batches.KEPT_TURNAROUNDS + 2)), ("q", 7.0)]
