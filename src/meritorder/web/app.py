"""The application: its routes, and the server that `meritorder ui` runs."""

import socket
from collections.abc import Callable
from importlib.resources import files
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from meritorder.errors import ConfigError
from meritorder.web import calculator
from meritorder.web.pages import SECURITY_HEADERS, html, style_sheet
from meritorder.web.settings import Settings

_MAX_AGE_S: Final = 3600


def create_app() -> ASGIApp:
    """Return the application."""
    routes = [
        Route("/", calculator.show_page),
        Route("/calculator/answer", calculator.show_answer),
        Route("/api/estimate", calculator.api_estimate),
        Route("/app.css", _show_style),
        Route("/health", _show_health),
        Mount("/static", StaticFiles(directory=str(files("meritorder.web") / "static"))),
    ]
    return _Secured(Starlette(routes=routes, exception_handlers={HTTPException: _show_error, 500: _show_error}))


def serve(host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve until interrupted.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 chooses a free one.
        announce: Receives the URL once the first answer is ready.

    Raises:
        ConfigError: The address cannot be used.
    """
    config = uvicorn.Config(create_app(), host=host, port=port, log_level="warning", access_log=False)
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(
            f"cannot listen: {error.strerror}", where=f"{host}:{port}", fix="choose another --port"
        ) from None
    calculator.answer(Settings())  # compiles the simulator, so that the first page is fast
    announce(f"http://{_address(listener)}")
    uvicorn.Server(config).run(sockets=[listener])


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Secured:
    """Adds the security headers to every response."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        await self._application(scope, receive, send_secured if scope["type"] == "http" else send)


async def _show_style(_request: Request) -> Response:
    headers = {"cache-control": f"max-age={_MAX_AGE_S}"}
    return Response(style_sheet(), media_type="text/css", headers=headers)


async def _show_health(_request: Request) -> Response:
    return PlainTextResponse("ok")


async def _show_error(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    values = {"status": status, "message": _MESSAGES.get(status, "Something went wrong here.")}
    return html("error.html.j2", values, status)


_MESSAGES: Final = {404: "There is no such page.", 405: "This page cannot be used in this way."}
