import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter
from tests.samples.streams import CHAT

from meritorder.gateway.wire.assemble import AnswerAssembler
from meritorder.gateway.wire.replay import encode_events, opening_events, output_events, to_events

TEXT = {"type": "output_text", "text": "Hello", "annotations": []}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [TEXT]}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "output": [MESSAGE],
    "usage": {"input_tokens": 3},
}


def assembled(stream: bytes) -> dict[str, Any]:
    async def chunks() -> AsyncIterator[bytes]:
        yield stream

    return json.loads(asyncio.run(AnswerAssembler("v").read(chunks())))  # type: ignore[no-any-return]


def test_replayed_answer_assembles_again() -> None:
    whole = assembled(CHAT)
    assert assembled(to_events(json.dumps(whole).encode(), "/v1/chat/completions")) == whole


def test_usage_only_on_request() -> None:
    whole = assembled(CHAT)
    assert "usage" not in assembled(to_events(json.dumps(whole).encode(), "/v1/chat/completions", with_usage=False))


def test_response_events_are_numbered() -> None:
    events = encode_events([*opening_events(RESPONSE), *output_events(RESPONSE)])
    contents = [json.loads(event.partition(b"data: ")[2]) for event in events]
    assert [content["sequence_number"] for content in contents] == list(range(len(events)))
    assert [content["type"] for content in contents] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert contents[4]["delta"] == "Hello"
    assert contents[-1]["response"] == RESPONSE


def test_queued_response_is_announced() -> None:
    kinds = [event["type"] for event in opening_events({"id": "resp_1", "status": "queued"})]
    assert kinds == ["response.created", "response.queued"]


PART = {"type": "output_text", "annotations": [], "logprobs": [], "text": "hi"}
DONE = {"id": "msg_1", "role": "assistant", "type": "message", "status": "completed", "content": [PART]}
WHOLE_RESPONSE = {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [DONE]}
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def parsed_events(text: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.split(b"\n") if line.startswith(b"data: {")]


@pytest.mark.parametrize("status", ["completed", "failed", "incomplete"])
def test_replayed_response_has_complete_events(status: str) -> None:
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look", "arguments": "{}"}
    refusal = {**DONE, "id": "msg_2", "content": [{"type": "refusal", "refusal": "no"}]}
    more = {"created_at": 1, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "usage": None}
    body = json.dumps({**WHOLE_RESPONSE, **more, "status": status, "output": [DONE, call, refusal]}).encode()
    parsed = parsed_events(to_events(body, "/v1/responses"))
    for event in parsed:
        EVENT.validate_python(event)
    assert [event["sequence_number"] for event in parsed] == list(range(len(parsed)))
    assert parsed[-1]["type"] == f"response.{status}"
    assert "response.function_call_arguments.done" in {event["type"] for event in parsed}
    assert "response.refusal.delta" in {event["type"] for event in parsed}
