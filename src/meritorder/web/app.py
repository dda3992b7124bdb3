"""The application: its routes, and the server that `meritorder ui` runs."""

import contextlib
import logging
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from importlib.resources import files
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from meritorder.errors import ConfigError
from meritorder.web.pages import calculator, data, live
from meritorder.web.pages.form import CalculatorForm
from meritorder.web.pages.jobs import Jobs
from meritorder.web.render import html, style_sheet
from meritorder.web.security import LOOPBACK, Secured

_MAX_AGE_S: Final = 3600
_SHUTDOWN_S: Final = 1


def create_app(hosts: Sequence[str] = LOOPBACK, gateway: live.LiveGateway | None = None) -> ASGIApp:
    """Return the application.

    Args:
        hosts: Names that it may be addressed by; empty for any.
        gateway: The gateway whose work it shows; None for none.
    """
    routes = [
        Route("/", calculator.show_page),
        Route("/calculator/answer", calculator.show_answer),
        Route("/api/estimate", calculator.api_estimate),
        Route("/data", data.show_form),
        Route("/data", data.receive, methods=["POST"]),
        Route("/data/{job}", data.show_job),
        Route("/data/{job}/events", data.show_steps),
        Route("/data/{job}/report", data.show_report),
        Route("/data/{job}/again", data.run_again, methods=["POST"]),
        Route("/data/{job}/delete", data.delete, methods=["POST"]),
        Route("/live", live.show_page),
        Route("/live/events", live.show_states),
        Route("/api/live", live.api_live),
        Route("/app.css", _show_style),
        Route("/health", _show_health),
        Mount("/static", StaticFiles(directory=str(files("meritorder.web") / "static"))),
    ]
    application = Starlette(
        routes=routes, exception_handlers={HTTPException: _show_error, 500: _show_error}, lifespan=_with_jobs
    )
    application.state.gateway = gateway
    return Secured(application, hosts)


@contextlib.asynccontextmanager
async def _with_jobs(application: Starlette) -> AsyncIterator[None]:
    with tempfile.TemporaryDirectory(prefix="meritorder-ui-") as folder:
        application.state.jobs = Jobs(Path(folder) / "jobs")
        try:
            yield
        finally:
            await application.state.jobs.close()


def serve(host: str, port: int, gateway: live.LiveGateway | None, announce: Callable[[str], None]) -> None:
    """Serve until interrupted.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 chooses a free one.
        gateway: The gateway whose work it shows; None for none.
        announce: Receives the URL once the first answer is ready.

    Raises:
        ConfigError: The address cannot be used, or others than people at this machine would see the gateway's work.
    """
    if gateway is not None and host not in LOOPBACK:
        raise ConfigError(
            "shows the work of all tenants to everyone who reaches this address",
            where="--gateway",
            fix="leave out --host, and reach it through a tunnel or a proxy that asks who they are",
        )
    config = uvicorn.Config(
        create_app(LOOPBACK if host in LOOPBACK else (), gateway),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(
            f"cannot listen: {error.strerror}", where=f"{host}:{port}", fix="choose another --port"
        ) from None
    calculator.answer(CalculatorForm())  # compiles the simulator, so that the first page is fast
    announce(f"http://{_address(listener)}")
    server = _QuietServer(config)
    signal.signal(signal.SIGHUP, server.handle_exit)  # the terminal was closed
    with contextlib.suppress(KeyboardInterrupt):  # raised again after the server has ended
        server.run(sockets=[listener])


class _QuietServer(uvicorn.Server):
    """A server that ends without a traceback for each stream and upload that it cuts off."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end."""
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        super().handle_exit(sig, frame)


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _show_style(_request: Request) -> Response:
    headers = {"cache-control": f"max-age={_MAX_AGE_S}"}
    return Response(style_sheet(), media_type="text/css", headers=headers)


async def _show_health(_request: Request) -> Response:
    return PlainTextResponse("ok")


async def _show_error(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    values = {"status": status, "message": _MESSAGES.get(status, "Something went wrong here.")}
    return html("error.html.j2", values, status)


_MESSAGES: Final = {
    404: "There is no such page.",
    405: "This page cannot be used in this way.",
    409: "The work on this file goes on.",
    422: "A field cannot be used.",
}
