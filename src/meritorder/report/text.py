"""The answer in a terminal: the sentence first, then the numbers behind it, then how sure they are."""

import unicodedata
from collections.abc import Iterator
from typing import Final, Literal
from urllib.parse import urlsplit

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from meritorder.comparison import Arrangement, Comparison, PriceUsed, TraceSummary, Waterfall
from meritorder.report.metrics import (
    Metric,
    lane_title,
    metrics,
    or_missing,
    per_request,
    ratio_text,
    saving_text,
    title_of,
    usd_cells,
    waterfall_cells,
    waterfall_title,
)
from meritorder.report.steps import Bar, steps
from meritorder.units import format_duration, format_share, format_usd

_INDENT: Final = 2
_READING_WIDTH: Final = 100
_TITLE_WIDTH: Final = 30
_BAR_WIDTH: Final = 44
_PRICE_TABLE_WIDTH: Final = 116
_BEST, _BASELINE, _BROKEN = "▸", "◦", "✗"
_LEGEND: Final = {
    _BEST: "cheapest that keeps every promise",
    _BASELINE: "compared against",
    _BROKEN: "breaks a promise",
}
_MARK_STYLE: Final = {_BEST: "bold green", _BASELINE: "bold", _BROKEN: "red"}
_BAR_STYLE: Final = {"total": "blue", "saving": "green", "extra": "yellow"}


def render(comparison: Comparison, console: Console) -> None:
    """Print the answer, laid out for the width of the console."""
    width = console.width - _INDENT
    console.print()
    for block in _blocks(comparison, width):
        console.print(Padding(block, (0, 0, 1, _INDENT), expand=False))


def _blocks(comparison: Comparison, width: int) -> Iterator[RenderableType]:
    reading = min(width, _READING_WIDTH)
    yield _narrow(_plain(comparison.sentence, "bold"), reading)
    yield _narrow(_plain(_what_was_read(comparison), "dim"), reading)
    yield _arrangements(comparison, width)
    if lanes := _lanes(comparison):
        yield lanes
    for waterfall in comparison.waterfall:
        yield _waterfall(comparison, waterfall, width)
    if comparison.break_even_utilization is not None or comparison.break_even_note:
        yield _break_even(comparison, reading)
    yield _confidence(comparison, reading)
    if comparison.assumptions:
        yield _assumptions(comparison, reading)
    if comparison.prices:
        yield _prices(comparison.prices, width)
    if comparison.warnings:
        yield _section(
            "Warnings", "", _bullets([_plain(text) for text in comparison.warnings], reading, "! ", "yellow")
        )


def _plain(text: str, style: str = "") -> Text:
    """Return text of the user's as it stands: no markup, and nothing that steers a terminal."""
    shown = "".join("�" if unicodedata.category(c) == "Cc" else c for c in " ".join(text.split()))
    return Text(shown, style=style)


def _narrow(text: RenderableType, width: int) -> Table:
    """Keep running text to a width that is easy to read."""
    table = Table.grid()
    table.add_column(max_width=width)
    table.add_row(text)
    return table


def _stack(*rows: RenderableType) -> Table:
    table = Table.grid()
    table.add_column()
    for row in rows:
        table.add_row(row)
    return table


def _section(title: str, subtitle: str, *bodies: RenderableType) -> Table:
    return _stack(Text.assemble((title, "bold"), (f"  {subtitle}" if subtitle else "", "dim")), *bodies)


def _columns(*headings: str, numbers: int) -> Table:
    """Return an empty table whose last `numbers` columns are right-aligned."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="none")
    for place, heading in enumerate(headings):
        justify: Literal["left", "right"] = "right" if place >= len(headings) - numbers else "left"
        table.add_column(heading, justify=justify, no_wrap=True, vertical="bottom")
    return table


def _bullets(texts: list[Text], width: int, mark: str = "· ", style: str = "dim") -> Table:
    table = Table.grid()
    table.add_column(width=cell_len(mark), style=style)
    table.add_column(max_width=width - cell_len(mark))
    for text in texts:
        table.add_row(mark, text)
    return table


def _what_was_read(comparison: Comparison) -> str:
    trace: TraceSummary = comparison.trace
    files = trace.files[0] if len(trace.files) == 1 else f"{len(trace.files)} files"
    return (
        f"{comparison.model} on {comparison.hardware} · {trace.requests:,} requests over "
        f"{format_duration(trace.span_s)} · {files} ({trace.format})"
    )


def _marks(comparison: Comparison, arrangement: Arrangement) -> str:
    if arrangement.name == comparison.best:
        return _BEST
    if not arrangement.feasible:
        return _BROKEN
    return _BASELINE if arrangement.name == comparison.baseline else ""


def _arrangements(comparison: Comparison, width: int) -> RenderableType:
    columns = metrics(comparison)
    titles = [_plain(arrangement.title) for arrangement in comparison.arrangements]
    shown = _that_fit(columns, width - max(map(len, titles), default=0) - 3)
    table = _columns(" ", "", *("\n".join(column.short) for column in shown), numbers=len(shown))
    marks = [_marks(comparison, arrangement) for arrangement in comparison.arrangements]
    for row, (mark, title, arrangement) in enumerate(zip(marks, titles, comparison.arrangements, strict=True)):
        style = "bold" if mark == _BEST else "" if arrangement.feasible else "dim"
        table.add_row(Text(mark, _MARK_STYLE.get(mark, "")), title, *(c.cells[row] for c in shown), style=style)
    legend = "   ".join(f"{mark} {meaning}" for mark, meaning in _LEGEND.items() if mark in marks)
    notes = [
        _plain(f"{arrangement.title}: {note}", "dim")
        for arrangement in comparison.arrangements
        for note in arrangement.notes
    ]
    rest = [column.label for column in columns if column not in shown]
    if rest:
        notes.append(
            Text(f"No room here for: {', '.join(rest)}; a wider terminal, --json and --html have them.", "dim")
        )
    return _stack(table, Text(f"\n{legend}", "dim"), _bullets(notes, min(width, _READING_WIDTH)))


def _that_fit(columns: list[Metric], width: int) -> list[Metric]:
    """Return the most important columns that fit side by side, in the order in which they are read."""
    left, chosen = width, []
    for column in sorted(columns, key=lambda c: c.importance):
        left -= 2 + max(cell_len(text) for text in (*column.short, *column.cells))
        if left < 0:
            break
        chosen.append(column)
    return [column for column in columns if column in chosen]


def _lanes(comparison: Comparison) -> RenderableType | None:
    rows = [(a, lane) for a in comparison.arrangements if a.feasible for lane in a.lanes]
    if not rows:
        return None
    unit = per_request(comparison)
    charged = usd_cells([lane.usd_per_request and lane.usd_per_request * unit.count for _, lane in rows])
    average = usd_cells(
        [lane.average_usd_per_request and lane.average_usd_per_request * unit.count for _, lane in rows]
    )
    totals = usd_cells([lane.total_usd for _, lane in rows])
    table = _columns("", "", "requests", "cost", "\n".join(("charged", *unit.short)), "plain\naverage", numbers=4)
    before = ""
    for row, (arrangement, lane) in enumerate(rows):
        title = "" if arrangement.name == before else arrangement.title
        before = arrangement.name
        cells = (f"{lane.requests:,}", totals[row], charged[row], average[row])
        table.add_row(_plain(title), _plain(lane_title(lane.lane)), *cells)
    rule = Text("Real time pays what its fleet would cost alone; deferrable pays the rest.", "dim")
    return _section("Cost by lane", "", rule, table)


def _waterfall(comparison: Comparison, waterfall: Waterfall, width: int) -> RenderableType:
    start, end = title_of(comparison, waterfall.start), title_of(comparison, waterfall.end)
    titles = [start, *(part.title for part in waterfall.parts), end]
    amounts = waterfall_cells(waterfall)
    title_width = min(_TITLE_WIDTH, max(map(len, titles)))
    bars = steps(waterfall, min(_BAR_WIDTH, max(8, width - title_width - max(map(len, amounts)) - 4)))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=title_width, no_wrap=True, overflow="ellipsis")
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for title, bar, amount in zip(titles, bars, amounts, strict=True):
        table.add_row(_plain(title), _drawn(bar), amount, style="bold" if bar.kind == "total" else "")
    why = [
        Text.assemble(_plain(part.title), ": ", _plain(part.why), style="dim") for part in waterfall.parts if part.why
    ]
    heading = _plain(waterfall_title(comparison, waterfall)).plain
    return _section(heading, "", table, _bullets(why, min(width, _READING_WIDTH)))


def _drawn(bar: Bar) -> Text:
    return Text(bar.text, _BAR_STYLE[bar.kind])


def _break_even(comparison: Comparison, width: int) -> RenderableType:
    share = or_missing(comparison.break_even_utilization, format_share)
    return _section("Break-even", f"{share} utilisation", _narrow(_plain(comparison.break_even_note), width))


def _confidence(comparison: Comparison, width: int) -> RenderableType:
    texts = [saving_text(comparison), ratio_text(comparison), *comparison.performance]
    return _section("How sure", "", _bullets([_plain(text) for text in texts if text], width))


def _assumptions(comparison: Comparison, width: int) -> RenderableType:
    lines = [
        Text.assemble(_plain(a.text), ("  change with ", "dim"), _plain(a.option, "cyan"))
        if a.option
        else _plain(a.text)
        for a in comparison.assumptions
    ]
    return _section("Assumed", "not in the input", _bullets(lines, width))


def _prices(prices: list[PriceUsed], width: int) -> RenderableType:
    body = _price_table(prices) if width >= _PRICE_TABLE_WIDTH else _price_list(prices)
    return _section("Prices used", "--json and --html give each address in full", body)


def _price_table(prices: list[PriceUsed]) -> Table:
    table = _columns("what", "provider", "pricing", "price", "", "as of", "source", "used for", numbers=0)
    table.columns[3].justify = "right"
    for column in (table.columns[0], table.columns[-1]):
        column.no_wrap = False
    for price in prices:
        before = (
            price.what,
            price.provider,
            _spaced(price.pricing_model),
            format_usd(price.usd),
            f"/ {price.unit}",
            price.as_of,
        )
        table.add_row(*map(_plain, before), _source(price.source), _plain(price.used_for))
    return table


def _price_list(prices: list[PriceUsed]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for price in prices:
        what = _plain(" · ".join((price.what, price.provider, _spaced(price.pricing_model))))
        origin = Text.assemble(_source(price.source), f" · {price.as_of} · for {price.used_for}", style="dim")
        table.add_row(_plain(f"{format_usd(price.usd)} / {price.unit}"), _stack(what, origin))
    return table


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _source(source: str) -> Text:
    address = urlsplit(source)
    if address.scheme not in {"http", "https"} or not address.hostname:
        return _plain(source)
    return _plain(address.hostname.removeprefix("www."), f"link {address.geturl()}")
