"""OpenTelemetry: spans of calls, of attempts at venues and of dispatched requests, and metrics of all requests.

Names follow the semantic conventions for GenAI and HTTP; our own begin with `meritorder.`. Bodies are never recorded.
This module is imported only if telemetry is on, so that it costs nothing otherwise.

Source: github.com/open-telemetry/semantic-conventions-genai, client-inference and gen-ai-metrics, 2026-11; semantic
conventions 1.44 for HTTP.
"""

import os
import time
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping, Sequence
from importlib.metadata import version
from threading import Thread
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import Histogram
from opentelemetry.propagate import extract, inject
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import Link, Span, SpanKind, TraceState, get_current_span, use_span
from opentelemetry.util.types import Attributes as OtelAttributes

from meritorder.gateway.config import DEFERRABLE, REALTIME, TelemetryTable, VenueTable
from meritorder.gateway.state.request import Deferral, Request
from meritorder.gateway.store.billing.ledger import LedgerEntry
from meritorder.gateway.store.queue.requests import ClaimedRequest
from meritorder.gateway.upstreams.rates import Bucket
from meritorder.gateway.upstreams.traced import Attributes, Traced, error_type, fail, request_attributes
from meritorder.gateway.upstreams.upstream import Upstream
from meritorder.gateway.wire.asgi import Receive, Scope, Send
from meritorder.latency import tpot_s
from meritorder.units import SECONDS_PER_MINUTE, utc

TRACEPARENT: Final = "traceparent"
_SAMPLER: Final = "OTEL_TRACES_SAMPLER"
_FLUSH_S: Final = 2.0
_NAME: Final = "meritorder"
# Bucket bounds of the semantic conventions.
_TTFT_BOUNDS_S: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_DURATION_BOUNDS_S: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TPOT_BOUNDS_S: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)


class _RateLimitedSampler(Sampler):
    """Samples traces that start here up to a rate limit, with a burst of a minute's worth.

    A trace costs about twice as much as a call: only a gateway with little load can afford to record all of them.
    """

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._bucket = Bucket(per_minute=per_s * SECONDS_PER_MINUTE)

    def should_sample(  # noqa: PLR0917 - the SDK's signature
        self,
        parent_context: Context | None,  # noqa: ARG002
        trace_id: int,  # noqa: ARG002
        name: str,  # noqa: ARG002
        kind: SpanKind | None = None,  # noqa: ARG002
        attributes: OtelAttributes = None,
        links: Sequence[Link] | None = None,  # noqa: ARG002
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide whether to record a trace that starts here."""
        now_s = time.monotonic()
        if not self._per_s or self._bucket.wait_s(1, now_s) > 0:
            return SamplingResult(Decision.DROP)
        self._bucket.take(1, now_s)
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, trace_state)

    def get_description(self) -> str:
        """Return the sampler's name and rate."""
        return f"RateLimited{{{self._per_s:g} per second}}"


class Telemetry:
    """Records spans and metrics, and exports them to a collector.

    Args:
        settings: The collector; the `OTEL_*` environment variables set the rest.
    """

    def __init__(self, settings: TelemetryTable) -> None:
        base = settings.otlp_endpoint.rstrip("/")
        is_named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get(
            "OTEL_RESOURCE_ATTRIBUTES", ""
        )
        resource = Resource.create({} if is_named else {SERVICE_NAME: _NAME})
        spans = OTLPSpanExporter(endpoint=f"{base}/v1/traces") if base else OTLPSpanExporter()
        metrics = OTLPMetricExporter(endpoint=f"{base}/v1/metrics") if base else OTLPMetricExporter()
        self._exporters = (spans, metrics)
        # The environment's sampler overrides ours.
        sampler = None if _SAMPLER in os.environ else ParentBased(_RateLimitedSampler(settings.traces_per_second))
        self._provider = TracerProvider(resource=resource, sampler=sampler)
        self._provider.add_span_processor(BatchSpanProcessor(spans))
        self._tracer = self._provider.get_tracer(_NAME, version(_NAME))
        self._meters = MeterProvider([PeriodicExportingMetricReader(metrics)], resource=resource)
        self._duration_s = self._histogram("gen_ai.server.request.duration", "Time of a request.", _DURATION_BOUNDS_S)
        self._ttft_s = self._histogram("gen_ai.server.time_to_first_token", "Time to its first token.", _TTFT_BOUNDS_S)
        self._tpot_s = self._histogram(
            "gen_ai.server.time_per_output_token", "Time per token after it.", _TPOT_BOUNDS_S
        )

    def _histogram(self, name: str, description: str, bounds: tuple[float, ...]) -> Histogram:
        meter = self._meters.get_meter(_NAME, version(_NAME))
        return meter.create_histogram(
            name, unit="s", description=description, explicit_bucket_boundaries_advisory=bounds
        )

    async def serve(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        answer: Callable[[Scope, Receive, Send], Awaitable[None]],
    ) -> None:
        """Answer a request within a server span that continues the client's trace."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        span = self._tracer.start_span(
            f"{scope['method']} {scope['path']}",
            context=extract(headers),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": scope["method"],
                "http.route": scope["path"],
                "url.path": scope["path"],
                "url.scheme": scope["scheme"],
            },
        )

        async def observed(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                span.set_attribute("http.response.status_code", message["status"])
                if message["status"] >= 500:
                    fail(span, str(message["status"]))
            await send(message)

        await _within(span, answer(scope, receive, observed))

    def describe(self, request: Request, deferral: Deferral | None) -> None:
        """Record a call, its lane and its deadline on the server span."""
        span, call = get_current_span(), request.call
        if not span.is_recording():
            return
        attributes: Attributes = request_attributes(request.endpoint, call.model or "") | {
            "gen_ai.provider.name": _NAME,
            "gen_ai.request.stream": bool(call.stream),
            "meritorder.request.id": request.id,
            "meritorder.tenant": request.key.tenant,
            "meritorder.lane": REALTIME if deferral is None else DEFERRABLE,
        }
        if (max_tokens := call.max_completion_tokens or call.max_tokens or call.max_output_tokens) is not None:
            attributes["gen_ai.request.max_tokens"] = max_tokens
        if deferral is not None:
            attributes |= _deadline_attributes(deferral.deadline_s, deferral.workload)
        span.set_attributes(attributes)

    async def run(
        self, work: Callable[[], Coroutine[Any, Any, None]], request: ClaimedRequest, venue: str, now_s: float
    ) -> None:
        """Run a dispatched request in a trace of its own, linked to the span that submitted it."""
        span = self._tracer.start_span(
            f"run {request.model}",
            kind=SpanKind.CONSUMER,
            links=_links(request.trace),
            attributes=request_attributes(request.endpoint, request.model)
            | _deadline_attributes(request.deadline_s, request.workload)
            | {
                "gen_ai.provider.name": _NAME,
                "meritorder.tenant": request.tenant,
                "meritorder.lane": DEFERRABLE,
                "meritorder.venue": venue,
                "meritorder.queue_time": now_s - request.arrived_s,
                "meritorder.attempt": request.attempt,
            },
        )
        await _within(span, work())

    def observe(self, entry: LedgerEntry) -> None:
        """Record the metrics of a finished request."""
        labels: Attributes = request_attributes(entry.endpoint, entry.model) | {
            "gen_ai.provider.name": _NAME,
            "meritorder.lane": entry.lane,
            "meritorder.venue": entry.venue or "",
        }
        e2e_s = entry.ended_s - (entry.started_s or entry.arrived_s)
        if entry.status_code is None or entry.status_code >= 400:
            labels["error.type"] = str(entry.status_code or "no_answer")
        self._duration_s.record(e2e_s, labels)
        if entry.ttft_s is not None and "error.type" not in labels:
            self._ttft_s.record(entry.ttft_s, labels)
            if entry.output_tokens > 1:
                self._tpot_s.record(tpot_s(e2e_s, entry.ttft_s, entry.output_tokens), labels)

    def traceparent(self) -> str | None:
        """Return the `traceparent` of the current span, to store with a queued request."""
        carrier: dict[str, str] = {}
        inject(carrier)
        return carrier.get(TRACEPARENT)

    def traced(self, upstream: Upstream, table: VenueTable) -> Traced:
        """Return an upstream that records a span for each attempt."""
        return Traced(upstream, table, self._tracer)

    def close(self) -> None:
        """Export what is pending, unless the collector does not respond."""
        shutdowns = [Thread(target=provider.shutdown, daemon=True) for provider in (self._provider, self._meters)]
        for thread in shutdowns:
            thread.start()
        for thread in shutdowns:
            thread.join(_FLUSH_S)
        if any(thread.is_alive() for thread in shutdowns):
            for exporter in self._exporters:
                exporter.shutdown()  # stops its retries
            for thread in shutdowns:
                thread.join(_FLUSH_S)


def _deadline_attributes(deadline_s: float, workload: str | None) -> Attributes:
    attributes: Attributes = {"meritorder.deadline": utc(deadline_s).isoformat()}
    return attributes if workload is None else attributes | {"meritorder.workload": workload}


def _links(trace: str | None) -> list[Link]:
    context = get_current_span(extract({TRACEPARENT: trace})).get_span_context() if trace else None
    return [Link(context)] if context is not None and context.is_valid else []


async def _within(span: Span, work: Awaitable[None]) -> None:
    with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            await work
        except BaseException as error:
            fail(span, error_type(error))
            raise
