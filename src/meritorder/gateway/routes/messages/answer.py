"""Translates chat completions, whole and streamed, and errors to Anthropic's messages."""

import secrets
from typing import Any, Final

import msgspec

from meritorder.gateway.upstreams.dialects.fields import Json
from meritorder.gateway.upstreams.responses.answer import reasoning_of
from meritorder.gateway.wire.errors import INVALID_JSON, anthropic_error

_STOP_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def to_message(completion: Json) -> Json:
    """Return a chat completion as a message.

    Raises:
        KeyError, TypeError, IndexError: The completion violates the API's contract.
    """
    choice = completion["choices"][0]
    answer = choice["message"]
    content: list[Json] = []
    if thoughts := reasoning_of(answer):
        content.append({"type": "thinking", "thinking": thoughts, "signature": ""})
    if text := answer.get("content") or answer.get("refusal"):
        content.append({"type": "text", "text": text})
    for call in answer.get("tool_calls") or ():
        function = call["function"]
        block = {"type": "tool_use", "id": call["id"], "name": function["name"], "input": _input(function["arguments"])}
        content.append(block)
    return {
        **_message(completion.get("model"), completion.get("usage")),
        "content": content,
        "stop_reason": _STOP_REASONS.get(choice.get("finish_reason"), "end_turn"),
    }


def to_error(status: int, body: bytes, request_id: str | None = None) -> Json:
    """Return an error of the gateway in Anthropic's form."""
    try:
        message = msgspec.json.decode(body)["error"]["message"]
    except (*INVALID_JSON, KeyError, TypeError):
        message = "The request failed."
    return anthropic_error(status, str(message), request_id)


class MessageEvents:
    """The events of one streamed message."""

    def __init__(self) -> None:
        self.ended = False
        self._usage: Json | None = None
        self._finish_reason: str | None = None
        self._index = -1
        self._kind: str | tuple[str, int] | None = None
        self._has_begun = False

    def feed(self, chunk: Json) -> list[Json]:
        """Return the events of a chunk.

        Raises:
            KeyError, TypeError: The chunk violates the API's contract.
        """
        if failure := chunk.get("error"):
            self.ended = True
            message = failure.get("message") if isinstance(failure, dict) else failure
            return [anthropic_error(500, str(message))]
        events = self._begin(chunk.get("model"))
        self._usage = chunk.get("usage") or self._usage
        for choice in (chunk.get("choices") or ())[:1]:
            delta = choice.get("delta") or {}
            if thoughts := reasoning_of(delta):
                block = {"type": "thinking", "thinking": "", "signature": ""}
                events += self._write("thinking", block, {"type": "thinking_delta", "thinking": thoughts})
            if text := delta.get("content") or delta.get("refusal"):
                events += self._write("text", {"type": "text", "text": ""}, {"type": "text_delta", "text": text})
            for call in delta.get("tool_calls") or ():
                events += self._write_call(call)
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
        return events

    def end(self) -> list[Json]:
        """Return the last events."""
        self.ended = True
        reason = _STOP_REASONS.get(self._finish_reason or "", "end_turn")
        return [
            *self._begin(None),
            *self._stop_block(),
            {
                "type": "message_delta",
                "delta": {"stop_reason": reason, "stop_sequence": None, "stop_details": None, "container": None},
                "usage": _usage(self._usage),
            },
            {"type": "message_stop"},
        ]

    def _begin(self, model: str | None) -> list[Json]:
        if self._has_begun:
            return []
        self._has_begun = True
        return [{"type": "message_start", "message": {**_message(model, None), "content": [], "stop_reason": None}}]

    def _write(self, kind: str | tuple[str, int], block: Json, delta: Json) -> list[Json]:
        events: list[Json] = []
        if self._kind != kind:
            events += self._stop_block()
            self._kind = kind
            self._index += 1
            events.append({"type": "content_block_start", "index": self._index, "content_block": block})
        return [*events, {"type": "content_block_delta", "index": self._index, "delta": delta}]

    def _write_call(self, call: Json) -> list[Json]:
        function = call.get("function") or {}
        kind = ("tool_use", int(call.get("index", 0)))
        block: Json = {}
        if self._kind != kind:
            block = {"type": "tool_use", "id": call.get("id"), "name": function["name"], "input": {}}
        delta = {"type": "input_json_delta", "partial_json": function.get("arguments") or ""}
        return self._write(kind, block, delta)

    def _stop_block(self) -> list[Json]:
        if self._kind is None:
            return []
        self._kind = None
        return [{"type": "content_block_stop", "index": self._index}]


def _message(model: str | None, usage: Json | None) -> Json:
    return {
        "id": "msg_" + secrets.token_hex(12),
        "type": "message",
        "role": "assistant",
        "model": model or "",
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "usage": _usage(usage),
    }


def _usage(usage: Json | None) -> Json:
    """Return the usage as Anthropic counts it: input tokens without those read from a cache."""
    reported = usage or {}
    cached = (reported.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return {
        "input_tokens": max(0, (reported.get("prompt_tokens") or 0) - cached),
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": reported.get("completion_tokens") or 0,
    }


def _input(arguments: str) -> Any:  # noqa: ANN401 - JSON
    try:
        return msgspec.json.decode(arguments or "{}")
    except INVALID_JSON:
        return {"arguments": arguments}  # as the model wrote them
