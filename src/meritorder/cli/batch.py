"""batch: submit a batch and fetch its results; status: show a gateway; ledger: export its ledger."""

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
_POLL_S: Final = 1.0
_ACTIONS: Final = ("submit", "status", "fetch", "cancel", "pause", "resume")

Url = Annotated[str, typer.Option("--url", metavar="URL", help="URL of the gateway.")]


def batch(
    action: Annotated[str, typer.Argument(metavar="|".join(_ACTIONS), help="Action.")],
    what: Annotated[str, typer.Argument(metavar="FILE|ID", help="File of requests to submit, or id of a batch.")] = "",
    window: Annotated[str, typer.Option("--window", metavar="24h", help="Completion window.")] = "24h",
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until it has finished.")] = False,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="File for the results; errors go to a file next to it.")
    ] = Path("results.jsonl"),
    url: Url = _URL,
    api_key_env: ApiKeyVariable = "OPENAI_API_KEY",
) -> None:
    """Submit a file of requests as a batch, follow or change it, and fetch its results."""
    if action not in _ACTIONS:
        raise ConfigError(f"unknown action {action!r}", where="batch", fix=f"write one of {', '.join(_ACTIONS)}")
    if not what:
        raise ConfigError(
            "no file or id is given", where=f"batch {action}", fix="give a file to submit or the id of a batch"
        )
    from meritorder.gateway.app.client import GatewayClient

    with GatewayClient(url, os.environ.get(api_key_env, "")) as client:
        if action == "submit":
            current = client.submit(Path(what), window)
        elif action in {"status", "fetch"}:
            current = client.batch(what)
        else:
            current = client.change_batch(what, action)
        if wait:
            current = _watch(client, current)
        _show(current)
        if action == "fetch" or (wait and action == "submit"):
            for path, lines in client.fetch(current, out):
                typer.echo(f"{lines:,} lines written to {path}")


def status(url: Url = _URL, api_key_env: ApiKeyVariable = "OPENAI_API_KEY") -> None:
    """Show a gateway's venues, plan, batches, queue and spending; requires an admin key."""
    from meritorder.gateway.app.client import GatewayClient

    with GatewayClient(url, os.environ.get(api_key_env, "")) as client:
        report = client.status()
    console = Console()
    _table(console, "Venues", report["venues"], ("name", "up", "seats", "realtime", "deferrable", "allowed", "alert"))
    if report.get("plan"):
        pool_columns = ("pool", "payment", "machines", "machines_next", "replicas", "replicas_next")
        _table(console, f"Plan, slot {report['plan']['slot']}", report["plan"]["pools"], pool_columns)
        by_rule = [row | row["policy"] for row in report["plan"]["pools"] if "policy" in row]
        if by_rule:
            rule_columns = ("pool", "payment", "floor", "reactive", "backlog", "above_floor_usd")
            _table(console, "Policy, machines by rule", by_rule, rule_columns)
        if report["plan"].get("fault"):
            console.print(f"the changed plan file was rejected: {report['plan']['fault']}", markup=False)
    _table(console, "Batches", report["batches"], ("id", "tenant", "status", "done", "failed", "total"))
    queued = [{"model": model, "requests": count} for model, count in report["queued"].items()]
    _table(console, "Queued", queued, ("model", "requests"))
    columns = ("lane", "model", "venue", "requests", "input_tokens", "output_tokens", "lost_tokens", "cost_usd")
    _table(console, "Ledger", report["ledger"], columns)


def ledger(
    config: ConfigFile,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="CSV to write.")] = Path("ledger.csv"),
) -> None:
    """Export the ledger of a gateway as a trace: each request with its tokens, lane, venue, times and cost."""
    from meritorder.gateway.app.administration import Administration

    with Administration(config) as store:
        count = store.write_ledger(out)
    typer.echo(f"{count:,} requests written to {out}; to inspect it: meritorder inspect {out}")


def _watch(client: Any, batch: dict[str, Any]) -> dict[str, Any]:
    from meritorder.gateway.app.client import FINAL_STATUSES

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(batch["status"], total=None)
        while batch["status"] not in FINAL_STATUSES:
            time.sleep(_POLL_S)
            batch = client.batch(batch["id"])
            counts = batch["request_counts"]
            done = counts["completed"] + counts["failed"]
            state = "paused" if batch.get("paused_at") else batch["status"]
            progress.update(task, description=state, total=counts["total"] or None, completed=done)
    return batch


def _show(batch: dict[str, Any]) -> None:
    from meritorder.gateway.app.client import FINAL_STATUSES

    counts = batch["request_counts"]
    state = "paused" if batch.get("paused_at") else batch["status"]
    left = ""
    if batch["status"] not in FINAL_STATUSES and batch["expires_at"]:
        left = f", {format_duration(max(0.0, batch['expires_at'] - time.time()))} left"
    typer.echo(
        f"{batch['id']}: {state}, {counts['completed']:,} of {counts['total']:,} done, "
        f"{counts['failed']:,} failed{left}"
    )
    if reason := batch.get("paused_reason"):
        typer.echo(f"  {reason['message']}")
    for error in ((batch.get("errors") or {}).get("data") or [])[:10]:
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
