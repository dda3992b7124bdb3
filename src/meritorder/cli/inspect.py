"""inspect: statistics of a trace, and requests that could wait."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from meritorder.cli.options import (
    Aggregate,
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
    could_wait: Annotated[
        bool, typer.Option("--could-wait", help="Find requests that could wait, with evidence.")
    ] = False,
    propose: Annotated[
        Path | None,
        typer.Option(
            "--propose", metavar="FILE", help="Write requests that could wait to a workloads file, for you to correct."
        ),
    ] = None,
    format_: Format = None,
    columns: Columns = None,
    aggregate: Aggregate = False,
    scale: Scale = 1.0,
    start: From = None,
    end: To = None,
    strict: Strict = False,
    seed: Seed = 0,
    json: JsonFile = None,
) -> None:
    """Show the statistics of a trace, and the requests in it that could wait.

    Span, rates, burstiness, lengths, tenants. With --could-wait, also requests that no person seems to wait for, with
    evidence.
    """
    from meritorder.report import files
    from meritorder.report.inputs import inspect as report
    from meritorder.traces.could_wait import find_candidates, propose_workloads

    files.check_target(propose, json)
    with progress() as status:
        status.update("reading the trace")
        trace_read = read_trace(
            trace, format_, columns, scale, start, end, strict=strict, seed=seed, aggregate=aggregate
        )
        status.update("looking for requests that could wait")
        candidates = find_candidates(trace_read) if could_wait or propose else []
    console = Console()
    report.render(trace_read, console)
    if could_wait or propose:
        report.render_candidates(candidates, console)
    if propose:
        files.write_text(propose, propose_workloads(candidates))
    if json:
        files.write_bytes(json, msgspec.json.format(msgspec.json.encode(report.to_dict(trace_read, candidates))))
