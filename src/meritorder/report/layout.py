"""Blocks that fill a terminal: running text, tables, lists, sections."""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final, Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

INDENT: Final = 2
READING_WIDTH: Final = 100


def show(blocks: Iterable[RenderableType], console: Console) -> None:
    """Print blocks, one under the other, with room between them."""
    console.print()
    for block in blocks:
        console.print(Padding(block, (0, 0, 1, INDENT), expand=False))


def plain(text: str, style: str = "") -> Text:
    """Return text of the user's as it stands: no markup, and nothing that steers a terminal."""
    shown = "".join("�" if unicodedata.category(c) == "Cc" else c for c in " ".join(text.split()))
    return Text(shown, style=style)


def narrow(text: RenderableType, width: int) -> Table:
    """Keep running text to a width that is easy to read."""
    table = Table.grid()
    table.add_column(max_width=width)
    table.add_row(text)
    return table


def stack(*rows: RenderableType) -> Table:
    """Put blocks under one another."""
    table = Table.grid()
    table.add_column()
    for row in rows:
        table.add_row(row)
    return table


def section(title: str, subtitle: str, *bodies: RenderableType) -> Table:
    """Put blocks under a heading."""
    return stack(Text.assemble((title, "bold"), (f"  {subtitle}" if subtitle else "", "dim")), *bodies)


def columns(*headings: str, numbers: int) -> Table:
    """Return an empty table whose last `numbers` columns are right-aligned."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="none")
    for place, heading in enumerate(headings):
        justify: Literal["left", "right"] = "right" if place >= len(headings) - numbers else "left"
        table.add_column(heading, justify=justify, no_wrap=True, vertical="bottom")
    return table


def bullets(texts: Sequence[Text], width: int, mark: str = "· ", style: str = "dim") -> Table:
    """Return a list, a mark before each of its texts."""
    table = Table.grid()
    table.add_column(width=cell_len(mark), style=style)
    table.add_column(max_width=width - cell_len(mark))
    for text in texts:
        table.add_row(mark, text)
    return table
