from pathlib import Path

import msgspec
import pytest

from meritorder.errors import ConfigError
from meritorder.gateway import config, config_file

VENUE = '[[venue]]\nname = "v"\nurl = "http://x"\nmodels = ["m"]\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[server]\nprot = 1", r"gateway\.toml: server: .*`prot`"),
        ("[server]\nport = 70000", r"gateway\.toml: server\.port: "),
        ("[server", r"gateway\.toml: not TOML"),
        ('[lanes]\nttft = "soon"', r"lanes\.ttft: 'soon' is not a duration; write"),
        ('[lanes]\nflex = "maybe"', r"lanes\.flex: 'maybe' is neither"),
        ('[server]\nlog = "loud"', r"server\.log: 'loud' is neither"),
        ('[[webhook]]\nurl = "ftp://x"', "webhook: 'ftp://x' is not an http URL"),
        ('[store]\nurl = "postgresql://h/d"', r"store\.blobs: not given; write file"),
        ('plan_start = "2026-11-30T00:00:00"', r"plan_start: '2026-11-30T00:00:00' is not an instant with a time zone"),
        ('plan_start = "soon"', r"plan_start: 'soon' is not an instant .*; write 2026-11-30T00:00:00Z"),
        (VENUE + 'idle = "soon"', r"venue v: idle: 'soon' is not a duration; write"),
        (VENUE + VENUE, "venue v: another venue has the same name"),
        (VENUE + 'kind = "magic"', "venue v: unknown kind 'magic'; the kinds are"),
        (VENUE + 'lanes = ["fast"]', r"venue v: unknown lanes \['fast'\]"),
        (VENUE.replace("http://x", "x"), "venue v: 'x' is not an http URL"),
        (VENUE.replace('["m"]', "[]"), "venue v: serves no model; write"),
        (VENUE.replace('name = "v"', ""), r"venue\[0\]: Object missing required field `name`"),
        (
            VENUE + "usd_per_hour = -1",
            r"venue v: usd_per_hour: -1 is not a price per hour; give dollars from 0 to 1,000,0",
        ),
        (VENUE + "usd_per_hour = nan", "venue v: usd_per_hour: NaN is not a price per hour"),
        (VENUE + "usd_per_hour = 1e9", "is not a price per hour"),
        (VENUE + 'pricing_model = "free"', "venue v: pricing_model: unknown pricing model 'free'"),
        (VENUE + 'minimum_billing = "soon"', "venue v: minimum_billing: 'soon' is not a duration"),
        ('[[rule]]\ndeadline = "x"', r"rule\[0\]\.deadline: 'x' is not a deadline"),
    ],
)
def test_mistake_names_its_place(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=says) as caught:
        config_file.read(path)
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        config_file.read(tmp_path / "nothing.toml")


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
