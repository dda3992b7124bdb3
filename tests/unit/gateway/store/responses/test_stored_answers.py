"""Answers that clients retrieve later."""

from meritorder.gateway.store.database import Database
from meritorder.gateway.store.queue.requests import RequestAnswer
from meritorder.gateway.store.responses import stored_answers
from meritorder.gateway.store.responses.stored_answers import RESPONSE, StoredAnswer

ITEM = StoredAnswer(id="resp_1", kind=RESPONSE, tenant="t", model="m", status="queued", request=b"{}", created_s=1.0)


def add(database: Database, request_seq: int) -> None:
    database.submit(lambda connection: stored_answers.add(connection, ITEM, request_seq=request_seq)).result()


def test_answer_completes_its_place_once(database: Database) -> None:
    add(database, 7)
    answer = RequestAnswer(request_id="r", status_code=200, body=b"[1]")
    first = database.submit(lambda connection: stored_answers.complete(connection, 7, answer)).result()
    assert first is not None
    assert (first.status, first.answer) == ("completed", b"[1]")
    assert database.submit(lambda connection: stored_answers.complete(connection, 7, answer)).result() is None


def test_missing_answer_fails_its_place(database: Database) -> None:
    add(database, 7)
    answer = RequestAnswer(request_id="r", status_code=None, error_code="deadline_exceeded", error_message="late")
    failed = database.submit(lambda connection: stored_answers.complete(connection, 7, answer)).result()
    assert failed is not None
    assert failed.status == "failed"
    assert b"deadline_exceeded" in (failed.answer or b"")


def test_cancelled_place_takes_no_answer(database: Database) -> None:
    add(database, 7)
    assert database.submit(lambda connection: stored_answers.cancel(connection, "t", "resp_1")).result() == 7
    answer = RequestAnswer(request_id="r", status_code=200, body=b"[1]")
    assert database.submit(lambda connection: stored_answers.complete(connection, 7, answer)).result() is None


def test_tenants_see_only_their_answers(database: Database) -> None:
    add(database, 7)
    assert database.read_now(lambda connection: stored_answers.get(connection, "other", RESPONSE, "resp_1")) is None
    assert database.read_now(lambda connection: stored_answers.get(connection, "t", RESPONSE, "resp_1")) is not None
