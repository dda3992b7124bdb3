"""The server of the pages, which `meritorder ui` runs."""

import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Final

import uvicorn

from meritorder.web.app import Site, create_app
from meritorder.web.pages import calculator
from meritorder.web.pages.form import CalculatorForm

_SHUTDOWN_S: Final = 1


def serve(listener: socket.socket, site: Site, announce: Callable[[str], None], hosts: Sequence[str]) -> None:
    """Serve until interrupted.

    Args:
        listener: Listens for connections.
        site: What the pages show.
        announce: Receives the URL once the first answer is ready.
        hosts: Names that it may be addressed by; empty for any.
    """
    config = uvicorn.Config(
        create_app(hosts, site),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    calculator.answer(CalculatorForm())  # compiles the simulator, so that the first page is fast
    announce(_address(listener))
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
    """Return the URL of a socket, or the path of its file."""
    name = listener.getsockname()
    if isinstance(name, str):
        return name
    host, port = name[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
