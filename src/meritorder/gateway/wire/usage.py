"""Token usage as an answer reports it, whole or streamed."""

import contextlib
import re
from collections.abc import Callable
from typing import Final

import msgspec

from meritorder.gateway import decoding
from meritorder.gateway.wire import calls
from meritorder.gateway.wire.errors import INVALID_JSON
from meritorder.gateway.wire.events import DATA, parse_events

_TEMPLATE_TOKENS: Final = 4096  # more than chat templates and built-in prompts add to a request
_MAX_INPUT_TOKENS: Final = 10_000_000  # more than any model reads
_HIDDEN_TOKENS: Final = 262_144  # more output than any model hides, such as its reasoning
# Requests with input that is not in their bodies.
_HAS_INPUT_ELSEWHERE: Final = re.compile(
    rb'"(?:input_)?(?:image|file|video|audio)\w*"|"(?:previous_response_id|conversation|code_interpreter|mcp|container)"'
    rb'|"web_search\w*"|"prompt"\s*:\s*\{'
)


class _Details(msgspec.Struct, gc=False):
    cached_tokens: int | None = 0
    reasoning_tokens: int | None = 0


class _Reported(msgspec.Struct, gc=False):
    """`usage`, with the field names of chat completions and of responses."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _Nested(msgspec.Struct, gc=False):
    usage: _Reported | None = None


class _UsageFields(msgspec.Struct, gc=False):
    usage: _Reported | None = None
    response: _Nested | None = None  # in the last event of a streamed response


class _Choice(msgspec.Struct, gc=False):
    message: msgspec.Raw = msgspec.Raw(b"")
    text: msgspec.Raw = msgspec.Raw(b"")


class _Texts(msgspec.Struct, gc=False):
    choices: list[_Choice] = []
    output: msgspec.Raw = msgspec.Raw(b"")


_ANSWER: Final = msgspec.json.Decoder(_UsageFields)
_USAGE: Final = b'"usage"'
_TEXTS: Final = msgspec.json.Decoder(_Texts)


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of a request; `counted` if the venue reported them, else estimated."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    counted: bool = False


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A request, as far as it bounds the tokens of its answer.

    Args:
        body_bytes: Size of its body.
        output_tokens: Its limit on output tokens, or an estimate if it sets none.
        body: Its body; None if only the size is known.
    """

    body_bytes: int
    output_tokens: int
    body: bytes | None = None

    @classmethod
    def of(cls, body: bytes, output_tokens: int) -> "Asked":
        """Return what bounds the answer to a body, of which only the size if it is large."""
        return cls(len(body), output_tokens, None if decoding.is_large(body) else body)

    def is_within(self, usage: Usage) -> bool:
        """Tell whether usage is plausible at first sight."""
        inputs, outputs = usage.input_tokens, usage.output_tokens
        return 0 < inputs <= self.body_bytes + _TEMPLATE_TOKENS and 0 < outputs <= self.output_tokens

    def max_input_tokens(self) -> int:
        """Return the most input tokens possible: a token has at least one byte."""
        if self.body is None or _HAS_INPUT_ELSEWHERE.search(self.body):
            return _MAX_INPUT_TOKENS
        return self.body_bytes + _TEMPLATE_TOKENS

    def max_output_tokens(self, answer_bytes: int) -> int:
        """Return the most output tokens possible for an answer of a size."""
        most = answer_bytes + _HIDDEN_TOKENS
        limit = None if self.body is None else calls.total_output_limit(self.body)
        return most if limit is None else min(limit, most)


def parse_usage(body: bytes) -> Usage | None:
    """Return the usage that an answer reports; None if it reports none, or one that contradicts itself."""
    try:
        answer = _ANSWER.decode(body)
    except INVALID_JSON:
        return None
    reported = answer.usage or (answer.response.usage if answer.response else None)
    if reported is None:
        return None
    inputs = reported.prompt_tokens_details or reported.input_tokens_details
    outputs = reported.completion_tokens_details or reported.output_tokens_details
    usage = Usage(
        input_tokens=reported.prompt_tokens or reported.input_tokens or 0,
        cached_tokens=(inputs.cached_tokens or 0) if inputs else 0,
        output_tokens=reported.completion_tokens or reported.output_tokens or 0,
        reasoning_tokens=(outputs.reasoning_tokens or 0) if outputs else 0,
        counted=True,
    )
    is_consistent = (
        0 <= usage.cached_tokens <= usage.input_tokens and 0 <= usage.reasoning_tokens <= usage.output_tokens
    )
    return usage if is_consistent else None


def measured_usage(answer: bytes, asked: Asked) -> Usage:
    """Return the usage that an answer reports if it is plausible, else an estimate."""
    return _plausible(parse_usage(answer), asked, len(answer), lambda: _text_tokens(answer))


def _plausible(reported: Usage | None, asked: Asked, answer_bytes: int, text_tokens: Callable[[], int]) -> Usage:
    if reported is not None and asked.is_within(reported):
        return reported
    max_output = asked.max_output_tokens(answer_bytes)
    estimated = Usage(
        input_tokens=calls.estimate_tokens(asked.body_bytes), output_tokens=min(text_tokens(), max_output)
    )
    if reported is None or not 0 < reported.input_tokens <= asked.max_input_tokens():
        return estimated
    is_empty = reported.output_tokens == 0 < estimated.output_tokens
    return estimated if is_empty or reported.output_tokens > max_output else reported


def _text_tokens(answer: bytes) -> int:
    """Estimate the output tokens of a whole answer from its texts."""
    with contextlib.suppress(*INVALID_JSON):
        texts = _TEXTS.decode(answer)
        size = len(bytes(texts.output)) + sum(
            len(bytes(part)) for choice in texts.choices for part in (choice.message, choice.text)
        )
        return calls.estimate_tokens(size) if size else 0
    return 0


class StreamMeter:
    """Counts the events of a passing stream, in parts of complete events, and remembers the last with usage."""

    __slots__ = ("_last_usage", "_size_bytes", "events")

    def __init__(self) -> None:
        self.events = 0
        self._size_bytes = 0
        self._last_usage = b""

    def feed(self, part: bytes) -> None:
        """Observe a part of the stream."""
        self.events += part.count(DATA)
        self._size_bytes += len(part)
        if _USAGE in part:
            self._last_usage = part

    def usage(self, asked: Asked) -> Usage:
        """Return the reported usage if it is plausible, else one token per event and the estimated input."""
        events = (data for _, data in reversed(parse_events(self._last_usage)) if _USAGE in data)
        last = next((usage for data in events if (usage := parse_usage(data)) is not None), None)
        return _plausible(last, asked, self._size_bytes, lambda: max(0, self.events - 1))
