"""Requests on real databases: claims, answers and batches."""

import threading

from tests.unit.gateway.store.samples import LINES, answer, batch, claim

from meritorder.gateway.store import answers, batches, requests
from meritorder.gateway.store.database import Database


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
            lambda connection, full=full: requests.queued_work(connection, now_s=2.0, full_models=full)  # type: ignore[misc]
        )
        assert len(work) == count


def test_paused_batch_is_not_claimed(database: Database) -> None:
    in_progress = batch(database)
    (running,) = claim(database, "a", 1)
    work = database.read_now(lambda connection: requests.queued_work(connection, now_s=2.0))[0]
    database.submit(lambda connection: batches.pause(connection, in_progress.seq, paused_s=3.0)).result()
    assert database.read_now(lambda connection: requests.queued_work(connection, now_s=2.0)) == []
    late = database.submit(lambda connection: requests.claim(connection, "a", work, limit=5, now_s=2.0)).result()
    assert late == []
    database.submit(lambda connection: batches.pause(connection, in_progress.seq, paused_s=None)).result()
    database.submit(
        lambda connection: batches.finalize(connection, in_progress.seq, ending="expired", now_s=9.0)
    ).result()
    assert not answer(database, "a", running)
    assert database.read_now(lambda connection: requests.queued_work(connection, now_s=2.0)) == []


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
    assert database.read_now(lambda connection: requests.overdue_calls(connection, now_s=9.0))[0].seq == seq
    database.submit(lambda connection: requests.end_and_delete(connection, seq)).result()
    assert database.read_now(lambda connection: requests.queued_work(connection, now_s=1.0)) == []
