"""Responses as events: the official client's own types say whether they are whole."""

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from meritorder.gateway.upstreams.openai import _CompletedReply
from meritorder.gateway.upstreams.upstream import Reply
from meritorder.gateway.wire.replay import to_events

ASKED = b'{"model": "m", "input": "x", "max_output_tokens": 3, "metadata": {"a": "b"}}'
MESSAGE = {"id": "msg_1", "role": "assistant", "type": "message"}
PART = {"type": "output_text", "annotations": [], "logprobs": [], "text": "hi"}
DONE = {**MESSAGE, "status": "completed", "content": [PART]}
USAGE = {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4, "input_tokens_details": {"cached_tokens": 0}}
WHOLE = {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [DONE], "usage": USAGE}
BEGUN = {"id": "resp_1", "object": "response", "status": "in_progress"}
# As llama.cpp says it.
EVENTS: list[dict[str, Any]] = [
    {"type": "response.created", "response": BEGUN},
    {"type": "response.in_progress", "response": BEGUN},
    {"type": "response.output_item.added", "item": {**MESSAGE, "content": [], "status": "in_progress"}},
    {"type": "response.content_part.added", "item_id": "msg_1", "part": {"type": "output_text", "text": ""}},
    {"type": "response.output_text.delta", "item_id": "msg_1", "delta": "hi"},
    {"type": "response.output_text.done", "item_id": "msg_1", "text": "hi"},
    {"type": "response.content_part.done", "item_id": "msg_1", "part": PART},
    {"type": "response.output_item.done", "item": DONE},
    {"type": "response.completed", "response": WHOLE},
]
STREAM = b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in EVENTS)
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


class Given:
    """An answer in the pieces in which it came."""

    status, headers = 200, {}

    def __init__(self, text: bytes, cuts: tuple[int, ...] = ()) -> None:
        self.text, self.cuts = text, cuts

    @property
    def body(self) -> AsyncIterator[bytes]:
        async def pieces() -> AsyncIterator[bytes]:
            for start, end in pairwise([0, *sorted(self.cuts), len(self.text)]):
                yield self.text[start:end]

        return pieces()

    async def read(self) -> bytes:
        return self.text

    async def close(self) -> None:
        return


def completed(text: bytes, cuts: tuple[int, ...] = ()) -> bytes:
    async def joined() -> bytes:
        reply = _CompletedReply(cast("Reply", Given(text, cuts)), ASKED)
        return b"".join([chunk async for chunk in reply.body])

    return asyncio.run(joined())


def events(text: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.split(b"\n") if line.startswith(b"data: {")]


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=8).map(tuple))
def test_cuts_do_not_change_events(cuts: tuple[int, ...]) -> None:
    parsed = events(completed(STREAM, cuts))
    for event in parsed:
        EVENT.validate_python(event)
    assert [event["sequence_number"] for event in parsed] == list(range(len(EVENTS)))
    assert [each.items() >= said.items() for each, said in zip(parsed, EVENTS, strict=True) if "delta" in said] == [
        True
    ]
    assert parsed[0]["response"]["metadata"] == {"a": "b"}
    assert parsed[-1]["response"]["output"] == [DONE]


def test_engine_fields_are_preserved() -> None:
    said = {**WHOLE, "temperature": 0.5, "tools": [], "timings": {"n": 1}, "created_at": 7}
    reply = _CompletedReply(cast("Reply", Given(json.dumps(said).encode())), ASKED)
    parsed = json.loads(asyncio.run(reply.read()))
    assert parsed["usage"]["output_tokens_details"] == {"reasoning_tokens": 0}
    assert {name: parsed[name] for name in ("temperature", "timings", "created_at")} == {
        name: said[name] for name in ("temperature", "timings", "created_at")
    }
    Response.model_validate(parsed)


@pytest.mark.parametrize("text", [b"", b": ping\n\n", b"data: [DONE]\n\n", b"data: {broken\n\n", b"data: {"])
def test_other_text_passes_through(text: bytes) -> None:
    assert completed(text) == text


@pytest.mark.parametrize("status", ["completed", "failed", "incomplete"])
def test_replayed_response_has_complete_events(status: str) -> None:
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look", "arguments": "{}"}
    refusal = {**DONE, "id": "msg_2", "content": [{"type": "refusal", "refusal": "no"}]}
    more = {"created_at": 1, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "usage": None}
    parsed = events(
        to_events(json.dumps({**WHOLE, **more, "status": status, "output": [DONE, call, refusal]}).encode())
    )
    for event in parsed:
        EVENT.validate_python(event)
    assert [event["sequence_number"] for event in parsed] == list(range(len(parsed)))
    assert parsed[-1]["type"] == f"response.{status}"
    assert "response.function_call_arguments.done" in {event["type"] for event in parsed}
    assert "response.refusal.delta" in {event["type"] for event in parsed}
