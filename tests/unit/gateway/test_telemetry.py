"""Whether telemetry is on, and what it says where it cannot be."""

import logging
import sys
from types import SimpleNamespace

import pytest
from opentelemetry import trace
from opentelemetry.context import Context

from meritorder.errors import ConfigError, MissingExtraError
from meritorder.gateway import config
from meritorder.gateway.app import server
from meritorder.gateway.config import Settings, TelemetryTable
from meritorder.gateway.state import telemetry
from meritorder.gateway.state.telemetry import Telemetry

COLLECTOR = "http://127.0.0.1:4318"


@pytest.fixture(autouse=True)
def _without_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)


def asked(endpoint: str) -> Settings:
    return config.parse_settings({"telemetry": {"otlp_endpoint": endpoint}}, where="gateway.toml")


def test_it_is_off_where_nobody_names_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    assert server.build_telemetry(Settings()) is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", COLLECTOR)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert server.build_telemetry(Settings()) is None


def test_it_is_on_where_the_environment_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", COLLECTOR)
    made = server.build_telemetry(Settings())
    assert made is not None
    assert made.traceparent() is None, "we are in no span"
    made.close()


def test_without_the_extra_the_configuration_is_wrong_and_the_environment_is_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "meritorder.gateway.state.telemetry", None)
    with pytest.raises(
        MissingExtraError, match=r"telemetry needs OpenTelemetry; pip install 'meritorder\[telemetry\]'"
    ):
        server.build_telemetry(asked(COLLECTOR))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", COLLECTOR)
    # The command line may have taken the log for itself.
    monkeypatch.setattr(logging.getLogger("meritorder"), "propagate", True)
    assert server.build_telemetry(Settings()) is None
    assert "is not installed" in caplog.text


def test_the_address_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"telemetry\.otlp_endpoint: 'collector:4317' is not an http URL"):
        asked("collector:4317")


def sampled(made: Telemetry, count: int, parent: Context | None = None) -> int:
    """Begin so many spans, and return how many are recorded."""
    spans = [made._tracer.start_span("call", context=parent) for _ in range(count)]
    return sum(span.is_recording() for span in spans)


def test_few_traces_are_all_made_and_many_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(telemetry, "time", SimpleNamespace(monotonic=lambda: now_s))
    made = Telemetry(TelemetryTable(otlp_endpoint=COLLECTOR, traces_per_second=2.0))
    none = Telemetry(TelemetryTable(otlp_endpoint=COLLECTOR, traces_per_second=0.0))
    parents = [trace.set_span_in_context(trace.NonRecordingSpan(_parent(sampled=on))) for on in (True, False)]
    try:
        assert sampled(made, 1000) == 120  # a minute's
        assert [sampled(made, 50, parent) for parent in parents] == [50, 0], "a client decides itself"
        now_s += 5.0
        assert sampled(made, 1000) == 10
        assert sampled(none, 10) == 0
    finally:
        made.close()
        none.close()


def test_the_sampler_of_the_environment_counts_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    made = Telemetry(TelemetryTable(otlp_endpoint=COLLECTOR, traces_per_second=0.0))
    assert sampled(made, 10) == 10
    made.close()


def _parent(*, sampled: bool) -> trace.SpanContext:
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if sampled else trace.TraceFlags.DEFAULT)
    return trace.SpanContext(trace_id=1, span_id=2, is_remote=True, trace_flags=flags)
