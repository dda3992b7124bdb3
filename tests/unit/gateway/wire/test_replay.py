import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

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
    assert assembled(to_events(json.dumps(whole).encode())) == whole


def test_usage_only_on_request() -> None:
    whole = assembled(CHAT)
    assert "usage" not in assembled(to_events(json.dumps(whole).encode(), with_usage=False))


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
