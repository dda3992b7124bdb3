"""Building the service: telemetry, settings and the lock of the database."""

import logging
import sys
from pathlib import Path

import msgspec
import pytest

from meritorder.errors import ConfigError, MissingExtraError
from meritorder.gateway import config_file
from meritorder.gateway.app import server
from meritorder.gateway.config import Settings, StoreTable
from meritorder.gateway.upstreams.connection import Endpoint
from meritorder.gateway.upstreams.openai import OpenAIVenue
from meritorder.gateway.venues import llamacpp
from meritorder.gateway.venues.engines import EngineCommand

COLLECTOR = "http://127.0.0.1:4318"


@pytest.fixture(autouse=True)
def _without_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)


def settings_with(endpoint: str) -> Settings:
    return config_file.parse_settings({"telemetry": {"otlp_endpoint": endpoint}}, where="gateway.toml")


def test_telemetry_off_without_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    assert server.build_telemetry(Settings()) is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", COLLECTOR)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert server.build_telemetry(Settings()) is None


def test_telemetry_on_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", COLLECTOR)
    built = server.build_telemetry(Settings())
    assert built is not None
    assert built.traceparent() is None, "outside of any span"
    built.close()


def test_missing_extra_fails_only_configuration(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "meritorder.gateway.state.telemetry", None)
    with pytest.raises(
        MissingExtraError, match=r"telemetry needs OpenTelemetry; pip install 'meritorder\[telemetry\]'"
    ):
        server.build_telemetry(settings_with(COLLECTOR))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", COLLECTOR)
    assert server.build_telemetry(Settings()) is None
    assert "is not installed" in caplog.text


def test_collector_must_be_http() -> None:
    with pytest.raises(ConfigError, match=r"telemetry\.otlp_endpoint: 'collector:4317' is not an http URL"):
        settings_with("collector:4317")


def test_arguments_override_file(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text('plan = "a.json"\n[server]\nport = 1\nhost = "0.0.0.0"\n', encoding="utf-8")
    settings = server.load_settings(path, port=2, plan=Path("b.json"))
    assert (settings.server.host, settings.server.port, settings.plan) == ("0.0.0.0", 2, "b.json")  # noqa: S104


def test_second_gateway_is_refused(tmp_path: Path) -> None:
    settings = Settings(store=StoreTable(url=f"sqlite:///{tmp_path}/new/gateway.db"))
    lock = server.lock_database(settings)
    assert lock is not None
    with pytest.raises(ConfigError, match="another gateway uses it"):
        server.lock_database(settings)
    lock.close()
    again = server.lock_database(settings)
    assert again is not None
    again.close()


def test_unusable_store_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "configure_logging", lambda _: None)  # of the whole process, so of later tests too
    (tmp_path / "file").write_text("not a folder")
    store = StoreTable(url=f"sqlite:///{tmp_path}/file/gateway.db")
    with pytest.raises(ConfigError, match=r"store\.url: .* cannot be written: "):
        server.serve(Settings(store=store), print)
    with pytest.raises(ConfigError, match=r"store\.url: .* cannot be used: "):
        server.build_service(Settings(store=store))


def test_log_lines_as_json() -> None:
    record = logging.LogRecord("meritorder.x", logging.WARNING, "x.py", 1, "%d of %d", (1, 2), None)
    line = server._JsonFormatter().format(record)
    assert '"level": "warning"' in line
    assert '"message": "1 of 2"' in line


def test_settings_without_file_are_local(monkeypatch: pytest.MonkeyPatch) -> None:
    """They pass the checks of a file, name the embedded engine, and the options override them."""
    command = EngineCommand(
        argv=("engine", "{port}"), venue=OpenAIVenue(endpoint=Endpoint(name="local", base_url="http://h:{port}/v1"))
    )
    monkeypatch.setattr(llamacpp, "local_engine", lambda: command)
    settings = server.load_settings(None, port=81)
    (venue,) = settings.venue
    assert (venue.models, venue.command, venue.reads_load) == ([llamacpp.MODEL], ["engine", "{port}"], True)
    assert (settings.server.port, settings.server.require_keys) == (81, False)
    assert config_file.parse_settings(msgspec.to_builtins(settings), where="test") == settings
