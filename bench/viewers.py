"""Fifty people who watch the page "Live" through the gateway: its throughput with them over that without."""

import asyncio
import statistics
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from bench._gateway import Gateway, Process
from bench.gateway import cores, load, new_key

_VIEWERS: Final = 50
_ROUNDS: Final = 5
_SECONDS: Final = 6.0
_UP_S: Final = 60.0


def run(seconds: float = _SECONDS, rounds: int = _ROUNDS) -> dict[str, Any]:
    """Measure with and without viewers in turns, so that other load affects both alike."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    spent_s: dict[bool, list[float]] = {False: [], True: []}
    events = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        core, other = cores()
        with Process(["-m", "bench._stub"], folder / "stub.log", core=other) as engine:
            key = new_key(folder, engine.url, "--admin")
            more = "[ui]\nenabled = true"
            with Gateway(folder, engine.url, keys=True, max_sequences=256, core=core, more=more) as gateway:
                cookie = _sign_in(gateway.url, key)
                load(gateway.url, key, "whole", seconds=2.0, core=other)
                for number in range(2 * rounds):
                    is_watched = number % 4 in {1, 2}  # neither has always the first turn
                    with _watched(gateway.url, cookie, _VIEWERS if is_watched else 0) as seen:
                        before_s = gateway.cpu_s()
                        answered = load(gateway.url, key, "whole", seconds=seconds, core=other)["requests_per_s"]
                        spent_s[is_watched].append((gateway.cpu_s() - before_s) / (answered * seconds))
                        rates[is_watched].append(answered)
                    events += sum(seen)
    pairs = zip(rates[True], rates[False], strict=True)
    return {
        "viewers": _VIEWERS,
        "requests_per_s": statistics.median(rates[False]),
        "requests_per_s_watched": statistics.median(rates[True]),
        "ratio": statistics.median(watched / alone for watched, alone in pairs),
        "cpu_ratio": statistics.median(spent_s[True]) / statistics.median(spent_s[False]),
        "events_per_viewer": events / (rounds * _VIEWERS),
    }


def _sign_in(url: str, key: str) -> str:
    """Return the cookie of a session, once the pages answer."""
    form = urllib.parse.urlencode({"key": key, "next": "/health"}).encode()
    ends_s = time.monotonic() + _UP_S
    while True:
        try:
            opener = urllib.request.build_opener(_KeepRedirect)
            with opener.open(f"{url}/sign-in", form, timeout=10) as answer:
                return str(answer.headers["set-cookie"]).partition(";")[0]
        except urllib.error.HTTPError as error:
            if error.code == 303:
                return str(error.headers["set-cookie"]).partition(";")[0]
            if time.monotonic() > ends_s:
                raise
            time.sleep(0.2)


class _KeepRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Do not follow, since the cookie comes with the redirect."""


@contextmanager
def _watched(url: str, cookie: str, viewers: int) -> Iterator[list[int]]:
    """Have viewers follow the page meanwhile; yield how many events each has received, complete at the end."""
    seen = [0] * viewers
    loop = asyncio.new_event_loop()

    async def watch() -> None:
        await asyncio.gather(*(_follow(url, cookie, seen, number) for number in range(viewers)))

    task = loop.create_task(watch())
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.wait([task])), daemon=True)
    thread.start()
    ends_s = time.monotonic() + _UP_S
    while not all(seen):
        if task.done() or time.monotonic() > ends_s:
            raise RuntimeError(f"{seen.count(0)} of {viewers} viewers see nothing")
        time.sleep(0.05)
    try:
        yield seen
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


async def _follow(url: str, cookie: str, seen: list[int], number: int) -> None:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(f"GET /live/events HTTP/1.1\r\nHost: {address.netloc}\r\nCookie: {cookie}\r\n\r\n".encode())
    try:
        while data := await reader.read(65_536):
            seen[number] += data.count(b"\n\n")
    finally:
        writer.close()
