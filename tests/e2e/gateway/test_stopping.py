"""What clients get when the gateway is stopped while it holds their calls."""

import csv
import json
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.gateway.conftest import ROOT, configuration, environment, start


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_held_calls_get_a_clear_answer(engine: str, tmp_path: Path, workers: str) -> None:
    """In real time, deferred, and within a stream; each has a row in the ledger."""
    config = configuration(tmp_path, engine)
    text = config.read_text().replace("port = 0", 'port = 0\nrequire_keys = false\ndrain = "1s"')
    config.write_text(text)
    there = start(["-m", "meritorder", "serve", "--config", str(config), "--workers", workers], tmp_path / "log")
    answers: dict[str, Any] = {}

    def call(name: str, fields: dict[str, Any], headers: dict[str, str]) -> None:
        body = {"model": "stub", "messages": [{"role": "user", "content": "fault:hang"}], **fields}
        with httpx.Client(timeout=60) as client:
            answers[name] = client.post(f"{there.url}/v1/chat/completions", json=body, headers=headers)

    long = {"messages": [{"role": "user", "content": "fault:drip"}], "stream": True, "max_tokens": 10_000}
    calls = {"real time": ({}, {}), "deferred": ({}, {"Meritorder-Deadline": "1h"}), "stream": (long, {})}
    threads = [threading.Thread(target=call, args=(name, *fields)) for name, fields in calls.items()]
    for thread in threads:
        thread.start()
    _wait_until_held(there.url, held=len(calls))
    there.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(timeout=30)
    there.stop()
    assert answers.keys() == calls.keys()
    for name in ("real time", "deferred"):
        reply = answers[name]
        assert (reply.status_code, reply.headers["content-type"]) == (503, "application/json"), name
        assert int(reply.headers["retry-after"]) > 0
        assert "stopping" in reply.json()["error"]["message"]
    assert answers["stream"].status_code == 200
    last = answers["stream"].text.strip().rpartition("data: ")[2]
    assert "stopping" in json.loads(last)["error"]["message"]
    assert "Traceback" not in (tmp_path / "log").read_text()
    statuses = _ledger_statuses(config, tmp_path)
    for name in ("real time", "deferred"):
        assert "503" in statuses[answers[name].headers["x-request-id"]], name
    assert answers["stream"].headers["x-request-id"] in statuses


def _wait_until_held(url: str, *, held: int) -> None:
    until_s = time.monotonic() + 30
    while time.monotonic() < until_s:
        status = httpx.get(f"{url}/meritorder/status").json()
        if sum(venue["realtime"] + venue["deferrable"] for venue in status["venues"]) >= held:
            return
        time.sleep(0.05)
    raise AssertionError("the calls did not begin")


def _ledger_statuses(config: Path, folder: Path) -> dict[str, set[str]]:
    """The statuses by request: a deferred call has a row of its own beside that of its attempt."""
    out = folder / "ledger.csv"
    command = [sys.executable, "-m", "meritorder", "ledger", "--config", str(config), "--out", str(out)]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True)
    statuses = defaultdict[str, set[str]](set)
    with out.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            statuses[row["request_id"]].add(row["status_code"])
    return statuses
