"""batch: send a batch to a gateway and fetch its results; status: what a gateway does; ledger: what it did."""

import os
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from meritorder.cli.options import ApiKeyVariable, ConfigFile
from meritorder.errors import ConfigError
from meritorder.units import format_duration

_URL: Final = "http://127.0.0.1:8000"
_LOOK_S: Final = 1.0
_ACTIONS: Final = ("submit", "status", "fetch", "cancel", "pause", "resume")
_FINAL: Final = frozenset({"completed", "failed", "expired", "cancelled"})

Url = Annotated[str, typer.Option("--url", metavar="URL", help="Address of the gateway.")]


def batch(
    action: Annotated[str, typer.Argument(metavar="|".join(_ACTIONS), help="What to do.")],
    what: Annotated[str, typer.Argument(metavar="FILE|ID", help="File of requests to submit, or id of a batch.")] = "",
    window: Annotated[str, typer.Option("--window", metavar="24h", help="When it must be done.")] = "24h",
    wait: Annotated[bool, typer.Option("--wait", help="Show how far it is until it is over.")] = False,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where to write the results; errors go beside them.")
    ] = Path("results.jsonl"),
    url: Url = _URL,
    api_key_env: ApiKeyVariable = "OPENAI_API_KEY",
) -> None:
    """Submit a file of requests as a batch, look after it, and fetch its results."""
    if action not in _ACTIONS:
        raise ConfigError(f"{action!r} is not an action", where="batch", fix=f"write one of {', '.join(_ACTIONS)}")
    if not what:
        raise ConfigError(
            "nothing is named", where=f"batch {action}", fix="give a file to submit, or the id of a batch"
        )
    from meritorder.gateway.app.client import Client

    with Client(url, os.environ.get(api_key_env, "")) as client:
        if action == "submit":
            found = client.submit(Path(what), window)
        elif action in {"status", "fetch"}:
            found = client.batch(what)
        else:
            found = client.change(what, action)
        if wait:
            found = _watch(client, found)
        _show(found)
        if action == "fetch" or (wait and action == "submit"):
            for path, lines in client.fetch(found, out):
                typer.echo(f"{lines:,} lines written to {path}")


def status(url: Url = _URL, api_key_env: ApiKeyVariable = "OPENAI_API_KEY") -> None:
    """Show what a gateway does: its venues, what waits, what was spent. It needs an admin key."""
    from meritorder.gateway.app.client import Client

    with Client(url, os.environ.get(api_key_env, "")) as client:
        found = client.status()
    console = Console()
    _table(console, "Venues", found["venues"], ("name", "up", "seats", "realtime", "deferrable", "allowed", "alert"))
    if found.get("plan"):
        wanted = ("pool", "payment", "machines", "machines_next", "replicas", "replicas_next")
        _table(console, f"Plan, slot {found['plan']['slot']}", found["plan"]["pools"], wanted)
        if found["plan"].get("fault"):
            console.print(f"the plan's file was not taken: {found['plan']['fault']}", markup=False)
    _table(console, "Batches", found["batches"], ("id", "tenant", "status", "done", "failed", "total"))
    queued = [{"model": model, "requests": count} for model, count in found["queued"].items()]
    _table(console, "Queued", queued, ("model", "requests"))
    columns = ("lane", "model", "venue", "requests", "input_tokens", "output_tokens", "lost_tokens", "cost_usd")
    _table(console, "Ledger", found["ledger"], columns)


def ledger(
    config: ConfigFile,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="CSV to write.")] = Path("ledger.csv"),
) -> None:
    """Write the ledger of a gateway as a trace: every request, with its tokens, lane, venue, times and cost."""
    from meritorder.gateway.app import administration

    desk = administration.open_store(config)
    try:
        count = desk.write_ledger(out)
    finally:
        desk.close()
    typer.echo(f"{count:,} requests written to {out}; plan from them with: meritorder inspect {out}")


def _watch(client: Any, found: dict[str, Any]) -> dict[str, Any]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(found["status"], total=None)
        while found["status"] not in _FINAL:
            time.sleep(_LOOK_S)
            found = client.batch(found["id"])
            counts = found["request_counts"]
            done = counts["completed"] + counts["failed"]
            progress.update(task, description=found["status"], total=counts["total"] or None, completed=done)
    return found


def _show(found: dict[str, Any]) -> None:
    counts = found["request_counts"]
    said = "paused" if found.get("paused_at") else found["status"]
    left = ""
    if found["status"] not in _FINAL and found["expires_at"]:
        left = f", {format_duration(max(0.0, found['expires_at'] - time.time()))} left"
    typer.echo(
        f"{found['id']}: {said}, {counts['completed']:,} of {counts['total']:,} done, {counts['failed']:,} failed{left}"
    )
    for error in ((found.get("errors") or {}).get("data") or [])[:10]:
        line = f"line {error['line']}: " if error.get("line") else ""
        typer.echo(f"  {line}{error['message']}")


def _table(console: Console, title: str, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    if not rows:
        console.print(f"{title}: none")
        return
    table = Table(*columns, title=title, title_justify="left", box=None)
    for row in rows:
        table.add_row(*("" if row[name] is None else str(row[name]) for name in columns))
    console.print(table)
