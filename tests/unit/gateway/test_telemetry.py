"""Whether telemetry is on, and what it says where it cannot be."""

import logging
import sys

import pytest

from meritorder.errors import ConfigError, MissingExtraError
from meritorder.gateway import config, server
from meritorder.gateway.config import Settings

COLLECTOR = "http://127.0.0.1:4318"


@pytest.fixture(autouse=True)
def _without_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)


def asked(endpoint: str) -> Settings:
    return config.settings_of({"telemetry": {"otlp_endpoint": endpoint}}, where="gateway.toml")


def test_it_is_off_where_nobody_names_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    assert server.telemetry_of(Settings()) is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", COLLECTOR)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert server.telemetry_of(Settings()) is None


def test_it_is_on_where_the_environment_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", COLLECTOR)
    made = server.telemetry_of(Settings())
    assert made is not None
    assert made.traceparent() is None, "we are in no span"
    made.close()


def test_without_the_extra_the_configuration_is_wrong_and_the_environment_is_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "meritorder.gateway.telemetry", None)
    with pytest.raises(
        MissingExtraError, match=r"telemetry needs OpenTelemetry; pip install 'meritorder\[telemetry\]'"
    ):
        server.telemetry_of(asked(COLLECTOR))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", COLLECTOR)
    # The command line may have taken the log for itself.
    monkeypatch.setattr(logging.getLogger("meritorder"), "propagate", True)
    assert server.telemetry_of(Settings()) is None
    assert "is not installed" in caplog.text


def test_the_address_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"telemetry\.otlp_endpoint: 'collector:4317' is not an http URL"):
        asked("collector:4317")
