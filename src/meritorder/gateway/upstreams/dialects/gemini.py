"""Gemini's generateContent, as a dialect.

Source: ai.google.dev/api and the types of the official client, `google-genai` 3.4, 2026-11.
"""

from typing import Final
from urllib.parse import quote

import msgspec

from meritorder.gateway.upstreams.connection import Endpoint
from meritorder.gateway.upstreams.dialects.completions import (
    CompletionChunks,
    CompletionUsage,
    Message,
    completion,
    to_delta,
    tool_call,
)
from meritorder.gateway.upstreams.dialects.fields import Json
from meritorder.gateway.upstreams.dialects.gemini_request import to_contents

BASE_URL: Final = "https://generativelanguage.googleapis.com/v1"
_KINDS: Final = frozenset({"models", "tunedModels"})
_RETRY_INFO: Final = "type.googleapis.com/google.rpc.RetryInfo"


def endpoint(name: str, api_key: str, base_url: str = BASE_URL) -> Endpoint:
    """Return the endpoint of Gemini's API."""
    return Endpoint(name=name, base_url=base_url, headers={"x-goog-api-key": api_key})


def model_name(model: str) -> str:
    """Return a model's name as part of a path, quoted."""
    kind, slash, name = model.partition("/")
    return f"{kind}/{quote(name, safe='')}" if slash and kind in _KINDS else f"models/{quote(model, safe='')}"


class Gemini:
    """The dialect. See `dialect.Dialect`."""

    def path(self, model: str, *, stream: bool) -> str:
        """Return the path of a request."""
        name = model_name(model)
        return f"/{name}:streamGenerateContent?alt=sse" if stream else f"/{name}:generateContent"

    def request(self, body: Json, *, venue: str) -> Json:
        """Return a chat request in Gemini's format."""
        return to_contents(body, venue=venue)

    def envelope(self, request: Json, _model: str, *, stream: bool) -> Json:  # noqa: ARG002 - part of the protocol
        """Return the body that is sent: model and stream are in the path."""
        return request

    def headers(self, _request: Json) -> tuple[tuple[str, str], ...]:
        """Return no headers; those of the endpoint suffice."""
        return ()

    def answer(self, answer: Json, *, created_s: int) -> Json:
        """Return an answer as a chat completion."""
        return to_completion(answer, created_s=created_s)

    def stream(self, model: str, *, created_s: int, with_usage: bool) -> "ContentStream":
        """Return the translation of a streamed answer."""
        return ContentStream(model, created_s=created_s, with_usage=with_usage)

    def error(self, error: Json) -> tuple[str, str | None, float | None]:
        """Return message, code and `Retry-After` of an error's body; the last is among its details."""
        inner = error["error"]
        for detail in inner.get("details", []):
            if detail.get("@type") == _RETRY_INFO:
                return inner["message"], inner["status"], float(detail["retryDelay"].removesuffix("s"))
        return inner["message"], inner["status"], None


_LENGTH: Final = frozenset({"MAX_TOKENS"})
_FILTERED: Final = frozenset(
    {
        *("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"),
        *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
    }
)


def to_completion(answer: Json, *, created_s: int) -> Json:
    """Return an answer as a chat completion."""
    answer_id = answer.get("responseId", "")
    choices = []
    for candidate in _candidates(answer):
        message = parse_message(candidate, answer_id, first_call=0)
        reason = finish_reason(candidate.get("finishReason"), calls=bool(message.tool_calls))
        choices.append((message, reason))
    return completion(
        answer_id=answer_id,
        created_s=created_s,
        model=answer["modelVersion"],
        choices=choices,
        usage=parse_usage(answer),
    )


def _candidates(answer: Json) -> list[Json]:
    """Return the candidates; a blocked prompt has none and becomes one choice without content."""
    candidates: list[Json] = answer.get("candidates") or []
    if not candidates and answer.get("promptFeedback", {}).get("blockReason"):
        return [{"finishReason": "SAFETY"}]
    return candidates


def parse_message(candidate: Json, answer_id: str, *, first_call: int) -> Message:
    """Return the message of a candidate.

    Args:
        candidate: Complete, or one part of a stream.
        answer_id: Id of the answer, from which calls without an id get one.
        first_call: Number of the first call in it.
    """
    message = Message()
    for part in candidate.get("content", {}).get("parts", []):
        if "functionCall" in part:
            call = part["functionCall"]
            number = first_call + len(message.tool_calls)
            arguments = msgspec.json.encode(call.get("args") or {}).decode()
            extra = {}
            if "thoughtSignature" in part:
                extra["extra_content"] = {"google": {"thought_signature": part["thoughtSignature"]}}
            call_id = call.get("id") or f"call_{answer_id}_{candidate.get('index', 0)}_{number}"
            message.tool_calls.append(tool_call(call_id, call["name"], arguments, **extra))
        elif part.get("thought"):
            message.reasoning = (message.reasoning or "") + part.get("text", "")
        elif "text" in part:
            message.content = (message.content or "") + part["text"]
    return message


def finish_reason(reason: str | None, *, calls: bool) -> str | None:
    """Return OpenAI's finish reason of an answer; an unknown one is a stop."""
    if reason is None:
        return None
    if reason in _LENGTH:
        return "length"
    if reason in _FILTERED:
        return "content_filter"
    return "tool_calls" if calls else "stop"


def parse_usage(answer: Json) -> CompletionUsage:
    """Return the usage that an answer reports."""
    reported = answer.get("usageMetadata", {})
    thoughts = reported.get("thoughtsTokenCount", 0)
    return CompletionUsage(
        prompt_tokens=reported.get("promptTokenCount", 0) + reported.get("toolUsePromptTokenCount", 0),
        completion_tokens=reported.get("candidatesTokenCount", 0) + thoughts,
        cached_tokens=reported.get("cachedContentTokenCount", 0),
        reasoning_tokens=thoughts,
    )


class ContentStream:
    """The translation of one streamed answer. See `dialect.Stream`."""

    def __init__(self, model: str, *, created_s: int, with_usage: bool) -> None:
        self._chunks = CompletionChunks(created_s=created_s, model=model, with_usage=with_usage)
        self._calls: dict[int, int] = {}
        self._finished: set[int] = set()
        self._sent_usage = False

    @property
    def ended(self) -> bool:
        """Whether all choices that started have ended; the API has no other end marker."""
        return bool(self._finished) and set(self._calls) == self._finished

    def feed(self, name: str, data: Json) -> list[Json]:  # noqa: ARG002 - its events have no names
        """Return the stream chunks that an event becomes."""
        if "error" in data:
            raise ValueError(data["error"]["message"])
        self._chunks.answer_id = data.get("responseId", self._chunks.answer_id)
        self._chunks.model = data.get("modelVersion", self._chunks.model)
        chunks: list[Json] = []
        for candidate in _candidates(data):
            chunks += self._candidate(candidate)
        if self.ended and not self._sent_usage and "usageMetadata" in data:
            self._sent_usage = True
            chunks += self._chunks.last(parse_usage(data))
        return chunks

    def _candidate(self, candidate: Json) -> list[Json]:
        index = candidate.get("index", 0)
        chunks: list[Json] = []
        if index not in self._calls:
            self._calls[index] = 0
            chunks.append(self._chunks.delta({"role": "assistant", "content": ""}, index=index))
        message = parse_message(candidate, self._chunks.answer_id, first_call=self._calls[index])
        for number, call in enumerate(message.tool_calls, start=self._calls[index]):
            call["index"] = number
        self._calls[index] += len(message.tool_calls)
        if delta := to_delta(message):
            chunks.append(self._chunks.delta(delta, index=index))
        reason = finish_reason(candidate.get("finishReason"), calls=self._calls[index] > 0)
        if reason is not None:
            self._finished.add(index)
            chunks.append(self._chunks.delta({}, index=index, finish_reason=reason))
        return chunks
