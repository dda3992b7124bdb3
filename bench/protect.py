"""Real-time latency on one engine: alone, beside a batch with backfill control, and with the controller off.

Off means that deferrable work takes every sequence and is preempted only if no sequence is free for real time.
"""

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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from openai import OpenAI

from bench._gateway import Process
from bench._process import ROOT
from meritorder.gateway.venues.llamacpp import MAX_SEQUENCES, MODEL

PHASE_S: Final = 80.0
_WORDS: Final = 24
_TOKENS: Final = 24
_LINES: Final = 5000
_BUSY_SHARE: Final = 0.3
_TPOT_FACTOR: Final = 8.0  # promised TPOT / TPOT alone
_WARM_S: Final = 10.0  # the sequences fill up
_MODELED_SHARE: Final = 0.6  # of a phase; modeled engines serve more requests in it
_OFF_SHARE: Final = 0.6
_BATCH_SHARE: Final = 1 / 3
_PROMPT_TOKENS: Final = 75  # of a prompt with these words, by the tokenizer of the local model
_STEP_TOKENS: Final = 64
# Sequences, time per step, and time per token in it: a CPU gains nothing from batching, an accelerator nearly all.
MODELED: Final = {"like_a_processor": (8, 0.0, 0.012), "like_an_accelerator": (16, 0.03, 0.001)}
_VOCABULARY: Final = ("river", "stone", "light", "paper", "window", "garden", "winter", "engine", "copper", "market")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    ttft_s: float
    tpot_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Engine:
    """A running engine; its longest step holds a prefill chunk and one token of every other sequence."""

    url: str
    max_sequences: int
    longest_step_s: float


def run(phase_s: float = PHASE_S) -> dict[str, Any]:
    """Measure on a real engine, and on two that model the timing of an engine without using the CPU."""
    return {**local(phase_s), **modeled(phase_s * _MODELED_SHARE)}


def local(phase_s: float) -> dict[str, Any]:
    """Measure on the real engine, alone on the machine."""
    with _local() as engine:
        return {"local": _on(engine, phase_s)}


def modeled(phase_s: float) -> dict[str, Any]:
    """Measure on the modeled engines in parallel, since they mostly sleep."""

    def measure(name: str) -> dict[str, Any]:
        with _modeled(*MODELED[name]) as engine:
            return _on(engine, phase_s)

    with ThreadPoolExecutor(len(MODELED)) as threads:
        return dict(zip(MODELED, threads.map(measure, MODELED), strict=True))


def _on(engine: _Engine, phase_s: float) -> dict[str, Any]:
    """Measure the phases one after another, with the same arrivals in each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        batch_per_s = _batch_alone(folder / "batch", engine, phase_s)
        rate_per_s = _BUSY_SHARE * batch_per_s
        with _gateway(folder / "alone", engine, "") as url:
            alone = asyncio.run(_arrivals(url, rate_per_s, phase_s))
        ttft_s, tpot_s = (
            _quantile([answer.ttft_s for answer in alone], 0.99),
            _median([answer.tpot_s for answer in alone]),
        )
        promise = (
            f'[lanes]\nttft = "{1.2 * ttft_s + engine.longest_step_s:.3f}s"\ntpot = "{_TPOT_FACTOR * tpot_s:.3f}s"\n'
        )
        with_backfill, done_per_s = _beside(folder / "on", engine, promise, rate_per_s, phase_s)
        off = promise + "backfill = false\n"
        without, done_off_per_s = _beside(folder / "off", engine, off, rate_per_s, phase_s * _OFF_SHARE)
    p99_s = _quantile([answer.ttft_s for answer in with_backfill], 0.99)
    return {
        "requests": len(alone),
        "longest_step_s": engine.longest_step_s,
        **_figures("alone", alone),
        **_figures("with_backfill", with_backfill),
        **_figures("controller_off", without),
        "ttft_p99_beyond_a_step_ratio": (p99_s - engine.longest_step_s) / ttft_s,
        "batch_alone_per_s": batch_per_s,
        "batch_with_realtime_per_s": done_per_s,
        "batch_controller_off_per_s": done_off_per_s,
        # The rate of a batch alone, minus the real-time rate: requests of both are equal work.
        "idle_capacity_used": done_per_s / max(batch_per_s - len(with_backfill) / phase_s, 1e-9),
    }


@contextmanager
def _modeled(max_sequences: int, step_s: float, token_s: float) -> Iterator[_Engine]:
    arguments = ["-m", "tests.peers.batching", "--max-sequences", str(max_sequences), "--step-s", str(step_s)]
    arguments += ["--token-s", str(token_s), "--budget-tokens", str(_STEP_TOKENS)]
    with tempfile.TemporaryDirectory() as folder, Process(arguments, Path(folder) / "log") as process:
        yield _Engine(
            url=process.url,
            max_sequences=max_sequences,
            longest_step_s=step_s + (max_sequences + _STEP_TOKENS) * token_s,
        )


@contextmanager
def _local() -> Iterator[_Engine]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "meritorder.gateway.venues.llamacpp", "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        asyncio.run(_ready(url))
        yield _Engine(url=url, max_sequences=MAX_SEQUENCES, longest_step_s=asyncio.run(_longest_step_s(url)))
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
def _gateway(folder: Path, engine: _Engine, promise: str) -> Iterator[str]:
    folder.mkdir()
    config = folder / "gateway.toml"
    config.write_text(
        f'[server]\nport = 0\nrequire_keys = false\n[store]\nurl = "sqlite:///{folder}/gateway.db"\n{promise}'
        f'[[venue]]\nname = "engine"\nurl = "{engine.url}/v1"\nkind = "llama.cpp"\nmodels = ["{MODEL}"]\n'
        f"max_concurrency = {engine.max_sequences}\n",
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
            if line.startswith(b"data: {") and _has_content(json.loads(line[6:])):
                last_s = time.perf_counter()
                first_s = first_s or last_s
                tokens += 1
    return _Answer(ttft_s=first_s - began_s, tpot_s=(last_s - first_s) / max(1, tokens - 1))


def _has_content(chunk: dict[str, Any]) -> bool:
    return any(choice["delta"].get("content") for choice in chunk["choices"])


async def _arrivals(url: str, rate_per_s: float, phase_s: float) -> list[_Answer]:
    """Send requests at random times, equal in every phase and independent of earlier answers."""
    draw = random.Random(7)  # noqa: S311 - arrivals
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        tasks, began_s, at_s, number = [], time.perf_counter(), 0.0, 1_000_000
        while (at_s := at_s + draw.expovariate(rate_per_s)) < phase_s:
            await asyncio.sleep(max(0.0, began_s + at_s - time.perf_counter()))
            tasks.append(asyncio.create_task(_ask(session, url, number := number + 1)))
        return list(await asyncio.gather(*tasks))


async def _longest_step_s(url: str) -> float:
    """Return the longest step, from the time per prompt token and per output token of single requests."""
    # The server closes connections that it announces as keep-alive.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        answers = [await _ask(session, url, number) for number in range(6)][1:]
    prompt_token_s = _median([answer.ttft_s for answer in answers]) / _PROMPT_TOKENS
    return _STEP_TOKENS * prompt_token_s + (MAX_SEQUENCES - 1) * _median([answer.tpot_s for answer in answers])


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


def _batch_alone(folder: Path, engine: _Engine, phase_s: float) -> float:
    """Return the lines per second of a batch without real-time requests."""
    with _gateway(folder, engine, "") as url:
        client, batch_id = _submit(url)
        time.sleep(_WARM_S)
        before, began_s = _done(client, batch_id), time.perf_counter()
        time.sleep(phase_s * _BATCH_SHARE)
        return (_done(client, batch_id) - before) / (time.perf_counter() - began_s)


def _beside(
    folder: Path, engine: _Engine, promise: str, rate_per_s: float, phase_s: float
) -> tuple[list[_Answer], float]:
    """Return the real-time answers beside a saturating batch, and the lines per second of the batch."""
    with _gateway(folder, engine, promise) as url:
        client, batch_id = _submit(url)
        time.sleep(_WARM_S)
        before, began_s = _done(client, batch_id), time.perf_counter()
        answers = asyncio.run(_arrivals(url, rate_per_s, phase_s))
        return answers, (_done(client, batch_id) - before) / (time.perf_counter() - began_s)


def _figures(name: str, answers: list[_Answer]) -> dict[str, float]:
    ttft_s, tpot_s = [answer.ttft_s for answer in answers], [answer.tpot_s for answer in answers]
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
