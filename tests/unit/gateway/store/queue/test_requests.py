"""Requests on real databases: claims, answers and batches."""

import threading
from collections import Counter
from itertools import count as count_from
from pathlib import Path

from sqlalchemy import Connection
from tests.samples.stores import empty_store
from tests.unit.gateway.store.samples import LINES, answer, batch, claim

from meritorder.gateway.store import heartbeats, migrations
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.queue import answers, backlog, batches, requests


def test_answer_stored_once_last_ends_batch(database: Database) -> None:
    in_progress = batch(database)
    claimed = claim(database, "a", LINES)
    assert len(claimed) == LINES
    assert all(answer(database, "a", request) for request in claimed)
    assert not any(answer(database, "a", request, "again") for request in claimed)
    now = database.read_now(lambda connection: batches.by_seq(connection, in_progress.seq))
    assert now is not None
    assert (now.status, now.ending, now.done) == ("finalizing", "completed", LINES)
    assert (now.queued_tokens, now.input_tokens, now.output_tokens) == (0, 3 * LINES, 4 * LINES)
    rows = database.read_now(
        lambda connection: answers.answers_by_line(connection, in_progress.seq, after_line=-1, limit=100)
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


def test_full_models_hide_no_other_work(database: Database) -> None:
    batch(database)
    for full, count in ((("m",), 0), (("another",), 1), ((), 1)):
        work = database.read_now(
            lambda connection, full=full: backlog.queued_work(connection, now_s=2.0, full_models=full)  # type: ignore[misc]
        )
        assert len(work) == count


def test_queue_tells_what_is_due(database: Database) -> None:
    open_batches(database, "t", "u")  # their lines are due at 9 s
    for due_by_s, due in ((8.9, 0), (9.0, 2)):
        depths = database.read_now(lambda connection, by_s=due_by_s: backlog.queue_depths(connection, due_by_s=by_s))  # type: ignore[misc]
        assert depths == [("m", 2, due)]
    assert database.read_now(backlog.queued_by_model) == {"m": 2}


def open_batches(database: Database, *tenants: str) -> None:
    """Add a batch of one line for each tenant named; each is due a second after the one before."""

    def add(connection: Connection) -> None:
        heartbeats.beat(connection, "a", lease_s=60.0)
        line = {"endpoint": "/v1/completions", "model": "m", "body_bytes": 1, "input_tokens": 1, "output_tokens": 1}
        line |= {"line": 1, "custom_id": "1", "prefix": 0, "arrived_s": 0.0, "deadline_s": 9.0, "state": "queued"}
        for number, tenant in enumerate(tenants):
            added = batches.add(
                connection,
                id=f"batch_{number}",
                tenant=tenant,
                endpoint="/v1/completions",
                completion_window="1h",
                input_file_id="file-1",
                created_s=0.0,
                expires_s=3600.0 + number,
            )
            requests.add(connection, [line | {"batch_seq": added.seq, "tenant": tenant}])
            batches.claim(connection, "a", "validating")
            assert batches.begin(connection, "a", added.seq, total=1, tokens=2, model="m", now_s=1.0)

    database.submit(add).result()


def tenants_with_work(database: Database, limit: int) -> Counter[str]:
    work = database.read_now(lambda connection: backlog.queued_work(connection, now_s=2.0, limit=limit))
    return Counter(queued.tenant for queued in work)


def test_batches_of_one_tenant_hide_no_other(database: Database) -> None:
    """The four most urgent are all of `many`; the first of each other tenant comes with them."""
    open_batches(database, *["many"] * 6, "late", "late", "later")
    assert tenants_with_work(database, 4) == {"many": 4, "late": 1, "later": 1}
    assert tenants_with_work(database, 10) == {"many": 6, "late": 2, "later": 1}
    (paused,) = [row.seq for row in database.read_now(batches.open_batches) if row.tenant == "later"]
    database.submit(lambda connection: batches.pause(connection, paused, paused_s=3.0)).result()
    assert tenants_with_work(database, 4) == {"many": 4, "late": 1}


def test_more_open_batches_cost_no_more(tmp_path: Path) -> None:
    """SQLite's steps of one reading of the queue, and of one look for batches that end."""
    steps = []
    for count in (40, 400):
        with empty_store("sqlite", tmp_path / str(count)) as database:
            migrations.upgrade(database)
            open_batches(database, *(f"t{number % 4}" for number in range(count)))
            with database.engine.connect() as connection:
                driver, ticks = connection.connection.driver_connection, count_from(0)
                assert driver is not None
                driver.set_progress_handler(lambda ticks=ticks: next(ticks) and 0, 1)
                backlog.queued_work(connection, now_s=2.0, limit=20)
                batches.to_end(connection, now_s=2.0)
                assert batches.claim(connection, "a", "finalizing") is None
                driver.set_progress_handler(None, 1)
                steps.append(next(ticks))
    assert steps[1] < 1.1 * steps[0]


def test_paused_batch_is_not_claimed(database: Database) -> None:
    in_progress = batch(database)
    (running,) = claim(database, "a", 1)
    work = database.read_now(lambda connection: backlog.queued_work(connection, now_s=2.0))[0]
    database.submit(lambda connection: batches.pause(connection, in_progress.seq, paused_s=3.0)).result()
    assert database.read_now(lambda connection: backlog.queued_work(connection, now_s=2.0)) == []
    late = database.submit(lambda connection: requests.claim(connection, "a", work, limit=5, now_s=2.0)).result()
    assert late == []
    database.submit(lambda connection: batches.pause(connection, in_progress.seq, paused_s=None)).result()
    database.submit(
        lambda connection: batches.finalize(connection, in_progress.seq, ending="expired", now_s=9.0)
    ).result()
    assert not answer(database, "a", running)
    assert database.read_now(lambda connection: backlog.queued_work(connection, now_s=2.0)) == []


def test_requeued_request_counts_its_fault(database: Database) -> None:
    batch(database)
    (request,) = claim(database, "a", 1)
    database.submit(
        lambda connection: requests.requeue(connection, "a", request, not_before_s=8.0, fault=True)
    ).result()
    assert request.seq not in {early.seq for early in claim(database, "a", LINES, now_s=7.0)}
    (again,) = claim(database, "a", LINES, now_s=8.0)
    assert (again.seq, again.faults, again.attempt) == (request.seq, 1, request.attempt + 1)


def test_call_of_disconnected_client_is_deleted(database: Database) -> None:
    call = {"tenant": "t", "endpoint": "/v1/chat/completions", "model": "m", "body": b"{}", "body_bytes": 2}
    call |= {"input_tokens": 1, "output_tokens": 1, "prefix": 0, "arrived_s": 0.0, "deadline_s": 9.0, "holder": "gone"}
    seq = database.submit(lambda connection: requests.add_call(connection, id="req_1", **call)).result()
    assert database.read_now(lambda connection: backlog.overdue_calls(connection, now_s=9.0))[0].seq == seq
    database.submit(lambda connection: requests.end_and_delete(connection, seq)).result()
    assert database.read_now(lambda connection: backlog.queued_work(connection, now_s=1.0)) == []
