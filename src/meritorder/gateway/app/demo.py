"""A demonstration on the local engine: real-time questions while a batch backfills the idle capacity."""

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from meritorder.errors import ConfigError
from meritorder.gateway.app.client import FINAL_STATUSES, GatewayClient
from meritorder.gateway.venues.llamacpp import MODEL, local_engine

_QUESTIONS: Final = 10
_PAUSE_S: Final = 1.0
_LINES: Final = 24
_TOKENS: Final = 24
_TIMEOUT_S: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """Measurements of the demonstration.

    Args:
        ttft_alone_s: Median time to the first token without a batch.
        ttft_with_batch_s: The same with a batch in progress.
        questions: Real-time requests in each of the two runs.
        lines: Requests of the batch.
        answered: Requests of the batch that succeeded.
        batch_s: Time from the batch's submission to its completion.
        tokens: Output tokens of the batch.
        lost_tokens: Output tokens of the batch lost to preemption by real-time requests.
    """

    ttft_alone_s: float
    ttft_with_batch_s: float
    questions: int
    lines: int
    answered: int
    batch_s: float
    tokens: int
    lost_tokens: int


def run_demo(report: Callable[[str], None]) -> DemoResult:
    """Run a gateway on the local engine, send both lanes through it, and return the measurements.

    Args:
        report: Called with each step as it begins.

    Raises:
        MissingExtraError: The local engine is not installed.
        ConfigError: The gateway did not start, or the batch did not finish.
    """
    local_engine()  # raises if it is not installed
    with tempfile.TemporaryDirectory(prefix="meritorder-") as name:
        report("starting the gateway and its engine")
        command = [sys.executable, "-m", "meritorder", "serve", "--local", "--port", "0"]
        process = subprocess.Popen(command, cwd=name, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603
        try:
            url = process.stdout.readline().strip().rpartition(" ")[2] if process.stdout else ""
            if not url:
                raise ConfigError("the gateway did not start", where="demo", fix="try `meritorder serve --local`")
            return _run_both_lanes(url, Path(name), report)
        finally:
            process.terminate()
            process.communicate()


def _run_both_lanes(url: str, folder: Path, report: Callable[[str], None]) -> DemoResult:
    asyncio.run(_ask(url, 1))  # the first request starts the engine
    report("real time alone")
    alone = asyncio.run(_ask(url, _QUESTIONS))
    path = folder / "batch.jsonl"
    path.write_text("".join(_line(number) for number in range(_LINES)), encoding="utf-8")
    with GatewayClient(url, "") as client:
        started_s = time.monotonic()
        batch = client.submit(path, "1h")
        report("real time with a batch in progress")
        with_batch = asyncio.run(_ask(url, _QUESTIONS))
        while batch["status"] not in FINAL_STATUSES:
            if time.monotonic() - started_s > _TIMEOUT_S:
                raise ConfigError("the batch did not finish in time", where="demo")
            time.sleep(0.2)
            batch = client.batch(batch["id"])
        batch_s = time.monotonic() - started_s
        time.sleep(1.0)  # until the ledger is written
        rows = [row for row in client.status()["ledger"] if row["lane"] == "deferrable"]
    return DemoResult(
        ttft_alone_s=statistics.median(alone),
        ttft_with_batch_s=statistics.median(with_batch),
        questions=_QUESTIONS,
        lines=_LINES,
        answered=batch["request_counts"]["completed"],
        batch_s=batch_s,
        tokens=batch["usage"]["output_tokens"],
        lost_tokens=sum(row["lost_tokens"] for row in rows),
    )


async def _ask(url: str, count: int) -> list[float]:
    """Ask questions one after another, and return their times to first token."""
    times_s = []
    async with aiohttp.ClientSession() as session:
        for number in range(count):
            started_s = time.monotonic()
            body = _body(f"Name a river, number {number}.") | {"stream": True}
            async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
                async for _ in answer.content.iter_any():
                    times_s.append(time.monotonic() - started_s)
                    break
                await answer.read()
            await asyncio.sleep(_PAUSE_S if count > 1 else 0.0)
    return times_s


def _body(question: str) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": question}], "max_tokens": _TOKENS}


def _line(number: int) -> str:
    body = _body(f"Write a sentence about the number {number}.")
    line = {"custom_id": f"line-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(line) + "\n"
