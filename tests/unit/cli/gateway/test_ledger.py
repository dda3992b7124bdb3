import json
import time
from pathlib import Path

import pytest
from sqlalchemy import select
from tests.samples.command import meritorder
from tests.samples.ledgers import attempts, replica
from tests.samples.stores import copy_migrated

from meritorder.cli.gateway.ledger import _instant, ledger
from meritorder.errors import ConfigError
from meritorder.gateway.store.billing import capacity
from meritorder.gateway.store.billing.capacity import CapacityRecord
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.schema import WEBHOOKS
from meritorder.study.ledger.answer import write_capacity


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    rows = attempts({"started_s": 1.79e9, "ended_s": 1.79e9 + 1800}, {"started_s": 1.79e9, "ended_s": 1.79e9 + 7200})
    rows.write_parquet(tmp_path / "week.parquet")
    write_capacity(tmp_path / "week.capacity.csv", [replica(1.79e9, 1.79e9 + 7200, "3.6")])
    return tmp_path / "week.parquet"


def test_exported_ledger_has_its_capacity(exported: Path) -> None:
    ledger(exported, by="use", json=exported.with_suffix(".json"), html=exported.with_suffix(".html"))
    answer = json.loads(exported.with_suffix(".json").read_text())
    wanted = {"schema", "paid_usd", "counterfactual_usd", "saved_usd", "saved_interval", "by_workload", "idle_usd"}
    assert wanted | {"unused_commitment_usd", "deadlines"} <= set(answer)
    assert (answer["schema"], answer["paid_usd"], answer["saved_usd"]) == ("meritorder.ledger/1", 7.2, None)
    assert "7.20 USD were paid" in exported.with_suffix(".html").read_text()


def test_window_cuts_what_was_paid(exported: Path) -> None:
    target = exported.with_suffix(".json")
    ledger(exported, by="use", start="2026-09-21T14:13:20", end="2026-09-21T16:23:20+02:00", json=target)
    assert json.loads(target.read_text())["paid_usd"] == 0.6


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "exactly one"),
        ({"file": Path("a.csv"), "config": Path("b.toml")}, "exactly one"),
        ({"file": Path("a.csv"), "by": "squad"}, "unknown 'squad'"),
        ({"file": Path("a.csv"), "start": "soon"}, "'soon' is not a time"),
        ({"file": Path("a.csv"), "digest": True}, "needs a gateway"),
        ({"file": Path("a.csv"), "send": True}, "nothing to send"),
        ({"file": Path("a.csv"), "forecast": "month"}, "'month' is not a number of days"),
        ({"file": Path("a.csv"), "forecast": "999d"}, "up to 366d"),
        ({"config": Path("b.toml"), "start": "2026-11-02", "end": "2026-11-01"}, "ends before it starts"),
    ],
)
def test_wrong_options_are_refused(options: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ledger(**options)


def test_bill_sets_the_period(exported: Path) -> None:
    """The costs of the ledger as a bill: all of them match."""
    costs, target = exported.with_name("costs.parquet"), exported.with_suffix(".json")
    ledger(exported, by="use", focus=costs)
    ledger(exported, by="use", bill=[str(costs)], json=target)
    bill = json.loads(target.read_text())["bill"]
    assert (bill["matched_usd"], bill["difference_usd"]) == (7.2, 0)
    with pytest.raises(ConfigError, match="own period"):
        ledger(exported, bill=[str(costs)], start="7d")


def test_forecast_follows_an_exported_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A machine of $24 a day for five days costs $240 in the next ten."""
    rows = attempts({"started_s": 1.79e9, "ended_s": 1.79e9 + 1800, "arrived_s": 1.79e9})
    rows.write_parquet(tmp_path / "days.parquet")
    write_capacity(tmp_path / "days.capacity.csv", [replica(1.79e9, 1.79e9 + 5 * 86_400, "1")])
    target = tmp_path / "days.json"
    ledger(tmp_path / "days.parquet", start="2026-09-22", forecast="10d", json=target, html=tmp_path / "days.html")
    coming = json.loads(target.read_text())["forecast"]
    assert (coming["expected_usd"], len(coming["by_day"])) == (pytest.approx(240), 10)
    said = " ".join(capsys.readouterr().out.split())
    assert "Today and the next 9 days are expected to cost $240" in said
    assert "expected to cost $240" in (tmp_path / "days.html").read_text()


def test_digest_is_shown_and_queued(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A machine of $24 a day until today: 168 a week. Its one request took an hour: the rest is idle."""
    copy_migrated(tmp_path / "store.db")
    config = tmp_path / "gateway.toml"
    receiver = '[[webhook]]\nurl = "https://hooks.slack.test/secret"\nformat = "slack"\n'
    config.write_text(f'[store]\nurl = "sqlite:///{tmp_path}/store.db"\n{receiver}')
    midnight_s = time.time() // 86_400 * 86_400
    rented = CapacityRecord(
        id="c0",
        kind="replica",
        venue="gpu",
        replica="r0",
        machine="",
        pricing_model="on_demand",
        picousd_per_hour=10**12,
        minimum_billing_s=0.0,
        started_s=midnight_s - 20 * 86_400,
        ready_s=midnight_s - 20 * 86_400,
        seen_s=midnight_s + 60,
    )
    database = Database(f"sqlite:///{tmp_path}/store.db")
    database.submit(lambda connection: capacity.save(connection, [rented])).result()
    ledger(config=config, digest=True, send=True)
    said = " ".join(capsys.readouterr().out.split())
    assert "$168.00 were paid for 0 requests." in said
    assert "Against the week before, which cost $168.00: the same." in said
    assert "Idle machines cost $168.00, 100 % of all." in said
    assert "expected to cost $168" in said
    (body,) = database.read_now(lambda connection: connection.execute(select(WEBHOOKS.c.body)).scalars().all())
    database.close()
    assert "$168.00 were paid" in json.loads(body)["text"]


def test_digest_without_receiver_is_refused(tmp_path: Path) -> None:
    copy_migrated(tmp_path / "store.db")
    (tmp_path / "gateway.toml").write_text(f'[store]\nurl = "sqlite:///{tmp_path}/store.db"\n')
    with pytest.raises(ConfigError, match="no receiver is configured"):
        ledger(config=tmp_path / "gateway.toml", digest=True, send=True)


def test_duration_is_before_now() -> None:
    instant_s = _instant("7d", "--from")
    assert instant_s == pytest.approx(time.time() - 7 * 86_400, abs=60)


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    done = meritorder(tmp_path, "ledger", "nothing.csv")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "nothing.csv" in done.stderr


def test_counterfactual_reads_own_catalogs(exported: Path) -> None:
    """A catalog that is not there is the reason that no saving is claimed."""
    target, catalog = exported.with_suffix(".json"), exported.with_name("own.toml")
    ledger(exported, by="use", counterfactual=True, catalog=[catalog], json=target)
    assert "own.toml" in json.loads(target.read_text())["no_saving_because"]
