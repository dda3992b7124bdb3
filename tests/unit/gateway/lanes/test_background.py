import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.samples.service import call, open_service

from meritorder.gateway.app.service import Service
from meritorder.gateway.lanes import background
from meritorder.gateway.lanes.background import ResponseStreams
from meritorder.gateway.store.queue.requests import RequestAnswer
from meritorder.gateway.store.responses import stored_answers
from meritorder.gateway.store.responses.stored_answers import RESPONSE, StoredAnswer

CHAT = {"model": "m", "messages": []}
QUEUED = StoredAnswer(
    id="resp_1",
    kind=RESPONSE,
    tenant="t",
    model="m",
    status="queued",
    request=b'{"model": "m", "input": "x"}',
    request_seq=7,
    created_s=5.0,
)
ANSWER = RequestAnswer(request_id="req_1", status_code=200, body=b'{"status": "completed", "output": []}')


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(background, "_POLL_S", 0.01)
    with open_service(tmp_path) as opened:
        add = opened.context.database.submit(
            lambda connection: stored_answers.add(connection, QUEUED, request_seq=QUEUED.request_seq)
        )
        add.result()
        yield opened


def followed(service: Service, change: Callable[[Any], object]) -> list[bytes]:
    """Return the kinds of the events of a response that a change finishes once its stream has begun."""

    async def follow() -> list[bytes]:
        streams = ResponseStreams(service.context, service.dispatcher)
        kinds = []
        async for event in streams.events(QUEUED):
            kinds.append(event.split(b"\n")[0].removeprefix(b"event: "))
            if len(kinds) == 2:
                service.context.database.submit(change)
        return kinds

    return asyncio.run(follow())


def test_stream_waits_for_answer(service: Service) -> None:
    kinds = followed(service, lambda connection: stored_answers.complete(connection, 7, ANSWER))
    assert kinds == [b"response.created", b"response.queued", b"response.completed"]


def test_stream_ends_with_cancellation(service: Service) -> None:
    kinds = followed(service, lambda connection: stored_answers.cancel(connection, "t", "resp_1"))
    assert kinds[2:] == [b"response.incomplete"]


def test_stream_of_deleted_response_stops(service: Service) -> None:
    kinds = followed(service, lambda connection: stored_answers.remove(connection, "t", RESPONSE, "resp_1"))
    assert kinds == [b"response.created", b"response.queued"]


def test_background_needs_stored_response(service: Service) -> None:
    chat = call(service, "POST", "/v1/chat/completions", CHAT | {"background": True})
    assert (chat.status, chat.json["error"]["param"]) == (400, "background")
    reply = call(service, "POST", "/v1/responses", {"model": "m", "input": "x", "background": True, "store": False})
    assert (reply.status, reply.json["error"]["param"]) == (400, "store")


def test_background_response_is_queued(service: Service) -> None:
    reply = call(service, "POST", "/v1/responses", {"input": "x", "background": True})
    assert (reply.json["status"], reply.json["model"]) == ("queued", "m")
    assert call(service, "GET", f"/v1/responses/{reply.json['id']}").json["status"] == "queued"
