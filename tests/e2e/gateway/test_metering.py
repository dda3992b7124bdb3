"""What engines cost, from their starts to the ledger's report, also when the gateway is killed."""

import json
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from tests.e2e.gateway.conftest import Process, start
from tests.e2e.gateway.test_command_line import requests, run
from tests.samples.stores import migrated_url

USD_PER_HOUR = 3600.0  # a dollar a second


def _configuration(folder: Path, *venues: str) -> Path:
    path = folder / "gateway.toml"
    server = "[server]\nport = 0\nrequire_keys = false\n"
    path.write_text(f'{server}[store]\nurl = "{migrated_url(folder)}"\nlease = "2s"\n' + "".join(venues))
    return path


def _venue(model: str, more: str) -> str:
    command = [sys.executable, "-m", "tests.peers.engine", "--port", "{port}", "--token-s", "0.02"]
    return (
        f'[[venue]]\nname = "{model}"\nurl = "http://127.0.0.1:{{port}}/v1"\nkind = "vllm"\nmodels = ["{model}"]\n'
        f"max_concurrency = 4\ncommand = {json.dumps(command)}\n{more}\n"
    )


def _serve(config: Path) -> Process:
    return start(["-m", "meritorder", "serve", "--config", str(config)], config.parent / "log")


def _ask(url: str, model: str, tokens: int = 20) -> None:
    client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    messages: Any = [{"role": "user", "content": "hello"}]
    client.chat.completions.create(model=model, messages=messages, max_tokens=tokens)


def _capacity(folder: Path) -> list[dict[str, Any]]:
    connection = sqlite3.connect(f"file:{folder}/gateway.db?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in connection.execute("SELECT * FROM capacity ORDER BY started_s")]
    finally:
        connection.close()


def _until(holds: Callable[[], object], within_s: float = 30.0) -> None:
    ends_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < ends_s
        time.sleep(0.1)


def _report(folder: Path, config: Path, *options: str) -> dict[str, Any]:
    done = run(folder, "ledger", "--config", str(config), "--json", "report.json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "report.json").read_text())


def test_engine_is_paid_from_start_to_stop(tmp_path: Path) -> None:
    config = _configuration(tmp_path, _venue("small", f'usd_per_hour = {USD_PER_HOUR}\nidle = "1s"'))
    gateway = _serve(config)
    try:
        _ask(gateway.url, "small")
        _until(lambda: [row for row in _capacity(tmp_path) if row["stopped_s"]])
        _ask(gateway.url, "small")
    finally:
        gateway.stop()
    first, second = _capacity(tmp_path)
    assert first["replica"] != second["replica"]
    assert all(row["started_s"] < row["ready_s"] < row["stopped_s"] for row in (first, second))
    paid = sum(row["stopped_s"] - row["started_s"] for row in (first, second))
    report = _report(tmp_path, config, "--by", "replica,use")
    assert report["paid_usd"] == pytest.approx(paid, abs=1e-5)  # times are whole microseconds
    uses = {use["use"]: use["paid_usd"] for use in report["by_use"]}
    assert uses["starting"] == pytest.approx(
        sum(row["ready_s"] - row["started_s"] for row in (first, second)), abs=1e-5
    )
    assert uses["busy"] >= 2 * 19 * 0.02  # of each answer, all but its first token take 0.02 s
    assert uses["idle"] >= 1.0
    assert sum(uses.values()) == pytest.approx(report["paid_usd"], abs=1e-11)
    assert report["warnings"] == []
    assert report["requests"] == 2


def test_killed_gateway_leaves_bounded_capacity(tmp_path: Path) -> None:
    config = _configuration(tmp_path, _venue("small", f"usd_per_hour = {USD_PER_HOUR}"))
    gateway = _serve(config)
    _ask(gateway.url, "small")
    _until(lambda: [row for row in _capacity(tmp_path) if row["ready_s"]])
    gateway.process.send_signal(signal.SIGKILL)
    killed_s = time.time()
    gateway.process.wait()
    assert gateway.process.stdout is not None
    gateway.process.stdout.close()
    _serve(config).stop()
    (row,) = _capacity(tmp_path)
    assert row["stopped_s"] is None
    assert killed_s - 10 < row["seen_s"] <= killed_s
    report = _report(tmp_path, config)
    assert report["paid_usd"] == pytest.approx(row["seen_s"] - row["started_s"], abs=1e-5)


def test_engine_of_others_is_paid_while_seen(tmp_path: Path, engine: str) -> None:
    venue = (
        f'[[venue]]\nname = "theirs"\nurl = "{engine}"\nkind = "vllm"\nmodels = ["stub"]\n'
        'machine = "runpod 2x H100 SXM Secure"\n'
    )
    gateway = _serve(_configuration(tmp_path, venue))
    try:
        _until(lambda: _capacity(tmp_path))
        _ask(gateway.url, "stub", tokens=2)
    finally:
        gateway.stop()
    (row,) = _capacity(tmp_path)
    assert row["started_s"] == row["ready_s"] < row["stopped_s"]
    assert row["machine"] == "runpod 2x H100 SXM Secure"
    assert 2e12 < row["picousd_per_hour"] < 2e13
    report = _report(tmp_path, tmp_path / "gateway.toml", "--by", "venue")
    assert [group["by"] for group in report["rows"]] == [{"venue": "theirs"}]
    assert report["rows"][0]["requests"] == 1


def test_unknown_machine_is_one_line(tmp_path: Path) -> None:
    venue = '[[venue]]\nname = "x"\nurl = "http://127.0.0.1:9/v1"\nkind = "vllm"\nmodels = ["m"]\nmachine = "acme Z1"\n'
    done = run(tmp_path, "serve", "--config", str(_configuration(tmp_path, venue)))
    assert done.returncode == 2
    assert "venue x: machine: no price of the machine 'acme Z1'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_held_call_has_its_receipt(tmp_path: Path) -> None:
    """Only the call ran: its receipt is what the ledger says of the id that the client was given."""
    config = _configuration(tmp_path, _venue("small", f"usd_per_hour = {USD_PER_HOUR}"))
    gateway = _serve(config)
    try:
        client = OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0)
        messages: Any = [{"role": "user", "content": "hello"}]
        answer = client.chat.completions.with_raw_response.create(
            model="small", messages=messages, max_tokens=20, extra_headers={"meritorder-deadline": "1h"}
        )
        request_id = answer.headers["x-request-id"]
        shown = run(tmp_path, "batch", "receipt", request_id, "--json", "receipt.json", "--url", gateway.url)
    finally:
        gateway.stop()
    assert shown.returncode == 0, shown.stderr
    assert f"paid for the request {request_id}" in shown.stdout
    receipt = json.loads((tmp_path / "receipt.json").read_text())["receipt"]
    assert (receipt["completed"], receipt["deadline_kept"], receipt["output_tokens"]) == (1, True, 20)
    report = _report(tmp_path, config, "--by", "request")
    assert {row["by"]["request"]: row["paid_usd"] for row in report["rows"]}[request_id] == receipt["paid_usd"]


def test_quote_receipt_and_ledger_agree(tmp_path: Path) -> None:
    """Only the batch ran: what machines were paid for while busy is its cost; it is charged its quote."""
    lanes = "[lanes]\nhonor_quotes = true\n"
    config = _configuration(tmp_path, lanes, _venue("small", f"usd_per_hour = {USD_PER_HOUR}"))
    gateway = _serve(config)
    at = ("--url", gateway.url)
    try:
        quoted = run(tmp_path, "batch", "quote", str(requests(tmp_path, 9, "small")), "--json", "quote.json", *at)
        assert quoted.returncode == 0, quoted.stderr
        assert "What it costs to wait" in quoted.stdout
        quote = json.loads((tmp_path / "quote.json").read_text())
        offered = next(offer["usd"] for offer in quote["offers"] if offer["patience"] == "4h")
        submitted = run(tmp_path, "batch", "submit", quote["id"], "--window", "4h", "--wait", *at)
        assert submitted.returncode == 0, submitted.stderr
        batch_id = submitted.stdout.partition(":")[0]
        files = ("--json", "receipt.json", "--html", "receipt.html")
        shown = run(tmp_path, "batch", "receipt", batch_id, *files, *at)
        assert shown.returncode == 0, shown.stderr
        assert "USD were paid for the 9 requests" in shown.stdout
        assert batch_id in (tmp_path / "receipt.html").read_text()
        checked = run(tmp_path, "batch", "receipt", "receipt.json", "--verify", *at)
        assert (checked.returncode, "valid" in checked.stdout) == (0, True)
        text = (tmp_path / "receipt.json").read_text()
        (tmp_path / "changed.json").write_text(text.replace('"completed": 9', '"completed": 8'))
        changed = run(tmp_path, "batch", "receipt", "changed.json", "--verify", *at)
        assert (changed.returncode, "was changed" in changed.stderr) == (1, True)
    finally:
        gateway.stop()
    receipt = json.loads(text)["receipt"]
    assert (receipt["completed"], receipt["attempts"], receipt["deadline_kept"]) == (9, 9, True)
    assert (receipt["quote_id"], receipt["quoted_usd"], receipt["charged_usd"]) == (quote["id"], offered, offered)
    report = _report(tmp_path, config, "--by", "use")
    uses = {use["use"]: use["paid_usd"] for use in report["by_use"]}
    assert uses["busy"] == pytest.approx(receipt["paid_usd"], abs=1e-11)
    assert report["quotes"]["batches"] == 1
    assert report["quotes"]["difference_usd"] == pytest.approx(offered - receipt["paid_usd"], abs=1e-11)
