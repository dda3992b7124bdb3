"""Batches sent through a provider's batch API: a real gateway and store, and a stand-in for the provider."""

import asyncio
import contextlib
import csv
import datetime as dt
import json
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.types import Batch
from tests.e2e.gateway.conftest import Process, new_key, start
from tests.e2e.gateway.test_batches import FINAL
from tests.samples.providers import AnthropicApi, GeminiApi, OpenAIBatchApi
from tests.samples.stores import migrated_url

pytestmark = pytest.mark.asyncio

KINDS = {"openai": OpenAIBatchApi, "anthropic": AnthropicApi, "gemini": GeminiApi}


@dataclass
class Scene:
    """A gateway that can be killed, and a provider with prescribed outcomes of the lines."""

    kind: str
    api: Any
    folder: Path
    gateway: Process | None = None
    clients: list[AsyncOpenAI] = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.folder / "gateway.toml"

    def start(self) -> None:
        self.gateway = start(["-m", "meritorder", "serve", "--config", str(self.config)], self.folder / "log")

    def kill(self) -> None:
        assert self.gateway is not None
        self.gateway.process.kill()
        self.gateway.process.wait()
        assert self.gateway.process.stdout is not None
        self.gateway.process.stdout.close()

    @property
    def client(self) -> AsyncOpenAI:
        """A client of the gateway that runs now."""
        assert self.gateway is not None
        url = f"{self.gateway.url}/v1/"
        if not self.clients or str(self.clients[-1].base_url) != url:
            key = self.clients[0].api_key if self.clients else new_key(self.config)
            self.clients.append(AsyncOpenAI(base_url=url, api_key=key, max_retries=0))
        return self.clients[-1]

    async def submit(self, lines: int, window: str = "24h", **body: object) -> Batch:
        made = [
            {
                "custom_id": f"line {number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {
                    "model": "m",
                    "messages": [{"role": "user", "content": f"number {number}"}],
                    "max_tokens": 8,
                    **(body if number == 0 else {}),
                },
            }
            for number in range(lines)
        ]
        content = b"".join(json.dumps(line).encode() + b"\n" for line in made)
        client = self.client
        file = await client.files.create(file=("in.jsonl", content), purpose="batch")
        return await client.batches.create(
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window=window,  # type: ignore[arg-type]
        )

    async def submitted(self, count: int) -> str:
        """Wait until the provider has a number of batches, and return its id of the last."""
        await until(lambda: len(self.api.batches) >= count)
        assert len(self.api.batches) == count
        return self.api.batches[-1].get("id") or self.api.batches[-1]["name"]

    def lines(self, batch_id: str) -> dict[str, str]:
        """Return the provider's ids of the lines, by their prompts."""
        if self.kind == "anthropic":
            return {
                line["params"]["messages"][0]["content"][0]["text"]: line["custom_id"]
                for line in self.api.requests[batch_id]
            }
        if self.kind == "openai":
            return {line["body"]["messages"][0]["content"]: line["custom_id"] for line in self.api.lines(batch_id)}
        content = self.api.files[self.api.batch(batch_id)["metadata"]["inputConfig"]["fileName"]]
        found = [json.loads(line) for line in content.splitlines()]
        return {line["request"]["contents"][0]["parts"][0]["text"]: line["key"] for line in found}

    def end(self, batch_id: str, outcome: Callable[[str], str]) -> None:
        """End a batch; each line is ok, error, expired or cancelled, by its prompt."""
        made = {line_id: outcome(asks) for asks, line_id in self.lines(batch_id).items()}
        over = next((status for status in ("expired", "cancelled") if status in made.values()), "completed")
        if self.kind == "openai":
            words: dict[str, int | str] = {"ok": 200, "error": 400, over: f"batch_{over}"}
            self.api.end(batch_id, over, {name: words[what] for name, what in made.items()})
        elif self.kind == "anthropic":
            names = {"ok": "succeeded", "error": "errored", "cancelled": "canceled", "expired": "expired"}
            self.api.end(batch_id, {name: names[what] for name, what in made.items()})
        else:
            state = "SUCCEEDED" if over == "completed" else over.upper()
            self.api.end(batch_id, f"BATCH_STATE_{state}", made)

    async def ended(self, batch: Batch) -> Batch:
        client = self.client
        async with asyncio.timeout(60):
            while (now := await client.batches.retrieve(batch.id)).status not in FINAL:
                await asyncio.sleep(0.1)
        return now

    async def results(self, *file_ids: str | None) -> dict[str, Any]:
        found: list[Any] = []
        for file_id in file_ids:
            if file_id is not None:
                text = (await self.client.files.content(file_id)).text
                found += [json.loads(line) for line in text.splitlines()]
        assert len({line["custom_id"] for line in found}) == len(found)
        return {line["custom_id"]: line for line in found}


async def until(holds: Callable[[], bool], within_s: float = 60) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.05)


@asynccontextmanager
async def scene(
    kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch, batch_window: str = "24h", margin: str = "1m"
) -> AsyncIterator[Scene]:
    monkeypatch.setenv("PROVIDER_KEY", "key")
    api: Any = KINDS[kind](now=lambda: dt.datetime.now(dt.UTC))
    async with api.server as server:
        made = Scene(kind, api, folder)
        made.config.write_text(
            f'[server]\nport = 0\n[store]\nurl = "{migrated_url(folder)}"\nlease = "3s"\n'
            f'[lanes]\nmargin = "{margin}"\n'
            f'[[venue]]\nname = "provider"\nurl = "{server.url}/v1"\nkind = "{kind}"\napi_key_env = "PROVIDER_KEY"\n'
            'models = { m = "org-m" }\nbatch = true\nbatch_poll = "200ms"\n'
            f'batch_window = "{batch_window}"\n'
            "[venue.price]\ninput_usd_per_mtok = 1.0\noutput_usd_per_mtok = 4.0\n",
            encoding="utf-8",
        )
        made.start()
        try:
            yield made
        finally:
            for client in made.clients:
                await client.close()
            if made.gateway is not None:
                await asyncio.to_thread(made.gateway.stop)


@pytest.mark.parametrize("kind", list(KINDS))
async def test_only_unanswered_lines_are_resubmitted(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(kind, tmp_path, monkeypatch) as there:
        batch = await there.submit(7)
        first = await there.submitted(1)
        assert len(there.lines(first)) == 7
        there.end(
            first, lambda asks: {"number 2": "error", "number 4": "expired", "number 5": "expired"}.get(asks, "ok")
        )
        second = await there.submitted(2)
        assert set(there.lines(second)) == {"number 4", "number 5"}
        there.end(second, lambda _: "ok")
        done = await there.ended(batch)
        assert done.status == "completed"
        assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (7, 6, 1)  # type: ignore[union-attr]
        results = await there.results(done.output_file_id, done.error_file_id)
        assert set(results) == {f"line {number}" for number in range(7)}
        assert results["line 2"]["response"]["status_code"] == 400
        body = results["line 4"]["response"]["body"]
        assert body["object"] == "chat.completion"
        assert body["usage"]["total_tokens"] > 0
        assert len(there.api.batches) == 2


@pytest.mark.parametrize("kind", list(KINDS))
async def test_killed_submission_is_not_repeated(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(kind, tmp_path, monkeypatch) as there:
        create = there.api.create

        def create_and_kill(*arguments: Any) -> Any:  # noqa: ANN401
            made = create(*arguments)
            there.kill()  # it is submitted, and its id was never stored
            there.api.create = create
            return made

        there.api.create = create_and_kill
        there.api.crash_after_create = True
        batch = await there.submit(3)
        only = await there.submitted(1)
        there.start()
        await asyncio.sleep(1)  # several rounds
        assert len(there.api.batches) == 1
        there.end(only, lambda _: "ok")
        done = await there.ended(batch)
        assert (done.status, done.request_counts.completed) == ("completed", 3)  # type: ignore[union-attr]
        assert len(there.api.batches) == 1


async def test_restarted_gateway_collects_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene("anthropic", tmp_path, monkeypatch) as there:
        batch = await there.submit(3)
        only = await there.submitted(1)
        await until(lambda: only in there.api.polled)  # its id is written down
        there.kill()
        there.end(only, lambda _: "ok")
        there.start()
        done = await there.ended(batch)
        assert (done.status, done.request_counts.completed) == ("completed", 3)  # type: ignore[union-attr]
        assert len(there.api.batches) == 1


async def test_foreign_batches_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing tells Anthropic's batches apart before they are done, but what was never sent cannot be there."""
    async with scene("anthropic", tmp_path, monkeypatch) as there:
        there.api.create([{"custom_id": f"theirs-{number}", "params": {}} for number in range(3)])
        batch = await there.submit(3)
        there.end(await there.submitted(2), lambda _: "ok")
        assert (await there.ended(batch)).status == "completed"


async def test_cancellation_reaches_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene("openai", tmp_path, monkeypatch) as there:
        batch = await there.submit(4)
        only = await there.submitted(1)
        await there.client.batches.cancel(batch.id)
        await until(lambda: there.api.batch(only)["status"] == "cancelling")
        there.end(only, lambda asks: "ok" if asks in {"number 0", "number 1"} else "cancelled")
        done = await there.ended(batch)
        assert done.status == "cancelled"
        results = await there.results(done.output_file_id, done.error_file_id)
        codes = {name: (each["error"] or {}).get("code") for name, each in results.items()}
        assert codes == {"line 0": None, "line 1": None, "line 2": "batch_cancelled", "line 3": "batch_cancelled"}


async def test_unconfirmed_cancellation_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene("openai", tmp_path, monkeypatch) as there:
        batch = await there.submit(2)
        only = await there.submitted(1)
        await there.client.batches.cancel(batch.id)
        await until(lambda: there.api.batch(only)["status"] == "cancelling")
        with contextlib.closing(sqlite3.connect(tmp_path / "gateway.db", isolation_level=None, timeout=30)) as store:
            store.execute("UPDATE batches SET cancelling_s = cancelling_s - 601")  # OpenAI's ten minutes are over
            assert (await there.ended(batch)).status == "cancelled"
            await until(lambda: store.execute("SELECT * FROM chunks").fetchone() is None)


async def test_requests_return_from_unknown_venue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The venue that has a batch is not configured any more: another answers it, in the last ten minutes."""
    async with scene("openai", tmp_path, monkeypatch) as there:
        batch = await there.submit(3)
        await there.submitted(1)
        there.kill()
        with contextlib.closing(sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)) as store:
            passed_s = (24 * 3600 - 600,) * 2
            store.execute("UPDATE requests SET arrived_s = arrived_s - ?, deadline_s = deadline_s - ?", passed_s)
        text = there.config.read_text().replace('name = "provider"', 'name = "other"').replace("batch = true\n", "")
        there.config.write_text(text)
        there.start()
        done = await there.ended(batch)
        assert (done.status, done.request_counts.completed) == ("completed", 3)  # type: ignore[union-attr]


async def test_unsupported_line_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene("anthropic", tmp_path, monkeypatch) as there:
        batch = await there.submit(3, logit_bias={"1": 2})
        only = await there.submitted(1)
        assert set(there.lines(only)) == {"number 1", "number 2"}
        there.end(only, lambda _: "ok")
        done = await there.ended(batch)
        assert (done.request_counts.completed, done.request_counts.failed) == (2, 1)  # type: ignore[union-attr]
        errors = await there.results(done.error_file_id)
        error = errors["line 0"]["response"]["body"]["error"]
        assert (error["param"], error["code"]) == ("logit_bias", "unsupported_parameter")


async def test_fruitless_batches_go_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider forgets the first batch, and completes the second without a file."""
    async with scene("openai", tmp_path, monkeypatch) as there:
        batch = await there.submit(3)
        there.api.forgotten.add(await there.submitted(1))
        there.api.batch(await there.submitted(2))["status"] = "completed"
        done = await there.ended(batch)
        assert (done.status, done.request_counts.completed) == ("completed", 3)  # type: ignore[union-attr]
        assert len(there.api.batches) == 2
        assert len(there.api.calls) == 3


async def test_lost_lines_have_an_attempt_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that the provider leaves out and one that it answers with 500 are submitted five times, then fail."""
    async with scene("openai", tmp_path, monkeypatch) as there:
        batch = await there.submit(3)
        for attempt in range(1, 6):
            submitted = await there.submitted(attempt)
            lines = there.lines(submitted)
            assert len(lines) == (3 if attempt == 1 else 2)
            outcome = {line_id: 500 if prompt == "number 1" else 200 for prompt, line_id in lines.items()}
            there.api.end(submitted, "completed", outcome)
            output = there.api.batch(submitted)["output_file_id"]
            kept = [line for line in there.api.files[output].splitlines() if lines["number 2"].encode() not in line]
            there.api.files[output] = b"".join(line + b"\n" for line in kept) + b"{broken\n"
        done = await there.ended(batch)
        assert (done.request_counts.completed, done.request_counts.failed) == (1, 2)  # type: ignore[union-attr]
        errors = await there.results(done.error_file_id)
        assert errors["line 1"]["response"]["status_code"] == 500
        assert errors["line 2"]["error"]["message"] == "provider left it out of its results"


async def test_refused_submission_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene("openai", tmp_path, monkeypatch) as there:
        there.api.refuses = True
        await there.submit(2)
        await until(lambda: "not today" in (tmp_path / "log").read_text())
        assert there.api.files == {}
        assert there.api.batches == []


async def test_each_way_is_booked_at_its_price(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of the batch API cost half of lines that go one by one and of calls: 1 token in, 1 out, $1 and $4."""
    async with scene("openai", tmp_path, monkeypatch) as there:
        long = await there.submit(1)
        there.end(await there.submitted(1), lambda _: "ok")
        assert (await there.ended(long)).status == "completed"
        assert (await there.ended(await there.submit(1, window="2s"))).status == "completed"
        await there.client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        assert there.gateway is not None
        await asyncio.to_thread(there.gateway.stop)
        there.gateway = None
        written = tmp_path / "ledger.csv"
        await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "meritorder", "ledger", "--config", str(there.config), "--out", str(written)],
            check=True,
        )
        with written.open(encoding="utf-8") as file:
            costs = [float(row["cost_usd"]) for row in csv.DictReader(file)]
        assert costs == pytest.approx([2.5e-6, 5e-6, 5e-6])


@pytest.mark.parametrize("hangs", [False, True])
async def test_silent_provider_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, hangs: bool
) -> None:
    """Requests that a batch API does not answer are taken back in time to be answered one by one."""
    async with scene("openai", tmp_path, monkeypatch, batch_window="2s", margin="1s") as there:
        batch = await there.submit(3, window="12s")
        only = await there.submitted(1)
        there.api.hangs = hangs
        done = await there.ended(batch)
        assert (done.status, done.request_counts.completed) == ("completed", 3)  # type: ignore[union-attr]
        assert there.api.batch(only)["status"] == ("in_progress" if hangs else "cancelling")
        assert len(there.api.calls) == 3
