"""serve: run the gateway; keys: manage its API keys."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from meritorder.cli.options import ConfigFile, OptionalConfigFile
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


def keys(
    action: Annotated[str, typer.Argument(metavar="create|list|revoke", help="Action.")],
    config: ConfigFile,
    name: Annotated[str, typer.Argument(help="Name of the new key, or id of the key to revoke.")] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="Tenant, whose files and batches it sees.")] = "default",
    admin: Annotated[bool, typer.Option("--admin", help="Allow it to read metrics and status.")] = False,
    deadline: Annotated[str | None, typer.Option("--deadline", metavar="4h", help="Deadline of its calls.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option("--requests-per-minute", min=1, help="Rate limit.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option("--tokens-per-minute", min=1, help="Rate limit.")] = None,
    budget: Annotated[float | None, typer.Option("--budget", metavar="USD", help="Spending limit.")] = None,
) -> None:
    """Create, list and revoke the API keys of a gateway; a running gateway applies the change within seconds."""
    from meritorder.gateway.app.administration import Administration, KeyRequest

    with Administration(config) as store:
        if action == "create":
            if not name:
                raise ConfigError("the key has no name", where="keys create", fix="write: keys create NAME")
            request = KeyRequest(
                name=name,
                tenant=tenant,
                admin=admin,
                deadline=deadline,
                requests_per_minute=requests_per_minute,
                tokens_per_minute=tokens_per_minute,
                budget_usd=budget,
            )
            typer.echo(store.create_key(request))
        elif action == "list":
            table = Table("id", "name", "tenant", "admin", "deadline", box=None)
            for key in store.list_keys():
                table.add_row(key.id, key.name, key.tenant, "yes" if key.admin else "", key.deadline or "")
            Console().print(table)
        elif action == "revoke":
            store.revoke_key(name)
        else:
            raise ConfigError(f"unknown action {action!r}", where="keys", fix="write create, list or revoke")
