"""The header of a CSV: where it is, what separates its columns, and their names."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from meritorder.errors import InputError
from meritorder.inputs.unpacking import PlainFile

_SEPARATORS: Final = (",", ";", "\t", "|")
# As Excel states the separator in a line of its own.
_SEPARATOR_LINE: Final = "sep="
TITLE_ROWS: Final = 30
"""Rows of a table among which its header is."""
_MIN_COLUMNS: Final = 3
_NUMBER: Final = re.compile(r"[-+]?[\d.,]+(?:[eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvHeader:
    """The header of a CSV.

    Args:
        columns: Names of the columns.
        separator: What separates them.
        line: Line of the header, counted from 1.
    """

    columns: tuple[str, ...]
    separator: str
    line: int


def read_header(file: PlainFile) -> CsvHeader:
    """Return the header: the first line that is not blank, states no separator, and is no title above the columns.

    Raises:
        InputError: There is no text, lines end with CR alone, or no single character separates the columns.
    """
    lines = file.head.decode("utf-8", errors="replace").split("\n")
    line = next((number for number, text in enumerate(lines, start=1) if text.strip()), 0)
    if not line:
        raise InputError("has no text", where=file.name, fix="fetch it again")
    header = lines[line - 1].rstrip("\r")
    separator = max(_SEPARATORS, key=lambda sign: (header.count(sign), file.head.count(sign.encode())))
    if header.lower().startswith(_SEPARATOR_LINE) and len(lines) > line:
        separator = header[len(_SEPARATOR_LINE) :].strip() or "\t"
        line += 1
        header = lines[line - 1].rstrip("\r")
    if "\r" in header:
        raise InputError("ends its lines with CR alone", where=file.name, fix="end them with LF (tr '\\r' '\\n')")
    if len(separator.encode()) != 1:
        raise InputError(f"{separator!r} cannot separate columns", where=file.name, fix="separate them with , or ;")
    line += title_rows([_cells(text, separator) for text in lines[line - 1 :][:TITLE_ROWS]])
    columns = tuple(next(csv.reader([lines[line - 1].rstrip("\r")], delimiter=separator), ()))
    return CsvHeader(columns=columns, separator=separator, line=line)


def title_rows(rows: Sequence[Sequence[str]]) -> int:
    """Return how many rows are above the header: a title fills at most half of the columns that follow."""
    widest = max(map(len, rows))
    if widest < _MIN_COLUMNS or 2 * sum(map(bool, rows[0])) > widest:
        return 0
    headers = (
        number
        for number, row in enumerate(rows)
        if len(row) == widest and all(row) and not any(map(_NUMBER.fullmatch, row))
    )
    return next(headers, 0)


def _cells(line: str, separator: str) -> list[str]:
    """Return the cells of a line; none if it is no line of a CSV."""
    try:
        return [cell.strip() for cell in next(csv.reader([line.rstrip("\r")], delimiter=separator), ())]
    except csv.Error:
        return []
