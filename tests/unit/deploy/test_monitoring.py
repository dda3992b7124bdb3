"""The dashboard and the alerts ask for metrics that a gateway with a plan and a budget serves."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec import structs
from prometheus_client.parser import text_string_to_metric_families
from tests.samples import nightly
from tests.samples.service import call, open_service

from meritorder.gateway.store.keys import Budget
from meritorder.gateway.store.quotas import budgets
from meritorder.records.evidence import OLD_AFTER_DAYS, PriceUsed
from meritorder.records.planfile import write_plan
from meritorder.units import PICOUSD_PER_USD

DEPLOY = Path(__file__).parents[3] / "deploy"
FILES = DEPLOY / "chart" / "files"
# What a name may end with beyond that of its family.
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
PRICE = PriceUsed(what="h100", provider="p", pricing_model="on_demand", usd=2.0, unit="hour", as_of="2020-01-01")


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("gateway")
    write_plan(structs.replace(nightly.policy_plan(), prices=[PRICE]), folder / "plan.json")
    venues = [
        {"name": pool, "url": "http://127.0.0.1:1/v1", "kind": "vllm", "models": ["stub"]}
        for pool in (nightly.LIVE, nightly.NIGHT)
    ]
    with open_service(folder, venue=venues, plan=str(folder / "plan.json")) as service:  # type: ignore[arg-type]
        budget = Budget(id="team:search", amount_picousd=3 * PICOUSD_PER_USD)
        service.context.database.submit(lambda connection: budgets.set_budget(connection, budget, now_s=0.0)).result()
        text = call(service, "GET", "/metrics").body.decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def expressions() -> list[str]:
    board = json.loads((FILES / "dashboard.json").read_text(encoding="utf-8"))
    drawn = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    alerts = yaml.safe_load((FILES / "alerts.yaml").read_text(encoding="utf-8"))
    return drawn + [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]


def test_every_named_metric_is_served(metrics: dict[str, Any]) -> None:
    served = {name + suffix for name, family in metrics.items() for suffix in SUFFIXES[family.type]}
    named = {name for expression in expressions() for name in re.findall(r"\b(?:meritorder|llm)_\w+", expression)}
    assert len(named) > 20
    assert named - served == set()


def test_every_named_label_is_of_its_metric(metrics: dict[str, Any]) -> None:
    labels = {name: {label for sample in family.samples for label in sample.labels} for name, family in metrics.items()}
    for expression in expressions():
        for by, name in re.findall(r"by \(([\w, ]+)\) \((meritorder_\w+)", expression):
            if labels.get(name):
                assert set(by.split(", ")) - {"instance"} <= labels[name], expression


def test_dashboard_is_as_its_script_writes_it() -> None:
    spec = importlib.util.spec_from_file_location("write_dashboard", DEPLOY / "write_dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert json.loads((FILES / "dashboard.json").read_text(encoding="utf-8")) == script.dashboard()


def test_prices_are_old_as_elsewhere(metrics: dict[str, Any]) -> None:
    (age,) = metrics["meritorder_plan_price_age_days"].samples
    assert age.value > 365 * 6  # from 2020
    assert f"meritorder_plan_price_age_days) > {OLD_AFTER_DAYS}" in "".join(expressions())


def test_budgets_are_served(metrics: dict[str, Any]) -> None:
    (amount,), (spent,) = (metrics[name].samples for name in ("meritorder_budget_usd", "meritorder_budget_spent_usd"))
    assert (amount.labels, amount.value, spent.value) == ({"budget": "team:search"}, 3.0, 0.0)
