from pathlib import Path

import msgspec
import pytest

from meritorder.errors import ConfigError
from meritorder.gateway import config, config_file

TABLES: dict[str, type[msgspec.Struct]] = {
    "server": config.ServerTable,
    "store": config.StoreTable,
    "limits": config.LimitsTable,
    "lanes": config.LanesTable,
    "telemetry": config.TelemetryTable,
    "venue": config.VenueTable,
    "venue.price": config.PriceTable,
    "venue.batch_price": config.PriceTable,
    "rule": config.RuleTable,
    "webhook": config.WebhookTable,
}


def test_every_field_is_described() -> None:
    text = (Path(__file__).parents[3] / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
    for name, table in TABLES.items():
        _, found, section = text.partition(f"## `[{name}]`" if f"## `[{name}]`" in text else f"## `[[{name}]]`")
        assert found, name
        section = section.partition("\n## ")[0]
        described = {line.split("`")[1] for line in section.splitlines() if line.startswith("| `")}
        assert described == set(table.__struct_fields__) - {"price", "batch_price"}, name
        assert "|  |" not in section


def test_secrets_from_environment_or_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_TEST_KEY", "from the environment")
    assert config.read_secret("GATEWAY_TEST_KEY", None, where="venue v") == "from the environment"
    (tmp_path / "key").write_text("from a file\n", encoding="utf-8")
    assert config.read_secret(None, str(tmp_path / "key"), where="venue v") == "from a file"
    assert config.read_secret(None, None, where="venue v") is None
    monkeypatch.delenv("GATEWAY_TEST_KEY")
    with pytest.raises(ConfigError, match="venue v: the environment variable GATEWAY_TEST_KEY is not set"):
        config.read_secret("GATEWAY_TEST_KEY", None, where="venue v")


def test_journals_of_stores_are_apart() -> None:
    """Gateways of two databases may share a folder; the password does not matter."""

    def folder(url: str) -> Path:
        document = {"store": {"url": url, "blobs": "file:///b", "journal": "/j"}, "venue": []}
        return config_file.parse_settings(document, where="gateway.toml").journal_folder

    first, second = folder("postgresql://u:secret@h/a"), folder("postgresql://u@h/b")
    assert first != second
    assert first == folder("postgresql://u:other@h/a")
    assert first.parent == second.parent == Path("/j")
    assert folder("sqlite:///a.db") != folder("sqlite:///b.db")
