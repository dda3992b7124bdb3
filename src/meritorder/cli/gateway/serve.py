"""serve, proxy and autopilot: the gateway, one for a provider, and the loop that plans again from its ledger."""

import contextlib
import json
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from meritorder.cli.gateway.ui import start_beside
from meritorder.cli.options import CatalogFiles, ConfigFile, Host, JsonFile, OptionalConfigFile, Port, Rates
from meritorder.cli.parsing import catalog_sources, parse_names, progress
from meritorder.errors import ConfigError

if TYPE_CHECKING:
    from meritorder.gateway.app.server import Listening
    from meritorder.records.autopilot import Decision
    from meritorder.study.autopilot.log import DecisionLog

_ACTIONS: Final = ("run", "once", "log", "show", "apply", "revert")
_NAMED: Final = ("show", "apply", "revert")
_WIDE: Final = 1000  # no terminal: the table is not to be cut


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
    workers: Annotated[
        int,
        typer.Option("--workers", metavar="N", min=1, help="Processes that share the port, the limits and the store."),
    ] = 1,
    migrate: Annotated[
        bool, typer.Option("--migrate", help="Bring the store to this version and exit; a start does it too.")
    ] = False,
) -> None:
    """Run the gateway: an OpenAI-compatible service that defers the requests that can wait."""
    from meritorder.gateway.app import server

    if local is (config is not None):
        raise ConfigError("give exactly one of the two", where="--config and --local")
    if local and workers > 1:
        fix = "leave out --workers, or run engines yourself and name their url with --config"
        raise ConfigError("the local engine is served by one process", where="--local", fix=fix)
    settings = server.load_settings(config, host=host, port=port, plan=plan)
    if migrate:
        server.migrate(settings)
        return

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

    if workers == 1:
        server.serve(settings, announce=announce)
        return
    from meritorder.gateway.app.workers.supervisor import serve_workers

    serve_workers(settings, announce, workers)


def proxy(
    provider: Annotated[
        str, typer.Argument(metavar="openai|anthropic|gemini", help="Provider with a batch API.")
    ] = "openai",
    url: Annotated[str, typer.Option("--url", metavar="URL", help="Its API, if it is not the provider's own.")] = "",
    api_key_env: Annotated[
        str, typer.Option("--api-key-env", metavar="NAME", help="Variable with its key; by default OPENAI_API_KEY, ….")
    ] = "",
    models: Annotated[
        str, typer.Option("--models", metavar="NAME,…", help="Models to serve; by default all that it lists.")
    ] = "",
    folder: Annotated[
        Path | None,
        typer.Option("--folder", metavar="DIR", help="Its store; by default one of the account, in the state folder."),
    ] = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    collect: Annotated[
        str, typer.Option("--collect", metavar="TIME", help="How long a call waits for others of its batch.")
    ] = "5s",
    poll: Annotated[
        str, typer.Option("--poll", metavar="TIME", help="How often the provider is asked for its batches.")
    ] = "10s",
    idle: Annotated[
        str, typer.Option("--idle", metavar="TIME", help="Stop after this time without clients or unfinished batches.")
    ] = "",
) -> None:
    """Run a gateway in front of a provider, without a configuration, for programs in any language.

    Calls with the header `Meritorder-Deadline: 24h` become batches of the provider, at the price of its batch API. Each
    is asked once: after a crash, the same call attaches to its answer or its running work. Callers use the provider's
    key.
    """
    from meritorder.client.proxy import socket_file
    from meritorder.gateway.app import server
    from meritorder.gateway.app.proxy.service import Proxy
    from meritorder.gateway.app.proxy.settings import Account, proxy_settings
    from meritorder.gateway.config import duration_s

    make = partial(Proxy, collect_s=duration_s(collect), idle_s=duration_s(idle) if idle else None)
    account = Account(provider=provider, url=url, api_key_env=api_key_env)
    folder = folder or account.folder()
    settings = proxy_settings(account, folder, parse_names(models), host=host, port=port, poll=poll)

    def announce(listening: "Listening") -> None:
        typer.echo(f"meritorder: listening on {listening.url}")
        typer.echo(
            f"{len(listening.models)} models of {provider}; use {listening.url}/v1 with your key of {provider}, "
            f"and give calls that can wait the header Meritorder-Deadline: 24h\nstore: {folder}"
        )

    server.serve(settings, announce, make=make, socket_file=socket_file(folder))


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


def autopilot(
    config: ConfigFile,
    action: Annotated[str, typer.Argument(metavar="|".join(_ACTIONS), help="Action.")] = "run",
    decision: Annotated[str, typer.Argument(metavar="ID", help="Decision to show, to apply, or to go back from.")] = "",
    catalog: CatalogFiles = None,
    rate: Rates = None,
    json: JsonFile = None,
) -> None:
    """Plan again from the gateway's ledger, and apply what the budgets of [autopilot] allow.

    It is a process of its own beside the gateway, which reloads the plan that it writes. `once` looks one time, `log`
    lists the decisions, `show ID` explains one, `apply ID` carries out what it suggests, `revert ID` goes back to the
    plan before it.
    """
    from meritorder.report import files
    from meritorder.report.plan import autopilot as text
    from meritorder.study.autopilot.log import DecisionLog
    from meritorder.study.autopilot.loop import Autopilot, run

    if action not in _ACTIONS:
        raise ConfigError(f"unknown action {action!r}", where="autopilot", fix=f"write one of {', '.join(_ACTIONS)}")
    if bool(decision) != (action in _NAMED):
        what, fix = (
            ("no id is given", "see `meritorder autopilot log`")
            if action in _NAMED
            else ("takes no id", "leave it out")
        )
        raise ConfigError(what, where=f"autopilot {action}", fix=fix)
    files.check_target(json)
    console = Console()
    if not console.is_terminal:
        console.width = _WIDE
    if action in {"log", "show"}:
        _show_decisions(DecisionLog(_folder(config)), decision, json, console)
        return
    from meritorder.study.plan.answer import plan as planner

    catalogs = catalog_sources(catalog, rate)
    if action == "run":
        with Autopilot(config, planner, catalogs=catalogs) as pilot, contextlib.suppress(KeyboardInterrupt):
            run(pilot, show=lambda made: text.render_decision(made, console), report=_report)
        return
    made: Decision | None
    if action == "once":
        with progress() as status, Autopilot(config, planner, catalogs=catalogs, progress=status.update) as pilot:
            made = pilot.step(time.time())
    else:
        pilot = Autopilot(config, planner, catalogs=catalogs)
        made = (pilot.apply if action == "apply" else pilot.revert)(decision, time.time())
    if made is None:
        console.print("nothing to do: neither the time nor demand, prices, speed or backlog ask for another plan")
        return
    if json:
        files.write_bytes(json, _encoded([made]))
    text.render_decision(made, console)


def _show_decisions(log: "DecisionLog", decision: str, json: Path | None, console: Console) -> None:
    """Show all decisions, or the one that is named."""
    from meritorder.report import files
    from meritorder.report.plan import autopilot as text

    chosen = [log.find(decision)] if decision else log.read()
    if json:
        files.write_bytes(json, _encoded(chosen))
    if decision:
        text.render_decision(chosen[0], console)
    elif chosen:
        text.render_log(chosen, console)
    else:
        console.print("no decision yet")


def _folder(config: Path) -> Path:
    from meritorder.gateway import config_file

    return config_file.read(config).autopilot_folder


def _encoded(decisions: "list[Decision]") -> bytes:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(decisions))


def _report(line: str) -> None:
    typer.echo(f"meritorder: {line}", err=True)
