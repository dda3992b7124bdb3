"""Chat completions as messages: the official client's types say whether they are whole."""

from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from meritorder.gateway.routes.messages.answer import MessageEvents, to_error, to_message

EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
LOOK = {"id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}


def completion(finish: str, **message: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"model": "m", "choices": [{"message": message, "finish_reason": finish}], "usage": USAGE}


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("tool_calls", "tool_use"), ("content_filter", "refusal")],
)
def test_whole_message(finish: str, reason: str) -> None:
    message = to_message(completion(finish, content="hi", reasoning_content="hm", tool_calls=[LOOK]))
    parsed = Message.model_validate(message)
    assert [block.type for block in parsed.content] == ["thinking", "text", "tool_use"]
    assert (parsed.stop_reason, message["content"][2]["input"]) == (reason, {"at": 1})
    assert (parsed.usage.input_tokens, parsed.usage.cache_read_input_tokens, parsed.usage.output_tokens) == (5, 4, 2)


def test_streamed_message_has_every_event() -> None:
    deltas = [
        {"reasoning_content": "hm"},
        {"content": "h"},
        {"content": "i"},
        {"tool_calls": [{"index": 0, "id": "t1", "function": {"name": "look", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
    ]
    stream = MessageEvents()
    events = [event for delta in deltas for event in stream.feed({"model": "m", "choices": [{"delta": delta}]})]
    events += stream.feed({"choices": [{"delta": {}, "finish_reason": "tool_calls"}], "usage": USAGE})
    events += stream.end()
    for event in events:
        EVENT.validate_python(event)
    starts = [event["content_block"]["type"] for event in events if event["type"] == "content_block_start"]
    assert starts == ["thinking", "text", "tool_use"]
    assert [event["index"] for event in events if event["type"] == "content_block_stop"] == [0, 1, 2]
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    assert events[-2]["usage"]["output_tokens"] == 2


def test_errors_have_their_form() -> None:
    assert to_error(429, b'{"error": {"message": "slow down"}}')["error"] == {
        "type": "rate_limit_error",
        "message": "slow down",
    }
    assert to_error(502, b"<html>")["error"]["type"] == "api_error"
    (event,) = MessageEvents().feed({"error": {"message": "out of memory"}})
    assert event["error"]["message"] == "out of memory"
