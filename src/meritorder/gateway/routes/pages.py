"""The pages of the web application, which a process beside the gateway serves on a socket file."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import aiohttp
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route
from yarl import URL

from meritorder.gateway.wire.asgi import Receive, Scope, Send

PATHS: Final = (
    "/",
    "/calculator/answer",
    *("/data", "/plan", "/live", "/batches", "/ledger", "/proof"),
    *(f"/{page}/{{rest:path}}" for page in ("data", "plan", "live", "batches", "ledger", "api", "static")),
    *("/sign-in", "/sign-out", "/app.css"),
)
"""What is passed on; a test compares it with the routes of the web application."""

_HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
SOCKET: Final = "pages"
_CONNECT_S: Final = 5
_RETRY_S: Final = 2
_STARTING: Final = (
    "<!doctype html><html lang=en><title>Starting - Meritorder</title><h1>The pages are starting.</h1>"
    "<p>The gateway works meanwhile. <a href=''>Look again</a> in a few seconds."
)


class Pages:
    """Passes requests on to the web application.

    Args:
        shared: The folder of its socket, if several processes share it; None for one of its own.
    """

    def __init__(self, shared: Path | None = None) -> None:
        self._own = None if shared is not None else Path(tempfile.mkdtemp(prefix="meritorder-"))
        self.socket = (shared or self._own or Path()) / SOCKET
        self._session: aiohttp.ClientSession | None = None

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(path, self, methods=["GET", "POST"]) for path in PATHS]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request as the web application does; 503 while it starts."""
        request = Request(scope, receive)
        address = URL.build(
            scheme="http",
            host="pages",
            path=scope["raw_path"].decode("latin-1").partition("?")[0],
            query_string=scope["query_string"].decode("latin-1"),
            encoded=True,
        )
        headers = [(name, value) for name, value in request.headers.items() if name not in _HOP_BY_HOP]
        body = request.stream() if request.method == "POST" else None
        try:
            async with self._client().request(
                request.method, address, headers=headers, data=body, allow_redirects=False
            ) as answer:
                await _passed_on(answer)(scope, receive, send)
        except ClientDisconnect:
            return
        except (aiohttp.ClientConnectionError, TimeoutError):
            starting = HTMLResponse(_STARTING, 503, {"retry-after": str(_RETRY_S), "cache-control": "no-store"})
            await starting(scope, receive, send)

    async def close(self) -> None:
        """Close all connections, and remove a folder of its own."""
        if self._session is not None:
            await self._session.close()
        if self._own is not None:
            await asyncio.to_thread(shutil.rmtree, self._own, ignore_errors=True)

    def _client(self) -> aiohttp.ClientSession:
        """Return the session, which needs a running loop to be made."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(str(self.socket), limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
                auto_decompress=False,
            )
        return self._session


def _passed_on(answer: aiohttp.ClientResponse) -> Response:
    """Return a response that streams an answer as it comes."""

    async def chunks() -> AsyncIterator[bytes]:
        try:
            async for chunk in answer.content.iter_any():
                yield chunk
        except aiohttp.ClientPayloadError:  # the web application ended in the middle
            return

    response = StreamingResponse(chunks(), answer.status)
    response.raw_headers = [
        (name.lower(), value) for name, value in answer.raw_headers if name.decode().lower() not in _HOP_BY_HOP
    ]
    return response
