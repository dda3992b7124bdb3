"""Blocks that every report in a terminal is made of: text of the user's, sections, tables, bullets."""

import unicodedata
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text


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
    """Put bodies under a title and what is said beside it."""
    return stack(Text.assemble((title, "bold"), (f"  {subtitle}" if subtitle else "", "dim")), *bodies)


def headed(*headings: str, numbers: int) -> Table:
    """Return an empty table whose last `numbers` columns are right-aligned."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="none")
    for place, heading in enumerate(headings):
        justify: Literal["left", "right"] = "right" if place >= len(headings) - numbers else "left"
        table.add_column(heading, justify=justify, no_wrap=True, vertical="bottom")
    return table


def bullets(texts: list[Text], width: int, mark: str = "· ", style: str = "dim") -> Table:
    """Put texts under one another, each with a mark before it."""
    table = Table.grid()
    table.add_column(width=cell_len(mark), style=style)
    table.add_column(max_width=width - cell_len(mark))
    for text in texts:
        table.add_row(mark, text)
    return table
