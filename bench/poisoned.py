"""Poisoned batches: 100,000 bad lines of every kind, between batches and calls of tenants that keep the rules."""

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench._gateway import Engine, Gateway, write_configuration
from bench._hostile_requests import CALLS, deep, request
from bench.hostile import address, exchange, new_key, paced_calls, submit

LINES: Final = 100_000
_GOOD_LINES: Final = 500
_GOOD_TENANTS: Final = 3
_LINE_BYTES: Final = 11_000_000  # the limit on a line; one of 10 MB is within it
_LIMITS: Final = f"[limits]\nline_bytes = {_LINE_BYTES}"
_LISTED: Final = 100  # errors of a batch
_PATIENCE_S: Final = 900.0
_ENDED: Final = ("completed", "failed", "expired", "cancelled")


def _line(custom_id: str, *, model: str = "stub", content: str = "x", more: str = "") -> str:
    """Return a line that is as it should be, except for its arguments."""
    message = f'{{"role": "user", "content": "{content}"}}'
    body = f'{{"model": "{model}", "max_tokens": 1, "messages": [{message}]{more}}}'
    return f'{{"custom_id": "{custom_id}", "method": "POST", "url": "{CALLS[0]}", "body": {body}}}'


@dataclass(frozen=True, slots=True)
class _Poison:
    """Bad lines of one kind, by number.

    Args:
        line: Returns one.
        code: Code of the errors by which they make their batch fail; None: each fails alone.
        most: Most lines of it.
    """

    line: Callable[[int], str]
    code: str | None
    most: int = LINES


_POISONS: Final = {
    "unknown model": _Poison(lambda number: _line(f"c{number}", model="none"), None),
    "not JSON": _Poison(lambda number: _line(f"c{number}")[:-9], "invalid_json_line"),
    "not UTF-8": _Poison(lambda number: _line(f"c{number}", content="\udcff"), "invalid_json_line"),
    "lone surrogate": _Poison(lambda number: _line(f"c{number}\\ud800"), "invalid_json_line"),
    "NUL": _Poison(lambda number: _line(f"c{number}\\u0000"), "invalid_request"),
    "duplicate id": _Poison(lambda _: _line("c"), "duplicate_custom_id"),
    "deep": _Poison(lambda number: _line(f"c{number}", more=f', "x": {deep(1200)}'), "invalid_json_line"),
    "other endpoint": _Poison(lambda number: _line(f"c{number}").replace(CALLS[0], CALLS[1]), "mismatched_url"),
    "no messages": _Poison(lambda number: _line(f"c{number}").replace("messages", "x"), "missing_required_parameter"),
    "too long": _Poison(lambda number: _line(f"c{number}", content="x" * _LINE_BYTES), "line_too_long", most=1),
    # Each is tried several times, with pauses.
    "fails the engine": _Poison(lambda number: _line(f"c{number}", content=f"fault:500 {number}"), None, most=200),
}


def _content(poison: _Poison, lines: int) -> bytes:
    """Return an input file of bad lines between two good ones, one of which has 10 MB."""
    bad = [poison.line(number) for number in range(lines)]
    rows = [_line("first"), *bad, _line("last", content="y" * 10_000_000)]
    return "\n".join(rows).encode("utf-8", "surrogateescape")


def run(lines: int = LINES, *, good_lines: int = _GOOD_LINES) -> dict[str, Any]:
    """Run poisoned batches of one tenant between the batches of others, beside calls of yet another one."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        engine = stack.enter_context(Engine(folder, max_sequences=16))
        config = write_configuration(folder, engine.url, keys=True, max_sequences=16, more=_LIMITS)
        names = ["poisoner", "calm", *(f"tenant{number}" for number in range(_GOOD_TENANTS))]
        keys = {tenant: new_key(config, tenant) for tenant in names}
        gateway = stack.enter_context(Gateway(folder, engine.url, keys=True, max_sequences=16, more=_LIMITS))
        figures = asyncio.run(_measure(gateway, keys, lines=lines, good_lines=good_lines))
        gateway.stop()
        return figures | {"tracebacks": (folder / "gateway.log").read_text(encoding="utf-8").count("Traceback")}


async def _measure(gateway: Gateway, keys: dict[str, str], *, lines: int, good_lines: int) -> dict[str, Any]:
    host, port = address(gateway)
    good = "\n".join(_line(f"c{number}") for number in range(good_lines)).encode()
    tenants = [key for tenant, key in keys.items() if tenant.startswith("tenant")]

    async def round_of() -> tuple[list[float], list[float | None]]:
        """Return the times of a batch of each tenant, and the latencies of calls beside them."""
        batches = asyncio.gather(*(_time_of(host, port, key, good) for key in tenants))
        calls: list[float | None] = []
        while not batches.done():
            calls += await paced_calls(host, port, keys["calm"], 10)
        return await batches, calls

    alone_s, alone_calls = await round_of()
    calm = _served(alone_calls)
    started_s = time.perf_counter()
    poisoned = asyncio.create_task(_poisoned(host, port, keys["poisoner"], lines))
    beside: list[float | None] = []
    batches_s: list[float] = []
    while not poisoned.done():
        times_s, calls = await round_of()
        batches_s += times_s
        beside += calls
    served = _served(beside)
    return {
        "bad_lines": lines,
        "seconds": time.perf_counter() - started_s,
        "wrong_outcomes": await poisoned,
        "good_batches": len(batches_s),
        "good_batches_incomplete": batches_s.count(float("inf")),
        "good_batch_p50_s_alone": statistics.median(alone_s),
        "good_batch_p50_ratio": statistics.median(batches_s) / statistics.median(alone_s),
        "good_batch_slowest_s": max(batches_s),
        "other_tenant_calls": len(beside),
        "other_tenant_failed": len(beside) - len(served),
        "other_tenant_p50_ratio": statistics.median(served) / statistics.median(calm),
        "other_tenant_p99_s": sorted(served)[len(served) * 99 // 100],
        "peak_rss_bytes": gateway.peak_rss_bytes(),
    }


async def _poisoned(host: str, port: int, key: str, lines: int) -> int:
    """Run a batch of each kind of bad lines; return how many ended otherwise than documented."""
    wrong = 0
    for kind, poison in _POISONS.items():
        count = min(lines, poison.most)
        content = await asyncio.to_thread(_content, poison, count)
        batch = await _ended(host, port, key, await submit(host, port, key, content))
        counts, errors = batch["request_counts"], (batch["errors"] or {}).get("data", [])
        found: tuple[Any, ...]
        expected: tuple[Any, ...]
        if poison.code is None:
            found = batch["status"], counts, len(errors)
            expected = "completed", {"total": count + 2, "completed": 2, "failed": count}, 0
        else:
            found = batch["status"], counts["completed"], len(errors), {error["code"] for error in errors}
            # The first of equal ids is a good line.
            expected = "failed", 0, min(_LISTED, count - (poison.code == "duplicate_custom_id")), {poison.code}
        if found != expected:
            print(f"  {kind}: {found} instead of {expected}")
            wrong += 1
    return wrong


async def _time_of(host: str, port: int, key: str, content: bytes) -> float:
    """Return the time of a batch of good lines from its creation to its end; infinity if one is missing."""
    started_s, total = time.perf_counter(), content.count(b"\n") + 1
    batch = await _ended(host, port, key, await submit(host, port, key, content))
    is_complete = batch["request_counts"] == {"total": total, "completed": total, "failed": 0}
    return time.perf_counter() - started_s if is_complete else float("inf")


async def _ended(host: str, port: int, key: str, batch_id: str) -> dict[str, Any]:
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            _, body = await exchange(host, port, request("GET", f"/v1/batches/{batch_id}", key=key))
            batch: dict[str, Any] = json.loads(body)
            if batch["status"] in _ENDED:
                return batch
            await asyncio.sleep(0.1)


def _served(latencies_s: list[float | None]) -> list[float]:
    return [latency_s for latency_s in latencies_s if latency_s is not None]
