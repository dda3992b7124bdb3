"""Faulty answers of venues of every kind: what clients, other tenants and the gateway itself notice of them."""

import asyncio
import csv
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from bench._faulty import FAULTS, ODD, SECRET
from bench._gateway import Gateway, Process
from bench._process import ROOT
from bench.gateway import cores, load, new_key

CALLS: Final = 520
_FORMS: Final = ("whole", "stream", "held", "batch")
_DEFERRED: Final = ("held", "batch")
_DIALECTS: Final = ("anthropic", "gemini")
_DIALECT_SHARE: Final = 0.3
_ENGINE_SHARE: Final = 0.2
_CHAT: Final = "/v1/chat/completions"
_AT_ONCE: Final = 24
_WINDOW_S: Final = 60
_POLL_S: Final = 3.0
_RATE: Final = 50.0
_LOAD_S: Final = 5.0
_CALM_ROUNDS: Final = 3
_HEAL_S: Final = 120.0
# A fault that hangs ends by this time; good answers must not, however busy the machine is.
_LIMITS: Final = '[limits]\nrequest_time = "10s"\nattempts = 1\n'
_ERROR_KEYS: Final = {"message", "type", "param", "code"}
_MOST_TOKENS: Final = 10_000_000
_PROBLEMS: Final = (
    "unanswered",
    "plain_text_errors",
    "without_request_id",
    "private_parts_seen",
    "faults_taken_for_success",
    "good_answers_refused",
)


def run(calls: int = CALLS, window_s: int = _WINDOW_S) -> dict[str, Any]:
    """Make calls that are answered with faults while another tenant is served by another venue.

    Args:
        calls: How many; the kinds of faults and the forms of calls take turns.
        window_s: Window of batches; held calls have half of it.
    """
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        core, other = cores()
        stub = stack.enter_context(Process(["-m", "bench._stub"], folder / "stub.log", core=other))
        faulty = stack.enter_context(Process(["-m", "bench._faulty"], folder / "faulty.log", core=other))
        faulty_calls = list(_draw_calls(calls))
        more = _LIMITS + "".join(call.venue(faulty.url) for call in faulty_calls)
        key = new_key(folder, stub.url, "--tenant", "hurt", "--admin")
        other_key = new_key(folder, stub.url, "--tenant", "other")
        gateway = stack.enter_context(Gateway(folder, stub.url, keys=True, max_sequences=64, more=more, core=core))
        load(gateway.url, other_key, "whole", seconds=_LOAD_S, rate=_RATE, core=other)
        calm = [
            load(gateway.url, other_key, "whole", seconds=_LOAD_S, rate=_RATE, core=other) for _ in range(_CALM_ROUNDS)
        ]
        before_bytes = gateway.peak_rss_bytes()
        session = _Session(gateway.url, faulty.url, key, window_s)
        hurt: list[dict[str, float]] = []
        figures = asyncio.run(
            session.run(faulty_calls, lambda: hurt.append(_other_load(gateway.url, other_key, other)))
        )
        peak_bytes = gateway.peak_rss_bytes()
        gateway.stop()
        return {
            "calls": calls,
            **figures,
            "tracebacks_in_log": (folder / "gateway.log").read_text(encoding="utf-8").count("Traceback"),
            "peak_bytes": peak_bytes,
            "peak_bytes_before": before_bytes,
            "other_tenant_failed": sum("p50_s" not in measured for measured in hurt),
            **_compared(hurt, calm),
            **_ledger(folder, session.request_ids),
        }


@dataclass(frozen=True)
class _Call:
    """A call to a venue of its own, so that its circuit breaker stops no other call."""

    number: int
    form: str
    kind: str
    api: str

    @property
    def model(self) -> str:
        """The model that only this call's venue serves."""
        return f"faulty-{self.number}"

    def venue(self, url: str) -> str:
        """Return the venue's part of the configuration; a leaked place blocks it."""
        return (
            f'[[venue]]\nname = "{self.model}"\nurl = "{url}"\nkind = "{self.api}"\nmodels = ["{self.model}"]\n'
            "max_concurrency = 1\n[venue.price]\ninput_usd_per_mtok = 1.0\noutput_usd_per_mtok = 4.0\n"
        )

    def body(self, text: str) -> dict[str, Any]:
        """Return the request."""
        body = {"model": self.model, "messages": [{"role": "user", "content": text}], "max_tokens": 50}
        return body | ({"stream": True} if self.form == "stream" else {})

    @property
    def text(self) -> str:
        """The text that asks for the fault."""
        return f"fault:{self.kind}:{self.number}"


def _draw_calls(count: int) -> Iterator[_Call]:
    draw = random.Random(15)  # noqa: S311 - which faults
    kinds = [*FAULTS, *ODD]
    for number in range(count):
        kind = kinds[number // len(_FORMS) % len(kinds)]
        form, api = _FORMS[number % len(_FORMS)], "openai"
        if kind in FAULTS and draw.random() < _DIALECT_SHARE:
            api = draw.choice(_DIALECTS)
        elif form in _DEFERRED and draw.random() < _ENGINE_SHARE:
            api = "vllm"  # it streams what is deferred, and its load is read
        yield _Call(number, form, kind, api)


class _Session:
    """The client whose calls get faulty answers."""

    def __init__(self, url: str, venue_url: str, key: str, window_s: int) -> None:
        self._url, self._venue_url, self._window_s = url, venue_url, window_s
        self._headers = {"authorization": f"Bearer {key}"}
        self.request_ids: list[str] = []
        self.problems: Counter[str] = Counter()
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def run(self, calls: list[_Call], other_load: Callable[[], None]) -> dict[str, Any]:
        """Make all calls, then let the venues answer well, and see whether all are back."""
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector, headers=self._headers) as self._http:
            ended = asyncio.Event()
            measured = asyncio.create_task(self._measure(other_load, ended))
            await asyncio.gather(*(self._batch(call) if call.form == "batch" else self._alone(call) for call in calls))
            ended.set()
            await measured
            in_use = await self._places_in_use()
            faults = await self._text("POST", f"{self._venue_url}/heal")
            lost = await asyncio.gather(*(self._is_lost(call) for call in calls if call.api not in _DIALECTS))
            return {
                "faulty_answers": json.loads(faults)["faults"],
                **{name: self.problems[name] for name in _PROBLEMS},
                "places_in_use": in_use,
                "venues_out_for_good": sum(lost),
            }

    async def _measure(self, other_load: Callable[[], None], ended: asyncio.Event) -> None:
        while not ended.is_set():
            await asyncio.to_thread(other_load)

    async def _alone(self, call: _Call) -> None:
        async with self._slots:
            headers = {"Meritorder-Deadline": f"{self._window_s // 2}s"} if call.form == "held" else {}
            try:
                async with self._http.post(self._url + _CHAT, json=call.body(call.text), headers=headers) as reply:
                    self._judge(call, reply, await reply.read())
            except aiohttp.ClientError:
                self.problems["unanswered"] += 1

    def _judge(self, call: _Call, reply: aiohttp.ClientResponse, body: bytes) -> None:
        request_id = reply.headers.get("x-request-id")
        self.problems["without_request_id"] += request_id is None
        if request_id is not None and call.form != "held":
            self.request_ids.append(request_id)
        self.problems["private_parts_seen"] += _is_private(f"{reply.headers}".encode() + body)
        if reply.status >= 400:
            self.problems["plain_text_errors"] += not _is_error(body)
            self.problems["good_answers_refused"] += call.kind in ODD
            return
        failed = call.form == "stream" and any(_is_error(line[6:]) for line in body.split(b"\n"))
        self.problems["good_answers_refused"] += failed and call.kind in ODD
        self.problems["faults_taken_for_success"] += not failed and call.kind in FAULTS

    async def _batch(self, call: _Call) -> None:
        line = {"custom_id": call.model, "method": "POST", "url": _CHAT, "body": call.body(call.text)}
        form = aiohttp.FormData({"purpose": "batch"})
        form.add_field("file", json.dumps(line).encode(), filename="faults.jsonl")
        uploaded = json.loads(await self._text("POST", f"{self._url}/v1/files", data=form))
        fields = {"input_file_id": uploaded["id"], "endpoint": _CHAT, "completion_window": f"{self._window_s}s"}
        batch = json.loads(await self._text("POST", f"{self._url}/v1/batches", fields=fields))
        while batch["status"] in {"validating", "in_progress", "finalizing"}:
            await asyncio.sleep(_POLL_S)
            batch = json.loads(await self._text("GET", f"{self._url}/v1/batches/{batch['id']}"))
        files = [batch[name] for name in ("output_file_id", "error_file_id") if batch[name]]
        results = [await self._text("GET", f"{self._url}/v1/files/{file_id}/content") for file_id in files]
        self.problems["unanswered"] += len(results) != 1
        self.problems["private_parts_seen"] += any(_is_private(result) for result in results)
        succeeded = any((json.loads(result)["response"] or {}).get("status_code") == 200 for result in results)
        self.problems["faults_taken_for_success"] += succeeded and call.kind in FAULTS
        self.problems["good_answers_refused"] += not succeeded and call.kind in ODD

    async def _places_in_use(self) -> int:
        """Return how many requests the gateway counts as running."""
        ends_s = time.monotonic() + 15
        while True:
            metrics = (await self._text("GET", f"{self._url}/metrics")).decode()
            gauges = ("meritorder_realtime{", "meritorder_deferrable{")
            counts = [float(line.split()[-1]) for line in metrics.splitlines() if line.startswith(gauges)]
            if not any(counts) or time.monotonic() > ends_s:
                return int(sum(counts))
            await asyncio.sleep(0.5)

    async def _is_lost(self, call: _Call) -> bool:
        """Tell whether a venue that answers well again gets no requests, however long its clients wait."""
        ends_s = time.monotonic() + _HEAL_S
        while time.monotonic() < ends_s:
            async with self._slots, self._http.post(self._url + _CHAT, json=call.body("well?")) as reply:
                await reply.read()
                if reply.status == 200:
                    return False
            await asyncio.sleep(2.0)
        return True

    async def _text(
        self, method: str, url: str, *, data: aiohttp.FormData | None = None, fields: dict[str, str] | None = None
    ) -> bytes:
        async with self._http.request(method, url, data=data, json=fields) as reply:
            body = await reply.read()
            if reply.status != 200:
                raise RuntimeError(f"{url}: {reply.status} {body[:500]!r}")
            return body


def _is_private(text: bytes) -> bool:
    return any(part in text for part in (SECRET.encode(), b"Traceback", b"/opt/vllm", b"nginx"))


def _is_error(body: bytes) -> bool:
    try:
        error = json.loads(body)["error"]
    except (ValueError, TypeError, KeyError):
        return False
    return isinstance(error, dict) and set(error) == _ERROR_KEYS and isinstance(error["message"], str)


def _other_load(url: str, key: str, core: int) -> dict[str, float]:
    """Return the figures of the other tenant's load; none if a request of it failed."""
    try:
        return load(url, key, "whole", seconds=_LOAD_S, rate=_RATE, core=core)
    except RuntimeError:
        return {}


def _compared(hurt: list[dict[str, float]], calm: list[dict[str, float]]) -> dict[str, float]:
    """Return the other tenant's latencies with and without faults, and their ratios: medians over rounds."""
    figures: dict[str, float] = {}
    served = [measured for measured in hurt if measured] or [{"p50_s": float("inf"), "p99_s": float("inf")}]
    for name in ("p50", "p99"):
        during_s = statistics.median(measured[f"{name}_s"] for measured in served)
        alone_s = statistics.median(measured[f"{name}_s"] for measured in calm)
        figures |= {
            f"other_tenant_{name}_s": during_s,
            f"other_tenant_{name}_calm_s": alone_s,
            f"other_tenant_{name}_ratio": during_s / alone_s,
        }
    return figures


def _ledger(folder: Path, request_ids: list[str]) -> dict[str, Any]:
    """Return what is wrong in the ledger of a gateway that has stopped."""
    command = [sys.executable, "-m", "meritorder", "ledger", "--config", str(folder / "gateway.toml")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    target = folder / "ledger.csv"
    subprocess.run([*command, "--out", str(target)], cwd=ROOT, env=environment, capture_output=True, check=True)
    with target.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    tokens = [int(row[name] or 0) for row in rows for name in ("input_tokens", "output_tokens", "cached_tokens")]
    return {
        "calls_without_ledger_row": len(set(request_ids) - {row["request_id"] for row in rows}),
        "negative_costs": sum(float(row["cost_usd"] or 0) < 0 for row in rows),
        "implausible_tokens": sum(not 0 <= count <= _MOST_TOKENS for count in tokens),
    }
