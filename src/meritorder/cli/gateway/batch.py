"""batch: submit batches and fetch their results; status: show a gateway."""

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from meritorder.cli.options import ApiKeyVariable, HtmlFile, JsonFile, PromptColumn
from meritorder.errors import ConfigError
from meritorder.units import format_duration

if TYPE_CHECKING:
    from meritorder.gateway.app.client import GatewayClient

_URL: Final = "http://127.0.0.1:8000"
_POLL_S: Final = 1.0
_ACTIONS: Final = ("submit", "list", "status", "fetch", "cancel", "pause", "resume", "receipt", "quote")
_REPORTS: Final = ("list", "receipt", "quote")
_READS: Final = ("status", "fetch")
_INTERRUPTED: Final = 130
_QUOTE: Final = "quote_"

_Rules = tuple[str, str, int | None]
"""Model, column and limit of prompts."""

Url = Annotated[str, typer.Option("--url", metavar="URL", help="URL of the gateway.")]


def batch(
    action: Annotated[str, typer.Argument(metavar="|".join(_ACTIONS), help="Action.")],
    what: Annotated[
        str,
        typer.Argument(
            metavar="FILE|ID",
            help="File of requests to submit, or id of a batch or quote; of a receipt also that of a request.",
        ),
    ] = "",
    window: Annotated[str, typer.Option("--window", metavar="24h", help="Completion window.")] = "24h",
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until it has finished.")] = False,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="File for the results; errors go to a file next to it.")
    ] = Path("results.jsonl"),
    in_order: Annotated[
        bool, typer.Option("--in-order", help="Write results and errors to one file, in the order of the input.")
    ] = False,
    model: Annotated[str, typer.Option("--model", help="Model of prompts; by default the gateway's only one.")] = "",
    prompt: PromptColumn = "prompt",
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Limit on the answers to prompts.")
    ] = None,
    json: JsonFile = None,
    html: HtmlFile = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the signature of a receipt in a file, instead of an id.")
    ] = False,
    url: Url = _URL,
    api_key_env: ApiKeyVariable = "OPENAI_API_KEY",
) -> None:
    """Quote or submit a file of requests or prompts as a batch, follow it, and fetch its results or its receipt.

    The file has requests as the Batch API takes them, or prompts: text with one per line, JSON lines, CSV or Parquet.
    A quote is the price and the end of a batch, by how long it may wait; submit its id to use it.
    The exit code is 1 if lines of a finished batch have failed, or if a receipt is not valid.
    """
    if action not in _ACTIONS:
        raise ConfigError(f"unknown action {action!r}", where="batch", fix=f"write one of {', '.join(_ACTIONS)}")
    if not what and action != "list":
        raise ConfigError(
            "no file or id is given", where=f"batch {action}", fix="give a file to submit or the id of a batch"
        )
    from meritorder.gateway.app.client import GatewayClient

    with GatewayClient(url, os.environ.get(api_key_env, "")) as client:
        if action in _REPORTS:
            rules = (model, prompt, max_tokens)
            _report(client, action, what, json, html, verify=verify, rules=rules)
            return
        current = (
            _submit(client, what, window, (model, prompt, max_tokens))
            if action == "submit"
            else client.act_on_batch(what, action)
        )
        with _going_on(current["id"], url):
            if action == "submit":
                _show(current)  # the id comes first
            if wait:
                current = _watch(client, current)
        if wait or action != "submit":
            _show(current)
        if action == "fetch" or (wait and action == "submit" and _has_results(current)):
            for path, lines in client.fetch(current, out, in_order=in_order):
                typer.echo(f"{lines:,} lines written to {path}")
        if action in {"submit", *_READS}:
            _exit_if_failed(client, current)


def _exit_if_failed(client: "GatewayClient", batch: dict[str, Any]) -> None:
    """End with the exit code 1 and the commonest reason if lines of a batch have failed."""
    reason = client.commonest_failure(batch)
    if reason is not None:
        typer.echo(reason, err=True)
        raise typer.Exit(1)


def _report(
    client: "GatewayClient",
    action: str,
    what: str,
    json: Path | None,
    html: Path | None,
    *,
    verify: bool,
    rules: _Rules,
) -> None:
    """Show what is not the state of one batch."""
    if action == "list":
        _list(client)
    elif action == "quote":
        _quote(client, Path(what), json, rules)
    elif verify:
        _verify(client, Path(what))
    else:
        _receipt(client, what, json, html)


def _quote(client: "GatewayClient", path: Path, json: Path | None, rules: _Rules) -> None:
    """Show what a batch of a file would cost, by how long it may wait."""
    from meritorder.report import files
    from meritorder.report.ledger import quote as report

    files.check_target(json)
    with _as_requests(client, path, rules) as requests:
        body = client.quote(requests)
    quote = report.decode(body)
    if json:
        files.write_bytes(json, body)
    report.render(quote, Console())


def _receipt(client: "GatewayClient", subject_id: str, json: Path | None, html: Path | None) -> None:
    """Show the receipt of a batch or a request, and write it to files."""
    from meritorder import documents
    from meritorder.records.receipts import RECEIPT_SCHEMA, SignedReceipt
    from meritorder.report import files
    from meritorder.report.ledger import receipt as report

    files.check_target(json, html)
    body = client.receipt(subject_id)
    command = f"meritorder batch receipt {subject_id}"
    signed = documents.decode(
        body, SignedReceipt, schema=RECEIPT_SCHEMA, what="a receipt", command=command, where=subject_id
    )
    if json:
        files.write_bytes(json, body)
    if html:
        files.write_text(html, report.page(signed))
    report.render(signed, Console())


def _verify(client: "GatewayClient", path: Path) -> None:
    """Say whether the gateway signed a receipt; end with the exit code 1 if it did not, or it was changed."""
    from meritorder import documents

    try:
        body = documents.read_file(path)
    except OSError as error:
        fix = "name the file that --json wrote"
        raise ConfigError(error.strerror or "cannot be read", where=str(path), fix=fix) from None
    if fault := client.fault_of_receipt(body):
        typer.echo(f"{path}: not valid: {fault}", err=True)
        raise typer.Exit(1)
    typer.echo(f"{path}: valid: signed by this gateway, and not changed since")


def _submit(client: "GatewayClient", what: str, window: str, rules: _Rules) -> dict[str, Any]:
    """Submit a file, or the file of a quote."""
    if what.startswith(_QUOTE) and not Path(what).exists():
        return client.submit_quoted(what, window)
    with _as_requests(client, Path(what), rules) as requests:
        return client.submit(requests, window)


@contextlib.contextmanager
def _as_requests(client: "GatewayClient", path: Path, rules: _Rules) -> Iterator[Path]:
    """Yield a file of requests: as given, or written from one of prompts."""
    from meritorder.inputs.prompts import PromptRules, is_batch_file, write_batch_file

    if is_batch_file(path):
        yield path
        return
    model, prompt, max_tokens = rules
    wanted = PromptRules(model=model or client.only_model(), prompt=prompt, max_tokens=max_tokens)
    with tempfile.TemporaryDirectory() as folder:
        converted = Path(folder) / f"{path.stem}.jsonl"
        write_batch_file(path, converted, wanted)
        yield converted


def _list(client: "GatewayClient") -> None:
    batches, has_more = client.batches()
    longest = max((len(listed["id"]) for listed in batches), default=0)
    table = Table(Column("id", min_width=longest), "status", "model", "done", "failed", "total", "created", box=None)
    for listed in batches:
        counts = listed["request_counts"]
        created = time.strftime("%Y-%m-%d %H:%M", time.localtime(listed["created_at"]))
        cells = (_state(listed), listed.get("model") or "", counts["completed"], counts["failed"], counts["total"])
        table.add_row(listed["id"], *map(str, cells), created)
    if not batches:
        typer.echo("no batches; submit one: meritorder batch submit FILE")
        return
    Console().print(table)
    if has_more:
        typer.echo(f"and older ones; these are the latest {len(batches)}")


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


@contextlib.contextmanager
def _going_on(batch_id: str, url: str) -> Iterator[None]:
    """Explain at an interruption that it stops watching, not the batch."""
    try:
        yield
    except KeyboardInterrupt:
        at = "" if url == _URL else f" --url {url}"
        typer.echo(
            f"stopped watching; the batch {batch_id} goes on\n"
            f"  to watch it:  meritorder batch status {batch_id} --wait{at}\n"
            f"  to cancel it: meritorder batch cancel {batch_id}{at}",
            err=True,
        )
        sys.exit(_INTERRUPTED)


def _watch(client: "GatewayClient", batch: dict[str, Any]) -> dict[str, Any]:
    """Show the progress of a batch until it has finished, and why it pauses; return it."""
    from meritorder.gateway.app.client import FINAL_STATUSES

    paused: str | None = None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(batch["status"], total=None)
        while batch["status"] not in FINAL_STATUSES:
            time.sleep(_POLL_S)
            batch = client.batch(batch["id"])
            counts = batch["request_counts"]
            done = counts["completed"] + counts["failed"]
            before, paused = paused, _pause_reason(batch)
            if paused != before and batch["status"] not in FINAL_STATUSES:
                progress.console.print(paused or "The batch goes on.", markup=False, highlight=False, soft_wrap=True)
            progress.update(task, description=_state(batch), total=counts["total"] or None, completed=done)
    return batch


def _pause_reason(batch: dict[str, Any]) -> str | None:
    """Return why a batch is paused, and how it goes on; None if it is not."""
    if reason := batch.get("paused_reason"):
        return str(reason["message"])
    return f"Paused; to go on: meritorder batch resume {batch['id']}" if batch.get("paused_at") else None


def _has_results(batch: dict[str, Any]) -> bool:
    return bool(batch["output_file_id"] or batch["error_file_id"])


def _state(batch: dict[str, Any]) -> str:
    return "paused" if batch.get("paused_at") else str(batch["status"])


def _show(batch: dict[str, Any]) -> None:
    from meritorder.gateway.app.client import FINAL_STATUSES

    counts = batch["request_counts"]
    left = ""
    if batch["status"] not in FINAL_STATUSES and batch["expires_at"]:
        left = f", {format_duration(max(0.0, batch['expires_at'] - time.time()))} left"
    typer.echo(
        f"{batch['id']}: {_state(batch)}, {counts['completed']:,} of {counts['total']:,} done, "
        f"{counts['failed']:,} failed{left}"
    )
    if reason := _pause_reason(batch):
        typer.echo(f"  {reason}")
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
