"""What was paid, in a terminal."""

from collections.abc import Iterator

from rich.console import Console, RenderableType

from meritorder.records.accounting import LedgerReport
from meritorder.report.ledger import words
from meritorder.report.ledger.words import Grid
from meritorder.report.terminal import (
    INDENT,
    READING_WIDTH,
    TableColumn,
    bullets,
    fitted_table,
    narrow,
    plain,
    section,
    show,
    stack,
    warnings_section,
)

_MAX_ROWS = 60


def render(report: LedgerReport, console: Console) -> None:
    """Print the answer, laid out for the width of the console."""
    show(_blocks(report, console.width - INDENT), console)


def _blocks(report: LedgerReport, width: int) -> Iterator[RenderableType]:
    reading = min(width, READING_WIDTH)
    facts = (narrow(plain(text), reading) for text in words.facts(report))
    yield stack(narrow(plain(words.sentence(report), "bold"), reading), *facts)
    warned = report.warnings + (report.bill.warnings if report.bill else ())
    if warned:
        yield warnings_section(warned, reading)
    yield section("What it was paid for", "", table(words.uses(report), width))
    if report.by_cause:
        about = "real time what its machines would cost alone, the rest deferrable"
        yield section("What it was paid because of", about, table(words.causes(report), width))
    if report.by_workload:
        yield section("Requests by workload", "", table(words.workloads(report), width))
    if report.counterfactual:
        yield section("Simulation", report.counterfactual.basis, table(words.simulation(report), width))
    if report.forecast and report.forecast.budgets:
        yield section(words.BUDGETS, "", table(words.budgets(report), width))
    if report.bill:
        why = bullets([plain(reason) for reason in words.bill_reasons(report)[:_MAX_ROWS]], reading)
        yield section("Against the bill, USD", "", table(words.bill_lines(report), width), why)
    if report.rows:
        grid = words.groups(report)
        hidden = len(grid.rows) - _MAX_ROWS
        note = f"the first {_MAX_ROWS} of {len(grid.rows):,} rows; all are in --json and --html" if hidden > 0 else ""
        yield section(words.by(tuple(report.rows[0].by)), note, table(grid, width))


def table(grid: Grid, width: int) -> RenderableType:
    """Return a grid as a table that fits a width."""
    shown = grid.rows[:_MAX_ROWS]
    last = len(grid.headings) - 1
    return fitted_table(
        [
            TableColumn(
                heading=heading,
                # The first column and the dollars matter most.
                importance=place if place == 0 else 1 + last - place,
                cells=[row[place] for row in shown],
                number=place >= grid.texts,
                max_width=30 if place < grid.texts else None,
            )
            for place, heading in enumerate(grid.headings)
        ],
        width,
    )
