"""The endpoints of a job: the one with the fewest calls in flight is asked, of those that respond."""

import asyncio
import datetime as dt
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

import aiohttp
import httptools
from yarl import URL

from meritorder.posting.answers import ACCEPTED_ENCODINGS
from meritorder.posting.poster import Poster, PostingConnector

_API: Final = "/v1"
_DEADLINE_HEADER: Final = "meritorder-deadline"
_RETRY_AFTER: Final = "retry-after"
_SHOWN_BYTES: Final = 300
_TIMEOUT_S: Final = 600.0
_CONNECT_S: Final = 30.0
_KEEP_IDLE_S: Final = 3.0  # Uvicorn and llama.cpp close a connection after five idle seconds
_REDIRECTS: Final = frozenset({307, 308})  # that keep the method
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What an endpoint replied.

    Args:
        status: The HTTP status; 0 if it did not respond.
        body: The body, or why it did not respond.
        retry_after_s: How long it asks to wait; None if it does not say.
    """

    status: int
    body: bytes
    retry_after_s: float | None = None

    @property
    def message(self) -> str:
        """The reply in one line."""
        text = " ".join(self.body[:_SHOWN_BYTES].decode(errors="replace").split())
        return f"HTTP {self.status}: {text}" if self.status else text


@dataclass(slots=True)
class _Endpoint:
    """An endpoint: its calls in flight, how often in a row it did not respond, and until when it is left alone."""

    url: str
    in_flight: int = 0
    failures: int = 0
    paused_until_s: float = 0.0


class Endpoints:
    """Endpoints that serve the same models.

    Args:
        urls: Their URLs, with `/v1`.
        api_key: Their key; empty for none.
        deadline_s: When answers are of no use any more, Unix time; a gateway reads it in a header. None for never.
    """

    def __init__(self, urls: tuple[str, ...], api_key: str, deadline_s: float | None) -> None:
        self._endpoints = [_Endpoint(url) for url in urls]
        self._deadline_s = deadline_s
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": ACCEPTED_ENCODINGS}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        if deadline_s is not None:
            self._headers[_DEADLINE_HEADER] = dt.datetime.fromtimestamp(deadline_s, dt.UTC).isoformat()
        self._poster: Poster | None = None

    async def post(self, path: str, body: bytes) -> Reply:
        """Post a body to an endpoint that responds, and return its reply; wait while none does."""
        if self._poster is None:  # it belongs to the loop of its first call
            connector = PostingConnector(limit=0, keepalive_timeout=_KEEP_IDLE_S)
            self._poster = Poster(aiohttp.ClientSession(headers=self._headers, connector=connector), _CONNECT_S)
        endpoint = await self._choose()
        endpoint.in_flight += 1
        try:
            reply = await self._post(self._poster, endpoint.url + path.removeprefix(_API), body)
        except (aiohttp.ClientError, httptools.HttpParserError, TimeoutError, OSError) as error:
            pause_s = min(_FIRST_PAUSE_S * 2.0**endpoint.failures, _LONGEST_PAUSE_S)
            endpoint.failures += 1
            endpoint.paused_until_s = time.monotonic() + pause_s
            return Reply(0, f"{endpoint.url}: {str(error) or type(error).__name__}".encode())
        finally:
            endpoint.in_flight -= 1
        endpoint.failures = 0
        return reply

    async def _post(self, poster: Poster, url: str, body: bytes) -> Reply:
        """Post a body, where it is redirected to if need be; return the whole reply."""
        timeout_s = self._left_s(_TIMEOUT_S if self._deadline_s is None else math.inf)
        posted = await poster.post(URL(url), body, timeout_s=timeout_s)
        parts = []
        try:
            while part := await posted.content.readany():
                parts.append(part)
        finally:
            posted.close()
        if posted.status not in _REDIRECTS:
            return _to_reply(posted.status, posted.headers, b"".join(parts))
        timeout = aiohttp.ClientTimeout(timeout_s)
        async with poster.session.post(url, data=body, timeout=timeout) as response:
            return _to_reply(response.status, response.headers, await response.read())

    async def close(self) -> None:
        """Close all connections."""
        if self._poster is not None:
            await self._poster.session.close()

    async def _choose(self) -> _Endpoint:
        """Return the endpoint with the fewest calls in flight, of those that respond; any of them at the deadline."""
        first = min(self._endpoints, key=attrgetter("paused_until_s"))
        if (wait_s := first.paused_until_s - time.monotonic()) > 0:
            await asyncio.sleep(self._left_s(wait_s))
        now_s = time.monotonic()
        responding = [endpoint for endpoint in self._endpoints if endpoint.paused_until_s <= now_s]
        return min(responding or self._endpoints, key=attrgetter("in_flight"))

    def _left_s(self, wait_s: float) -> float:
        """Return a wait, cut at the deadline."""
        until_s = math.inf if self._deadline_s is None else self._deadline_s - time.time()
        return max(min(wait_s, until_s), 0.001)


def _to_reply(status: int, headers: Mapping[str, str], body: bytes) -> Reply:
    wait = headers.get(_RETRY_AFTER, "")
    return Reply(status, body, float(wait) if wait.isdigit() else None)
