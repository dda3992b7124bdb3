import asyncio
import json

import pytest
from tests.samples.streams import CHAT

from meritorder.gateway.lanes import answer_recorder
from meritorder.gateway.lanes.answer_recorder import AnswerRecorder, stored_answer
from meritorder.gateway.state.request import Request
from meritorder.gateway.store.keys import Key
from meritorder.gateway.store.stored_answers import COMPLETION, RESPONSE
from meritorder.gateway.wire.calls import parse_call

KEY = Key(id="k", name="n", tenant="t")


def recorded(endpoint: str, *parts: bytes) -> bytes | None:
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
    assert answer is not None
    assert json.loads(answer)["choices"][0]["message"]["content"] == "Grüße, Welt"


def test_last_response_is_recorded() -> None:
    events = (
        b'data: {"response": {"id": "resp_1", "status": "%s"}}\n\n' % status for status in (b"queued", b"completed")
    )
    assert recorded("/v1/responses", *events) == b'{"id":"resp_1","status":"completed"}'
    assert recorded("/v1/responses", b"data: {}\n\n") is None


def test_broken_stream_is_not_recorded() -> None:
    assert recorded("/v1/chat/completions", CHAT[:-20]) is None


def test_long_stream_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_recorder, "_MAX_BYTES", len(CHAT) - 1)
    assert recorded("/v1/chat/completions", CHAT) is None


def test_stored_only_with_an_id() -> None:
    chat = request("/v1/chat/completions", store=True, metadata={"a": "b"})
    item = stored_answer(chat, b'{"id": "c1"}')
    assert item is not None
    assert (item.id, item.tenant, item.metadata, item.created_s) == ("c1", "t", '{"a":"b"}', 5.0)
    assert stored_answer(chat, b"{}") is None
    assert stored_answer(chat, b"<html>") is None


def test_what_is_stored_by_endpoint() -> None:
    assert request("/v1/responses").stored_as == RESPONSE
    assert request("/v1/responses", store=False).stored_as is None
    assert request("/v1/chat/completions").stored_as is None
    assert request("/v1/chat/completions", store=True).stored_as == COMPLETION
    assert request("/v1/embeddings", store=True).stored_as is None
