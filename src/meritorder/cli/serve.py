"""serve: run the gateway."""

from pathlib import Path
from typing import Annotated

import typer

from meritorder.cli.options import OptionalConfigFile
from meritorder.errors import ConfigError


def serve(
    config: OptionalConfigFile = None,
    plan: Annotated[
        Path | None, typer.Option("--plan", metavar="FILE", help="Plan to execute, as written by `meritorder plan`.")
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Serve a small model on this machine, without a configuration.")
    ] = False,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on; overrides the file.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port; 0 picks a free one.")] = None,
) -> None:
    """Run the gateway: an OpenAI-compatible service that defers the requests that can wait."""
    from meritorder.gateway.app import server

    if local is (config is not None):
        raise ConfigError("give exactly one of the two", where="--config and --local")
    settings = server.load_settings(config, host=host, port=port, plan=plan)
    server.serve(settings, announce=lambda url: typer.echo(f"meritorder: listening on {url}"))
