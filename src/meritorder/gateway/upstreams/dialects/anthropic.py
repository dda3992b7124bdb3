"""Anthropic's Messages API, as a dialect.

Source: platform.claude.com/docs and the types of the official client, `anthropic` 2.12, 2026-11.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from meritorder.gateway.upstreams.connection import Endpoint
from meritorder.gateway.upstreams.dialects.anthropic_request import to_messages
from meritorder.gateway.upstreams.dialects.completions import (
    CompletionChunks,
    CompletionUsage,
    Message,
    completion,
    tool_call,
)
from meritorder.gateway.upstreams.dialects.fields import Json

BASE_URL: Final = "https://api.anthropic.com"
_VERSION: Final = "2026-10-21"
# The last version that accepts these fields; it does not differ otherwise in what we send.
_OLDER_VERSION: Final = "2023-06-01"
_OLDER_FIELDS: Final = ("temperature", "top_p", "top_k")


def endpoint(name: str, api_key: str, base_url: str = BASE_URL) -> Endpoint:
    """Return the endpoint of Anthropic's API."""
    return Endpoint(name=name, base_url=base_url, headers={"Authorization": f"Bearer {api_key}", **_version(_VERSION)})


def _version(version: str) -> dict[str, str]:
    return {"anthropic-version": version}


def version_for(requests: Iterable[Json]) -> dict[str, str]:
    """Return the header of the newest API version that accepts all fields of the requests."""
    older = any(name in request for request in requests for name in _OLDER_FIELDS)
    return _version(_OLDER_VERSION if older else _VERSION)


class Anthropic:
    """The dialect. See `dialect.Dialect`.

    Args:
        max_tokens: Limit for requests that set none; the API requires one.
    """

    def __init__(self, *, max_tokens: int = 8192) -> None:
        self._max_tokens = max_tokens

    def path(self, _model: str, *, stream: bool) -> str:  # noqa: ARG002 - part of the protocol
        """Return the path of a request."""
        return "/v1/messages"

    def request(self, body: Json, *, venue: str) -> Json:
        """Return a chat request in Anthropic's format."""
        return to_messages(body, venue=venue, max_tokens=self._max_tokens)

    def envelope(self, request: Json, model: str, *, stream: bool) -> Json:
        """Return the body that is sent for a request."""
        return {"model": model, **request, **({"stream": True} if stream else {})}

    def headers(self, request: Json) -> tuple[tuple[str, str], ...]:
        """Return the headers of a request in addition to those of the endpoint."""
        return tuple(version_for([request]).items())

    def answer(self, answer: Json, *, created_s: int) -> Json:
        """Return an answer as a chat completion."""
        return to_completion(answer, created_s=created_s)

    def stream(self, model: str, *, created_s: int, with_usage: bool) -> "MessageStream":
        """Return the translation of a streamed answer."""
        return MessageStream(model, created_s=created_s, with_usage=with_usage)

    def error(self, error: Json) -> tuple[str, str | None, float | None]:
        """Return message, code and `Retry-After` of an error's body."""
        inner = error["error"]
        return inner["message"], inner["type"], None


_FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def to_completion(answer: Json, *, created_s: int) -> Json:
    """Return a message as a chat completion."""
    texts: list[str] = []
    thoughts: list[str] = []
    message = Message()
    for block in answer["content"]:
        kind = block["type"]
        if kind == "text":
            texts.append(block["text"])
        elif kind == "thinking":
            thoughts.append(block["thinking"])
        elif kind == "tool_use":
            arguments = msgspec.json.encode(block["input"]).decode()
            message.tool_calls.append(tool_call(block["id"], block["name"], arguments))
    message.content = "".join(texts) if texts else None
    message.reasoning = "".join(thoughts) if thoughts else None
    return completion(
        answer_id=answer["id"],
        created_s=created_s,
        model=answer["model"],
        choices=[(message, finish_reason(answer["stop_reason"]))],
        usage=update_usage(CompletionUsage(), answer["usage"]),
    )


def finish_reason(stop_reason: str | None) -> str | None:
    """Return OpenAI's finish reason of an answer; an unknown one is a stop."""
    return None if stop_reason is None else _FINISH.get(stop_reason, "stop")


def update_usage(usage: CompletionUsage, reported: Json) -> CompletionUsage:
    """Update the usage with the counts that an event reports, and return it."""
    if reported.get("input_tokens") is not None:
        cached = reported.get("cache_read_input_tokens") or 0
        usage.cached_tokens = cached
        usage.prompt_tokens = reported["input_tokens"] + cached + (reported.get("cache_creation_input_tokens") or 0)
    usage.completion_tokens = reported.get("output_tokens") or usage.completion_tokens
    details = reported.get("output_tokens_details") or {}
    usage.reasoning_tokens = details.get("thinking_tokens") or usage.reasoning_tokens
    return usage


class MessageStream:
    """The translation of one streamed message. See `dialect.Stream`."""

    def __init__(self, model: str, *, created_s: int, with_usage: bool) -> None:
        self._chunks = CompletionChunks(created_s=created_s, model=model, with_usage=with_usage)
        self._usage = CompletionUsage()
        self._tools: dict[int, int] = {}
        self.ended = False

    def feed(self, name: str, data: Json) -> list[Json]:
        """Return the stream chunks that an event becomes."""
        kind = data.get("type", name)
        if kind == "content_block_delta":
            return self._delta(data["index"], data["delta"])
        if kind == "content_block_start":
            return self._block(data["index"], data["content_block"])
        if kind == "message_start":
            return self._start(data["message"])
        if kind == "message_delta":
            self._usage = update_usage(self._usage, data["usage"])
            return [self._chunks.delta({}, finish_reason=finish_reason(data["delta"]["stop_reason"]))]
        if kind == "message_stop":
            self.ended = True
            return self._chunks.last(self._usage)
        if kind == "error":
            raise ValueError(data["error"]["message"])
        return []  # a ping or an unknown event

    def _start(self, message: Json) -> list[Json]:
        self._chunks.answer_id, self._chunks.model = message["id"], message["model"]
        self._usage = update_usage(self._usage, message["usage"])
        return [self._chunks.delta({"role": "assistant", "content": ""})]

    def _block(self, at: int, block: Json) -> list[Json]:
        if block["type"] != "tool_use":
            return []
        self._tools[at] = len(self._tools)
        call = tool_call(block["id"], block["name"], "")
        return [self._chunks.delta({"tool_calls": [{"index": self._tools[at], **call}]})]

    def _delta(self, at: int, delta: Json) -> list[Json]:
        kind = delta["type"]
        if kind == "text_delta":
            return [self._chunks.delta({"content": delta["text"]})]
        if kind == "thinking_delta":
            return [self._chunks.delta({"reasoning_content": delta["thinking"]})]
        if kind == "input_json_delta" and at in self._tools:
            call = {"index": self._tools[at], "function": {"arguments": delta["partial_json"]}}
            return [self._chunks.delta({"tool_calls": [call]})]
        return []  # signatures and citations
