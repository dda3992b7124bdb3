"""OpenAI's chat completion objects, whole and streamed, for the answers of other APIs."""

from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from meritorder.gateway.upstreams.dialects.fields import Json, without_none

_TYPE_OF_STATUS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


@dataclass(slots=True, kw_only=True)
class CompletionUsage:
    """Tokens as OpenAI counts them: prompt tokens include cached ones, completion tokens include reasoning."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def to_json(self) -> Json:
        """Return the `usage` object."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
        }


@dataclass(slots=True, kw_only=True)
class Message:
    """The message of a choice."""

    content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Json] = field(default_factory=list)

    def to_json(self) -> Json:
        """Return the `message` object, with reasoning in the field that engines use."""
        message: Json = {"role": "assistant", "content": self.content, "refusal": None}
        if self.reasoning is not None:
            message["reasoning_content"] = self.reasoning
        if self.tool_calls:
            message["tool_calls"] = self.tool_calls
        return message


def tool_call(call_id: str, name: str, arguments: str, **extra: Any) -> Json:  # noqa: ANN401 - JSON
    """Return a tool call of a message."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}, **extra}


def completion(
    *, answer_id: str, created_s: int, model: str, choices: list[tuple[Message, str | None]], usage: CompletionUsage
) -> Json:
    """Return a chat completion.

    Args:
        answer_id: The provider's id.
        created_s: Epoch seconds.
        model: The model that answered.
        choices: Messages, each with its finish reason.
        usage: Its tokens.
    """
    return {
        "id": answer_id,
        "object": "chat.completion",
        "created": created_s,
        "model": model,
        "choices": [
            {"index": index, "message": message.to_json(), "logprobs": None, "finish_reason": reason}
            for index, (message, reason) in enumerate(choices)
        ],
        "usage": usage.to_json(),
    }


@dataclass(slots=True, kw_only=True)
class CompletionChunks:
    """Builds the stream chunks of one completion.

    Args:
        created_s: Epoch seconds.
        model: The model, until the provider names it.
        with_usage: Whether the client asked for usage at the end.
        answer_id: The provider's id once it is known.
    """

    created_s: int
    model: str
    with_usage: bool
    answer_id: str = ""

    def delta(self, delta: Json, *, index: int = 0, finish_reason: str | None = None) -> Json:
        """Return a chunk with a delta of a choice."""
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._chunk([choice], None)

    def last(self, usage: CompletionUsage) -> list[Json]:
        """Return the usage chunk, if the client asked for it."""
        return [self._chunk([], usage.to_json())] if self.with_usage else []

    def _chunk(self, choices: list[Json], usage: Json | None) -> Json:
        chunk = {
            "id": self.answer_id,
            "object": "chat.completion.chunk",
            "created": self.created_s,
            "model": self.model,
            "choices": choices,
        }
        return {**chunk, "usage": usage} if self.with_usage else chunk


def error_body(message: str, *, status: int, code: str | None = None) -> bytes:
    """Return an error object of OpenAI's API, with all four keys."""
    kind = _TYPE_OF_STATUS.get(status, "invalid_request_error" if status < 500 else "server_error")
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": code}})


def to_delta(message: Message) -> Json:
    """Return a message as one delta."""
    delta = without_none({"content": message.content, "reasoning_content": message.reasoning})
    if message.tool_calls:
        delta["tool_calls"] = message.tool_calls
    return delta
