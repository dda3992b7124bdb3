"""A large body is never decoded, searched or encoded by the event loop."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import BuiltinFunctionType, FrameType
from typing import Any

import msgspec
import pytest
from tests.samples.service import call, open_service

from meritorder.gateway import decoding

TEXT = "words \u00e9\n" * (decoding.LARGE_BYTES // 8)
CHAT = {"model": "m", "messages": [{"role": "user", "content": TEXT}]}
MESSAGE = {**CHAT, "max_tokens": 5}
RESPONSE = {"model": "m", "input": TEXT}
ITEMS = {"items": [{"role": "user", "content": TEXT}]}
BODIES: list[tuple[str, dict[str, Any], int]] = [
    ("/v1/chat/completions", CHAT, 503),
    ("/v1/chat/completions", {**CHAT, "stream": True}, 503),
    ("/v1/chat/completions", {**CHAT, "x": [[]] * 200_000}, 503),
    ("/v1/completions", {"model": "m", "prompt": [TEXT] * 2}, 503),
    ("/v1/embeddings", {"model": "m", "input": TEXT, "encoding_format": "base64"}, 503),
    ("/v1/responses", RESPONSE, 503),
    ("/v1/responses", {**RESPONSE, "model": None}, 503),
    ("/v1/responses", {**RESPONSE, "previous_response_id": "resp_none"}, 503),
    ("/v1/responses", {**RESPONSE, "background": True}, 200),
    ("/v1/messages", MESSAGE, 529),
    ("/v1/messages/count_tokens", CHAT, 200),
    ("/v1/messages/batches", {"requests": [{"custom_id": "a", "params": MESSAGE}]}, 200),
    ("/v1/conversations", ITEMS, 200),
    ("/v1/receipts/verify", {"receipt": TEXT}, 400),
    ("/v1/batches", {"x": TEXT}, 413),
]
WORK = frozenset({"decode", "encode", "count", "find", "replace", "search", "split", "translate"})


def is_large(value: object) -> bool:
    return isinstance(value, bytes | str) and len(value) > decoding.LARGE_BYTES


@contextmanager
def observed() -> Iterator[list[str]]:
    """Yield the calls of this thread that go through a large body: a method of it, or of a decoder beside it."""
    calls: list[str] = []

    def observe(frame: FrameType, event: str, function: BuiltinFunctionType) -> None:
        if event == "c_call" and function.__name__.removeprefix("json_") in WORK:
            of_text = isinstance(function.__self__, bytes | str)
            values = [function.__self__] if of_text else frame.f_locals.values()
            if any(map(is_large, values)):
                calls.append(f"{frame.f_code.co_qualname}: {function.__name__}")

    sys.setprofile(observe)
    try:
        yield calls
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize(
    "venue",
    [{}, {"models": {"m": "theirs"}}, {"responses": "chat"}, {"kind": "anthropic"}, {"kind": "gemini"}],
    ids=str,
)
def test_event_loop_leaves_large_bodies_alone(tmp_path: Path, venue: dict[str, Any]) -> None:
    table = {"name": "v", "url": "http://127.0.0.1:1/v1", "models": ["m"], **venue}
    with open_service(tmp_path, venue=[table]) as service, observed() as calls:
        for path, body, status in BODIES:
            reply = call(service, "POST", path, body)
            assert (path, reply.status in {status, 400}) == (path, True)
    assert calls == []


def test_work_is_observed() -> None:
    body = msgspec.json.encode(CHAT)
    with observed() as calls:
        body.count(b"[")
        msgspec.json.decode(body)
        b"small".count(b"[")
    assert [name.rpartition(" ")[2] for name in calls] == ["count", "json_decode"]


def test_realtime_limit_in_form_of_each_api(tmp_path: Path) -> None:
    with open_service(tmp_path, limits={"realtime_body_bytes": 1000}) as service:
        chat = call(service, "POST", "/v1/chat/completions", CHAT)
        message = call(service, "POST", "/v1/messages", MESSAGE)
        response = call(service, "POST", "/v1/responses", {**RESPONSE, "background": True})
    assert (chat.status, chat.json["error"]["code"]) == (413, "request_too_large")
    assert (message.status, message.json["error"]["type"]) == (413, "request_too_large")
    assert response.status == 200  # it may wait
