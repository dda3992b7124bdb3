import json

from meritorder.gateway.store.responses.stored_answers import RESPONSE, StoredAnswer
from meritorder.gateway.wire.objects import batch_output_line, list_object, response_object


def item(answer: bytes | None, request_seq: int | None = 3) -> StoredAnswer:
    return StoredAnswer(
        id="resp_1",
        kind=RESPONSE,
        tenant="t",
        model="m",
        status="queued",
        request=b'{"model": "m", "input": "x", "instructions": "be brief"}',
        answer=answer,
        request_seq=request_seq,
        created_s=5.9,
    )


def test_answer_under_our_id() -> None:
    parsed = response_object(item(b'{"id": "engine_1", "output": [1]}', request_seq=None), "completed")
    assert parsed == {"id": "resp_1", "output": [1]}
    assert response_object(item(b'{"id": "engine_1"}'), "completed") == {
        "id": "resp_1",
        "background": True,
        "previous_response_id": None,
        "conversation": None,
    }


def test_unfinished_response_repeats_request() -> None:
    parsed = response_object(item(None), "in_progress")
    assert (parsed["id"], parsed["status"], parsed["created_at"], parsed["output"]) == ("resp_1", "in_progress", 5, [])
    assert (parsed["instructions"], parsed["error"]) == ("be brief", None)


def test_failed_response_has_message() -> None:
    failed = response_object(item(b'{"error": {"message": "too long"}}'), "failed")
    assert failed["error"] == {"code": "server_error", "message": "too long"}
    assert response_object(item(b'{"error": {}}'), "failed")["error"]["message"] == "The request failed."


def line(**changes: object) -> dict[str, object]:
    fields: dict[str, object] = {
        "status_code": 200,
        "request_id": "req_1",
        "body": b'{\n "a": 1}',
        "error_code": None,
        "error_message": None,
    }
    text = batch_output_line("line_1", "mine", **(fields | changes))  # type: ignore[arg-type]
    assert text.count(b"\n") == 1
    decoded: dict[str, object] = json.loads(text)
    return decoded


def test_http_answer_is_response() -> None:
    assert line()["response"] == {"status_code": 200, "request_id": "req_1", "body": {"a": 1}}
    assert line(status_code=400)["error"] is None
    assert line(body=b"<html>")["response"] == {"status_code": 200, "request_id": "req_1", "body": "<html>"}


def test_no_answer_is_error() -> None:
    parsed = line(status_code=None, request_id=None, error_code="batch_expired", error_message="too late")
    assert (parsed["response"], parsed["error"]) == (None, {"code": "batch_expired", "message": "too late"})


def test_lists_name_their_ends() -> None:
    assert list_object([], has_more=False)["first_id"] is None
    page = list_object([{"id": "a"}, {"id": "b"}], has_more=True)
    assert (page["first_id"], page["last_id"], page["has_more"]) == ("a", "b", True)
