"""ui: run the web application."""

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from meritorder.cli.options import ApiKeyVariable
from meritorder.gateway.venues import parent_watchdog

if TYPE_CHECKING:
    from meritorder.web.pages.live import LiveGateway

_GRACE_S: Final = 5.0


def ui(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 picks a free one.")] = 8090,
    gateway: Annotated[
        str,
        typer.Option("--gateway", metavar="URL", help="Gateway whose work the page Live shows; needs an admin key."),
    ] = "",
    api_key_env: ApiKeyVariable = "OPENAI_API_KEY",
    browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Run the web application: a calculator of what traffic costs, answers about your own files, a gateway's work."""
    from meritorder.web.app import serve as serve_pages

    def announce(url: str) -> None:
        typer.echo(f"meritorder: open {url} in a browser; Ctrl-C stops it")
        if browser:
            typer.launch(url)

    typer.echo("preparing the simulator", err=True)
    serve_pages(host, port, _live_gateway(gateway, os.environ.get(api_key_env, "")) if gateway else None, announce)


def start_beside(gateway_url: str, port: int) -> None:
    """Start the web application in a process of its own, which ends when this one does.

    Args:
        gateway_url: The gateway whose work it shows.
        port: Its port.
    """
    command = [sys.executable, "-m", "meritorder", "ui", "--port", str(port), "--gateway", gateway_url]
    watched = [sys.executable, parent_watchdog.__file__, str(_GRACE_S), *command]
    subprocess.Popen(watched, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603 - our own command


def _live_gateway(url: str, key: str) -> "LiveGateway":
    from meritorder.gateway.app.client import GatewayClient
    from meritorder.web.pages.live import LiveGateway

    def fetch_status() -> dict[str, Any]:
        with GatewayClient(url, key) as client:
            return client.status()

    return LiveGateway(url, fetch_status)
