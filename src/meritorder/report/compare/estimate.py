"""An estimate in a terminal: the sentence, the ways to serve the requests, what waiting is worth."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console, RenderableType

from meritorder.records.estimation import Estimate, PatiencePoint, Way
from meritorder.report.terminal import (
    INDENT,
    READING_WIDTH,
    TableColumn,
    assumptions_section,
    bullets,
    fitted_table,
    narrow,
    plain,
    prices_section,
    section,
    show,
    warnings_section,
)
from meritorder.report.wording import MISSING, or_missing, range_cells, usd_cells
from meritorder.units import format_count, format_duration, format_share, format_usd

_PLACE_WIDTH: Final = 30
_JOB_PLACE_WIDTH: Final = 20
_TEXT_WIDTH: Final = 40
_IN_TIME: Final = {True: "yes", False: "no", None: "unknown"}
# Ways of one kind that a table shows: providers beyond are in the JSON.
_SHOWN_OF_A_KIND: Final = 4


def render(estimate: Estimate, console: Console) -> None:
    """Print an estimate, laid out for the width of the console."""
    show(_blocks(estimate, console.width - INDENT), console)


def _blocks(estimate: Estimate, width: int) -> Iterator[RenderableType]:
    reading = min(width, READING_WIDTH)
    yield narrow(plain(estimate.sentence, "bold"), reading)
    yield narrow(plain(asked(estimate), "dim"), reading)
    shown = _shown(estimate.ways)
    rest = len(estimate.ways) - len(shown)
    left_out = f"{rest} more providers are in --json and --html" if rest else ""
    yield section("Ways to serve it", left_out, fitted_table(way_columns(estimate, shown), width))
    if estimate.patience:
        yield section("What waiting is worth", "a month", fitted_table(patience_columns(estimate.patience), width))
    if estimate.period == "month":
        yield section("Break-even with tokens", "", narrow(plain(break_even(estimate)), reading))
    if estimate.commands:
        yield section("To run it", "", bullets([plain(command, "cyan") for command in estimate.commands], width, "$ "))
    if estimate.assumptions:
        yield assumptions_section(estimate.assumptions, reading)
    if estimate.prices:
        yield prices_section(estimate.prices, width)
    if estimate.warnings:
        yield warnings_section(estimate.warnings, reading)


def _shown(ways: Sequence[Way]) -> list[Way]:
    """Return the first ways of each kind."""
    counts: dict[str, int] = {}
    shown = []
    for way in ways:
        counts[way.title] = counts.get(way.title, 0) + 1
        if counts[way.title] <= _SHOWN_OF_A_KIND:
            shown.append(way)
    return shown


def asked(estimate: Estimate) -> str:
    """Return what was estimated, on one line."""
    traffic = estimate.traffic
    lengths = f"{traffic.input_tokens:,.0f} input and {traffic.output_tokens:,.0f} output tokens each"
    if traffic.requests_per_day is None:
        by = or_missing(traffic.by_s, format_duration)
        requests = format_count(round(traffic.requests), "request")
        return f"{estimate.model} · {requests} within {by} · {lengths} on average"
    peak = or_missing(traffic.peak_to_mean_hour, lambda ratio: f"{ratio:g}")
    return (
        f"{estimate.model} · {traffic.requests_per_day:,.0f} requests a day · {lengths} on average · "
        f"busiest hour {peak} times the mean"
    )


def way_columns(estimate: Estimate, ways: Sequence[Way]) -> list[TableColumn]:
    """Return the table of the ways; the dollars are for a month or for the whole job."""

    def column(heading: str, importance: int, cells: Sequence[str], *, number: bool = False) -> TableColumn:
        place_width = _JOB_PLACE_WIDTH if estimate.period == "job" else _PLACE_WIDTH
        text_width = place_width if heading == "where" else _TEXT_WIDTH
        max_width = None if number else text_width
        return TableColumn(heading=heading, importance=importance, cells=cells, number=number, max_width=max_width)

    total = "a month" if estimate.period == "month" else "total"
    columns = [
        column("way", 0, [way.title for way in ways]),
        column("where", 3, [way.where for way in ways]),
        column(total, 1, usd_cells([way.usd for way in ways]), number=True),
    ]
    per_1000 = column("per 1,000", 5, usd_cells([1000 * way.usd_per_request for way in ways]), number=True)
    if estimate.period == "job":
        columns.append(column("nine in ten", 4, [_usd_range(way) for way in ways], number=True))
        columns.append(column("done", 2, [_done(way) for way in ways], number=True))
        columns += [per_1000, column("in time", 5, [_IN_TIME[way.in_time] for way in ways])]
    else:
        columns.append(column("80 % range", 4, range_cells([way.usd_interval for way in ways]), number=True))
        columns.append(per_1000)
        columns.append(column("SLO and deadlines", 5, [_kept(way) for way in ways]))
    columns.append(column("how sure", 6, [way.certainty for way in ways]))
    columns.append(column("note", 7, [way.note for way in ways]))
    return columns


def _usd_range(way: Way) -> str:
    """Return what a way costs with machines as fast and as slow as nine in ten measurements of such."""
    if way.usd_range is None:
        return MISSING
    low, high = map(format_usd, way.usd_range)
    return f"{low} to {high}"


def _done(way: Way) -> str:
    if way.finished_s is None:
        return MISSING
    within = "within " if way.name.startswith("tokens") else ""
    return f"{within}{format_duration(way.finished_s)}"


def _kept(way: Way) -> str:
    return {True: "kept", False: "broken", None: "no promise"}[way.in_time]


def patience_columns(points: Sequence[PatiencePoint]) -> list[TableColumn]:
    """Return the table of what waiting is worth."""
    cells = {
        "can wait": [format_share(point.share) for point in points],
        "how long": [format_duration(point.patience_s) if point.patience_s else "not" for point in points],
        "own machines": list(usd_cells([point.machines_usd for point in points])),
        "tokens": list(usd_cells([point.tokens_usd for point in points])),
    }
    return [
        TableColumn(heading=heading, importance=place, cells=texts, number=True)
        for place, (heading, texts) in enumerate(cells.items())
    ]


def break_even(estimate: Estimate) -> str:
    """Return the break-even volume and what it rests on."""
    volume = estimate.break_even_requests_per_day
    if volume is None:
        return estimate.break_even_note
    return f"{volume:,.0f} requests a day: {estimate.break_even_note}"
