import csv
import time
from pathlib import Path

import msgspec
import pytest

from meritorder.errors import ConfigError
from meritorder.gateway.app.administration import Administration, KeyRequest
from meritorder.gateway.app.key_limits import KeyLimits
from meritorder.gateway.store import keys
from meritorder.gateway.store.billing import ledger
from meritorder.gateway.store.billing.ledger import LedgerEntry
from meritorder.gateway.store.keys import Rates


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(f'[store]\nurl = "sqlite:///{tmp_path}/gateway.db"\n', encoding="utf-8")
    return path


def test_created_key_is_listed_until_revoked(configuration: Path) -> None:
    with Administration(configuration) as store:
        secret = store.create_key(KeyRequest(name="nightly", deadline="8h", limits=KeyLimits(budget="0.5")))
        store.create_key(KeyRequest(name="b", tenant="another"))
        valid = store.list_keys().keys
        assert [report.key.name for report in valid] == ["b", "nightly"]
        key, budget = valid[1].key, valid[1].budget
        assert budget is not None
        assert (key.tenant, key.deadline, budget.left_picousd) == ("default", "8h", 500_000_000_000)
        assert store._database.read_now(keys.read).by_digest[keys.digest(secret)] == key
        store.revoke_key(key.id)
        assert [report.key.name for report in store.list_keys().keys] == ["b"]
        with pytest.raises(ConfigError, match="no valid key"):
            store.revoke_key(key.id)


def test_invalid_deadline_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        KeyRequest(name="x", deadline="soon")
    assert caught.value.where == "--deadline"


def test_budget_changes_keep_its_spending(configuration: Path) -> None:
    """A call of $0.30 that ended now: of $0.50 there is $0.20 left, and of $1 a day $0.70."""
    with Administration(configuration) as store:
        store.create_key(KeyRequest(name="n", limits=KeyLimits(budget="0.5")))
        (report,) = store.list_keys().keys
        spent = entry(report.key.id, 300_000_000_000, ended_s=time.time())
        store._database.submit(lambda connection: ledger.add(connection, [spent])).result()
        assert left(store) == 200_000_000_000
        store.update_key(report.key.id, KeyLimits(budget="1/day", soft_limit="80%"))
        assert left(store) == 700_000_000_000
        store.update_key(report.key.id, KeyLimits(time_zone="Asia/Tokyo", requests_per_minute="5"))
        (changed,) = store.list_keys().keys
        assert changed.budget is not None
        budget = changed.budget.budget
        assert (budget.period, budget.time_zone, budget.soft_share) == ("day", "Asia/Tokyo", 0.8)
        assert (changed.key.requests_per_minute, changed.cost_picousd) == (5, 300_000_000_000)
        store.update_key(report.key.id, KeyLimits(budget="none", requests_per_minute="none"))
        (unlimited,) = store.list_keys().keys
        assert (unlimited.budget, unlimited.key.requests_per_minute) == (None, None)


def left(store: Administration) -> int:
    """Return what is left of the budget of the only key."""
    (report,) = store.list_keys().keys
    assert report.budget is not None
    return report.budget.left_picousd


def test_team_bounds_its_keys(configuration: Path) -> None:
    with Administration(configuration) as store:
        with pytest.raises(ConfigError, match="has no limits"):
            store.create_key(KeyRequest(name="n", team="search"))
        store.set_team("search", KeyLimits(budget="1"))
        store.create_key(KeyRequest(name="n", team="search"))
        store.create_key(KeyRequest(name="other"))
        for report in store.list_keys().keys:
            spent = entry(report.key.id, 400_000_000_000, ended_s=time.time())
            store._database.submit(lambda connection, spent=spent: ledger.add(connection, [spent])).result()
        (team,) = store.list_keys().teams
        assert (team.name, team.budget.spent_picousd, team.budget.left_picousd) == (
            "search",
            400_000_000_000,
            600_000_000_000,
        )
        listed = msgspec.json.decode(store.list_keys().as_json())
        assert [(key["name"], key["team"], key["spent_usd"]) for key in listed["keys"]] == [
            ("n", "search", "0.4"),
            ("other", None, "0.4"),
        ]
        (budget,) = (team["budget"] for team in listed["teams"])
        assert (budget["budget_usd"], budget["left_usd"], budget["renews_at"]) == ("1", "0.6", None)
        with pytest.raises(ConfigError, match="no limit is given"):
            store.set_team("search", KeyLimits())


def test_team_has_rates(configuration: Path) -> None:
    """With or without a budget; each limit stays until it is changed, and a team without any is none."""
    with Administration(configuration) as store:
        store.set_team("search", KeyLimits(requests_per_minute="5"))
        store.create_key(KeyRequest(name="n", team="search"))
        store.set_team("search", KeyLimits(tokens_per_minute="700", budget="1"))
        (team,) = msgspec.json.decode(store.list_keys().as_json())["teams"]
        assert (team["team"], team["requests_per_minute"], team["tokens_per_minute"]) == ("search", 5, 700)
        assert team["budget"]["budget_usd"] == "1"
        (report,) = store.list_keys().keys
        assert report.key.rates == (Rates(id="team:search", requests_per_minute=5, tokens_per_minute=700),)
        store.set_team("search", KeyLimits(budget="none", requests_per_minute="none"))
        (team,) = msgspec.json.decode(store.list_keys().as_json())["teams"]
        assert (team["budget"], team["requests_per_minute"], team["tokens_per_minute"]) == (None, None, 700)
        store.set_team("search", KeyLimits(tokens_per_minute="none"))
        assert store.list_keys().teams == []


@pytest.mark.parametrize(
    ("limits", "where"),
    [(KeyLimits(soft_limit="80%"), "--soft-limit"), (KeyLimits(budget="1", webhook="https://a.b/c"), "--webhook")],
)
def test_incomplete_budget_is_refused(configuration: Path, limits: KeyLimits, where: str) -> None:
    """A soft limit needs a budget; a webhook needs a receiver in the configuration, which has its secret."""
    with Administration(configuration) as store:
        with pytest.raises(ConfigError) as caught:
            store.create_key(KeyRequest(name="n", limits=limits))
        assert caught.value.where == where
        assert store.list_keys().keys == []
        with pytest.raises(ConfigError, match="no valid key"):
            store.update_key("key_nobody", KeyLimits(budget="1"))


def test_ledger_has_exact_dollars(configuration: Path, tmp_path: Path) -> None:
    entries = [entry(None, cost) for cost in (1, 1_500_000_000_000, None)]
    with Administration(configuration) as store:
        store._database.submit(lambda connection: ledger.add(connection, entries)).result()
        assert store.write_ledger(tmp_path / "ledger.csv") == 3
    with (tmp_path / "ledger.csv").open(encoding="utf-8") as file:
        costs = [row["cost_usd"] for row in csv.DictReader(file)]
    assert costs == ["1E-12", "1.500000000000", ""]


def test_ledger_has_the_team_of_each_key(configuration: Path, tmp_path: Path) -> None:
    """A key of a team, one of none that is revoked, and a call without a key."""
    with Administration(configuration) as store:
        store.set_team("search", KeyLimits(budget="5"))
        store.create_key(KeyRequest(name="a", team="search"))
        store.create_key(KeyRequest(name="b"))
        with_team, without = (report.key.id for report in store.list_keys().keys)
        store.revoke_key(without)
        entries = [entry(key_id, number) for number, key_id in enumerate((with_team, without, None))]
        store._database.submit(lambda connection: ledger.add(connection, entries)).result()
        columns = store.ledger_columns(["request_id", "team"], from_s=0.0, to_s=10.0)
        assert columns == {"request_id": ["req_0", "req_1", "req_2"], "team": ["search", None, None]}
        store.write_ledger(tmp_path / "ledger.csv")
    with (tmp_path / "ledger.csv").open(encoding="utf-8") as file:
        assert [row["team"] for row in csv.DictReader(file)] == ["search", "", ""]


def entry(key_id: str | None, cost_picousd: int | None, *, ended_s: float = 2.0) -> LedgerEntry:
    return LedgerEntry(
        request_id=f"req_{cost_picousd}",
        arrived_s=1.0,
        started_s=1.0,
        ended_s=ended_s,
        ttft_s=None,
        lane="realtime",
        tenant="t",
        key_id=key_id,
        model="m",
        endpoint="/v1/completions",
        venue="v",
        status_code=200,
        input_tokens=1,
        output_tokens=1,
        counted=True,
        cost_picousd=cost_picousd,
    )


@pytest.mark.parametrize("price", [True, False])
def test_missing_prices_are_known(configuration: Path, *, price: bool) -> None:
    with configuration.open("a", encoding="utf-8") as file:
        file.write('[[venue]]\nname = "v"\nurl = "http://127.0.0.1:1/v1"\nmodels = ["m"]\n')
        file.write("[venue.price]\ninput_usd_per_mtok = 1\n" if price else "")
    with Administration(configuration) as store:
        assert store.has_prices == price
