"""Real time beside a batch on one real engine: its latency alone, with backfill, and with the controller off."""

import asyncio
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from openai import OpenAI

from bench._gateway import Process
from bench._process import ROOT
from meritorder.gateway.llamacpp import MODEL, SEATS

PHASE_S: Final = 120.0
_WORDS: Final = 24
_TOKENS: Final = 24
_LINES: Final = 5000
_BUSY_SHARE: Final = 0.3
_STEP_TOKENS: Final = 64
_VOCABULARY: Final = ("river", "stone", "light", "paper", "window", "garden", "winter", "engine", "copper", "market")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    ttft_s: float
    tpot_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What the engine has done, by its own counters."""

    prompt_tokens: float
    prompt_s: float
    output_tokens: float
    output_s: float


def run(phase_s: float = PHASE_S) -> dict[str, Any]:
    """Measure the phases one after another, on one engine, each with the same arrivals."""
    with tempfile.TemporaryDirectory() as name, _engine() as engine:
        folder = Path(name)
        one_s = asyncio.run(_time_of_one(engine))
        rate_per_s = _BUSY_SHARE / one_s
        before = _work(engine)
        with _gateway(folder / "alone", engine, "") as url:
            alone = asyncio.run(_arrivals(url, rate_per_s, phase_s))
        step_s = _step_s(before, _work(engine))
        ttft_s, tpot_s = _quantile([each.ttft_s for each in alone], 0.99), _median([each.tpot_s for each in alone])
        promise = f'[lanes]\nttft = "{1.2 * ttft_s + step_s:.3f}s"\ntpot = "{4 * tpot_s:.3f}s"\n'
        batch_per_s = _batch_alone(folder / "batch", engine, promise, phase_s)
        with_backfill, done_per_s = _beside(folder / "on", engine, promise, rate_per_s, phase_s)
        without, done_off_per_s = _beside(folder / "off", engine, promise + "backfill = false\n", rate_per_s, phase_s)
    idle_per_s = max(batch_per_s - len(with_backfill) / phase_s, 1e-9)
    p99_s = _quantile([each.ttft_s for each in with_backfill], 0.99)
    return {
        "requests": len(alone),
        "step_in_progress_s": step_s,
        **_figures("alone", alone),
        **_figures("with_backfill", with_backfill),
        **_figures("controller_off", without),
        "ttft_p99_beyond_a_step_ratio": (p99_s - step_s) / ttft_s,
        "batch_alone_per_s": batch_per_s,
        "batch_with_realtime_per_s": done_per_s,
        "batch_controller_off_per_s": done_off_per_s,
        "idle_capacity_used": done_per_s / idle_per_s,
    }


@contextmanager
def _engine() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "meritorder.gateway.llamacpp", "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        asyncio.run(_ready(url))
        yield url
    finally:
        process.kill()
        process.wait()


async def _ready(url: str) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        while True:
            try:
                async with session.get(f"{url}/health") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


@contextmanager
def _gateway(folder: Path, engine: str, promise: str) -> Iterator[str]:
    folder.mkdir()
    config = folder / "gateway.toml"
    config.write_text(
        f'[server]\nport = 0\nrequire_keys = false\n[store]\nurl = "sqlite:///{folder}/gateway.db"\n{promise}'
        f'[[venue]]\nname = "engine"\nurl = "{engine}/v1"\nkind = "llama.cpp"\nmodels = ["{MODEL}"]\n'
        f"max_concurrency = {SEATS}\n",
        encoding="utf-8",
    )
    with Process(["-m", "meritorder", "serve", "--config", str(config)], folder / "log") as gateway:
        yield gateway.url


def _body(number: int, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    draw = random.Random(number)  # noqa: S311 - prompts that share no prefix
    words = " ".join(draw.choices(_VOCABULARY, k=_WORDS))
    message = {"role": "user", "content": f"{draw.random()} {words}"}
    return {"model": MODEL, "messages": [message], "max_tokens": _TOKENS, "ignore_eos": True, **more}


async def _ask(session: aiohttp.ClientSession, url: str, number: int) -> _Answer:
    began_s = time.perf_counter()
    first_s = last_s = 0.0
    tokens = 0
    body = _body(number, stream=True)
    async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.content:
            if line.startswith(b"data: {") and b'"content":"' in line:
                last_s = time.perf_counter()
                first_s = first_s or last_s
                tokens += 1
    return _Answer(ttft_s=first_s - began_s, tpot_s=(last_s - first_s) / max(1, tokens - 1))


async def _arrivals(url: str, rate_per_s: float, phase_s: float) -> list[_Answer]:
    """Ask at random times, the same in each phase, whatever became of those before."""
    draw = random.Random(7)  # noqa: S311 - arrivals
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        tasks, began_s, at_s, number = [], time.perf_counter(), 0.0, 1_000_000
        while (at_s := at_s + draw.expovariate(rate_per_s)) < phase_s:
            await asyncio.sleep(max(0.0, began_s + at_s - time.perf_counter()))
            tasks.append(asyncio.create_task(_ask(session, url, number := number + 1)))
        return list(await asyncio.gather(*tasks))


async def _time_of_one(engine: str) -> float:
    """Return how long a request takes alone, the first left out."""
    # It drops the connections that it says it keeps.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        took_s = []
        for number in range(6):
            began_s = time.perf_counter()
            await _ask(session, engine, number)
            took_s.append(time.perf_counter() - began_s)
        return _median(took_s[1:])


def _submit(url: str) -> tuple[OpenAI, str]:
    client = OpenAI(base_url=f"{url}/v1", api_key="none")
    lines = [
        {"custom_id": str(number), "method": "POST", "url": "/v1/chat/completions", "body": _body(number)}
        for number in range(_LINES)
    ]
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    while not _done(client, batch.id):
        time.sleep(0.2)
    return client, batch.id


def _done(client: OpenAI, batch_id: str) -> int:
    counts = client.batches.retrieve(batch_id).request_counts
    return counts.completed if counts else 0


def _batch_alone(folder: Path, engine: str, promise: str, phase_s: float) -> float:
    """Return how many lines a second the engine does when nothing else is there."""
    with _gateway(folder, engine, promise) as url:
        client, batch_id = _submit(url)
        time.sleep(15)  # the seats fill
        before, began_s = _done(client, batch_id), time.perf_counter()
        time.sleep(phase_s / 2)
        return (_done(client, batch_id) - before) / (time.perf_counter() - began_s)


def _beside(folder: Path, engine: str, promise: str, rate_per_s: float, phase_s: float) -> tuple[list[_Answer], float]:
    """Return what became of real time beside a saturating batch, and the lines a second of that."""
    with _gateway(folder, engine, promise) as url:
        client, batch_id = _submit(url)
        before, began_s = _done(client, batch_id), time.perf_counter()
        answers = asyncio.run(_arrivals(url, rate_per_s, phase_s))
        return answers, (_done(client, batch_id) - before) / (time.perf_counter() - began_s)


def _work(engine: str) -> _Work:
    async def read() -> str:
        async with aiohttp.ClientSession() as session, session.get(f"{engine}/metrics") as answer:
            return await answer.text()

    found = dict(line.split(" ")[:2] for line in asyncio.run(read()).splitlines() if line and not line.startswith("#"))
    return _Work(
        prompt_tokens=float(found["llamacpp:prompt_tokens_total"]),
        prompt_s=float(found["llamacpp:prompt_seconds_total"]),
        output_tokens=float(found["llamacpp:tokens_predicted_total"]),
        output_s=float(found["llamacpp:tokens_predicted_seconds_total"]),
    )


def _step_s(before: _Work, after: _Work) -> float:
    """Return the longest step: a part of a prompt, and a token for every other seat."""
    prompt_token_s = (after.prompt_s - before.prompt_s) / (after.prompt_tokens - before.prompt_tokens)
    output_token_s = (after.output_s - before.output_s) / (after.output_tokens - before.output_tokens)
    return _STEP_TOKENS * prompt_token_s + (SEATS - 1) * output_token_s


def _figures(name: str, answers: list[_Answer]) -> dict[str, float]:
    ttft_s, tpot_s = [each.ttft_s for each in answers], [each.tpot_s for each in answers]
    return {
        f"{name}_ttft_p50_s": _median(ttft_s),
        f"{name}_ttft_p99_s": _quantile(ttft_s, 0.99),
        f"{name}_tpot_p50_s": _median(tpot_s),
        f"{name}_tpot_p99_s": _quantile(tpot_s, 0.99),
    }


def _median(values: list[float]) -> float:
    return statistics.median(values)


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
