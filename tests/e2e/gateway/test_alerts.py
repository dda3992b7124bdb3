"""Prometheus' own tool reads the alerts, and fires each on the metrics of a gateway that runs."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import urllib3
import yaml
from msgspec import structs
from openai import OpenAI
from prometheus_client.parser import text_string_to_metric_families
from tests.e2e.gateway.conftest import ROOT, new_key, start
from tests.samples import nightly

from meritorder.records.evidence import PriceUsed
from meritorder.records.planfile import write_plan

RULES = ROOT / "deploy" / "chart" / "files" / "alerts.yaml"
PRICED = PriceUsed(what="h100", provider="p", pricing_model="on_demand", usd=2.0, unit="hour", as_of="2999-01-01")
# The value that makes each alert fire, and the labels by which it names its object.
FIRES = {
    "MeritorderDeadlinesAtRisk": ("meritorder_queued_at_risk", 3.0, {"model": "stub"}),
    "MeritorderTtftAboveSlo": ("meritorder_slo_ttft_seconds", 0.001, {"model": "stub"}),
    "MeritorderBudgetNearlySpent": ("meritorder_budget_spent_usd", 4.6, {"budget": "of the key"}),
    "MeritorderLedgerBehind": ("meritorder_ledger_delay_seconds", 61.0, {"instance": "gateway-0"}),
    "MeritorderPlanRefused": ("meritorder_plan_fault", 1.0, {"instance": "gateway-0"}),
    "MeritorderPricesOld": ("meritorder_plan_price_age_days", 91.0, {}),
    "MeritorderStoreDown": ("meritorder_store_up", 0.0, {"instance": "gateway-0"}),
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: apt install prometheus"),
]


@pytest.fixture(scope="module")
def metrics(engine: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the metrics of a gateway with a plan and a budget that has streamed answers and has a request queued."""
    folder = tmp_path_factory.mktemp("alerts")
    venue = '[[venue]]\nname = "{}"\nurl = "{}"\nkind = "vllm"\nmodels = ["stub"]\nlanes = {}\n'
    config = folder / "gateway.toml"
    config.write_text(
        f'[server]\nport = 0\n[store]\nurl = "sqlite:///{folder}/gateway.db"\n'
        + venue.format(nightly.LIVE, engine, ["realtime"])
        + venue.format(nightly.NIGHT, "http://127.0.0.1:1/v1", ["deferrable"]),
        encoding="utf-8",
    )
    write_plan(structs.replace(nightly.policy_plan(), prices=[PRICED]), folder / "plan.json")
    admin, key = new_key(config, "--admin"), new_key(config, "--budget", "5")
    arguments = ["-m", "meritorder", "serve", "--config", str(config), "--plan", str(folder / "plan.json")]
    there = start(arguments, folder / "log")
    with OpenAI(base_url=f"{there.url}/v1", api_key=key, max_retries=0) as client:
        asked = [{"role": "user", "content": "x"}]
        for _ in range(3):
            stream = client.chat.completions.create(model="stub", messages=asked, max_tokens=2, stream=True)  # type: ignore[call-overload]
            assert list(stream)
        client.responses.create(model="stub", input="x", background=True)
    text = urllib3.request("GET", f"{there.url}/metrics", headers={"Authorization": f"Bearer {admin}"}).data.decode()
    there.stop()
    return text


def series(metrics: str, changed: dict[str, float]) -> list[dict[str, str]]:
    """Return each sample for ten minutes as promtool reads it: counters grow each minute by what the run counted."""
    found = []
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            labels = sample.labels | {"instance": "gateway-0", "job": "meritorder"}
            value = changed.get(sample.name, sample.value)
            growth = value if family.type in {"counter", "histogram"} else 0
            names = ",".join(f"{name}={json.dumps(label)}" for name, label in labels.items())
            found.append({"series": f"{sample.name}{{{names}}}", "values": f"{value}+{growth}x10"})
    return found


def run_rules(folder: Path, metrics: str, changed: dict[str, float], firing: list[str]) -> str:
    """Return what promtool says if other alerts fire than these, or with other labels; nothing if all is well."""
    expected = [{"labels": labels, "value": 1} for labels in firing]
    test = {
        "interval": "1m",
        "input_series": series(metrics, changed),
        "promql_expr_test": [
            {"expr": 'ALERTS{alertstate="firing"}', "eval_time": "9m", "exp_samples": expected},
        ],
    }
    file = folder / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": [test]}), encoding="utf-8")
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == ("SUCCESS" in done.stdout), done.stderr
    return "" if done.returncode == 0 else done.stdout + done.stderr


def alert(name: str, metrics: str, labels: dict[str, str]) -> str:
    """Return the series of a firing alert."""
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]
    severity = next(rule["labels"]["severity"] for rule in rules if rule["alert"] == name)
    if "budget" in labels:
        labels = {"budget": metrics.partition('meritorder_budget_usd{budget="')[2].partition('"')[0]}
    labels = {"alertname": name, "alertstate": "firing", "severity": severity} | labels
    return "ALERTS{" + ",".join(f'{label}="{value}"' for label, value in sorted(labels.items())) + "}"


def test_prometheus_reads_rules_and_metrics(metrics: str) -> None:
    checked = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    read = subprocess.run(["promtool", "check", "metrics"], input=metrics, capture_output=True, text=True, check=False)
    assert "error" not in read.stderr, read.stderr


def test_no_alert_of_a_healthy_gateway(metrics: str, tmp_path: Path) -> None:
    assert "meritorder_ttft_seconds_count" in metrics
    assert run_rules(tmp_path, metrics, {}, []) == ""


@pytest.mark.parametrize("name", FIRES)
def test_alert_fires_on_its_cause(name: str, metrics: str, tmp_path: Path) -> None:
    metric, value, labels = FIRES[name]
    assert run_rules(tmp_path, metrics, {metric: value}, [alert(name, metrics, labels)]) == ""


def test_every_alert_is_tried() -> None:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    assert {rule["alert"] for group in groups for rule in group["rules"]} == set(FIRES)
