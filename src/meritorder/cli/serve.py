"""serve: run the gateway; keys: who may call it."""

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
        Path | None, typer.Option("--plan", metavar="FILE", help="Carry out this plan, as `meritorder plan` wrote it.")
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="A small model on this machine; no configuration.")] = False,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on, instead of the file's.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port; 0 for any that is free.")] = None,
) -> None:
    """Run the gateway: an OpenAI-compatible service that lets what can wait, wait."""
    from meritorder.gateway.app import server

    if local is (config is not None):
        raise ConfigError("give one of the two", where="--config and --local")
    settings = server.settings_of(config, host=host, port=port, plan=plan)
    server.serve(settings, announce=lambda url: typer.echo(f"meritorder: listening on {url}"))


def keys(
    action: Annotated[str, typer.Argument(metavar="create|list|revoke", help="What to do.")],
    config: ConfigFile,
    name: Annotated[str, typer.Argument(help="Name of a new key, or id of the one to revoke.")] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="Whose files and batches it sees.")] = "default",
    admin: Annotated[bool, typer.Option("--admin", help="It may read metrics and status.")] = False,
    deadline: Annotated[
        str | None, typer.Option("--deadline", metavar="4h", help="Its calls can wait for so long.")
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option("--requests-per-minute", min=1, help="Most calls.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option("--tokens-per-minute", min=1, help="Most tokens.")] = None,
    budget: Annotated[float | None, typer.Option("--budget", metavar="USD", help="Most that it may spend.")] = None,
) -> None:
    """Make, list and revoke the keys of a gateway. A running gateway knows of it within seconds."""
    from meritorder.gateway.app import administration

    desk = administration.open_store(config)
    try:
        if action == "create":
            if not name:
                raise ConfigError("the key has no name", where="keys create", fix="write: keys create NAME")
            asked = administration.Asked(
                name=name,
                tenant=tenant,
                admin=admin,
                deadline=deadline,
                requests_per_minute=requests_per_minute,
                tokens_per_minute=tokens_per_minute,
                budget_usd=budget,
            )
            typer.echo(desk.create(asked))
        elif action == "list":
            table = Table("id", "name", "tenant", "admin", "deadline", box=None)
            for key in desk.valid_keys():
                table.add_row(key.id, key.name, key.tenant, "yes" if key.admin else "", key.deadline or "")
            Console().print(table)
        elif action == "revoke":
            desk.revoke(name)
        else:
            raise ConfigError(f"{action!r} is not an action", where="keys", fix="write create, list or revoke")
    finally:
        desk.close()
