"""Chat completions and chunks, read by the official client's models."""

import json

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from meritorder.gateway.upstreams.dialects.completions import (
    CompletionChunks,
    CompletionUsage,
    Message,
    completion,
    error_body,
    to_delta,
    tool_call,
)

USAGE = CompletionUsage(prompt_tokens=10, completion_tokens=4, cached_tokens=6, reasoning_tokens=3)
CALL = tool_call("call_1", "find", '{"q": 1}')


def test_completion_is_what_clients_read() -> None:
    choices = [(Message(content="yes", reasoning="so"), "stop"), (Message(tool_calls=[CALL]), "tool_calls")]
    answer = completion(answer_id="a1", created_s=7, model="m", choices=choices, usage=USAGE)
    parsed = ChatCompletion.model_validate(answer)
    text, calls = parsed.choices
    assert (text.index, text.message.content, text.finish_reason) == (0, "yes", "stop")
    assert answer["choices"][0]["message"]["reasoning_content"] == "so"
    assert calls.message.tool_calls is not None
    assert (calls.index, calls.message.content, calls.message.tool_calls[0].id) == (1, None, "call_1")


def test_total_counts_no_token_twice() -> None:
    """Cached tokens are prompt tokens and reasoning tokens are completion tokens: 10 + 4, not 23."""
    usage = USAGE.to_json()
    assert usage["total_tokens"] == 14
    assert usage["prompt_tokens_details"] == {"cached_tokens": 6}
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 3}


def test_chunks_share_the_id() -> None:
    chunks = CompletionChunks(created_s=7, model="m", with_usage=False, answer_id="a1")
    parsed = ChatCompletionChunk.model_validate(chunks.delta({"content": "y"}, index=2, finish_reason="stop"))
    assert (parsed.id, parsed.created, parsed.model) == ("a1", 7, "m")
    (choice,) = parsed.choices
    assert (choice.index, choice.delta.content, choice.finish_reason) == (2, "y", "stop")


def test_usage_comes_last_on_request() -> None:
    """As OpenAI: every chunk has a null `usage` but the last, which has no choices."""
    chunks = CompletionChunks(created_s=7, model="m", with_usage=True)
    assert chunks.delta({})["usage"] is None
    (last,) = chunks.last(USAGE)
    assert (last["choices"], last["usage"]) == ([], USAGE.to_json())


def test_usage_is_left_out_otherwise() -> None:
    chunks = CompletionChunks(created_s=7, model="m", with_usage=False)
    assert "usage" not in chunks.delta({})
    assert chunks.last(USAGE) == []


@pytest.mark.parametrize(
    ("message", "delta"),
    [
        (Message(content=""), {"content": ""}),
        (Message(reasoning="so"), {"reasoning_content": "so"}),
        (Message(tool_calls=[CALL]), {"tool_calls": [CALL]}),
        (Message(), {}),
    ],
)
def test_delta_has_only_what_arrived(message: Message, delta: dict[str, object]) -> None:
    assert to_delta(message) == delta


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (418, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (529, "server_error"),
    ],
)
def test_error_type_follows_the_status(status: int, kind: str) -> None:
    error = {"message": "no", "type": kind, "param": None, "code": "c"}
    assert json.loads(error_body("no", status=status, code="c")) == {"error": error}
