from pathlib import Path

import pytest

from meritorder.errors import ConfigError
from meritorder.gateway import config_file

VENUE = '[[venue]]\nname = "v"\nurl = "http://x"\nmodels = ["m"]\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[server]\nprot = 1", r"gateway\.toml: server: .*`prot`"),
        ("[server]\nport = 70000", r"gateway\.toml: server\.port: "),
        ("[server", r"gateway\.toml: not TOML"),
        ('[lanes]\nttft = "soon"', r"lanes\.ttft: 'soon' is not a duration; write"),
        ("[lanes]\nprotect = nan", r"lanes\.protect: "),
        ("[lanes]\nprotect = 1.5", r"lanes\.protect: "),
        ('[lanes]\nflex = "maybe"', r"lanes\.flex: 'maybe' is neither"),
        ('[server]\nlog = "loud"', r"server\.log: 'loud' is neither"),
        ('[[webhook]]\nurl = "ftp://x"', "webhook: 'ftp://x' is not an http URL"),
        ('[[webhook]]\nformat = "slack"', "webhook: url and url_env: give exactly one"),
        ('[[webhook]]\nurl = "http://x"\nformat = "teams"', "'teams' is neither json nor slack"),
        ('[store]\nurl = "postgresql://h/d"', r"store\.blobs: not given; write file"),
        ('[retention]\nbodies = "soon"', r"retention\.bodies: 'soon' is not a duration"),
        ('[retention]\nledger = "1d"', r"retention\.ledger: '1d' is too short; write 2d"),
        ('[retention]\nsums = "9d"', r"retention\.sums: shorter than that of the rows"),
        ('[retention]\nledger = "9d"\nsums = "8d"', r"retention\.sums: shorter than that of the rows"),
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
