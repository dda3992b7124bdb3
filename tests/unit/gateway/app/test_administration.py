import csv
from pathlib import Path
from typing import Any

import pytest

from meritorder.errors import ConfigError
from meritorder.gateway.app.administration import Administration, KeyRequest
from meritorder.gateway.store import keys, ledger
from meritorder.gateway.store.ledger import LedgerEntry


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(f'[store]\nurl = "sqlite:///{tmp_path}/gateway.db"\n', encoding="utf-8")
    return path


def test_created_key_is_listed_until_revoked(configuration: Path) -> None:
    with Administration(configuration) as store:
        secret = store.create_key(KeyRequest(name="nightly", deadline="8h", budget_usd=0.5))
        store.create_key(KeyRequest(name="b", tenant="another"))
        valid = store.list_keys()
        assert [key.name for key in valid] == ["b", "nightly"]
        key = valid[1]
        assert (key.tenant, key.deadline, key.budget_picousd) == ("default", "8h", 500_000_000_000)
        assert store._database.read_now(keys.valid)[keys.digest(secret)] == key
        store.revoke_key(key.id)
        assert [key.name for key in store.list_keys()] == ["b"]
        with pytest.raises(ConfigError, match="no valid key"):
            store.revoke_key(key.id)


@pytest.mark.parametrize(
    ("limits", "option"),
    [
        ({"deadline": "soon"}, "--deadline"),
        ({"requests_per_minute": 0}, "--requests-per-minute"),
        ({"tokens_per_minute": 0}, "--tokens-per-minute"),
        ({"tokens_per_minute": -5}, "--tokens-per-minute"),
        ({"budget_usd": -1.0}, "--budget"),
        ({"budget_usd": float("nan")}, "--budget"),
        ({"budget_usd": 1e7}, "--budget"),
    ],
)
def test_invalid_limits_are_refused(limits: dict[str, Any], option: str) -> None:
    with pytest.raises(ConfigError) as caught:
        KeyRequest(name="x", **limits)
    assert caught.value.where == option


def test_largest_budget_is_stored(configuration: Path) -> None:
    with Administration(configuration) as store:
        store.create_key(KeyRequest(name="rich", budget_usd=9e6))
        store.create_key(KeyRequest(name="unpaid", budget_usd=0.0, requests_per_minute=1))
        assert [key.budget_picousd for key in store.list_keys()] == [9 * 10**18, 0]


def test_ledger_has_exact_dollars(configuration: Path, tmp_path: Path) -> None:
    entries = [
        LedgerEntry(
            request_id=f"req_{cost}",
            arrived_s=1.0,
            started_s=1.0,
            ended_s=2.0,
            ttft_s=None,
            lane="realtime",
            tenant="t",
            key_id=None,
            model="m",
            endpoint="/v1/completions",
            venue="v",
            status_code=200,
            input_tokens=1,
            output_tokens=1,
            counted=True,
            cost_picousd=cost,
        )
        for cost in (1, 1_500_000_000_000, None)
    ]
    with Administration(configuration) as store:
        store._database.submit(lambda connection: ledger.add(connection, entries)).result()
        assert store.write_ledger(tmp_path / "ledger.csv") == 3
    with (tmp_path / "ledger.csv").open(encoding="utf-8") as file:
        costs = [row["cost_usd"] for row in csv.DictReader(file)]
    assert costs == ["1E-12", "1.500000000000", ""]
