"""What a running engine's tokens cost, in a terminal."""

from collections.abc import Iterator

from rich.console import Console, RenderableType

from meritorder.records.accounting import TokenCost, WatchReport
from meritorder.report.ledger.text import table
from meritorder.report.ledger.words import Grid
from meritorder.report.terminal import INDENT, READING_WIDTH, bullets, narrow, plain, section, show, warnings_section
from meritorder.report.wording import MISSING
from meritorder.units import SECONDS_PER_HOUR, format_duration, format_share, format_usd

_HEADINGS = ("a million tokens", "all", "input", "output")


def render(report: WatchReport, console: Console) -> None:
    """Print the answer, laid out for the width of the console."""
    show(_blocks(report, console.width - INDENT), console)


def sentence(report: WatchReport) -> str:
    """Return the answer in one sentence."""
    what = report.machine or f"{format_usd(report.usd_per_hour)} an hour"
    tokens = f"{report.input_tokens:,} input and {report.output_tokens:,} output tokens"
    if report.usd_per_mtok is None:
        cost = "No tokens were counted"
    else:
        cost = f"A million tokens cost {format_usd(report.usd_per_mtok.all_usd)}: {tokens}"
    return f"{cost} in {format_duration(report.measured_s)} on {what} ({report.engine})."


def _blocks(report: WatchReport, width: int) -> Iterator[RenderableType]:
    reading = min(width, READING_WIDTH)
    yield narrow(plain(sentence(report), "bold"), reading)
    if report.warnings:
        yield warnings_section(report.warnings, reading)
    share = report.idle_s / report.measured_s
    hourly = format_usd(report.idle_usd / report.measured_s * SECONDS_PER_HOUR)
    idle = f"{format_share(share)} of the time nothing ran: {hourly} of {format_usd(report.usd_per_hour)} an hour"
    rows = (_row("with idle time", report.usd_per_mtok), _row("without idle time", report.busy_usd_per_mtok))
    yield section("What they cost", idle, table(Grid(headings=_HEADINGS, texts=1, rows=rows), width))
    if len(report.models) > 1:
        models = tuple(_row(entry.model or MISSING, entry.usd_per_mtok) for entry in report.models)
        about = "each with its share of the price by its tokens"
        yield section("By model", about, table(Grid(headings=_HEADINGS, texts=1, rows=models), width))
    yield section("Assumed", "", bullets([plain(text) for text in report.assumptions], reading))


def _row(title: str, cost: TokenCost | None) -> tuple[str, ...]:
    if cost is None:
        return (title, MISSING, MISSING, MISSING)
    return (title, *(format_usd(usd) for usd in (cost.all_usd, cost.input_usd, cost.output_usd)))
