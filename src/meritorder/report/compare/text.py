"""A comparison in a terminal: the sentence, the numbers behind it, and how certain they are."""

from collections.abc import Iterator
from typing import Final

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Text

from meritorder.records.comparison import Arrangement, Comparison, TraceSummary
from meritorder.report.compare.rows import Metric, metrics, per_request, ratio_text, saving_text, served, waterfalls
from meritorder.report.terminal import (
    INDENT,
    READING_WIDTH,
    assumptions_section,
    bullets,
    columns,
    narrow,
    plain,
    prices_section,
    section,
    show,
    stack,
    warnings_section,
    waterfall_section,
)
from meritorder.report.wording import lane_title, or_missing, usd_cells
from meritorder.units import format_count, format_duration, format_share

_BEST, _BASELINE, _BROKEN = "▸", "◦", "✗"
_LEGEND: Final = {
    _BEST: "cheapest that meets every SLO and deadline",
    _BASELINE: "baseline",
    _BROKEN: "misses an SLO or deadline",
}
_MARK_STYLE: Final = {_BEST: "bold green", _BASELINE: "bold", _BROKEN: "red"}


def render(comparison: Comparison, console: Console) -> None:
    """Print a comparison, laid out for the width of the console."""
    show(_blocks(comparison, console.width - INDENT), console)


def _blocks(comparison: Comparison, width: int) -> Iterator[RenderableType]:
    reading = min(width, READING_WIDTH)
    yield narrow(plain(comparison.sentence, "bold"), reading)
    yield narrow(plain(_input(comparison), "dim"), reading)
    yield _arrangements(comparison, width)
    if lanes := _lanes(comparison):
        yield lanes
    for fall in waterfalls(comparison):
        yield waterfall_section(fall, width)
    if comparison.break_even_utilization is not None or comparison.break_even_note:
        yield _break_even(comparison, reading)
    yield _confidence(comparison, reading)
    if comparison.assumptions:
        yield assumptions_section(comparison.assumptions, reading)
    if comparison.prices:
        yield prices_section(comparison.prices, width)
    if comparison.warnings:
        yield warnings_section(comparison.warnings, reading)


def _input(comparison: Comparison) -> str:
    trace: TraceSummary = comparison.trace
    span = f" over {format_duration(trace.span_s)}" if trace.span_s else ""
    files = trace.files[0] if len(trace.files) == 1 else f"{len(trace.files)} files"
    return f"{served(comparison)} · {format_count(trace.requests, 'request')}{span} · {files} ({trace.format})"


def _marks(comparison: Comparison, arrangement: Arrangement) -> str:
    if arrangement.name == comparison.best:
        return _BEST
    if not arrangement.feasible:
        return _BROKEN
    return _BASELINE if arrangement.name == comparison.baseline else ""


def _arrangements(comparison: Comparison, width: int) -> RenderableType:
    every = metrics(comparison)
    titles = [plain(arrangement.title) for arrangement in comparison.arrangements]
    shown = _fitting(every, width - max(map(len, titles), default=0) - 3)
    table = columns(" ", "", *("\n".join(column.short) for column in shown), numbers=len(shown))
    marks = [_marks(comparison, arrangement) for arrangement in comparison.arrangements]
    for row, (mark, title, arrangement) in enumerate(zip(marks, titles, comparison.arrangements, strict=True)):
        style = "bold" if mark == _BEST else "" if arrangement.feasible else "dim"
        table.add_row(
            Text(mark, _MARK_STYLE.get(mark, "")), title, *(column.cells[row] for column in shown), style=style
        )
    legend = "   ".join(f"{mark} {meaning}" for mark, meaning in _LEGEND.items() if mark in marks)
    notes = [
        plain(f"{arrangement.title}: {note}", "dim")
        for arrangement in comparison.arrangements
        for note in arrangement.notes
    ]
    rest = [column.label for column in every if column not in shown]
    if rest:
        notes.append(Text(f"Columns not shown: {', '.join(rest)}; use a wider terminal, --json or --html.", "dim"))
    return stack(table, Text(f"\n{legend}", "dim"), bullets(notes, min(width, READING_WIDTH)))


def _fitting(every: list[Metric], width: int) -> list[Metric]:
    """Return the most important columns that fit side by side, in table order."""
    left, chosen = width, []
    for column in sorted(every, key=lambda column: column.importance):
        left -= 2 + max(cell_len(text) for text in (*column.short, *column.cells))
        if left < 0:
            break
        chosen.append(column)
    return [column for column in every if column in chosen]


def _lanes(comparison: Comparison) -> RenderableType | None:
    rows = [
        (arrangement, lane)
        for arrangement in comparison.arrangements
        if arrangement.feasible
        for lane in arrangement.lanes
    ]
    if not rows:
        return None
    unit = per_request(comparison)
    charged = usd_cells([lane.usd_per_request and lane.usd_per_request * unit.count for _, lane in rows])
    average = usd_cells(
        [lane.average_usd_per_request and lane.average_usd_per_request * unit.count for _, lane in rows]
    )
    totals = usd_cells([lane.total_usd for _, lane in rows])
    table = columns("", "", "requests", "cost", "\n".join(("allocated", *unit.short)), "plain\naverage", numbers=4)
    before = ""
    for row, (arrangement, lane) in enumerate(rows):
        title = "" if arrangement.name == before else arrangement.title
        before = arrangement.name
        cells = (f"{lane.requests:,}", totals[row], charged[row], average[row])
        table.add_row(plain(title), plain(lane_title(lane.lane)), *cells)
    rule = Text("Real time is allocated what its fleet would cost alone, deferrable the rest.", "dim")
    return section("Cost by lane", "", rule, table)


def _break_even(comparison: Comparison, width: int) -> RenderableType:
    share = or_missing(comparison.break_even_utilization, format_share)
    return section("Break-even", f"{share} utilization", narrow(plain(comparison.break_even_note), width))


def _confidence(comparison: Comparison, width: int) -> RenderableType:
    texts = [saving_text(comparison), ratio_text(comparison), *comparison.performance]
    return section("Confidence", "", bullets([plain(text) for text in texts if text], width))
