"""inspect: what a trace holds, and what could wait."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from meritorder.cli.options import (
    Columns,
    Format,
    From,
    JsonFile,
    Scale,
    Seed,
    Strict,
    To,
    Traces,
)
from meritorder.cli.parsing import progress, read_trace


def inspect(
    trace: Traces,
    could_wait: Annotated[bool, typer.Option("--could-wait", help="Look for requests that could wait.")] = False,
    propose: Annotated[
        Path | None,
        typer.Option(
            "--propose", metavar="FILE", help="Write what could wait as a workloads file, for you to correct."
        ),
    ] = None,
    format_: Format = None,
    columns: Columns = None,
    scale: Scale = 1.0,
    start: From = None,
    end: To = None,
    strict: Strict = False,
    seed: Seed = 0,
    json: JsonFile = None,
) -> None:
    """Show what a trace holds, and what in it could wait.

    Span, rates, burstiness, lengths, tenants. With --could-wait, requests that look as if nobody sits in front of the
    answer, each with its evidence.
    """
    from meritorder.report import files
    from meritorder.report import inspect as report
    from meritorder.traces.could_wait import find_candidates, propose_workloads

    files.check_target(propose, json)
    with progress() as status:
        status.update("reading the trace")
        trace_read = read_trace(trace, format_, columns, scale, start, end, strict=strict, seed=seed)
        status.update("looking for what could wait")
        found = find_candidates(trace_read) if could_wait or propose else []
    console = Console()
    report.render(trace_read, console)
    if could_wait or propose:
        report.render_candidates(found, console)
    if propose:
        files.write_text(propose, propose_workloads(found))
    if json:
        files.write_bytes(json, msgspec.json.format(msgspec.json.encode(report.to_dict(trace_read, found))))
