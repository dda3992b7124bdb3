"""A minimal proxy in Python, the reference for overhead: ASGI in, the aiohttp client out, nothing in between.

python -m bench._bare_proxy URL
"""

import sys
from typing import Any

import aiohttp
import uvicorn


class Proxy:
    """Forwards every request."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's
        """Forward a request, and its response back."""
        if scope["type"] != "http":
            return
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        sent = {"content-type": "application/json"}
        async with self._session.post(self._upstream + scope["path"], data=body, headers=sent) as response:
            names = (b"content-type", b"content-length")
            headers = [(name.lower(), value) for name, value in response.raw_headers if name.lower() in names]
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            async for chunk in response.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


class _Server(uvicorn.Server):
    async def startup(self, sockets: Any = None) -> None:  # noqa: ANN401 - uvicorn's
        await super().startup(sockets)
        sys.stdout.write(f"{self.servers[0].sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    proxy = Proxy(sys.argv[1])
    settings = uvicorn.Config(
        proxy, port=0, loop="uvloop", http="httptools", lifespan="off", access_log=False, log_level="error"
    )
    _Server(settings).run()
