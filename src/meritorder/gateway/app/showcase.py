"""Both lanes on the local engine, to be looked at: somebody asks in real time while a batch fills the gaps."""

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
from meritorder.gateway.app.client import Client
from meritorder.gateway.venues.llamacpp import MODEL, local_engine

_QUESTIONS: Final = 10
_PAUSE_S: Final = 1.0
_LINES: Final = 24
_TOKENS: Final = 24
_FINAL: Final = frozenset({"completed", "failed", "expired", "cancelled"})
_LONGEST_S: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What was seen.

    Args:
        ttft_alone_s: Median time to the first token without a batch.
        ttft_beside_s: The same beside it.
        questions: Real-time requests in each of the two.
        lines: Lines of the batch.
        answered: Of these, answered.
        batch_s: Time from its submission to its end.
        tokens: Tokens that it made.
        lost_tokens: Tokens made for it and thrown away, to make room for real time.
    """

    ttft_alone_s: float
    ttft_beside_s: float
    questions: int
    lines: int
    answered: int
    batch_s: float
    tokens: int
    lost_tokens: int


def show(said: Callable[[str], None]) -> Shown:
    """Run the gateway on the local engine, and both lanes through it.

    Args:
        said: Told what is being done.

    Raises:
        MissingExtraError: The local engine is not installed.
        ConfigError: The gateway did not start, or the batch did not end.
    """
    local_engine()  # or say what is missing
    with tempfile.TemporaryDirectory(prefix="meritorder-") as name:
        said("starting the gateway and its engine")
        command = [sys.executable, "-m", "meritorder", "serve", "--local", "--port", "0"]
        process = subprocess.Popen(command, cwd=name, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603
        try:
            url = process.stdout.readline().strip().rpartition(" ")[2] if process.stdout else ""
            if not url:
                raise ConfigError("the gateway did not start", where="demo", fix="try `meritorder serve --local`")
            return _both(url, Path(name), said)
        finally:
            process.terminate()
            process.communicate()


def _both(url: str, folder: Path, said: Callable[[str], None]) -> Shown:
    asyncio.run(_questions(url, 1))  # the engine starts with the first
    said("real time alone")
    alone = asyncio.run(_questions(url, _QUESTIONS))
    path = folder / "batch.jsonl"
    path.write_text("".join(_line(number) for number in range(_LINES)), encoding="utf-8")
    with Client(url, "") as client:
        began_s = time.monotonic()
        batch = client.submit(path, "1h")
        said("real time, and a batch in its gaps")
        beside = asyncio.run(_questions(url, _QUESTIONS))
        while batch["status"] not in _FINAL:
            if time.monotonic() - began_s > _LONGEST_S:
                raise ConfigError("the batch did not end in time", where="demo")
            time.sleep(0.2)
            batch = client.batch(batch["id"])
        took_s = time.monotonic() - began_s
        time.sleep(1.0)  # the ledger is written
        spent = [row for row in client.status()["ledger"] if row["lane"] == "deferrable"]
    return Shown(
        ttft_alone_s=statistics.median(alone),
        ttft_beside_s=statistics.median(beside),
        questions=_QUESTIONS,
        lines=_LINES,
        answered=batch["request_counts"]["completed"],
        batch_s=took_s,
        tokens=batch["usage"]["output_tokens"],
        lost_tokens=sum(row["lost_tokens"] for row in spent),
    )


async def _questions(url: str, count: int) -> list[float]:
    """Ask, one question after another, and return the times to the first token."""
    times_s = []
    async with aiohttp.ClientSession() as session:
        for number in range(count):
            began_s = time.monotonic()
            body = _body(f"Name a river, number {number}.") | {"stream": True}
            async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
                async for _ in answer.content.iter_any():
                    times_s.append(time.monotonic() - began_s)
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
