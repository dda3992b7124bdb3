"""The whole loop on a modelled engine: what a plan foretold and what came; 1,000 jobs beside chats, quoted and paid.

python -m bench.loop JOBS NIGHTS   # fewer jobs, or a shorter day
"""

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import numpy as np

from bench.tour.__main__ import Progress, Tour
from bench.tour.service import Commands
from bench.tour.traffic import CHAT, REPORTS, TIMEOUT_S, Request, chat, send
from meritorder.errors import MeritorderError
from meritorder.gateway.app.client import FINAL_STATUSES
from meritorder.gateway.workers.quoting import PATIENCE
from meritorder.metering.capacity import US_PER_S
from meritorder.metering.sharing import WINDOW_US

JOBS: Final = 1000
NIGHTS: Final = 3
MAX_ERROR: Final = 0.15
_AT_ONCE: Final = 8
_REQUESTS: Final = (2, 6)
_WORDS: Final = (5, 15)
_TOKENS: Final = (4, 12)
_POLL_S: Final = 0.5
_CHATS_PER_S: Final = 0.5
_CHATS_AT_ONCE: Final = 100
_ENDPOINT: Final = "/v1/chat/completions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A small job that has ended: what it was quoted and cost, and whether it was in time."""

    quoted_usd: float
    paid_usd: float
    in_time: bool


def run(jobs: int = JOBS, nights: int = NIGHTS) -> dict[str, Any]:
    """Serve a day of some nights in real time and as planned, then run jobs; return how far foresight was off."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tour = Tour(folder, "modelled", nights)
        progress = tour.take()
        outcome = tour.outcome(progress)
        ended = _run_jobs(folder, progress, jobs)
    report = outcome.planned.report
    figures = outcome.figures("median", "p99")
    return {
        "requests": len(outcome.planned.rows),
        "late": report["deadlines"]["missed"],
        "cost_of_a_request": outcome.planned.usd_per_request / outcome.realtime.usd_per_request,
        "came_against_foretold": {figure.name: figure.difference for figure in figures},
        "within_15_percent": all(abs(figure.difference) <= MAX_ERROR for figure in figures),
        "saved_usd": report["saved_usd"],
        "saved_interval": report["saved_interval"],
        "jobs": _errors(ended),
    }


def _errors(jobs: Sequence[Job]) -> dict[str, Any]:
    quoted, paid = (np.array([getattr(job, name) for job in jobs]) for name in ("quoted_usd", "paid_usd"))
    errors = np.abs(paid / quoted - 1)
    return {
        "jobs": len(jobs),
        "late": sum(not job.in_time for job in jobs),
        "paid_against_quoted": float(paid.sum() / quoted.sum() - 1),
        "median_error": float(np.median(errors)),
        "p90_error": float(np.quantile(errors, 0.9)),
        "within_15_percent": float(np.mean(errors <= MAX_ERROR)),
    }


def _run_jobs(folder: Path, progress: Progress, count: int) -> list[Job]:
    """Run jobs as the tenant of reports, some at once, beside chats on the gateway of the tour."""
    with Commands(folder=folder).server("serve", "--config", "gateway.toml") as url:
        return asyncio.run(_beside_chats(url, progress.keys, count))


async def _beside_chats(url: str, keys: Mapping[str, str], count: int) -> list[Job]:
    chats = asyncio.create_task(_chats(url, keys))
    try:
        return await _all_jobs(url, keys[REPORTS], count)
    finally:
        chats.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await chats


async def _chats(url: str, keys: Mapping[str, str]) -> None:
    """Send chats at random times until cancelled."""
    draw = np.random.default_rng(1)
    while True:
        at_s = np.cumsum(draw.exponential(1 / _CHATS_PER_S, _CHATS_AT_ONCE))
        chats = [
            Request(at_s=float(time_s), workload=CHAT, words=int(draw.integers(*_WORDS)), tokens=_tokens(draw))
            for time_s in at_s
        ]
        await send(url, keys, chats, time.time())


async def _all_jobs(url: str, key: str, count: int) -> list[Job]:
    draw, turns = np.random.default_rng(0), asyncio.Semaphore(_AT_ONCE)
    files = [_lines(draw) for _ in range(count)]
    async with aiohttp.ClientSession(
        url, headers={"Authorization": f"Bearer {key}"}, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)
    ) as session:

        async def in_turn(number: int) -> Job:
            async with turns:
                batch_id = await _run_job(session, files[number], PATIENCE[number % len(PATIENCE)])
            return await _receipt(session, batch_id)

        return await asyncio.gather(*map(in_turn, range(count)))


def _lines(draw: np.random.Generator) -> str:
    """Return the input file of a job."""
    bodies = [
        chat(
            Request(
                at_s=float(draw.uniform()), workload=REPORTS, words=int(draw.integers(*_WORDS)), tokens=_tokens(draw)
            )
        )
        for _ in range(draw.integers(*_REQUESTS))
    ]
    lines = [
        {"custom_id": str(number), "method": "POST", "url": _ENDPOINT, "body": body}
        for number, body in enumerate(bodies)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


def _tokens(draw: np.random.Generator) -> int:
    return int(draw.integers(*_TOKENS))


async def _run_job(session: aiohttp.ClientSession, lines: str, patience: str) -> str:
    """Upload a job, take the quote for its patience, and return its id when it has ended."""
    form = aiohttp.FormData({"purpose": "batch"})
    form.add_field("file", lines.encode(), filename="job.jsonl", content_type="application/jsonl")
    async with session.post("/v1/files", data=form) as answer:
        file_id = (await _object(answer))["id"]
    async with session.post("/v1/quotes", json={"input_file_id": file_id, "endpoint": _ENDPOINT}) as answer:
        quote = await _object(answer)
    batch = {"input_file_id": file_id, "endpoint": _ENDPOINT, "completion_window": patience}
    async with session.post("/v1/batches", json=batch | {"metadata": {"quote_id": quote["id"]}}) as answer:
        batch_id: str = (await _object(answer))["id"]
    while True:
        async with session.get(f"/v1/batches/{batch_id}") as answer:
            if (await _object(answer))["status"] in FINAL_STATUSES:
                return batch_id
        await asyncio.sleep(_POLL_S)


async def _receipt(session: aiohttp.ClientSession, batch_id: str) -> Job:
    """Return what the receipt of a job says, once there is one."""
    while True:
        async with session.get(f"/v1/batches/{batch_id}/receipt") as answer:
            body = await _object(answer)
            if answer.status == 200:
                receipt = body["receipt"]
                return Job(
                    quoted_usd=float(receipt["quoted_usd"]),
                    paid_usd=float(receipt["paid_usd"]),
                    in_time=receipt["deadline_kept"],
                )
        await asyncio.sleep(WINDOW_US / US_PER_S / 4)


async def _object(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    if answer.status not in {200, 202}:
        raise MeritorderError(f"{answer.url} answered {answer.status}: {(await answer.text())[:200]}")
    body: dict[str, Any] = await answer.json()
    return body


if __name__ == "__main__":
    import sys

    print(json.dumps(run(*map(int, sys.argv[1:])), indent=1))
