"""A venue that answers as a request's text asks: well, or with a fault of some kind, drawn anew for each attempt.

    python -m bench._faulty

The text is `fault:KIND:SEED`; without one the answer is a good one, as are those of `healed` venues: POST /heal.
"""

import asyncio
import contextlib
import gzip
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.samples.http_server import Asked, LocalServer, Wire

SECRET: Final = "gpu7.prod.svc.cluster.local"  # noqa: S105 - an internal name, which no client may see
_ASKED_FOR: Final = re.compile(rb"fault:([\w-]+):(\d+)")
_TRACE: Final = f'Traceback (most recent call last):\n  File "/opt/vllm/engine.py"\nRuntimeError: http://{SECRET}:8000'
_HTML: Final = f"<html><head><title>502</title></head><body>nginx at {SECRET}</body></html>".encode()
_PRIVATE_HEADERS: Final = {
    "set-cookie": f"session=1; domain={SECRET}",
    "server": f"vllm at {SECRET}",
    "via": f"1.1 {SECRET}",
    "x-internal-host": SECRET,
    "x-served-by": SECRET,
    "keep-alive": "timeout=5",
    "location": f"http://{SECRET}:8000/v1",
}
_BOMB: Final = gzip.compress(b'{"choices": [' + b" " * (100 * 2**20), 1)
_LINE_BYTES: Final = 24 * 2**20


@dataclass(frozen=True)
class Attempt:
    """One request that is to fail.

    Args:
        wire: The way back.
        draw: Random numbers of this attempt.
        stream: Whether it asks for a stream.
    """

    wire: Wire
    draw: random.Random
    stream: bool

    async def answer(self, body: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Send an answer of the expected type, private headers included."""
        kind = "text/event-stream" if self.stream and status == 200 else "application/json"
        await self.wire.answer(body, status, kind, {**_PRIVATE_HEADERS, **(headers or {})})

    async def whole(self, **fields: object) -> None:
        """Send a good answer with some fields replaced, as a stream if asked for."""
        if not self.stream:
            await self.answer(_completion() | fields)
            return
        await self.wire.begin(headers=_PRIVATE_HEADERS)
        for chunk in _chunks(fields):
            await self.wire.part(chunk)
        await self.wire.end()

    async def some(self) -> None:
        """Send a part of an answer: events of a stream, or the start of a whole one."""
        if self.stream:
            await self.wire.begin()
            for chunk in _chunks({})[: self.draw.randrange(2)]:
                await self.wire.part(chunk)
        else:
            length = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {10**6}\r\n\r\n"
            await self.wire.send(length.encode() + b'{"choices": [')

    async def stop(self) -> None:
        """End the connection: with a reset, by closing it, or never."""
        end = self.draw.choice((self.wire.reset, self.wire.hang_up, _hang))
        await end()


async def _hang() -> None:
    await asyncio.sleep(3600)


def _completion() -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def _chunks(fields: dict[str, Any]) -> list[bytes]:
    base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choices = [{"index": 0, "delta": {"role": "assistant", "content": "fine"}, "finish_reason": None}]
    last = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    usage = {"choices": [], "usage": _completion()["usage"], **fields}
    events = [{**base, "choices": choices}, {**base, "choices": last}, {**base, **usage}]
    return [*(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events), b"data: [DONE]\n\n"]


async def _status(attempt: Attempt) -> None:
    status = attempt.draw.choice((99, 101, 199, 201, 204, 206, 299, 301, 302, 304, 307, 600, 777, 999))
    await attempt.wire.answer(b"" if status in {204, 304} else b"{}", status, headers=_PRIVATE_HEADERS)
    await attempt.wire.hang_up()


async def _error_status(attempt: Attempt) -> None:
    status = attempt.draw.choice((400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529, 599))
    body = attempt.draw.choice(
        (
            _HTML,
            b"",
            b"\xff\xfe\x00",
            b"[" * 5000,
            json.dumps({"error": {"message": _TRACE, "code": 5, "host": SECRET}}).encode(),
            json.dumps({"error": _TRACE}).encode(),
            json.dumps({"detail": [{"msg": SECRET}]}).encode(),
            json.dumps({"error": {"message": {"at": SECRET}, "type": [1]}}).encode(),
        )
    )
    await attempt.answer(body, status)


async def _retry_after(attempt: Attempt) -> None:
    value = attempt.draw.choice(
        (
            *("0", "1", "-1", "1e300", "99999999999", "inf", "nan", "soon", "", "9" * 3000),
            *("Wed, 21 Oct 2099 07:28:00 GMT", "Wed, 21 Oct 1999 07:28:00 GMT", "Wed, 99 Foo 2026 99:99:99 GMT"),
            *("Mon, 01 Jan 0000 00:00:00 GMT", "1 Jan 2026 00:00:00 +9999", "Fri, 31 Dec 9999 23:59:59 -2359", "1 1 1"),
        )
    )
    name = attempt.draw.choice(("retry-after", "Retry-After", "retry-after-ms"))
    await attempt.answer({"error": {"message": "slow down"}}, attempt.draw.choice((429, 503)), {name: value})


async def _head(attempt: Attempt) -> None:
    draw, wire = attempt.draw, attempt.wire
    start = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    await wire.send(
        draw.choice(
            (
                b"",
                start[: draw.randrange(1, len(start))],
                b"\x00\xff\x16\x03\x01" * 20,
                b"HTTP/9.9 OK\r\n\r\n",
                start + b"x: " + b"a" * 200_000 + b"\r\n\r\n",
                start + b"".join(b"x-%d: a\r\n" % number for number in range(20_000)) + b"\r\n",
                start + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
                start + b"content-length: -5\r\n\r\n{}",
                start + b"content-length: 99999999999999999999999\r\n\r\n{}",
            )
        )
    )
    await attempt.stop()


async def _broken_body(attempt: Attempt) -> None:
    await attempt.some()
    await attempt.stop()


async def _drip(attempt: Attempt) -> None:
    await attempt.some()
    with contextlib.suppress(ConnectionError):
        for _ in range(600):
            await attempt.wire.part(b" " if attempt.stream else b"\n")
            await asyncio.sleep(0.1)


async def _encoding(attempt: Attempt) -> None:
    good = gzip.compress(json.dumps(_completion()).encode())
    body, name = attempt.draw.choice(
        ((good[:40], "gzip"), (b"plain", "gzip"), (good, "br"), (good, "zstd"), (good[2:], "deflate"))
    )
    await attempt.answer(body, headers={"content-encoding": name})


async def _bomb(attempt: Attempt) -> None:
    """Send far more than any answer has: compressed, or as it is."""
    if attempt.draw.random() < 0.7:
        await attempt.answer(_BOMB, headers={"content-encoding": "gzip"})
    else:
        await attempt.answer(b"data: " + b"x" * _LINE_BYTES)


async def _no_answer(attempt: Attempt) -> None:
    body = attempt.draw.choice(
        (
            *(b"", b" ", b"{", b"null", b"[]", b"5", b'"text"', b"{}", _HTML, b'{"a": NaN}', b'{"a": "\xff"}', b"\x00"),
            b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}",
            b'{"choices": ' + b"9" * 5000 + b"}",
            json.dumps({"error": {"message": _TRACE}}).encode(),
            json.dumps({"choices": []}).encode(),
            json.dumps({"choices": [5]}).encode(),
            json.dumps({"choices": {"message": "fine"}}).encode(),
            json.dumps({"choices": [{"message": {"tool_calls": ["a", 5]}}]}).encode(),
        )
    )
    await attempt.answer(body)


async def _wrong_type(attempt: Attempt) -> None:
    kind = attempt.draw.choice(("text/html", "text/plain", "application/octet-stream", "image/png", ""))
    await attempt.wire.answer(attempt.draw.choice((_HTML, b"{}", b"")), kind=kind, headers=_PRIVATE_HEADERS)


async def _event(attempt: Attempt) -> None:
    """End a stream with a bad event; of a whole answer, send a bad body."""
    if not attempt.stream:
        await _no_answer(attempt)
        return
    await attempt.some()
    bad = (
        b"data: {not json\n\n",
        b"data: {not json}\n\n",
        b"data: [" + b"[" * 5000 + b"\n\n",
        b'data: {"error": {"message": ' + json.dumps(_TRACE).encode() + b"}}\n\n",
        b'data: {"choices": {"0": 5}}\n\n',
        b'data: {"choices": [{"finish_reason": 5}]}\n\n',
        b'data: "\xff\xfe"\n\n',
        b": only comments\n\n" * 50,
        b"",
    )
    await attempt.wire.part(attempt.draw.choice(bad) + b"\n")
    await attempt.wire.end()


async def _odd_usage(attempt: Attempt) -> None:
    odd: tuple[Any, ...] = (-1_000_000, 10**18, 10**30, 1.5, "12", None, True, [], {}, 10**7)
    usage: Any = {"prompt_tokens": attempt.draw.choice(odd), "completion_tokens": attempt.draw.choice(odd)}
    usage["prompt_tokens_details"] = {"cached_tokens": attempt.draw.choice(odd)}
    await attempt.whole(usage=attempt.draw.choice((usage, usage, usage, None, 5, "none", [])))


async def _private(attempt: Attempt) -> None:
    await attempt.whole()


async def _cut(attempt: Attempt) -> None:
    """Send a good answer in parts of a few bytes; a stream with Windows line ends at times."""
    if not attempt.stream:
        await attempt.whole()
        return
    text = b"".join(_chunks({}))
    if attempt.draw.random() < 0.5:
        text = text.replace(b"\n", b"\r\n")
    await attempt.wire.begin()
    at = 0
    while at < len(text):
        size = attempt.draw.randrange(1, 40)
        await attempt.wire.part(text[at : at + size])
        at += size
    await attempt.wire.end()


async def _load(attempt: Attempt, *, healed: bool) -> None:
    """Report the load of an engine, and now and then something else."""
    good = b"vllm:num_requests_running 0\nvllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 0\n"
    bad = (
        good.replace(b" 0\n", b" 1e308\n") * 2,
        good.replace(b" 0\n", b" -5\n"),
        good.replace(b" 0\n", b" NaN\n"),
        b"vllm:num_requests_running{\n" * 10_000,
        b"x" * (2 * 2**20),
        b"\xff" * 100,
        b"",
    )
    if healed or attempt.draw.random() < 0.8:
        await attempt.wire.answer(good, kind="text/plain")
    elif attempt.draw.random() < 0.8:
        await attempt.wire.answer(attempt.draw.choice(bad), kind="text/plain")
    else:
        await _head(attempt)


FAULTS: Final[dict[str, Callable[[Attempt], Awaitable[None]]]] = {
    "status": _status,
    "error-status": _error_status,
    "retry-after": _retry_after,
    "head": _head,
    "broken-body": _broken_body,
    "drip": _drip,
    "encoding": _encoding,
    "bomb": _bomb,
    "no-answer": _no_answer,
    "wrong-type": _wrong_type,
    "event": _event,
}
"""Answers that no client may take for a success."""


ODD: Final[dict[str, Callable[[Attempt], Awaitable[None]]]] = {
    "odd-usage": _odd_usage,
    "private-headers": _private,
    "cut": _cut,
}
"""Answers that are good, but not in all that comes with them."""


def _draw(seed: str) -> random.Random:
    return random.Random(seed)  # noqa: S311 - which fault


class _Venue:
    def __init__(self) -> None:
        self.attempts: Counter[str] = Counter()
        self.scrapes = 0
        self.healed = False

    async def serve(self, asked: Asked, wire: Wire) -> None:
        if asked.path == "/heal":
            self.healed = True
            await wire.answer({"faults": self.attempts.total()})
            return
        if asked.path == "/metrics":
            self.scrapes += 1
            attempt = Attempt(wire, _draw("healed" if self.healed else f"{self.scrapes}"), stream=False)
            await _load(attempt, healed=self.healed)
            return
        stream = b'"stream":true' in asked.body.replace(b" ", b"") or "alt=sse" in asked.path
        asked_for = _ASKED_FOR.search(asked.body)
        if asked_for is None or self.healed:
            await Attempt(wire, _draw("good"), stream).whole()
            return
        name = asked_for[0].decode()
        self.attempts[name] += 1
        fault = (FAULTS | ODD)[asked_for[1].decode()]
        await fault(Attempt(wire, _draw(f"{name}:{self.attempts[name]}"), stream))


async def _serve() -> None:
    async with LocalServer(_Venue().serve) as server:
        sys.stdout.write(f"{server.url.rpartition(':')[2]}\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(_serve())
