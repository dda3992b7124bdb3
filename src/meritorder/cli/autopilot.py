"""autopilot: plan again from the ledger, apply within budgets, list decisions and go back."""

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from meritorder.cli.options import CatalogFiles, ConfigFile, JsonFile
from meritorder.cli.parsing import progress
from meritorder.errors import ConfigError

if TYPE_CHECKING:
    from meritorder.records.autopilot import Decision

_ACTIONS: Final = ("run", "once", "log", "show", "revert")
_NAMED: Final = ("show", "revert")
_WIDE: Final = 1000  # no terminal: the table is not to be cut


def autopilot(
    config: ConfigFile,
    action: Annotated[str, typer.Argument(metavar="|".join(_ACTIONS), help="Action.")] = "run",
    decision: Annotated[str, typer.Argument(metavar="ID", help="Decision to show, or to go back from.")] = "",
    catalog: CatalogFiles = None,
    json: JsonFile = None,
) -> None:
    """Plan again from the gateway's ledger, and apply what the budgets of [autopilot] allow.

    It is a process of its own beside the gateway, which reloads the plan that it writes. `once` looks one time, `log`
    lists the decisions, `show ID` explains one, `revert ID` goes back to the plan before it.
    """
    from meritorder.report import autopilot as text
    from meritorder.report import files
    from meritorder.study.autopilot.log import DecisionLog
    from meritorder.study.autopilot.loop import Autopilot, run

    if action not in _ACTIONS:
        raise ConfigError(f"unknown action {action!r}", where="autopilot", fix=f"write one of {', '.join(_ACTIONS)}")
    if bool(decision) != (action in _NAMED):
        what, fix = ("no id is given", "autopilot log") if action in _NAMED else ("takes no id", "leave it out")
        raise ConfigError(what, where=f"autopilot {action}", fix=fix)
    files.check_target(json)
    console = Console()
    if not console.is_terminal:
        console.width = _WIDE
    if action in {"log", "show"}:
        log = DecisionLog(_folder(config))
        chosen = log.read() if action == "log" else [log.find(decision)]
        if json:
            files.write_bytes(json, _encoded(chosen))
        if action == "log":
            text.render_log(chosen, console)
        else:
            text.render_decision(chosen[0], console)
        return
    from meritorder.study.plan.answer import plan as planner

    catalogs = tuple(catalog or ())
    if action == "run":
        with Autopilot(config, planner, catalogs=catalogs) as pilot, contextlib.suppress(KeyboardInterrupt):
            run(pilot, show=lambda made: text.render_decision(made, console), report=_report)
        return
    with progress() as status, Autopilot(config, planner, catalogs=catalogs, progress=status.update) as pilot:
        made = pilot.revert(decision, time.time()) if action == "revert" else pilot.step(time.time())
    if made is None:
        console.print("nothing to do: neither the time nor demand, prices, speed or backlog ask for another plan")
        return
    if json:
        files.write_bytes(json, _encoded([made]))
    text.render_decision(made, console)


def _folder(config: Path) -> Path:
    from meritorder.gateway import config_file

    return config_file.read(config).autopilot_folder


def _encoded(decisions: "list[Decision]") -> bytes:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(decisions))


def _report(line: str) -> None:
    typer.echo(f"meritorder: {line}", err=True)
