import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.samples.service import open_service
from tests.samples.streams import CHAT

from meritorder.gateway.lanes import answer_recorder
from meritorder.gateway.lanes.answer_recorder import AnswerRecorder, StreamEnd, store_answer
from meritorder.gateway.state.context import Context
from meritorder.gateway.state.request import Request
from meritorder.gateway.store.keys import Key
from meritorder.gateway.store.responses import stored_answers
from meritorder.gateway.store.responses.stored_answers import COMPLETION, RESPONSE
from meritorder.gateway.wire.calls import parse_call
from meritorder.gateway.wire.errors import ApiError

KEY = Key(id="k", name="n", tenant="t")


def recorded(endpoint: str, *parts: bytes) -> bytes:
    recorder = AnswerRecorder(endpoint)
    for part in parts:
        recorder.feed(part)
    return asyncio.run(recorder.answer())


def request(endpoint: str, **fields: object) -> Request:
    body = json.dumps({"model": "m", **fields}).encode()
    return Request(
        id="req_1", key=KEY, endpoint=endpoint, call=parse_call(body), body=body, arrived_s=5.0, started_s=0.0
    )


def test_chat_stream_is_assembled() -> None:
    answer = recorded("/v1/chat/completions", CHAT[:50], CHAT[50:])
    assert json.loads(answer)["choices"][0]["message"]["content"] == "Grüße, Welt"


def test_last_response_is_recorded() -> None:
    events = (
        b'data: {"response": {"id": "resp_1", "status": "%s"}}\n\n' % status for status in (b"queued", b"completed")
    )
    assert recorded("/v1/responses", *events) == b'{"id":"resp_1","status":"completed"}'
    with pytest.raises(ApiError, match="not complete"):
        recorded("/v1/responses", b"data: {}\n\n")


def test_broken_stream_is_not_recorded() -> None:
    with pytest.raises(ApiError, match="not complete"):
        recorded("/v1/chat/completions", CHAT[:-20])


def test_long_stream_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_recorder, "_MAX_BYTES", len(CHAT) - 1)
    with pytest.raises(ApiError, match="longer"):
        recorded("/v1/chat/completions", CHAT)


@pytest.mark.parametrize("size", [1, 7, 50, 10_000])
@pytest.mark.parametrize(
    ("endpoint", "before", "last"),
    [
        ("/v1/chat/completions", b'data: {"choices": [{"delta": {"content": "[DONE]"}}]}\n\n', b"data: [DONE]\n\n"),
        ("/v1/completions", b"data: {}\n\n", b"data:[DONE]\n\n"),
        (
            "/v1/responses",
            b'data: {"type": "response.created", "response": {"metadata": {"a": "response.completed"}}}\n\n',
            b'data: {"sequence_number": 1, "type": "response.completed", "response": {}}\n\ndata: [DONE]\n\n',
        ),
        ("/v1/responses", b"event: response.created\ndata: {}\n\n", b"event: response.failed\ndata: {}\n\n"),
        ("/v1/chat/completions", b"data: {}\n\n", b""),
    ],
)
def test_last_event_is_held_back(endpoint: str, before: bytes, last: bytes, size: int) -> None:
    end, sent, whole = StreamEnd(endpoint), b"", before + last
    for start in range(0, len(whole), size):
        sent += end.feed(whole[start : start + size])
    assert sent == before
    assert end.rest() == last
    assert end.reached == bool(last)


def test_endless_line_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_recorder, "_MAX_BYTES", 100)
    end = StreamEnd("/v1/responses")
    assert sum(len(end.feed(b"x" * 60)) for _ in range(6)) >= 180


@contextmanager
def store(folder: Path) -> Iterator[Context]:
    with open_service(folder, venue=[]) as service:
        yield service.context


def kept(context: Context, chat: Request, answer: bytes) -> tuple[bytes, list[stored_answers.StoredAnswer]]:
    sent = asyncio.run(store_answer(context, chat, answer))
    page = context.database.read_now(
        lambda connection: stored_answers.pages(
            connection, "t", COMPLETION, after=None, limit=9, ascending=True, model=None
        )
    )
    return sent, list(page.items)


def test_stored_answer_has_an_id(tmp_path: Path) -> None:
    chat = request("/v1/chat/completions", store=True, metadata={"a": "b"})
    with store(tmp_path) as context:
        sent, (item,) = kept(context, chat, b'{"id": "c1"}')
        assert sent == b'{"id": "c1"}', "bodies pass unchanged"
        assert (item.id, item.tenant, item.metadata, item.created_s) == ("c1", "t", '{"a":"b"}', 5.0)
        for odd in (b"{}", b'{"id": 5}', b'{"id": "a\\u0000b"}', b'{"id": "' + b"x" * 97 + b'"}'):
            sent, items = kept(context, chat, odd)
            assert json.loads(sent)["id"] == items[-1].id
            assert items[-1].id.startswith("chatcmpl-")
        _, items = kept(context, chat, b'{"id": "c1", "again": true}')
        assert [item.id for item in items].count("c1") == 1
        assert items[-1].answer == b'{"id": "c1", "again": true}'


@pytest.mark.parametrize("answer", [b"<html>", b"[]"])
def test_answer_without_object_is_refused(tmp_path: Path, answer: bytes) -> None:
    with store(tmp_path) as context, pytest.raises(ApiError, match="not stored") as caught:
        asyncio.run(store_answer(context, request("/v1/chat/completions", store=True), answer))
    assert (caught.value.status, caught.value.code) == (502, "answer_not_stored")


def test_outage_is_told_to_the_client(tmp_path: Path) -> None:
    chat = request("/v1/chat/completions", store=True)
    with store(tmp_path) as context:
        with context.database.engine.connect() as connection, connection.begin():
            connection.exec_driver_sql("DROP TABLE kept")
        with pytest.raises(ApiError, match="not stored") as caught:
            asyncio.run(store_answer(context, chat, b'{"id": "c1"}'))
    assert caught.value.status == 503


def test_what_is_stored_by_endpoint() -> None:
    assert request("/v1/responses").stored_as == RESPONSE
    assert request("/v1/responses", store=False).stored_as is None
    assert request("/v1/chat/completions").stored_as is None
    assert request("/v1/chat/completions", store=True).stored_as == COMPLETION
    assert request("/v1/embeddings", store=True).stored_as is None


def test_stored_request_is_what_the_client_sent(tmp_path: Path) -> None:
    """Earlier turns, which the gateway added, are stored with the responses that they are from."""
    with open_service(tmp_path) as service:
        call = request("/v1/responses", input="x")
        call.original = b'{"model": "m", "input": "y", "previous_response_id": "resp_0"}'
        asyncio.run(store_answer(service.context, call, b'{"id": "resp_1", "output": []}'))
        stored = service.context.database.read_now(
            lambda connection: stored_answers.get(connection, "t", RESPONSE, "resp_1")
        )
    assert stored is not None
    assert stored.request == call.original
