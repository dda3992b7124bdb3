"""A load generator that is much faster than the servers under test: 32 connections, no HTTP library.

    python -m bench._load URL KEY whole|stream|whole-stored|stream-stored SECONDS RATE [CONNECTIONS]

RATE 0: a closed loop. Prints as JSON the requests per second, and their latencies until the last and until the first
byte of the answer.
"""

import asyncio
import json
import statistics
import sys
import time
from collections import deque
from typing import Any, Final, cast
from urllib.parse import urlsplit

import uvloop

CONNECTIONS: Final = 32


class _Client(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self, request: bytes, load: "_Load") -> None:
        self._request = request
        self._load = load
        self._buffer = bytearray()
        self._first_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class is not a subclass of it
        self._load.idle(self)

    def send(self) -> None:
        self._sent_s = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now_s = time.perf_counter()
        self._buffer += data
        if not self._first_s and self._buffer.find(b"{") > 0:
            self._first_s = now_s
        if not self._whole():
            return
        ok = self._buffer.startswith(b"HTTP/1.1 200")
        self._load.answered(ok, now_s - self._sent_s, self._first_s - self._sent_s)
        self._first_s = 0.0
        self._buffer.clear()
        self._load.idle(self)

    def _whole(self) -> bool:
        buffer = self._buffer
        at = buffer.find(b"\r\n\r\n")
        if at < 0:
            return False
        head = bytes(buffer[:at]).lower()
        length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
        if length:
            return len(buffer) >= at + 4 + int(length)
        return buffer.endswith(b"0\r\n\r\n")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - a callback
        self._load.lost += 1


class _Load:
    def __init__(self, rate: float) -> None:
        self.latencies: list[float] = []
        self.firsts: list[float] = []
        self.failed = self.lost = 0
        self._rate = rate
        self._free: deque[_Client] = deque()

    def answered(self, ok: bool, latency_s: float, first_s: float) -> None:  # noqa: FBT001 - a callback
        self.latencies.append(latency_s)
        self.firsts.append(first_s)
        self.failed += not ok

    def idle(self, client: _Client) -> None:
        if self._rate:
            self._free.append(client)
        else:
            client.send()

    async def pace(self, seconds: float) -> None:
        """Send at the rate, independent of answers, as long as a connection is free."""
        if not self._rate:
            await asyncio.sleep(seconds)
            return
        began_s = time.perf_counter()
        sent = 0
        while (passed_s := time.perf_counter() - began_s) < seconds:
            while sent < passed_s * self._rate:
                sent += 1
                if self._free:
                    self._free.popleft().send()  # in turn, so that none is closed for being idle
            await asyncio.sleep(0.001)


async def _run(url: str, key: str, form: str, *, seconds: float, rate: float, connections: int) -> dict[str, Any]:
    parts = urlsplit(url)
    messages = [{"role": "system", "content": "You are brief. " * 20}, {"role": "user", "content": "Say eight words."}]
    fields: dict[str, Any] = {"model": "stub", "messages": messages, "max_tokens": 8}
    if form.startswith("stream"):
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    if form.endswith("stored"):
        fields |= {"store": True}
    body = json.dumps(fields).encode()
    request = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    load = _Load(rate)
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: _Client(request, load), parts.hostname or "", parts.port or 80)
    began_s = time.perf_counter()
    await load.pace(seconds)
    took_s = time.perf_counter() - began_s
    if load.failed or load.lost or not load.latencies:
        raise RuntimeError(f"{load.failed} answers failed, {load.lost} connections were lost, of {len(load.latencies)}")
    cuts = statistics.quantiles(load.latencies, n=100)
    return {
        "requests": len(load.latencies),
        "requests_per_s": len(load.latencies) / took_s,
        "p50_s": cuts[49],
        "p99_s": cuts[98],
        "first_p50_s": statistics.median(load.firsts),
    }


if __name__ == "__main__":
    where, secret, kind, for_s, at_rate, *more = sys.argv[1:]
    number = int(more[0]) if more else CONNECTIONS
    measured = _run(where, secret, kind, seconds=float(for_s), rate=float(at_rate), connections=number)
    print(json.dumps(uvloop.run(measured)))
