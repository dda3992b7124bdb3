"""An upstream that records each attempt as an OpenTelemetry span. Imported only if telemetry is on.

Source: github.com/open-telemetry/semantic-conventions-genai, client-inference, 2026-11.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urlsplit

import msgspec
from opentelemetry.propagate import inject
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, get_current_span, use_span
from opentelemetry.util.types import AttributeValue

from meritorder.gateway.config import VenueTable
from meritorder.gateway.errors import UpstreamError
from meritorder.gateway.upstreams.upstream import Call, EngineLoad, Reply, Upstream, Wrapped
from meritorder.gateway.wire.errors import INVALID_JSON
from meritorder.gateway.wire.events import DATA
from meritorder.gateway.wire.usage import Asked, StreamMeter, measured_usage

_OPERATIONS: Final = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
    "/v1/responses": "chat",
}
_PROVIDERS: Final = {"gemini": "gcp.gemini"}
_TAIL_BYTES: Final = 16_384
_UNKNOWN: Final = Asked(0, 0)

Attributes = dict[str, AttributeValue]


class _TracedChoice(msgspec.Struct):
    finish_reason: str | None = None


class _TracedAnswer(msgspec.Struct):
    """The fields of an answer that a span records."""

    id: str | None = None
    model: str | None = None
    choices: list[_TracedChoice] = []
    response: "_TracedAnswer | None" = None  # in an event of a streamed response

    def attributes(self) -> list[tuple[str, str]]:
        """Return the id and the model, as far as present."""
        return [(name, value) for name, value in (("id", self.id), ("model", self.model)) if value is not None]


class Traced:
    """An upstream that records each attempt as a span. See `upstream.Upstream`.

    Args:
        upstream: The upstream to trace.
        table: Configuration of its venue.
        tracer: Creates the spans.
    """

    def __init__(self, upstream: Upstream, table: VenueTable, tracer: Tracer) -> None:
        self.name = upstream.name
        self._upstream = upstream
        self._tracer = tracer
        self._table = table
        self._fixed: Attributes = {
            "gen_ai.provider.name": _PROVIDERS.get(table.kind, table.kind),
            "meritorder.venue": table.name,
        }
        where = urlsplit(table.url.replace("{port}", "0"))
        if where.hostname:
            self._fixed["server.address"] = where.hostname
        if where.port:
            self._fixed["server.port"] = where.port

    async def send(self, call: Call) -> Reply:
        """Send a request with its trace context."""
        model = self._table.served().get(call.model, call.model)
        span = self._tracer.start_span(
            f"{_OPERATIONS.get(call.path, call.path)} {model}",
            kind=SpanKind.CLIENT,
            attributes=request_attributes(call.path, model) | self._fixed | {"gen_ai.request.stream": call.stream},
        )
        caller = get_current_span()
        started_s = time.monotonic()
        try:
            with use_span(span, record_exception=False, set_status_on_exception=False):
                carrier: dict[str, str] = {}
                inject(carrier)
                reply = await self._upstream.send(
                    msgspec.structs.replace(call, headers=(*call.headers, *carrier.items()))
                )
        except BaseException as error:
            fail(span, error_type(error))
            span.end()
            raise
        # A call that the sampler drops needs no traced reply.
        return _TracedReply(reply, span, caller, self.name, started_s) if span.is_recording() else reply

    async def load(self) -> EngineLoad | None:
        """Return the load that the engine reports; None if it cannot be read."""
        return await self._upstream.load()

    async def close(self) -> None:
        """Close the connections to the venue."""
        await self._upstream.close()


class _TracedReply(Wrapped):
    """A reply whose span records the answer and ends when the reply is closed."""

    __slots__ = ("_caller", "_meter", "_span", "_started_s", "_tail", "_ttft_s", "_venue", "_whole")

    def __init__(self, reply: Reply, span: Span, caller: Span, venue: str, started_s: float) -> None:
        super().__init__(reply)
        self._span: Span | None = span
        self._caller = caller
        self._venue = venue
        self._started_s = started_s
        self._meter = StreamMeter()
        self._ttft_s: float | None = None
        self._tail = b""
        self._whole: bytes | None = None
        span.set_attribute("http.response.status_code", reply.status)
        if reply.status >= 400:
            fail(span, str(reply.status))

    @property
    def body(self) -> AsyncIterator[bytes]:
        return self._parts()

    async def _parts(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._reply.body:
                if self._ttft_s is None:
                    self._ttft_s = time.monotonic() - self._started_s
                self._meter.feed(part)
                self._tail = (self._tail + part)[-_TAIL_BYTES:]
                yield part
        except UpstreamError as error:
            self._record_error(error)
            raise

    async def read(self) -> bytes:
        try:
            self._whole = await self._reply.read()
        except UpstreamError as error:
            self._record_error(error)
            raise
        return self._whole

    def _record_error(self, error: UpstreamError) -> None:
        if self._span is not None:
            fail(self._span, error_type(error))

    async def close(self) -> None:
        span, self._span = self._span, None
        if span is not None:
            attributes = self._attributes()
            span.set_attributes(attributes)
            span.end()
            self._caller.set_attributes({**attributes, "meritorder.venue": self._venue})
        await self._reply.close()

    def _attributes(self) -> Attributes:
        """Return id, model, usage and finish reasons of the answer."""
        if self._reply.status >= 400:
            return {}
        attributes: Attributes = {}
        if self._whole is None:
            usage, documents = self._meter.usage(_UNKNOWN), _events(self._tail)
        else:
            usage, documents = measured_usage(self._whole, _UNKNOWN), [self._whole]
        if self._ttft_s is not None:
            attributes["gen_ai.response.time_to_first_chunk"] = self._ttft_s
        if usage.counted:
            attributes["gen_ai.usage.input_tokens"] = usage.input_tokens
            attributes["gen_ai.usage.cache_read.input_tokens"] = usage.cached_tokens
        if usage.counted or usage.output_tokens:
            attributes["gen_ai.usage.output_tokens"] = usage.output_tokens
        reasons: list[str] = []
        for document in documents:
            with contextlib.suppress(*INVALID_JSON):
                answer = msgspec.json.decode(document, type=_TracedAnswer)
                answer = answer.response or answer
                attributes |= {f"gen_ai.response.{name}": value for name, value in answer.attributes()}
                reasons += [choice.finish_reason for choice in answer.choices if choice.finish_reason]
        if reasons:
            attributes["gen_ai.response.finish_reasons"] = reasons
        return attributes


def _events(tail: bytes) -> list[bytes]:
    """Return the complete events in the tail of a stream."""
    return [line[len(DATA) :] for line in tail.split(b"\n") if line.startswith(DATA)]


def request_attributes(endpoint: str, model: str) -> Attributes:
    """Return the attributes of any request."""
    attributes: Attributes = {"gen_ai.request.model": model}
    if endpoint in _OPERATIONS:
        attributes["gen_ai.operation.name"] = _OPERATIONS[endpoint]
    return attributes


def error_type(error: BaseException) -> str:
    """Return the type of a failure; its message could quote a request."""
    return "cancelled" if isinstance(error, asyncio.CancelledError) else type(error).__name__


def fail(span: Span, kind: str) -> None:
    """Mark a span as failed."""
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))
