"""Sampling of traces."""

from types import SimpleNamespace

import pytest
from opentelemetry import trace
from opentelemetry.context import Context

from meritorder.gateway.config import TelemetryTable
from meritorder.gateway.state import telemetry
from meritorder.gateway.state.telemetry import Telemetry

COLLECTOR = "http://127.0.0.1:4318"


def sampled(telemetry_on: Telemetry, count: int, parent: Context | None = None) -> int:
    """Start spans, and return how many are recorded."""
    spans = [telemetry_on._tracer.start_span("call", context=parent) for _ in range(count)]
    return sum(span.is_recording() for span in spans)


def test_rate_limit_after_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(telemetry, "time", SimpleNamespace(monotonic=lambda: now_s))
    telemetry_on = Telemetry(TelemetryTable(otlp_endpoint=COLLECTOR, traces_per_second=2.0))
    telemetry_off = Telemetry(TelemetryTable(otlp_endpoint=COLLECTOR, traces_per_second=0.0))
    parents = [trace.set_span_in_context(trace.NonRecordingSpan(_parent(sampled=on))) for on in (True, False)]
    try:
        assert sampled(telemetry_on, 1000) == 120  # a minute's worth
        assert [sampled(telemetry_on, 50, parent) for parent in parents] == [50, 0], "the client decides"
        now_s += 5.0
        assert sampled(telemetry_on, 1000) == 10
        assert sampled(telemetry_off, 10) == 0
    finally:
        telemetry_on.close()
        telemetry_off.close()


def test_environment_sampler_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    telemetry_on = Telemetry(TelemetryTable(otlp_endpoint=COLLECTOR, traces_per_second=0.0))
    assert sampled(telemetry_on, 10) == 10
    telemetry_on.close()


def _parent(*, sampled: bool) -> trace.SpanContext:
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if sampled else trace.TraceFlags.DEFAULT)
    return trace.SpanContext(trace_id=1, span_id=2, is_remote=True, trace_flags=flags)
