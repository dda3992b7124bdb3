"""Budgets and rates, in parallel, in batches, over a kill and over two gateways."""

import asyncio
import csv
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from openai import APIConnectionError, APIStatusError, AsyncOpenAI, OpenAI, RateLimitError
from openai.types import Batch
from tests.e2e.gateway.conftest import ROOT, Process, configuration, environment, new_key, start
from tests.e2e.gateway.test_batches import create, ended, line, results, upload
from tests.samples.stores import fresh_url, store_urls

# 7 input tokens at $1 and 4 output tokens at $4 a million: what the engine reports of every call here.
CALL_USD = Decimal("0.000023")


def command(config: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "meritorder", *arguments, "--config", str(config)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def key_id(config: Path) -> str:
    """Return the id of the only key."""
    return command(config, "keys", "list").splitlines()[1].split()[0]


def until(condition: Callable[[], Any], within_s: float = 30) -> Any:  # noqa: ANN401
    end_s = time.monotonic() + within_s
    while time.monotonic() < end_s:
        if outcome := condition():
            return outcome
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")


async def call_all(urls: list[str], key: str, count: int, **fields: Any) -> list[str]:  # noqa: ANN401
    """Call the gateways in parallel; return `ok` or the code of each error."""
    clients = [AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=60) for url in urls]

    async def call(number: int) -> str:
        messages: Any = [{"role": "user", "content": f"question {number}"}]
        try:
            await clients[number % len(clients)].chat.completions.create(
                model="stub", messages=messages, max_tokens=4, **fields
            )
        except APIStatusError as error:
            return str(error.code)
        except APIConnectionError:
            return "disconnected"
        return "ok"

    outcomes = await asyncio.gather(*(call(number) for number in range(count)))
    for client in clients:
        await client.close()
    return outcomes


def paused(client: OpenAI, batch: Batch) -> Any:  # noqa: ANN401
    """Return why a batch is paused, once it is and nothing of it runs."""

    def reason() -> Any:  # noqa: ANN401
        return getattr(client.batches.retrieve(batch.id), "paused_reason", None)

    return until(reason)


def done_lines(client: OpenAI, batch: Batch) -> int:
    counts = client.batches.retrieve(batch.id).request_counts
    assert counts is not None
    return counts.completed


@pytest.fixture(params=store_urls())
def site(request: pytest.FixtureRequest, engine: str, tmp_path: Path) -> Iterator[tuple[Path, list[Process]]]:
    """A configuration, and the gateways that share its store: one with SQLite, two with PostgreSQL."""
    with fresh_url(request.param, tmp_path, "quotas") as url:
        config = configuration(tmp_path, engine)
        stored = f'blobs = "file://{tmp_path}/blobs"\nlease ='
        text = config.read_text().replace(f"sqlite:///{tmp_path}/gateway.db", url).replace("lease =", stored)
        config.write_text(text)
        arguments = ["-m", "meritorder", "serve", "--config", str(config)]
        count = 1 if request.param == "sqlite" else 2
        gateways = [start(arguments, tmp_path / f"log{number}") for number in range(count)]
        yield config, gateways
        for gateway in gateways:
            gateway.stop()
    for number in range(count):
        assert "Traceback" not in (tmp_path / f"log{number}").read_text()


def test_parallel_calls_stay_within_budget(site: tuple[Path, list[Process]]) -> None:
    config, gateways = site
    urls = [gateway.url for gateway in gateways]
    key = new_key(config, "--budget", f"{10 * CALL_USD}")
    outcomes = asyncio.run(call_all(urls, key, 40))
    assert (outcomes.count("ok"), outcomes.count("insufficient_quota")) == (10, 30), outcomes
    limited = new_key(config, "--requests-per-minute", "5")
    outcomes = asyncio.run(call_all(urls, limited, 40))
    assert (outcomes.count("ok"), outcomes.count("rate_limit_exceeded")) == (5, 35)


@pytest.mark.slow
def test_budget_holds_over_a_kill(site: tuple[Path, list[Process]], tmp_path: Path) -> None:
    """A budget for 50 calls, a batch of 200 and 40 calls beside it; the first gateway is killed in between."""
    config, gateways = site
    key = new_key(config, "--budget", f"{50 * CALL_USD}")
    urls = [gateway.url for gateway in gateways]
    with OpenAI(base_url=f"{urls[-1]}/v1", api_key=key, max_retries=0) as client:
        batch = create(client, upload(client, [line(number) for number in range(200)]))
        until(lambda: done_lines(client, batch) >= 5)

    async def calls_and_kill() -> list[str]:
        calls = asyncio.create_task(call_all(urls, key, 40))
        await asyncio.sleep(0.3)
        gateways[0].process.kill()
        gateways[0].stop()  # it closes what is left of it
        return await calls

    asyncio.run(calls_and_kill())
    gateways[0] = start(["-m", "meritorder", "serve", "--config", str(config)], tmp_path / "log0")
    with OpenAI(base_url=f"{gateways[0].url}/v1", api_key=key, max_retries=0) as client:
        reason = paused(client, batch)
        assert (reason["code"], reason["renews_at"]) == ("insufficient_quota", None)
        assert client.batches.retrieve(batch.id).status == "in_progress"
        done = done_lines(client, batch)
        with pytest.raises(RateLimitError) as refused:
            create(client, upload(client, [line(0)]))
        assert refused.value.code == "insufficient_quota"
        spent = ledger_usd(config, tmp_path)
        assert 50 * CALL_USD <= spent <= 51 * CALL_USD
        assert f" ${spent.normalize():f} " in command(config, "keys", "list")
        assert done_lines(client, batch) == done, "a paused batch stays where it is"
        command(config, "keys", "update", key_id(config), "--budget", "1/day")
        finished = ended(client, batch)
        assert finished.status == "completed"
        assert len(results(client, finished.output_file_id)) == 200


def ledger_usd(config: Path, folder: Path) -> Decimal:
    """Return what all calls have cost."""
    command(config, "ledger", "--out", str(folder / "ledger.csv"))
    with (folder / "ledger.csv").open(encoding="utf-8") as file:
        return sum((Decimal(row["cost_usd"] or 0) for row in csv.DictReader(file)), Decimal(0))


def test_batch_lines_obey_rates(make_client: Callable[..., OpenAI]) -> None:
    """Five of 20 lines start in the first minute; the others wait, and the batch is not paused."""
    client = make_client("--requests-per-minute", "5")
    batch = create(client, upload(client, [line(number) for number in range(20)]))
    until(lambda: done_lines(client, batch) == 5)
    time.sleep(1.5)
    now = client.batches.retrieve(batch.id)
    assert done_lines(client, batch) == 5
    assert getattr(now, "paused_reason", "missing") is None
    with pytest.raises(RateLimitError) as refused:
        client.chat.completions.create(model="stub", messages=[{"role": "user", "content": "x"}], max_tokens=4)
    assert refused.value.code == "rate_limit_exceeded"
    assert 50 < int(refused.value.response.headers["retry-after"]) <= 61
    assert refused.value.response.headers["x-ratelimit-remaining-requests"] == "0"
    client.batches.cancel(batch.id)


def test_paused_batch_expires_with_reason(make_client: Callable[..., OpenAI]) -> None:
    client = make_client("--budget", f"{3 * CALL_USD}")
    batch = create(client, upload(client, [line(number) for number in range(10)]), window="6s")
    done = ended(client, batch)
    assert done.status == "expired"
    assert done.request_counts is not None
    assert done.request_counts.completed == 3
    assert done.errors is not None
    assert done.errors.data is not None
    assert [problem.code for problem in done.errors.data] == ["insufficient_quota"]
    lost = results(client, done.error_file_id)
    assert len(lost) == 7
    for failed in lost.values():
        assert failed["error"]["code"] == "batch_expired"  # type: ignore[index]
        assert "the budget of this key" in failed["error"]["message"]  # type: ignore[index]


@pytest.mark.parametrize("kind", ["held", "background"])
def test_queued_calls_stay_within_budget(make_client: Callable[..., OpenAI], kind: str) -> None:
    """A budget for five calls: of 15 that may wait, five are answered and ten refused."""
    client = make_client("--budget", f"{5 * CALL_USD}")
    if kind == "held":
        url = str(client.base_url).removesuffix("/v1/")
        outcomes = asyncio.run(call_all([url], client.api_key, 15, service_tier="flex"))
        assert (outcomes.count("ok"), outcomes.count("insufficient_quota")) == (5, 10)
        return
    accepted, refused = [], []
    for _ in range(15):
        try:
            accepted.append(client.responses.create(model="stub", input="x", max_output_tokens=4, background=True).id)
        except RateLimitError as error:
            refused.append(error.code)
    assert (len(accepted), set(refused)) == (5, {"insufficient_quota"})
    until(lambda: all(client.responses.retrieve(answer).status == "completed" for answer in accepted))


class Receiver(BaseHTTPRequestHandler):
    """Keeps the events that it gets."""

    events: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.events.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def receiver() -> Iterator[str]:
    Receiver.events = []
    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook"
        server.shutdown()
        thread.join()


def test_team_bounds_its_keys_and_is_announced(
    engine: str, receiver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A team's budget for ten calls: of 15 of each of two keys ten pass; its soft limit is announced once."""
    monkeypatch.setitem(os.environ, "QUOTAS_TEST_SECRET", "whsec_bWVyaXQgb3JkZXI=")
    config = configuration(tmp_path, engine, f'[[webhook]]\nurl = "{receiver}"\nsecret_env = "QUOTAS_TEST_SECRET"\n')
    command(config, "keys", "team", "search", "--budget", f"{10 * CALL_USD}/month", "--soft-limit", "50%")
    keys = [new_key(config, "--team", "search", "--budget", "1"), new_key(config, "--team", "search")]
    gateway = start(["-m", "meritorder", "serve", "--config", str(config)], tmp_path / "log")
    try:

        async def call_with_both() -> list[str]:
            outcomes = await asyncio.gather(*(call_all([gateway.url], key, 15) for key in keys))
            return [*outcomes[0], *outcomes[1]]

        outcomes = asyncio.run(call_with_both())
        assert (outcomes.count("ok"), outcomes.count("insufficient_quota")) == (10, 20)
        until(lambda: Receiver.events)
        time.sleep(2.5)  # longer than the interval at which events are sent
        (event,) = Receiver.events
        assert (event["type"], event["data"]["id"]) == ("budget.soft_limit_reached", "team:search")
        assert (event["data"]["budget_usd"], event["data"]["soft_limit"]) == (f"{10 * CALL_USD}".rstrip("0"), 0.5)
    finally:
        gateway.stop()
