"""Reports in a terminal: blocks of text, tables and lists, and the sections that every answer has."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from meritorder.records.comparison import Waterfall
from meritorder.records.evidence import Assumption, PriceUsed
from meritorder.report.waterfall import Bar, bars, waterfall_cells, waterfall_title
from meritorder.report.wording import host, price_unit, spaced, web_address
from meritorder.units import format_usd

INDENT: Final = 2
_GAP: Final = 2
"""Blanks between two columns of a table."""
READING_WIDTH: Final = 100
_TITLE_WIDTH: Final = 30
_BAR_WIDTH: Final = 44
_PRICE_TABLE_WIDTH: Final = 116
_BAR_STYLE: Final = {"total": "blue", "saving": "green", "extra": "yellow"}


def show(blocks: Iterable[RenderableType], console: Console) -> None:
    """Print blocks under one another, with a blank line between them."""
    console.print()
    for block in blocks:
        console.print(Padding(block, (0, 0, 1, INDENT), expand=False))


def plain(text: str, style: str = "") -> Text:
    """Return untrusted text without markup and without control characters."""
    shown = "".join("�" if unicodedata.category(c) == "Cc" else c for c in " ".join(text.split()))
    return Text(shown, style=style)


def narrow(text: RenderableType, width: int) -> Table:
    """Limit running text to a width that is easy to read."""
    table = Table.grid()
    table.add_column(max_width=width)
    table.add_row(text)
    return table


def stack(*rows: RenderableType) -> Table:
    """Stack blocks vertically."""
    table = Table.grid()
    table.add_column()
    for row in rows:
        table.add_row(row)
    return table


def section(title: str, subtitle: str, *bodies: RenderableType) -> Table:
    """Return blocks under a heading."""
    return stack(Text.assemble((title, "bold"), (f"  {subtitle}" if subtitle else "", "dim")), *bodies)


def columns(*headings: str, numbers: int) -> Table:
    """Return an empty table whose last `numbers` columns are right-aligned."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="none")
    for place, heading in enumerate(headings):
        justify: Literal["left", "right"] = "right" if place >= len(headings) - numbers else "left"
        table.add_column(heading, justify=justify, no_wrap=True, vertical="bottom")
    return table


@dataclass(frozen=True, slots=True, kw_only=True)
class TableColumn:
    """One column of a table, as text.

    Args:
        heading: Its name.
        importance: Columns with low numbers are shown first where space is short.
        cells: Text of each row.
        number: Whether it is right-aligned.
        max_width: Width beyond which its text wraps; None never wraps it.
    """

    heading: str
    importance: int
    cells: Sequence[str | Text]
    number: bool = False
    max_width: int | None = None

    @property
    def width(self) -> int:
        """Width that the column takes."""
        widest = max(cell_len(str(text)) for text in (self.heading, *self.cells))
        return min(widest, self.max_width or widest)


def fitted_table(every: Sequence[TableColumn], width: int) -> RenderableType:
    """Return the most important columns that fit side by side, and a line that names the others."""
    left = width + _GAP
    shown: list[TableColumn] = []
    for column in sorted(every, key=lambda column: column.importance):
        left -= column.width + _GAP
        if left < 0 and shown:
            break
        shown.append(column)
    table = columns(numbers=0)
    for column in every:
        if column in shown:
            table.add_column(
                column.heading,
                justify="right" if column.number else "left",
                no_wrap=column.max_width is None,
                max_width=column.max_width,
                vertical="top",
            )
    kept = [column for column in every if column in shown]
    for row in zip(*(column.cells for column in kept), strict=True):
        table.add_row(*(cell if isinstance(cell, Text) else plain(cell) for cell in row))
    rest = ", ".join(column.heading for column in every if column not in shown)
    note = Text(f"Columns not shown: {rest}; use a wider terminal or --json.", "dim")
    return stack(table, *([note] if rest else []))


def bullets(texts: Sequence[Text], width: int, mark: str = "· ", style: str = "dim") -> Table:
    """Return a list with a mark before each text."""
    table = Table.grid()
    table.add_column(width=cell_len(mark), style=style)
    table.add_column(max_width=width - cell_len(mark), overflow="fold")
    for text in texts:
        table.add_row(mark, text)
    return table


def waterfall_section(fall: Waterfall, width: int, subtitle: str = "") -> RenderableType:
    """Return a drawn waterfall and the reason for each part.

    Args:
        fall: A waterfall whose `start` and `end` are titles.
        width: Width to fill.
        subtitle: A line under the heading.
    """
    titles = [fall.start, *(part.title for part in fall.parts), fall.end]
    amounts = waterfall_cells(fall)
    title_width = min(max(_TITLE_WIDTH, width * 2 // 5), max(map(len, titles)))
    drawn = bars(fall, min(_BAR_WIDTH, max(8, width - title_width - max(map(len, amounts)) - 4)))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=title_width)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for title, bar, amount in zip(titles, drawn, amounts, strict=True):
        table.add_row(plain(title), _drawn(bar), amount, style="bold" if bar.kind == "total" else "")
    why = [Text.assemble(plain(part.title), ": ", plain(part.why), style="dim") for part in fall.parts if part.why]
    heading = plain(waterfall_title(fall)).plain
    reasons = [bullets(why, min(width, READING_WIDTH))] if why else []
    return section(heading, "", *([plain(subtitle, "dim")] if subtitle else []), table, *reasons)


def _drawn(bar: Bar) -> Text:
    return Text(bar.text, _BAR_STYLE[bar.kind])


def assumptions_section(assumed: Sequence[Assumption], width: int) -> RenderableType:
    """Return the assumptions, and the option that changes each."""
    lines = [
        Text.assemble(plain(assumption.text), ("  change with ", "dim"), plain(assumption.option, "cyan"))
        if assumption.option
        else plain(assumption.text)
        for assumption in assumed
    ]
    return section("Assumptions", "not in the input", bullets(lines, width))


def warnings_section(texts: Sequence[str], width: int) -> RenderableType:
    """Return the warnings."""
    return section("Warnings", "", bullets([plain(text) for text in texts], width, "! ", "yellow"))


def prices_section(used: Sequence[PriceUsed], width: int) -> RenderableType:
    """Return every price that was used, with its source and date."""
    body = _price_table(used) if width >= _PRICE_TABLE_WIDTH else _price_list(used)
    return section("Prices used", "full addresses are in --json and --html", body)


def _note(price: PriceUsed) -> str:
    if price.used_for:
        return f"for {price.used_for}"
    return "assumed" if price.assumed else price.confidence and f"{price.confidence} confidence"


def _price_table(used: Sequence[PriceUsed]) -> Table:
    table = columns("what", "provider", "pricing", "price", "", "as of", "source", "", numbers=0)
    table.columns[3].justify = "right"
    for column in (table.columns[0], table.columns[-1]):
        column.no_wrap = False
    for price in used:
        before = (
            price.what,
            price.provider,
            spaced(price.pricing_model),
            format_usd(price.usd),
            price_unit(price.unit),
            price.dated,
        )
        table.add_row(*map(plain, before), _source(price.source), plain(_note(price)))
    return table


def _price_list(used: Sequence[PriceUsed]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for price in used:
        what = plain(" · ".join((price.what, price.provider, spaced(price.pricing_model))))
        origin = Text(" · ", style="dim").join(
            part for part in (_source(price.source), plain(price.dated), plain(_note(price))) if part
        )
        origin.stylize("dim")
        table.add_row(plain(f"{format_usd(price.usd)} {price_unit(price.unit)}"), stack(what, origin))
    return table


def _source(source: str) -> Text:
    address = web_address(source)
    return plain(host(address), f"link {address.geturl()}") if address else plain(source)
