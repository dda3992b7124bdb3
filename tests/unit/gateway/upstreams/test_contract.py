"""What answers must have: whatever passes can be turned into events, and a stream into an answer."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meritorder.gateway.errors import BrokenAnswerError
from meritorder.gateway.upstreams.contract import StreamCheck, check_answer
from meritorder.gateway.wire.assemble import AnswerAssembler
from meritorder.gateway.wire.replay import to_events

GOOD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"content": "hi", "tool_calls": [{"id": "a"}]}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1},
    },
    "/v1/completions": {"object": "text_completion", "choices": [{"index": 0, "text": "hi", "finish_reason": "stop"}]},
    "/v1/embeddings": {"object": "list", "data": [{"embedding": [0.5], "index": 0}]},
    "/v1/responses": {
        "object": "response",
        "status": "completed",
        "output": [
            {"type": "message", "id": "m", "content": [{"type": "output_text", "text": "hi"}]},
            {"type": "function_call", "id": "f", "name": "n", "arguments": "{}"},
        ],
    },
}
CHUNK = {"id": "c", "choices": [{"index": 0, "delta": {"content": "hi", "tool_calls": [{"index": 0}]}}], "usage": None}
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "id", "content"]), inner),
    max_leaves=5,
)


def places(value: object, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all values within a value, itself included."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, inner in items for path in places(inner, (*at, key)))]


def replaced(value: object, path: tuple[Any, ...], odd: object) -> object:
    """A copy of a value with one value within it replaced."""
    copy: dict[str, Any] = json.loads(json.dumps({"root": value}))
    holder: Any = copy
    *parents, last = ("root", *path)
    for key in parents:
        holder = holder[key]
    holder[last] = odd
    return copy["root"]


@pytest.mark.parametrize("path", GOOD)
def test_good_answers_pass(path: str) -> None:
    check_answer(path, json.dumps(GOOD[path]).encode(), "v")


@settings(max_examples=1000, deadline=None)
@given(data=st.data(), odd=ODD, path=st.sampled_from(sorted(GOOD)))
def test_what_passes_can_be_replayed(data: st.DataObject, odd: object, path: str) -> None:
    at = data.draw(st.sampled_from(places(GOOD[path])))
    body = json.dumps(replaced(GOOD[path], at, odd)).encode()
    with contextlib.suppress(BrokenAnswerError):
        check_answer(path, body, "v")
        to_events(body, path)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", b'{"choices": []}'),
        ("/v1/chat/completions", b'{"choices": [{"text": "hi"}]}'),
        ("/v1/chat/completions", b'{"error": {"message": "out of memory"}}'),
        ("/v1/completions", b'{"choices": [{"text": null}]}'),
        ("/v1/embeddings", b'{"data": []}'),
        ("/v1/responses", b'{"object": "response"}'),
        ("/v1/responses/compact", b"[]"),
    ],
)
def test_other_objects_are_no_answers(path: str, body: bytes) -> None:
    with pytest.raises(BrokenAnswerError):
        check_answer(path, body, "v")


def test_large_answers_are_checked_in_form() -> None:
    check_answer("/v1/embeddings", json.dumps({"data": [{"embedding": [0.25] * 300_000}]}).encode(), "v")
    with pytest.raises(BrokenAnswerError):
        check_answer("/v1/embeddings", b'{"data": "' + b"x" * 2**20 + b'"}', "v")


@settings(deadline=None)
@given(data=st.data(), odd=ODD)
def test_odd_chunks_are_broken_at_worst(data: st.DataObject, odd: object) -> None:
    at = data.draw(st.sampled_from(places(CHUNK)))
    events = [CHUNK, replaced(CHUNK, at, odd), {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]

    async def parts() -> AsyncIterator[bytes]:
        check = StreamCheck("v")
        for chunk in events:
            part = b"data: " + json.dumps(chunk).encode() + b"\n\n"
            check.feed(part)
            yield part

    with contextlib.suppress(BrokenAnswerError):
        whole = asyncio.run(AnswerAssembler("v").read(parts()))
        check_answer("/v1/chat/completions", whole, "v")
        to_events(whole, "/v1/chat/completions")


@pytest.mark.parametrize(
    ("last", "ended"),
    [
        (b"data: [DONE]\n\n", True),
        (b'data: {"choices": [{"finish_reason": "stop"}]}\n\n', True),
        (b'data: {"type": "response.incomplete"}\n\n', True),
        (b'data: {"choices": [{"finish_reason": null}]}\n\n', False),
        (b": comment\n\n", False),
        (b"", False),
    ],
)
def test_streams_end_with_a_reason(last: bytes, *, ended: bool) -> None:
    check = StreamCheck("v")
    check.feed(b'data: {"choices": []}\n\n')
    check.feed(last)
    with contextlib.nullcontext() if ended else pytest.raises(BrokenAnswerError, match="before the answer"):
        check.end()
