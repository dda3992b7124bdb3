"""A policy carried out by the gateway, with engines that are processes, while the demand leaves the forecast."""

import datetime as dt
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3
from msgspec import structs
from openai import OpenAI
from tests.e2e.gateway.conftest import ROOT, environment, start
from tests.samples import nightly
from tests.samples.stores import migrated_url

from meritorder.policy.replicas import DECISION_S
from meritorder.records.planfile import Plan, write_plan
from meritorder.records.planpolicy import BacklogRule, Policy, PolicyFloor, ReactiveRule

STARTUP_S = 2.0
FIRST, SECOND = "live-1", "live-2"

pytestmark = pytest.mark.slow


def policy_plan() -> Plan:
    """Return a plan that forecasts one machine, lets load add another, and keeps a third for deadlines."""
    policy = Policy(
        slot_s=3600.0,
        floor=[PolicyFloor(pool=nightly.LIVE, payment="on_demand", machines=[1])],
        reactive=[
            ReactiveRule(
                pool=nightly.LIVE,
                payment="on_demand",
                target_in_flight=2.0,
                minimum=0,
                maximum=2,
                stabilization_s=DECISION_S,
            )
        ],
        backlog=[BacklogRule(pool=nightly.NIGHT, payment="spot", maximum=1, margin_s=20.0, tokens_per_s=100.0)],
    )
    plan = nightly.plan(startup_s=STARTUP_S, rules=[])
    live, night = plan.pools
    paid = structs.replace(plan.schedule[0], payment="on_demand", pricing_model="on_demand")
    return structs.replace(
        plan,
        # No request that may wait runs beside real time, so that the backlog rule is needed.
        pools=[structs.replace(live, backfill_seats=0), night],
        schedule=[paid, plan.schedule[1]],
        workloads=[
            structs.replace(work, name="own deadline") if work.lane == "deferrable" else work for work in plan.workloads
        ],
        routes=[plan.routes[0]],
        policy=policy,
    )


def configuration(folder: Path) -> Path:
    command = json.dumps(
        [sys.executable, "-m", "tests.peers.engine", "--port", "{port}", "--max-sequences", "8", "--token-s", "0.1"]
    )

    def venue(name: str, pool: str, lanes: str) -> str:
        return (
            f'[[venue]]\nname = "{name}"\npool = "{pool}"\nurl = "http://127.0.0.1:{{port}}/v1"\nkind = "vllm"\n'
            f'models = ["stub"]\nmax_concurrency = 8\nlanes = {lanes}\ncommand = {command}\nidle = ""\n'
        )

    path = folder / "gateway.toml"
    path.write_text(
        f'plan_start = "{dt.datetime.now(dt.UTC).isoformat()}"\n'
        f'[server]\nport = 0\nrequire_keys = false\n[store]\nurl = "{migrated_url(folder)}"\n'
        '[lanes]\nmargin = "1s"\n'
        + venue(FIRST, nightly.LIVE, '["realtime", "deferrable"]')
        + venue(SECOND, nightly.LIVE, '["realtime", "deferrable"]')
        + venue(nightly.NIGHT, nightly.NIGHT, '["deferrable"]'),
        encoding="utf-8",
    )
    return path


@dataclass
class Site:
    url: str
    client: OpenAI

    def status(self) -> dict[str, Any]:
        return dict(json.loads(urllib3.request("GET", f"{self.url}/meritorder/status").data))

    def row(self, pool: str) -> dict[str, Any]:
        return next(row for row in self.status()["plan"]["pools"] if row["pool"] == pool)

    def engine(self, venue: str) -> str:
        return next(str(row["engine"]) for row in self.status()["venues"] if row["name"] == venue)

    def answered_by(self, venue: str, lane: str) -> int:
        time.sleep(0.5)  # the ledger is written every quarter of a second
        return sum(row["requests"] for row in self.status()["ledger"] if (row["venue"], row["lane"]) == (venue, lane))

    def ask(self, deadline: str | None = None) -> str | None:
        headers = {} if deadline is None else {"Meritorder-Deadline": deadline}
        asked = [{"role": "user", "content": "x"}]
        answer = self.client.chat.completions.create(
            model="stub",
            messages=asked,
            max_tokens=10,
            extra_headers=headers,  # type: ignore[arg-type]
        )
        return answer.choices[0].message.content


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("policy")
    write_plan(policy_plan(), folder / "plan.json")
    config = configuration(folder)
    there = start(
        ["-m", "meritorder", "serve", "--config", str(config), "--plan", str(folder / "plan.json")], folder / "log"
    )
    with OpenAI(base_url=f"{there.url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield Site(there.url, client)
    there.stop()


def until(true: Callable[[], bool], within_s: float) -> float:
    """Wait until something is true, and return how long that took."""
    began_s = time.monotonic()
    while not true():
        assert time.monotonic() - began_s < within_s
        time.sleep(0.1)
    return time.monotonic() - began_s


def test_demand_beyond_forecast_starts_machine(site: Site) -> None:
    until(lambda: site.engine(FIRST) == "ready", within_s=20)
    assert site.ask()
    assert site.engine(SECOND) == "stopped", "the forecast is one machine, and one request needs no other"
    stop, failures = threading.Event(), []

    def load() -> None:
        while not stop.is_set():
            try:
                assert site.ask()
            except Exception as error:  # noqa: BLE001 - shown by the assertion below
                failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(7)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: site.engine(SECOND) == "ready", within_s=3 * DECISION_S)
        row = site.row(nightly.LIVE)
        # Seven in flight over a target of two are four replicas, which are two machines.
        assert (row["machines"], row["policy"]) == (2, {"floor": 1, "reactive": 2, "backlog": 0})
        until(lambda: site.answered_by(SECOND, "realtime") > 0, within_s=20)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    until(lambda: site.engine(SECOND) == "stopped", within_s=4 * DECISION_S)
    assert site.engine(FIRST) == "ready"
    row = site.row(nightly.LIVE)
    assert row["machines"] == 1
    assert row["above_floor_usd"] > 0
    command = [sys.executable, "-m", "meritorder", "status", "--url", site.url]
    shown = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True).stdout
    assert "Policy, machines by rule" in shown
    metrics = urllib3.request("GET", f"{site.url}/metrics").data
    assert b'meritorder_policy_machines{payment="on_demand",pool="live",rule="floor"} 1.0' in metrics


def test_deadline_starts_machine_for_backlog(site: Site) -> None:
    answers: list[str | None] = []
    began_s = time.monotonic()
    waiting = threading.Thread(target=lambda: answers.append(site.ask("60s")))
    waiting.start()
    time.sleep(5)
    assert site.engine(nightly.NIGHT) == "stopped"
    assert site.status()["queued"] == {"stub": 1}
    until(lambda: site.row(nightly.NIGHT)["policy"]["backlog"] == 1, within_s=45)
    waiting.join(timeout=60)
    assert 15 < time.monotonic() - began_s < 60
    assert answers[0]
    assert site.answered_by(nightly.NIGHT, "deferrable") == 1
    until(lambda: site.engine(nightly.NIGHT) == "stopped", within_s=3 * DECISION_S)
