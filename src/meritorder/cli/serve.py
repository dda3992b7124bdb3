"""serve: run the gateway."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meritorder.cli.options import OptionalConfigFile
from meritorder.cli.ui import start_beside
from meritorder.errors import ConfigError

if TYPE_CHECKING:
    from meritorder.gateway.app.server import Listening


def serve(
    config: OptionalConfigFile = None,
    plan: Annotated[
        Path | None, typer.Option("--plan", metavar="FILE", help="Plan to execute, as written by `meritorder plan`.")
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Serve a small model on this machine, without a configuration.")
    ] = False,
    ui: Annotated[
        int | None, typer.Option("--ui", metavar="PORT", help="Also serve the web application, which shows its work.")
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on; overrides the file.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port; 0 picks a free one.")] = None,
) -> None:
    """Run the gateway: an OpenAI-compatible service that defers the requests that can wait."""
    from meritorder.gateway.app import server

    if local is (config is not None):
        raise ConfigError("give exactly one of the two", where="--config and --local")
    settings = server.load_settings(config, host=host, port=port, plan=plan)

    def announce(listening: "Listening") -> None:
        _announce(listening, config)
        shared = ["--gateway", listening.url]
        shared += [
            *(["--config", str(config)] if config else []),
            *(["--plan", settings.plan] if settings.plan else []),
        ]
        if ui is not None:
            start_beside(["--port", str(ui), *shared])
        if listening.pages_socket is not None:
            public = ["--public", ",".join(settings.ui.public)] if settings.ui.public else []
            start_beside(["--socket", str(listening.pages_socket), *shared, *public])
            typer.echo(f"meritorder: open {listening.url} in a browser, and sign in with an API key")

    server.serve(settings, announce=announce)


def _announce(listening: "Listening", config: Path | None) -> None:
    """Show the URL, how to call it, and what to do next."""
    typer.echo(f"meritorder: listening on {listening.url}")
    if config is None:
        body = {"model": listening.models[0], "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 32}
        typer.echo(
            f"model: {listening.models[0]}, no API key needed\n"
            f"try it in another terminal:\n"
            f"  curl -s {listening.url}/v1/chat/completions -H 'content-type: application/json' \\\n"
            f"    -d '{json.dumps(body)}'\n"
            f"next: a file with one prompt per line as a batch: "
            f"meritorder batch submit prompts.txt --wait --url {listening.url}\n"
            "  or your own engines and providers: meritorder serve --config gateway.toml (docs/how-to/serve.md)"
        )
    elif listening.needs_key:
        typer.echo(f"no API key exists yet; make one: meritorder keys create me --config {config}")
