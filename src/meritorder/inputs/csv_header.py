"""The header of a CSV: where it is, what separates its columns, and their names."""

import csv
from dataclasses import dataclass
from typing import Final

from meritorder.errors import InputError
from meritorder.inputs.unpacking import PlainFile

_SEPARATORS: Final = (",", ";", "\t", "|")
# As Excel states the separator in a line of its own.
_SEPARATOR_LINE: Final = "sep="


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
    """Return the header: the first line that is not blank and does not state the separator.

    Raises:
        InputError: Lines end with CR alone, or no single character separates the columns.
    """
    lines = file.head.decode("utf-8", errors="replace").split("\n")
    line = next(number for number, text in enumerate(lines, start=1) if text.strip())
    header = lines[line - 1].rstrip("\r")
    separator = max(_SEPARATORS, key=header.count)
    if header.lower().startswith(_SEPARATOR_LINE) and len(lines) > line:
        separator = header[len(_SEPARATOR_LINE) :].strip() or "\t"
        line += 1
        header = lines[line - 1].rstrip("\r")
    if "\r" in header:
        raise InputError("ends its lines with CR alone", where=file.name, fix="end them with LF (tr '\\r' '\\n')")
    if len(separator.encode()) != 1:
        raise InputError(f"{separator!r} cannot separate columns", where=file.name, fix="separate them with , or ;")
    columns = tuple(next(csv.reader([header], delimiter=separator), ()))
    return CsvHeader(columns=columns, separator=separator, line=line)
