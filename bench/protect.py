"""Real-time latency on one engine, alone and beside a batch, as plain ratios of the same arrivals.

Idle capacity used is the deferrable work done / (what the saturated engine can do - real-time work); requests of both
lanes are the same work. With the controller off, deferrable work takes every sequence and is preempted only if no
sequence is free for real time.
"""

import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import numpy as np
from openai import OpenAI

from bench._gateway import Process
from bench._process import ROOT
from meritorder.gateway.venues.llamacpp import MAX_SEQUENCES, MODEL
from meritorder.gateway.venues.ports import ReservedPort

_WORDS: Final = 24
_TOKENS: Final = 24
_BUSY_SHARE: Final = 0.3
_TPOT_FACTOR: Final = 8.0  # promised TPOT / TPOT alone
_WARM_S: Final = 15.0  # the sequences fill up, and the step times become known
_SATURATED_S: Final = 30.0
_PROMPT_TOKENS: Final = 75  # of a prompt with these words, by the tokenizer of the local model
_STEP_TOKENS: Final = 64
_RESAMPLES: Final = 1000
_VOCABULARY: Final = ("river", "stone", "light", "paper", "window", "garden", "winter", "engine", "copper", "market")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setting:
    """An engine to measure on.

    Args:
        start: Starts one.
        copies: Engines that are measured at the same time, each with a gateway and arrivals of its own.
        requests: Real-time requests per arm, over all copies.
        tail: Quantile of the ratios, for as many requests.
    """

    start: "Callable[[], AbstractContextManager[_Engine]]"
    copies: int
    requests: int
    tail: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Engine:
    """A running engine; its longest step holds a prefill chunk and one token of every other sequence."""

    url: str
    max_sequences: int
    longest_step_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arm:
    """What one arm measured: latencies in the order of the arrivals, and the lines of the batch per second."""

    ttft_s: "np.ndarray[Any, np.dtype[np.float64]]"
    tpot_s: "np.ndarray[Any, np.dtype[np.float64]]"
    lines_per_s: float


def run(share: float = 1.0) -> dict[str, Any]:
    """Measure on a real engine, alone on the machine, then on two that model the timing of an engine without its work.

    Args:
        share: Share of the requests, for a shorter run.
    """
    settings = _settings()
    local = {"local": _measure(settings.pop("local"), share)}
    with ThreadPoolExecutor(len(settings)) as threads:
        return local | dict(
            zip(settings, threads.map(lambda setting: _measure(setting, share), settings.values()), strict=True)
        )


def _settings() -> dict[str, _Setting]:
    # Sequences, time per step, and time per token in it: a CPU gains nothing from batching, an accelerator nearly all.
    return {
        "local": _Setting(start=_local, copies=1, requests=600, tail=0.95),
        "like_a_processor": _Setting(start=partial(_modeled, 8, 0.0, 0.012), copies=8, requests=3000, tail=0.99),
        "like_an_accelerator": _Setting(start=partial(_modeled, 16, 0.03, 0.001), copies=4, requests=3000, tail=0.99),
    }


def _measure(setting: _Setting, share: float) -> dict[str, Any]:
    """Measure all arms on each copy, and pool them."""
    requests = max(10, int(setting.requests * share / setting.copies))

    def measure_copy(seed: int) -> dict[str, Any]:
        with setting.start() as engine:
            return _arms(engine, requests, seed)

    with ThreadPoolExecutor(setting.copies) as threads:
        copies = list(threads.map(measure_copy, range(setting.copies)))
    alone, backfill, off = (_pooled([copy[name] for copy in copies]) for name in ("alone", "backfill", "off"))
    idle_per_s = sum(copy["saturated_per_s"] - copy["rate_per_s"] for copy in copies)
    return {
        "requests": len(alone.ttft_s),
        "tail": setting.tail,
        **_ratios("", alone, backfill, setting.tail),
        "idle_capacity_used": backfill.lines_per_s / idle_per_s,
        **_ratios("controller_off_", alone, off, setting.tail),
        "controller_off_idle_capacity_used": off.lines_per_s / idle_per_s,
        **{
            f"{name}_{key}": value
            for name, arm in (("alone", alone), ("backfill", backfill), ("off", off))
            for key, value in _seconds(arm, setting.tail).items()
        },
    }


def _arms(engine: _Engine, requests: int, seed: int) -> dict[str, Any]:
    """Measure the arms one after another, with the same arrivals in each."""
    saturated_per_s = asyncio.run(_saturated(engine))
    rate_per_s = _BUSY_SHARE * saturated_per_s
    arrivals = partial(_arrivals, rate_per_s=rate_per_s, requests=requests, seed=seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with _gateway(folder / "alone", engine, "") as url:
            ttft_s, tpot_s = asyncio.run(arrivals(url))
        alone = _Arm(ttft_s=ttft_s, tpot_s=tpot_s, lines_per_s=0.0)
        slo_ttft_s = 1.2 * float(np.quantile(ttft_s, 0.99)) + engine.longest_step_s
        slo = f'[lanes]\nttft = "{slo_ttft_s:.3f}s"\ntpot = "{_TPOT_FACTOR * float(np.median(tpot_s)):.3f}s"\n'
        lines = int(2 * requests / _BUSY_SHARE + _WARM_S * saturated_per_s)
        backfill = _beside(folder / "on", engine, slo, lines, arrivals)
        off = _beside(folder / "off", engine, slo + "backfill = false\n", lines, arrivals)
    return {
        "alone": alone,
        "backfill": backfill,
        "off": off,
        "saturated_per_s": saturated_per_s,
        "rate_per_s": requests / _span_s(rate_per_s, requests, seed),
    }


def _pooled(arms: list[_Arm]) -> _Arm:
    return _Arm(
        ttft_s=np.concatenate([arm.ttft_s for arm in arms]),
        tpot_s=np.concatenate([arm.tpot_s for arm in arms]),
        lines_per_s=sum(arm.lines_per_s for arm in arms),
    )


def _ratios(prefix: str, alone: _Arm, beside: _Arm, tail: float) -> dict[str, Any]:
    """Return the plain ratios of the tails, each with a 90 % bootstrap interval over the arrivals."""
    figures: dict[str, Any] = {}
    draws = np.random.default_rng(0).integers(0, len(alone.ttft_s), (_RESAMPLES, len(alone.ttft_s)))
    for name in ("ttft_s", "tpot_s"):
        below, above = getattr(alone, name), getattr(beside, name)
        resampled = np.quantile(above[draws], tail, axis=1) / np.quantile(below[draws], tail, axis=1)
        key = f"{prefix}{name.removesuffix('_s')}_ratio"
        figures[key] = float(np.quantile(above, tail) / np.quantile(below, tail))
        figures[f"{key}_interval"] = [float(bound) for bound in np.quantile(resampled, (0.05, 0.95))]
    return figures


def _seconds(arm: _Arm, tail: float) -> dict[str, float]:
    return {
        f"{name}_{label}": float(np.quantile(getattr(arm, name), share))
        for name in ("ttft_s", "tpot_s")
        for label, share in (("p50", 0.5), ("tail", tail))
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
    port = ReservedPort()
    command = [sys.executable, "-m", "meritorder.gateway.venues.llamacpp", "--port", str(port.number)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port.number}"
    try:
        asyncio.run(_ready(url))
        yield _Engine(url=url, max_sequences=MAX_SEQUENCES, longest_step_s=asyncio.run(_longest_step_s(url)))
    finally:
        process.kill()
        process.wait()
        port.release()


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


async def _ask(session: aiohttp.ClientSession, url: str, number: int) -> tuple[float, float]:
    """Return the TTFT and the TPOT of one request."""
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
    return first_s - began_s, (last_s - first_s) / max(1, tokens - 1)


def _has_content(chunk: dict[str, Any]) -> bool:
    return any(choice["delta"].get("content") for choice in chunk["choices"])


def _times_s(rate_per_s: float, requests: int, seed: int) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Return Poisson arrivals."""
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate_per_s, requests))


def _span_s(rate_per_s: float, requests: int, seed: int) -> float:
    return float(_times_s(rate_per_s, requests, seed)[-1])


async def _arrivals(url: str, *, rate_per_s: float, requests: int, seed: int) -> tuple[Any, Any]:
    """Send requests at random times, equal in every arm and independent of earlier answers."""
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        tasks, began_s = [], time.perf_counter()
        for number, at_s in enumerate(_times_s(rate_per_s, requests, seed)):
            await asyncio.sleep(max(0.0, began_s + at_s - time.perf_counter()))
            tasks.append(asyncio.create_task(_ask(session, url, 1_000_000 + number)))
        ttft_s, tpot_s = zip(*await asyncio.gather(*tasks), strict=True)
        return np.array(ttft_s), np.array(tpot_s)


async def _saturated(engine: _Engine) -> float:
    """Return the requests per second of an engine whose sequences are all in use, without a gateway."""
    done = 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:

        async def ask(worker: int) -> None:
            nonlocal done
            number = 2_000_000 + 10_000 * worker
            # Not in lockstep: whole batches that end together would make the rate a matter of luck.
            await asyncio.sleep(_WARM_S / 2 * worker / engine.max_sequences)
            while True:
                await _ask(session, engine.url, number := number + 1)
                done += 1

        workers = [asyncio.create_task(ask(worker)) for worker in range(engine.max_sequences)]
        await asyncio.sleep(_WARM_S)
        before, began_s = done, time.perf_counter()
        await asyncio.sleep(_SATURATED_S)
        per_s = (done - before) / (time.perf_counter() - began_s)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return per_s


async def _longest_step_s(url: str) -> float:
    """Return the longest step, from the time per prompt token and per output token of single requests."""
    # The server closes connections that it announces as keep-alive.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        answers = [await _ask(session, url, number) for number in range(6)][1:]
    ttft_s, tpot_s = np.median(np.array(answers), axis=0)
    return float(_STEP_TOKENS * ttft_s / _PROMPT_TOKENS + (MAX_SEQUENCES - 1) * tpot_s)


def _submit(url: str, lines: int) -> tuple[OpenAI, str]:
    client = OpenAI(base_url=f"{url}/v1", api_key="none")
    requests = [
        {"custom_id": str(number), "method": "POST", "url": "/v1/chat/completions", "body": _body(number)}
        for number in range(lines)
    ]
    content = b"".join(json.dumps(request).encode() + b"\n" for request in requests)
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    while not _done(client, batch.id):
        time.sleep(0.2)
    return client, batch.id


def _done(client: OpenAI, batch_id: str) -> int:
    counts = client.batches.retrieve(batch_id).request_counts
    return counts.completed if counts else 0


def _beside(folder: Path, engine: _Engine, slo: str, lines: int, arrivals: Callable[[str], Any]) -> _Arm:
    """Measure real time beside a batch that does not end before it."""
    with _gateway(folder, engine, slo) as url:
        client, batch_id = _submit(url, lines)
        time.sleep(_WARM_S)
        before, began_s = _done(client, batch_id), time.perf_counter()
        ttft_s, tpot_s = asyncio.run(arrivals(url))
        lines_per_s = (_done(client, batch_id) - before) / (time.perf_counter() - began_s)
        return _Arm(ttft_s=ttft_s, tpot_s=tpot_s, lines_per_s=lines_per_s)
