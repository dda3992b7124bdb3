"""ui and mcp: the web application, and tools for assistants."""

import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from meritorder.cli.gateway.ledger import account_gateway, read_gateway, running_commitments
from meritorder.cli.options import ApiKeyVariable, Host, OptionalConfigFile, Port
from meritorder.cli.parsing import parse_names
from meritorder.errors import ConfigError
from meritorder.gateway.venues import parent_watchdog

if TYPE_CHECKING:
    from meritorder.study.autopilot.loop import Autopilot
    from meritorder.web.app import Site

_GRACE_S: Final = 5.0
_STEADY_S: Final = 10.0
_MIN_PAUSE_S: Final = 1.0
_MAX_PAUSE_S: Final = 30.0


def ui(
    host: Host = "127.0.0.1",
    port: Port = 8090,
    gateway: Annotated[
        str, typer.Option("--gateway", metavar="URL", help="Gateway whose work and batches the pages show.")
    ] = "",
    config: OptionalConfigFile = None,
    plan: Annotated[
        Path | None, typer.Option("--plan", metavar="FILE", help="Plan in force; by default that of --config.")
    ] = None,
    public: Annotated[
        str,
        typer.Option("--public", metavar="PAGE,…", help="Pages that need no signing in, such as calculator."),
    ] = "",
    socket: Annotated[
        Path | None, typer.Option("--socket", metavar="FILE", help="Listen on a socket file, behind a gateway.")
    ] = None,
    api_key_env: ApiKeyVariable = "OPENAI_API_KEY",
    browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Run the web application: a calculator of what traffic costs, answers about your own files, a gateway's work.

    With a gateway, its ledger (--config) and its plan are shown to those who sign in with an API key. On this machine
    alone, the key in the environment stands for everybody.
    """
    from meritorder.gateway.app.listening import listen, listen_on_file
    from meritorder.web.security import LOOPBACK
    from meritorder.web.server import serve

    def announce(url: str) -> None:
        typer.echo(f"meritorder: open {url} in a browser; Ctrl-C stops it")
        if browser:
            typer.launch(url)

    is_local = socket is None and host in LOOPBACK
    # What a gateway without keys lets everybody do, they may do behind it too.
    own_key = os.environ.get(api_key_env, "") if is_local else "" if socket is not None else None
    site = _site(gateway, config, plan, own_key, parse_names(public))
    listener = listen(host, port) if socket is None else listen_on_file(socket)
    typer.echo("preparing the simulator", err=True)
    serve(listener, site, announce, LOOPBACK if is_local else ())


def mcp(
    folder: Annotated[
        Path, typer.Option("--folder", metavar="DIR", help="Files in it may be read, no others.")
    ] = Path(),
    gateway: Annotated[str, typer.Option("--gateway", metavar="URL", help="Gateway to ask for quotes.")] = "",
    config: OptionalConfigFile = None,
) -> None:
    """Serve tools to an assistant over standard input and output, by the Model Context Protocol.

    They compare, estimate, audit, quote and read the ledger (with --config). Nothing is bought or started.
    For example:

    claude mcp add meritorder -- meritorder mcp --folder logs
    """
    from meritorder.web.mcp import Tools, build

    if not folder.is_dir():
        raise ConfigError("is not a folder", where=f"--folder {folder}", fix="name the folder of your files")
    build(Tools(folder=folder, gateway=gateway, config=config and config.resolve())).run()


def start_beside(arguments: list[str]) -> None:
    """Start the web application in a process of its own, again whenever it ends, until this process does.

    Args:
        arguments: Arguments of `meritorder ui`.
    """
    command = [sys.executable, "-m", "meritorder", "ui", *arguments]
    watched = [sys.executable, parent_watchdog.__file__, str(_GRACE_S), *command]

    def run() -> None:
        pause_s = _MIN_PAUSE_S
        while True:
            started_s = time.monotonic()
            with subprocess.Popen(watched, stdin=subprocess.PIPE, start_new_session=True) as process:  # noqa: S603
                process.wait()
            if time.monotonic() - started_s > _STEADY_S:
                pause_s = _MIN_PAUSE_S
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _MAX_PAUSE_S)

    threading.Thread(target=run, daemon=True).start()


def _site(url: str, config: Path | None, plan: Path | None, own_key: str | None, public: tuple[str, ...]) -> "Site":
    from meritorder.gateway import config_file
    from meritorder.study.autopilot.cron import parse_schedule
    from meritorder.study.autopilot.log import DecisionLog
    from meritorder.web.access import Access
    from meritorder.web.app import Site
    from meritorder.web.digest import send_by
    from meritorder.web.gateway import Gateway
    from meritorder.web.pages.live import watch
    from meritorder.web.render import PAGES

    for page in public:
        if page not in PAGES:
            raise ConfigError(f"unknown page {page!r}", where="--public", fix=f"the pages are {', '.join(PAGES)}")
    if config is not None and not url:
        raise ConfigError("the ledger needs the gateway that knows the keys", where="--config", fix="give --gateway")
    settings = config_file.read(config) if config is not None else None
    if settings is not None and settings.plan and plan is None:
        plan = Path(settings.plan)
    if config is not None and settings is not None and settings.ui.digest:
        send_by(parse_schedule(settings.ui.digest, "ui.digest"), config)
    return Site(
        access=Access(gateway=Gateway(url) if url else None, own_key=own_key, public=public),
        watch=partial(watch, url) if url else None,
        read_ledger=partial(read_gateway, config) if config else None,
        read_days=partial(account_gateway, config) if config else None,
        read_commitments=partial(running_commitments, config) if config else None,
        plan_file=plan,
        decisions=DecisionLog(settings.autopilot_folder) if settings is not None else None,
        pilot=partial(_pilot, config) if config is not None else None,
    )


def _pilot(config: Path) -> "Autopilot":
    """Return the autopilot, whose decisions people apply and revert."""
    from meritorder.study.autopilot.loop import Autopilot
    from meritorder.study.plan.answer import plan as planner

    return Autopilot(config, planner)
