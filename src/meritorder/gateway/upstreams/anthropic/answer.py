"""Answers of Anthropic's Messages API as chat completions, whole and streamed."""

from typing import Final

import msgspec

from meritorder.gateway.upstreams.completions import CompletionChunks, CompletionUsage, Message, completion, tool_call
from meritorder.gateway.upstreams.fields import Json

_FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def completion_of(answer: Json, *, created_s: int) -> Json:
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
        usage=usage_of(answer["usage"], CompletionUsage()),
    )


def finish_reason(stop_reason: str | None) -> str | None:
    """Return OpenAI's finish reason of an answer; an unknown one is a stop."""
    return None if stop_reason is None else _FINISH.get(stop_reason, "stop")


def usage_of(found: Json, before: CompletionUsage) -> CompletionUsage:
    """Return the usage updated with the counts that an event reports."""
    usage = before
    if found.get("input_tokens") is not None:
        cached = found.get("cache_read_input_tokens") or 0
        usage.cached_tokens = cached
        usage.prompt_tokens = found["input_tokens"] + cached + (found.get("cache_creation_input_tokens") or 0)
    usage.completion_tokens = found.get("output_tokens") or usage.completion_tokens
    details = found.get("output_tokens_details") or {}
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
            self._usage = usage_of(data["usage"], self._usage)
            return [self._chunks.delta({}, finish_reason=finish_reason(data["delta"]["stop_reason"]))]
        if kind == "message_stop":
            self.ended = True
            return self._chunks.last(self._usage)
        if kind == "error":
            raise ValueError(data["error"]["message"])
        return []  # a ping or an unknown event

    def _start(self, message: Json) -> list[Json]:
        self._chunks.answer_id, self._chunks.model = message["id"], message["model"]
        self._usage = usage_of(message["usage"], self._usage)
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
