"""A plan executed by the gateway: a process, engines that are processes, and a plan of short slots."""

import datetime as dt
import json
import signal
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
from tests.e2e.gateway.conftest import ROOT, environment, new_key, start
from tests.samples import nightly
from tests.samples.stores import migrated_url

from meritorder.records.planfile import write_plan

SLOT_S = 4.0
ROUND_S = SLOT_S * nightly.SLOTS
NIGHT = nightly.AT_NIGHT.index(1)
STARTUP_S = 2.0


def configuration(folder: Path, engine: str, began_s: float) -> Path:
    command = json.dumps([sys.executable, "-m", "tests.peers.engine", "--port", "{port}", "--max-sequences", "8"])
    path = folder / "gateway.toml"
    path.write_text(
        f'plan_start = "{dt.datetime.fromtimestamp(began_s, dt.UTC).isoformat()}"\n'
        f'[server]\nport = 0\n[store]\nurl = "{migrated_url(folder)}"\n[lanes]\nmargin = "1s"\n'
        f'[[venue]]\nname = "always"\npool = "{nightly.LIVE}"\nurl = "{engine}"\nkind = "vllm"\n'
        'models = ["stub"]\nmax_concurrency = 8\n'
        f'[[venue]]\nname = "{nightly.NIGHT}"\nurl = "http://127.0.0.1:{{port}}/v1"\nkind = "vllm"\n'
        f'models = ["stub"]\nmax_concurrency = 8\nlanes = ["deferrable"]\ncommand = {command}\nidle = ""\n'
        f'[[venue]]\nname = "spare"\nurl = "{engine}"\nkind = "vllm"\nmodels = ["other"]\n',
        encoding="utf-8",
    )
    return path


@dataclass
class Site:
    url: str
    began_s: float
    bulk: OpenAI
    live: OpenAI
    admin: str

    def slot(self) -> float:
        """Return the current slot, and the elapsed share of it as its fraction."""
        return (time.time() - self.began_s) % ROUND_S / SLOT_S

    def wait_for(self, slot: float) -> None:
        time.sleep((slot - self.slot()) % nightly.SLOTS * SLOT_S)

    def wait_for_the_morning(self) -> None:
        """Wait until well after the night, and long before the next one."""
        if not NIGHT + 1.2 <= self.slot() <= NIGHT + 2:
            self.wait_for(NIGHT + 1.2)

    def get(self, path: str) -> bytes:
        answer = urllib3.request("GET", self.url + path, headers={"Authorization": f"Bearer {self.admin}"})
        assert answer.status == 200, answer.data
        return answer.data

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.get("/meritorder/status")))

    def engine(self) -> str:
        return next(str(venue["engine"]) for venue in self.status()["venues"] if venue["name"] == nightly.NIGHT)

    def answered_by(self, venue: str, lane: str) -> int:
        time.sleep(0.5)  # the ledger is written every quarter of a second
        found = (row for row in self.status()["ledger"] if (row["venue"], row["lane"]) == (venue, lane))
        return sum(row["requests"] for row in found)


@pytest.fixture(scope="module")
def site(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("plan")
    began_s = time.time() - NIGHT * SLOT_S  # the gateway starts in the first night
    config = configuration(folder, engine, began_s)
    write_plan(nightly.plan(slot_s=SLOT_S, startup_s=STARTUP_S), folder / "plan.json")
    keys = [new_key(config, *options) for options in (("--tenant", "bulk-1"), ("--tenant", "web"), ("--admin",))]
    arguments = ["-m", "meritorder", "serve", "--config", str(config), "--plan", str(folder / "plan.json")]
    there = start(arguments, folder / "log")
    clients = [OpenAI(base_url=f"{there.url}/v1", api_key=key, max_retries=0, timeout=60) for key in keys[:2]]
    yield Site(there.url, began_s, *clients, keys[2])  # type: ignore[misc]
    for client in clients:
        client.close()
    there.stop()
    assert "executing the plan" in (folder / "log").read_text()


def ask(client: OpenAI, deadline: str | None = None, model: str = "stub") -> str | None:
    headers = {} if deadline is None else {"Meritorder-Deadline": deadline}
    asked = [{"role": "user", "content": "x"}]
    made = client.chat.completions.create(model=model, messages=asked, max_tokens=4, extra_headers=headers)  # type: ignore[arg-type]
    return made.choices[0].message.content


def until(true: Callable[[], bool], within_s: float) -> None:
    ends_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < ends_s
        time.sleep(0.1)


def test_engine_starts_for_its_slot(site: Site) -> None:
    site.wait_for_the_morning()
    until(lambda: site.engine() == "stopped", within_s=SLOT_S)
    done: list[float] = []

    def wait() -> None:
        assert ask(site.bulk)
        done.append(site.slot())

    waiting = threading.Thread(target=wait)
    waiting.start()
    began_s = time.monotonic()
    assert ask(site.live)
    assert time.monotonic() - began_s < SLOT_S / 2, "real time waits for nothing"
    assert site.status()["queued"] == {"stub": 1}
    site.wait_for(NIGHT - STARTUP_S / SLOT_S - 0.4)
    assert site.engine() == "stopped"
    assert not done
    site.wait_for(NIGHT - 0.1)
    assert site.engine() in {"starting", "ready"}, "it is started so that it is there when its slot begins"
    waiting.join(timeout=SLOT_S)
    assert NIGHT <= done[0] < NIGHT + 1
    site.wait_for(NIGHT + 0.6)
    assert site.engine() == "ready"
    assert b'meritorder_plan_replicas{payment="spot",pool="night"} 2.0' in site.get("/metrics")
    site.wait_for(NIGHT + 1.4)
    assert site.engine() == "stopped"
    assert b'meritorder_plan_replicas{payment="spot",pool="night"} 0.0' in site.get("/metrics")
    assert site.answered_by(nightly.NIGHT, "deferrable") == 1
    assert site.answered_by("always", "realtime") == 1


def test_deadline_overrides_plan(site: Site) -> None:
    site.wait_for_the_morning()
    before = site.answered_by("always", "deferrable")
    began_s = time.monotonic()
    assert ask(site.bulk, "5s")
    took_s = time.monotonic() - began_s
    assert 2.0 < took_s < 5.0, "it waited as long as it could, and no longer"
    assert site.answered_by("always", "deferrable") == before + 1


def test_status_shows_current_and_next(site: Site) -> None:
    site.wait_for(NIGHT - 1 + 0.2)
    plan = site.status()["plan"]
    night = next(pool for pool in plan["pools"] if pool["pool"] == nightly.NIGHT)
    assert (plan["slot"], plan["slots"], plan["repeats_every_s"]) == (NIGHT - 1, nightly.SLOTS, ROUND_S)
    assert (night["machines"], night["machines_next"], night["replicas_next"]) == (0, 1, 2)


@pytest.mark.slow
def test_waiting_requests_hide_nothing(site: Site) -> None:
    site.wait_for_the_morning()
    for _ in range(250):
        site.live.responses.create(model="stub", input="x", background=True)
    began_s = time.monotonic()
    assert ask(site.live, "29d", model="other")
    assert time.monotonic() - began_s < SLOT_S
    assert site.status()["queued"] == {"stub": 250}


def test_engine_starts_early_for_deadline(tmp_path: Path) -> None:
    began_s = time.time() - SLOT_S * 0.5  # its slot comes after the deadline
    config = configuration(tmp_path, "http://127.0.0.1:1", began_s)
    only, rest = config.read_text().split("[[venue]]")[0], config.read_text().split("[[venue]]")[2]
    config.write_text(f"{only}[[venue]]{rest}".replace("port = 0", "port = 0\nrequire_keys = false", 1))
    config.write_text(config.read_text().replace('idle = ""', 'idle = "1s"'))
    plan = nightly.plan(slot_s=SLOT_S, startup_s=STARTUP_S, routes=nightly.plan().routes[1:])
    plan = structs.replace(plan, pools=plan.pools[1:], schedule=plan.schedule[1:], workloads=plan.workloads[1:])
    write_plan(plan, tmp_path / "plan.json")
    there = start(
        ["-m", "meritorder", "serve", "--config", str(config), "--plan", str(tmp_path / "plan.json")], tmp_path / "log"
    )
    try:
        with OpenAI(base_url=f"{there.url}/v1", api_key="none", max_retries=0, timeout=30) as client:
            asked_s = time.monotonic()
            assert ask(client, "5s")
            assert time.monotonic() - asked_s < 5.0
        assert "night is ready" in (tmp_path / "log").read_text()
    finally:
        there.stop()


def test_plan_is_reloaded_if_valid(engine: str, tmp_path: Path) -> None:
    config, file = configuration(tmp_path, engine, time.time()), tmp_path / "plan.json"
    config.write_text(config.read_text().replace("port = 0", "port = 0\nrequire_keys = false", 1))
    write_plan(nightly.plan(slot_s=SLOT_S), file)
    there = start(["-m", "meritorder", "serve", "--config", str(config), "--plan", str(file)], tmp_path / "log")

    def plan() -> dict[str, Any]:
        return dict(json.loads(urllib3.request("GET", f"{there.url}/meritorder/status").data)["plan"])

    try:
        write_plan(nightly.plan(slot_s=60.0), file)
        there.process.send_signal(signal.SIGHUP)
        until(lambda: plan()["repeats_every_s"] == 60.0 * nightly.SLOTS, within_s=5)
        file.write_text("{}")
        until(lambda: plan()["refused"] == 1, within_s=10)
        assert plan()["repeats_every_s"] == 60.0 * nightly.SLOTS
        metrics = urllib3.request("GET", f"{there.url}/metrics").data
        assert b"meritorder_plan_fault 1.0" in metrics
        assert b'meritorder_plan_reads{outcome="taken"}' in metrics
    finally:
        there.stop()
    assert "the previous one stays in force" in (tmp_path / "log").read_text()


def test_unserved_workload_is_reported(engine: str, tmp_path: Path) -> None:
    config = configuration(tmp_path, engine, time.time())
    config.write_text(config.read_text().replace(f'pool = "{nightly.LIVE}"\n', ""))
    write_plan(nightly.plan(), tmp_path / "plan.json")
    command = ["-m", "meritorder", "serve", "--config", str(config), "--plan", str(tmp_path / "plan.json")]
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    said = f"no venue serves the pool '{nightly.LIVE}'; write pool = '{nightly.LIVE}' in the [[venue]] that serves it"
    assert said in done.stderr
    assert "Traceback" not in done.stderr
