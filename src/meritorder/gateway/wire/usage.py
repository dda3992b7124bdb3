"""Token usage as an answer reports it, whole or streamed."""

from typing import Final

import msgspec

from meritorder.gateway.wire.errors import INVALID_JSON
from meritorder.gateway.wire.events import DATA

_TAIL_BYTES: Final = 16_384


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


_ANSWER: Final = msgspec.json.Decoder(_UsageFields)


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of a request; `counted` if the venue reported them, else estimated."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    counted: bool = False


def parse_usage(body: bytes) -> Usage | None:
    """Return the usage that an answer reports, or None."""
    try:
        answer = _ANSWER.decode(body)
    except INVALID_JSON:
        return None
    reported = answer.usage or (answer.response.usage if answer.response else None)
    if reported is None:
        return None
    inputs = reported.prompt_tokens_details or reported.input_tokens_details
    outputs = reported.completion_tokens_details or reported.output_tokens_details
    return Usage(
        input_tokens=reported.prompt_tokens or reported.input_tokens or 0,
        cached_tokens=(inputs.cached_tokens or 0) if inputs else 0,
        output_tokens=reported.completion_tokens or reported.output_tokens or 0,
        reasoning_tokens=(outputs.reasoning_tokens or 0) if outputs else 0,
        counted=True,
    )


class StreamMeter:
    """Counts the events of a passing stream, and finds the usage in its last events."""

    __slots__ = ("_tail", "events")

    def __init__(self) -> None:
        self.events = 0
        self._tail = b""

    def feed(self, chunk: bytes) -> None:
        """Observe a part of the stream."""
        self.events += chunk.count(DATA)
        self._tail = chunk if len(chunk) >= _TAIL_BYTES else self._tail[-_TAIL_BYTES:] + chunk

    def usage(self, input_tokens: int) -> Usage:
        """Return the reported usage, else one token per event and the estimated input."""
        for line in reversed(self._tail.split(b"\n")):
            if line.startswith(DATA) and b'"usage"' in line:
                reported = parse_usage(line[len(DATA) :])
                if reported is not None:
                    return reported
        return Usage(input_tokens=input_tokens, output_tokens=max(0, self.events - 1))
