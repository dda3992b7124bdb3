"""Statistics of a trace in the terminal and as JSON: `meritorder inspect`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from meritorder.traces import statistics
from meritorder.traces.could_wait import DeferralCandidate
from meritorder.traces.statistics import Group, Lengths, TraceStatistics
from meritorder.traces.trace import Trace
from meritorder.units import format_duration, utc

SCHEMA: Final = "meritorder.inspect/1"
_PLOT_COLUMNS: Final = 84
_PLOT_ROWS: Final = 6
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"


def to_dict(trace: Trace, candidates: Sequence[DeferralCandidate] = ()) -> dict[str, Any]:
    """Return the contents of `render` as plain data for JSON.

    Args:
        trace: The trace.
        candidates: Requests that could wait, if the user asked for them.
    """
    report = trace.report
    return {
        "schema": SCHEMA,
        "epoch_s": trace.epoch_s,
        "read": {
            "files": list(report.files),
            "format": report.format,
            "rows": report.rows,
            "bad": report.bad,
            "first_bad": [asdict(row) for row in report.first_bad],
            "set_aside": report.set_aside,
            "aside": {kind.value: asdict(aside) for kind, aside in report.aside.items()},
            "unpriced": report.unpriced,
            "columns": list(report.columns),
            "estimated_tokens": report.estimated_tokens,
            "assumptions": list(report.assumptions),
        },
        "statistics": asdict(statistics.describe(trace)),
        "could_wait": [asdict(candidate) | {"matching": dict(candidate.matching)} for candidate in candidates],
    }


def render(trace: Trace, console: Console) -> None:
    """Print the statistics of a trace and how it was read."""
    described = statistics.describe(trace)
    if trace.report.unpriced:
        console.print(f"[bold yellow]{escape(trace.report.unpriced)}[/bold yellow]")
    console.print(_facts(trace, described))
    console.print(_lengths(trace, described))
    for title, groups, count in (
        ("model", described.models, len(described.models)),
        ("tenant", described.tenants, described.tenant_count),
    ):
        if any(group.name is not None for group in groups):
            console.print(_groups(title, groups, count))
    width_s, counts = statistics.arrivals(trace, max_bins=_PLOT_COLUMNS)
    console.print(f"\n[bold]arrivals per {format_duration(width_s)}[/bold], at most {int(counts.max()):,}")
    for row in _columns(counts.tolist()):
        console.print(row, style="cyan", highlight=False, no_wrap=True, overflow="crop")
    _print_report(trace, console)


def render_candidates(candidates: Sequence[DeferralCandidate], console: Console) -> None:
    """Print the requests that could wait, with evidence and confidence."""
    if not candidates:
        console.print("No sign of requests that could wait; --defer 40%@4h computes the saving if some of them could.")
        return
    table = Table("sign", "requests", "of tokens", "match", "deadline", "confidence", "evidence", title="could wait")
    for candidate in candidates:
        table.add_row(
            candidate.kind.replace("_", " "),
            f"{candidate.requests:,}",
            f"{candidate.share_of_tokens:.1%}",
            escape(", ".join(f"{column}={glob}" for column, glob in candidate.matching)),
            candidate.deadline,
            f"{candidate.confidence:.2f}",
            escape(candidate.evidence),
        )
    console.print(table)
    console.print(
        "These are signs, not facts; nothing is applied. --propose writes them to a workloads file for you to correct."
    )


def _facts(trace: Trace, described: TraceStatistics) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    dates = "without dates" if trace.epoch_s is None else f"from {utc(trace.epoch_s):%Y-%m-%d %H:%M} UTC"
    table.add_row("trace", escape(", ".join(trace.report.files)))
    table.add_row("format", trace.report.format)
    for columns in trace.report.columns:
        table.add_row("columns", escape(columns))
    table.add_row("requests", f"{described.requests:,} in {format_duration(described.span_s)}, {dates}")
    if described.sessions is not None:
        table.add_row("sessions", f"{described.sessions:,}")
    if described.mean_rate_per_s is not None:
        table.add_row("rate", f"{described.mean_rate_per_s:.3g} per s")
    table.add_row("busiest hour / mean", _ratio(described.peak_to_mean_hour, "shorter than two hours"))
    table.add_row("quietest hour / mean", _ratio(described.trough_to_mean_hour, "shorter than two hours"))
    table.add_row("gaps, CV", _ratio(described.interarrival_cv, "all at once") + "  (Poisson 1)")
    table.add_row("per minute, variance / mean", _ratio(described.dispersion_minute, "too short") + "  (Poisson 1)")
    return table


def _ratio(value: float | None, why_not: str) -> str:
    return f"- ({why_not})" if value is None else f"{value:.3g}"


def _lengths(trace: Trace, described: TraceStatistics) -> Table:
    table = Table("tokens", "total", "mean", "p50", "p90", "p99", "max")
    mark = " (estimated)" if trace.report.estimated_tokens else ""
    table.add_row(f"input{mark}", *_length_cells(described.input_tokens))
    table.add_row(f"output{mark}", *_length_cells(described.output_tokens))
    table.caption = f"{described.cached_share:.1%} of the input can be reused from a prefix cache"
    return table


def _length_cells(lengths: Lengths) -> Iterator[str]:
    yield f"{lengths.total:,}"
    yield f"{lengths.mean:,.0f}"
    for value in (lengths.p50, lengths.p90, lengths.p99, lengths.max):
        yield f"{value:,.0f}"


def _groups(title: str, groups: Sequence[Group], count: int) -> Table:
    table = Table(title, "requests", "of requests", "of tokens")
    for group in groups:
        name = "(none)" if group.name is None else escape(group.name)
        table.add_row(name, f"{group.requests:,}", f"{group.share_of_requests:.1%}", f"{group.share_of_tokens:.1%}")
    if count > len(groups):
        table.caption = f"the largest of {count:,}"
    return table


def _columns(counts: Sequence[int]) -> Iterator[str]:
    """Yield the rows of a column chart from top to bottom; every count above zero is visible."""
    steps = len(_BLOCKS) - 1
    max_count = max(counts)
    heights = [-(-count * steps * _PLOT_ROWS // max_count) for count in counts]
    for row in reversed(range(_PLOT_ROWS)):
        yield "".join(_BLOCKS[min(steps, max(0, height - row * steps))] for height in heights)


def _print_report(trace: Trace, console: Console) -> None:
    report = trace.report
    if report.bad:
        console.print(f"\n[bold yellow]{report.bad_rows:,} bad rows[/bold yellow] of {report.rows:,}, left out:")
        for reason, count in report.bad.items():
            console.print(f"  {count:,}  {escape(reason)}")
        for row in report.first_bad:
            console.print(f"  {escape(str(row))}", style="dim", highlight=False)
    for line in report.aside_lines:
        console.print(f"[yellow]{escape(line)}[/yellow]")
    for text in report.assumptions:
        console.print(f"[dim]assumed:[/dim] {escape(text)}", highlight=False)
