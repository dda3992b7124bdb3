"""Chat completions as responses: the official client's own types say whether they are whole."""

from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from meritorder.gateway.upstreams.responses.answer import ResponseDraft, to_response
from meritorder.gateway.upstreams.responses.events import ResponseEvents

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
REQUEST = {"model": "m", "input": "hi", "metadata": {"a": "b"}, "temperature": None, "tools": None}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}
LOOK = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}


def completion(finish_reason: str = "stop", **message: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "model": "m", "choices": [choice], "usage": USAGE}


def deltas(*deltas: dict[str, Any], finish_reason: str = "stop") -> list[dict[str, Any]]:
    """Return the chunks of an answer, as engines stream it: the first without a role, the last with the usage."""
    chunks = [{"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": finish_reason}]}
    return [*chunks, end, {"choices": [], "usage": USAGE}]


def stream(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    events = ResponseEvents(ResponseDraft(request=REQUEST, created_s=7))
    produced = [event for chunk in chunks for event in events.feed(chunk)]
    produced += [] if events.ended else events.end()
    for number, event in enumerate(produced):
        EVENT.validate_python({**event, "sequence_number": number})
    return produced


def shape(response: dict[str, Any]) -> list[Any]:
    """Return what an output says, without ids."""
    return [{name: value for name, value in item.items() if name != "id"} for item in response["output"]]


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ({"content": "hello"}, [{"content": "hel"}, {"content": "lo"}]),
        ({"content": ""}, []),
        ({"refusal": "no"}, [{"refusal": "n"}, {"refusal": "o"}]),
        (
            {"content": "so", "reasoning_content": "hmm"},
            [{"reasoning_content": "h"}, {"reasoning_content": "mm"}, {"content": "so"}],
        ),
        (
            {"content": "wait", "tool_calls": [LOOK, LOOK | {"id": "c2"}]},
            [
                {"role": "assistant", "content": "wait"},
                {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "look", "arguments": ""}}]},
                {"tool_calls": [{"index": 0, "function": {"arguments": '{"at": 1}'}}]},
                {"tool_calls": [{"index": 1, "id": "c2", "function": {"name": "look", "arguments": '{"at": 1}'}}]},
            ],
        ),
    ],
)
def test_streamed_response_equals_whole(message: dict[str, Any], parts: list[dict[str, Any]]) -> None:
    whole = to_response(completion(**message), REQUEST, created_s=7)
    Response.model_validate(whole)
    events = stream(deltas(*parts))
    assert events[-1]["type"] == "response.completed"
    final = events[-1]["response"]
    assert shape(final) == shape(whole)
    assert final["usage"] == whole["usage"]
    assert [event["output_index"] for event in events if event["type"] == "response.output_item.done"] == list(
        range(len(final["output"]))
    )


@pytest.mark.parametrize(
    ("finish_reason", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_cut_answer_is_incomplete(finish_reason: str, reason: str) -> None:
    whole = to_response(completion(finish_reason, content="he"), REQUEST, created_s=7)
    final = stream(deltas({"content": "he"}, finish_reason=finish_reason))[-1]
    assert final["type"] == "response.incomplete"
    for response in (whole, final["response"]):
        assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": reason})
        assert response["output"][0]["status"] == "incomplete"


def test_error_in_stream_fails_response() -> None:
    events = stream([*deltas({"content": "he"})[:1], {"error": {"message": "out of memory"}}])
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"] == {"code": "server_error", "message": "out of memory"}


def test_response_repeats_request_with_defaults() -> None:
    response = to_response(completion(content="hi"), REQUEST, created_s=7)
    assert (response["metadata"], response["temperature"], response["tools"]) == ({"a": "b"}, 1.0, [])
    assert response["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 5,
    }
