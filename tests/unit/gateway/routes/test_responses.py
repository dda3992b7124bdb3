from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.samples.service import call, open_service

from meritorder.gateway.app.service import Service
from meritorder.gateway.store.responses import stored_answers
from meritorder.gateway.store.responses.stored_answers import RESPONSE, StoredAnswer

PATH = "/v1/responses/resp_1"


def response(status: str = "completed") -> StoredAnswer:
    return StoredAnswer(
        id="resp_1",
        kind=RESPONSE,
        tenant="default",
        model="m",
        status=status,
        request=b'{"model": "m", "input": "hello"}',
        answer=b'{"id": "engine_1", "object": "response", "status": "completed", "output": []}',
        created_s=5.0,
    )


def store(service: Service, item: StoredAnswer, request_seq: int | None = None) -> None:
    service.context.database.submit(
        lambda connection: stored_answers.add(connection, item, request_seq=request_seq)
    ).result()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with open_service(tmp_path) as opened:
        yield opened


def test_response_has_our_id(service: Service) -> None:
    store(service, response())
    assert call(service, "GET", PATH).json["id"] == "resp_1"
    assert call(service, "GET", "/v1/responses/resp_2").status == 404


def test_input_items_of_text(service: Service) -> None:
    store(service, response())
    (item,) = call(service, "GET", PATH + "/input_items").json["data"]
    assert (item["id"], item["type"], item["role"]) == ("msg_1_0", "message", "user")
    assert item["content"] == [{"type": "input_text", "text": "hello"}]


def test_synchronous_response_cannot_be_cancelled(service: Service) -> None:
    store(service, response())
    assert call(service, "POST", PATH + "/cancel").status == 400


def test_queued_response_is_cancelled(service: Service) -> None:
    store(service, response("queued"), request_seq=7)
    assert call(service, "GET", PATH).json["status"] == "queued"
    assert call(service, "POST", PATH + "/cancel").json["status"] == "cancelled"
    assert call(service, "POST", PATH + "/cancel").json["status"] == "cancelled"


def test_deleted_response_is_gone(service: Service) -> None:
    store(service, response())
    assert call(service, "DELETE", PATH).json["deleted"] is True
    assert call(service, "GET", PATH).status == 404


def test_stream_continues_after_event(service: Service) -> None:
    store(service, response())
    whole = call(service, "GET", PATH + "?stream=true").body.split(b"\n\n")[:-1]
    assert whole[-1].startswith(b"event: response.completed")
    for after in range(len(whole)):
        rest = call(service, "GET", f"{PATH}?stream=true&starting_after={after}").body.split(b"\n\n")[:-1]
        assert rest == whole[after + 1 :]
