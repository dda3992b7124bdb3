"""Hostile clients: 1,200 requests that break rules, beside a client of another tenant that keeps them."""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from bench._gateway import Engine, Gateway, write_configuration
from bench._hostile_requests import CALLS, MESSAGES, Attack, Draw, attacks, deep, lines, request
from bench._process import ROOT

REQUESTS: Final = 1_200
_CLIENT_TIME_S: Final = 5.0
_LIMITS: Final = (
    f'[limits]\nclient_time = "{_CLIENT_TIME_S:g}s"\nbody_bytes = 1_000_000\n'
    "file_bytes = 40_000_000\nconnections = 8_000"
)
_AT_ONCE: Final = 16
_PATIENCE_S: Final = 90.0  # an engine that fails is tried several times
_CALM_CALLS: Final = 200
_PACE_S: Final = 0.02
_BATCHES: Final = 4
_IDLE: Final = 5_000
_SLOW: Final = 500
_SETTLE_S: Final = 25.0
_OUR_FAULT: Final = b"Internal error of the gateway"


@dataclass(slots=True)
class _Seen:
    """What the hostile clients saw."""

    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def add(self, attack: Attack, answer: bytes) -> None:
        """Judge the answers on a connection: each is JSON with an id, or an event stream, and none is a 500."""
        self.statuses["none" if not answer else answer.split(b" ", 2)[1].decode("ascii", "replace")] += 1
        while answer:
            head, _, rest = answer.partition(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
            size = int(fields.get(b"content-length", len(rest)))
            body, answer = rest[:size], rest[size:]
            if status == 100:
                answer = rest
                continue
            kind = fields.get(b"content-type", b"")
            is_error = status >= 400 and attack.has_body
            if (
                _OUR_FAULT in body
                or b"x-request-id" not in fields
                or (is_error and not _is_error_object(attack, kind, body))
            ):
                self.faults.append(
                    f"{attack.kind}: {status} {kind.decode()} {body[:100]!r} to {attack.parts[0][:200]!r}"
                )
            if b"transfer-encoding" in fields or not attack.has_body:
                return  # a stream or no body: the rest is not parsed


def run(requests: int = REQUESTS, *, batches: int = _BATCHES, idle: int = _IDLE, seed: int = 0) -> dict[str, Any]:
    """Run the hostile requests against a gateway process, and measure what they leave and whom they disturb."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        engine = stack.enter_context(Engine(folder, max_sequences=16))
        config = write_configuration(folder, engine.url, keys=True, max_sequences=16, more=_LIMITS)
        keys = {tenant: new_key(config, tenant) for tenant in ("hostile", "calm")}
        gateway = stack.enter_context(Gateway(folder, engine.url, keys=True, max_sequences=16, more=_LIMITS))
        blobs = folder / "blobs"
        figures = asyncio.run(_measure(gateway, keys, count=requests, batches=batches, seed=seed, blobs=blobs))
        figures |= asyncio.run(_crowd(gateway, keys["calm"], figures["other_tenant_p50_s_alone"], idle))
        gateway.stop()
        log = (folder / "gateway.log").read_text(encoding="utf-8")
        return figures | {
            "tracebacks": log.count("Traceback"),
            "log_lines": log.count("\n"),
        }


def new_key(config: Path, tenant: str) -> str:
    """Create an admin's key of a tenant."""
    command = [sys.executable, "-m", "meritorder", "keys", "create", tenant, "--tenant", tenant, "--admin"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [*command, "--config", str(config)], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


async def _measure(
    gateway: Gateway, keys: dict[str, str], *, count: int, batches: int, seed: int, blobs: Path
) -> dict[str, Any]:
    host, port = address(gateway)
    alone = await paced_calls(host, port, keys["calm"], _CALM_CALLS)
    open_before, rss_before = _descriptors(gateway), gateway.rss_bytes()
    seen, draw = _Seen(), Draw(seed)
    for _ in range(batches):
        await _submit(host, port, keys["hostile"], lines(draw, 100))
    ids = await _objects(host, port, keys["hostile"])
    started_s = time.perf_counter()
    hostile = asyncio.create_task(_attack(host, port, seen, list(attacks(count, keys["hostile"], ids, seed=seed))))
    beside: list[float | None] = []
    while not hostile.done():
        beside += await paced_calls(host, port, keys["calm"], 10)
    await hostile
    seconds = time.perf_counter() - started_s
    left = await _settled(gateway, keys, open_before=open_before, blobs=blobs)
    for fault in seen.faults:
        print(f"  {fault}")
    served = [latency_s for latency_s in beside if latency_s is not None]
    calm = [latency_s for latency_s in alone if latency_s is not None]
    return {
        "requests": count,
        "seconds": seconds,
        "faults": len(seen.faults),
        "hung": seen.statuses.pop("hung", 0),
        "statuses": dict(sorted(seen.statuses.items())),
        "other_tenant_calls": len(beside),
        "other_tenant_failed": len(beside) - len(served),
        "other_tenant_p50_s_alone": statistics.median(calm),
        "other_tenant_p50_ratio": statistics.median(served) / statistics.median(calm),
        "other_tenant_p99_s": sorted(served)[len(served) * 99 // 100],
        "peak_rss_growth_bytes": gateway.peak_rss_bytes() - rss_before,
        **left,
    }


async def _crowd(gateway: Gateway, key: str, alone_s: float, idle: int) -> dict[str, Any]:
    """Measure a tenant's calls beside connections that send nothing or hardly anything, and how many of them stay."""
    host, port = address(gateway)
    writers: list[asyncio.StreamWriter] = []
    while len(writers) < idle + min(idle, _SLOW):
        opened = await asyncio.gather(*(asyncio.open_connection(host, port) for _ in range(100)))
        writers += [writer for _, writer in opened]

    async def drip() -> None:
        for byte in request("POST", CALLS[0], b"{}", key=key):
            for writer in writers[idle:]:
                if not writer.is_closing():
                    writer.write(bytes([byte]))
            await asyncio.sleep(0.1)

    dripping = asyncio.create_task(drip())
    beside = [latency_s for latency_s in await paced_calls(host, port, key, 50) if latency_s is not None]
    open_at_once = _descriptors(gateway)
    await asyncio.sleep(_CLIENT_TIME_S + 2.0)
    left = _descriptors(gateway)
    dripping.cancel()
    for writer in writers:
        writer.transport.abort()
    return {
        "crowd_connections": open_at_once,
        "crowd_p50_ratio": statistics.median(beside) / alone_s,
        "crowd_failed": 50 - len(beside),
        "crowd_left": left,
    }


async def _attack(host: str, port: int, seen: _Seen, queue: list[Attack]) -> None:
    waiting = []

    async def work() -> None:
        while queue:
            attack = queue.pop()
            if attack.waits:
                waiting.append(asyncio.create_task(_send(host, port, seen, attack)))
            else:
                await _send(host, port, seen, attack)

    await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
    await asyncio.gather(*waiting)


async def _send(host: str, port: int, seen: _Seen, attack: Attack) -> None:
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        seen.faults.append(f"{attack.kind}: {error}")
        return
    answer = bytearray()
    try:
        with suppress(OSError):
            for part in attack.parts:
                writer.write(part)
                await writer.drain()
            if not attack.reads:
                await asyncio.sleep(0)
                writer.transport.abort()
                return
        async with asyncio.timeout(_PATIENCE_S):
            with suppress(OSError):
                while part := await reader.read(65536):
                    answer += part
                    if not attack.waits and _is_whole(bytes(answer), attack):
                        break
        seen.add(attack, bytes(answer))
    except TimeoutError:
        seen.statuses["hung"] += 1
        seen.faults.append(f"{attack.kind}: no answer to {attack.parts[0][:200]!r}")
    finally:
        writer.transport.abort()


def _is_whole(answer: bytes, attack: Attack) -> bool:
    """Tell whether an answer is complete; those to a pipeline are complete when the connection is closed."""
    head, ended, body = answer.partition(b"\r\n\r\n")
    if not ended or attack.kind == "pipeline":
        return answer.count(b"x-request-id") >= 50 if ended else False
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    if b"content-length" in fields:
        return not attack.has_body or len(body) >= int(fields[b"content-length"])
    return body.endswith(b"0\r\n\r\n")


def _is_error_object(attack: Attack, kind: bytes, body: bytes) -> bool:
    """Tell whether a body is an error in the form of OpenAI or, where its API was called, of Anthropic."""
    keys = {"message", "type"} if MESSAGES in attack.parts[0][:100] else {"message", "type", "param", "code"}
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return False
    return kind.startswith(b"application/json") and error.keys() >= keys


async def exchange(host: str, port: int, sent: bytes) -> tuple[int, bytes]:
    """Return the status and the body of one request."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(sent)
        async with asyncio.timeout(_PATIENCE_S):
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            return int(head.split(b" ", 2)[1]), await reader.readexactly(size)
    finally:
        writer.transport.abort()


async def paced_calls(host: str, port: int, key: str, count: int) -> list[float | None]:
    """Return the latencies of paced calls; None for one that failed."""
    sent = request("POST", CALLS[0], b'{"model": "stub", "messages": []}', key=key)

    async def latency_s() -> float | None:
        started_s = time.perf_counter()
        try:
            status, _ = await exchange(host, port, sent)
        except (OSError, EOFError, TimeoutError):
            return None
        return time.perf_counter() - started_s if status == 200 else None

    calls: list[Awaitable[float | None]] = []
    for _ in range(count):
        calls.append(asyncio.create_task(latency_s()))
        await asyncio.sleep(_PACE_S)
    return list(await asyncio.gather(*calls))


async def _submit(host: str, port: int, key: str, content: bytes) -> None:
    """Submit a batch of odd lines, behind one that is nested too deeply."""
    nested = (
        f'{{"custom_id": "n", "method": "POST", "url": "{CALLS[0]}", "body": {{"model": "stub", "x": {deep(1200)}}}}}\n'
    )
    await submit(host, port, key, nested.encode() + content)


async def submit(host: str, port: int, key: str, content: bytes) -> str:
    """Submit a batch; return its id."""
    form = b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    form += b'--b\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\n' + content
    form += b"\r\n--b--\r\n"
    header = "content-type: multipart/form-data; boundary=b"
    _, body = await exchange(host, port, request("POST", "/v1/files", form, header, key=key))
    batch = {"input_file_id": json.loads(body)["id"], "endpoint": CALLS[0], "completion_window": "1h"}
    _, body = await exchange(host, port, request("POST", "/v1/batches", json.dumps(batch).encode(), key=key))
    return str(json.loads(body)["id"])


async def _objects(host: str, port: int, key: str) -> tuple[str, ...]:
    """Return the ids of stored objects that are as they should be."""
    bodies = {
        "/v1/responses": {"model": "stub", "input": "x"},
        "/v1/chat/completions": {"model": "stub", "messages": [], "store": True},
        "/v1/conversations": {"items": [{"role": "user", "content": "x"}]},
    }
    ids = []
    for path, body in bodies.items():
        for _ in range(3):
            _, answer = await exchange(host, port, request("POST", path, json.dumps(body).encode(), key=key))
            ids.append(str(json.loads(answer).get("id")))
    for path in ("/v1/files", "/v1/batches"):
        _, answer = await exchange(host, port, request("GET", path, key=key))
        ids += [item["id"] for item in json.loads(answer)["data"]]
    return tuple(ids)


async def _settled(gateway: Gateway, keys: dict[str, str], *, open_before: int, blobs: Path) -> dict[str, Any]:
    """Return what is left once everything has ended, or after a while."""
    host, port = address(gateway)
    until_s = time.perf_counter() + _SETTLE_S
    while True:
        _, body = await exchange(host, port, request("GET", "/meritorder/status", key=keys["calm"]))
        status = json.loads(body)
        _, files = await exchange(host, port, request("GET", "/v1/files", key=keys["hostile"]))
        _, health = await exchange(host, port, request("GET", "/health"))
        await asyncio.sleep(0.2)
        left = {
            "places_left": sum(venue["realtime"] + venue["deferrable"] for venue in status["venues"]),
            "queued_left": sum(status["queued"].values()),
            "batches_open": len(status["batches"]),
            "descriptors_left": max(0, _descriptors(gateway) - open_before),
            "blobs_left": sum(1 for _ in blobs.iterdir()) - len(json.loads(files)["data"]),
            "failing_tasks": ",".join(json.loads(health).get("failing", [])),
        }
        if not any(left.values()) or time.perf_counter() > until_s:
            return left
        await asyncio.sleep(0.5)


def address(gateway: Gateway) -> tuple[str, int]:
    """Return its host and port."""
    url = urlsplit(gateway.url)
    return url.hostname or "", url.port or 0


def _descriptors(gateway: Gateway) -> int:
    """Return the number of sockets of clients that the gateway has open."""
    _, port = address(gateway)
    rows = Path(f"/proc/{gateway.process.pid}/net/tcp").read_text(encoding="utf-8").splitlines()[1:]
    local = f":{port:04X}"
    return sum(1 for row in rows if row.split()[1].endswith(local) and row.split()[3] == "01")
