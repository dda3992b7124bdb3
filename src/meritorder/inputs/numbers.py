"""How a column writes numbers: "1,200.5", "1,20,000.5" (as in India) or "1.200,5", decided by the column as a whole.

Spaces, apostrophes and currency signs are ignored, parentheses are a minus. A single separator before exactly three
digits ("1,200") does not tell by itself: other cells of the column decide. In a column of whole numbers it groups
digits, unless all cells have the decimals .000; in a column of amounts a comma alone is refused: it could be either.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import polars as pl

from meritorder.errors import InputError

MISSING: Final = ("", "nan", "null", "none", "na", "n/a", "<na>", "nat", "-", "--", "#n/a", "undefined")
"""Cells that hold no value, in lower case."""

_SPACES: Final = r"[\s\x{00A0}\x{202F}\x{2009}'\x{2019}_]"
_MINUS: Final = r"\x{2212}"
_SIGN: Final = rf"^\s*\(?\s*[-+{_MINUS}]?\s*(?:US)?[$€£]?\s*\(?\s*[-+{_MINUS}]?\s*"
_END: Final = r"\s*[$€£]?\s*\)?\s*$"
_TAIL: Final = rf"(?:[eE][-+]?\d+)?{_END}"
_SHORT: Final = rf"{_SIGN}\d+(?:[.,]\d+)?[kKMB]{_END}"


@dataclass(frozen=True, slots=True)
class NumberStyle:
    """How a column writes numbers: its decimal separator and the one that groups digits."""

    decimal: str
    group: str

    def cleaned(self, column: pl.Expr) -> pl.Expr:
        """Return text that a cast reads as a number; null where it is not written in this style."""
        between = rf"(?:\{self.group}|{_SPACES})"
        groups = rf"\d{{1,3}}(?:{between}\d{{3}})+|\d{{1,2}}(?:{between}\d{{2}})+{between}\d{{3}}"
        written = rf"{_SIGN}(?:{groups}|\d+)?(?:\{self.decimal}\d*)?{_TAIL}"
        signed = column.str.replace(rf"\(|{_MINUS}", "-").str.replace_all(rf"[^\d{self.decimal}eE+\-]", "")
        return pl.when(column.str.contains(written)).then(signed.str.replace(self.decimal, ".", literal=True))


POINT: Final = NumberStyle(decimal=".", group=",")
COMMA: Final = NumberStyle(decimal=",", group=".")


_FIX: Final = "write plain numbers, such as 1200.5"


def number(column: pl.Expr, dtype: pl.DataType, style: NumberStyle | None = None) -> pl.Expr:
    """Return a column as Float64, null where it is not a number; without a style as Python writes numbers."""
    text = style.cleaned(column) if style is not None and dtype == pl.String else column
    return text.cast(pl.Float64, strict=False).fill_nan(None)


def decide_styles(table: pl.LazyFrame, columns: Mapping[str, bool], *, where: str) -> dict[str, NumberStyle]:
    """Decide how columns of text write numbers; one that leaves it open follows the others.

    Args:
        table: A table with the columns.
        columns: Name of a column to whether its numbers are whole, such as counts of tokens.
        where: File for messages.

    Raises:
        InputError: Some cells have the point as decimal separator and others the comma, nothing tells which it is, or a
            cell is shortened, such as 1.2k.
    """
    cells = [cell for name in columns for cell in _evidence(name)]
    values = table.select(cells).collect(engine="streaming").row(0)
    size = len(_Evidence._fields)
    evidence = {name: _Evidence(*values[size * place : size * (place + 1)]) for place, name in enumerate(columns)}
    proven = {POINT if cells.point else COMMA for cells in evidence.values() if bool(cells.point) != bool(cells.comma)}
    usual = proven.pop() if len(proven) == 1 else None
    return {
        name: _style(evidence[name], whole=whole, usual=usual, where=f"{where}, column {name}")
        for name, whole in columns.items()
    }


def decide_style(
    table: pl.LazyFrame, column: str, *, whole: bool, where: str, usual: NumberStyle | None = None
) -> NumberStyle:
    """Decide how one column writes numbers, as `decide_styles`; where it leaves it open, as other columns do."""
    cells = _Evidence(*table.select(_evidence(column)).collect(engine="streaming").row(0))
    return _style(cells, whole=whole, usual=usual, where=where)


class _Evidence(NamedTuple):
    """Cells of a column: shortened, with a single reading, with a lone separator; whether all decimals are .000."""

    short: str | None
    point: str | None
    comma: str | None
    lone_point: str | None
    lone_comma: str | None
    zeros: bool


def _style(cells: _Evidence, *, whole: bool, usual: NumberStyle | None, where: str) -> NumberStyle:
    if cells.short:
        raise InputError(f"{cells.short!r} is rounded", where=where, fix="export whole numbers, such as 1234")
    if cells.point and cells.comma:
        raise _two_ways(cells.point, cells.comma, where)
    if cells.point or cells.comma:
        return POINT if cells.point else COMMA
    if cells.lone_point and cells.lone_comma:
        raise _two_ways(cells.lone_point, cells.lone_comma, where)
    if whole:
        return COMMA if cells.lone_point and not cells.zeros else POINT
    if cells.lone_comma and usual is None:
        raise InputError(f"nothing tells whether {cells.lone_comma!r} has a decimal comma", where=where, fix=_FIX)
    return usual or POINT


def _two_ways(first: str, second: str, where: str) -> InputError:
    return InputError(f"numbers are written in two ways, as {first!r} and {second!r}", where=where, fix=_FIX)


def _evidence(name: str) -> list[pl.Expr]:
    """Return the fields of `_Evidence` as expressions."""
    text = pl.col(name).str.replace_all(_SPACES, "")

    def first(pattern: str) -> pl.Expr:
        return text.filter(text.str.contains(pattern)).first()

    cells = [
        first(_SHORT),
        *(first(_proof(decimal, group)) for decimal, group in ((".", ","), (",", "."))),
        *(first(rf"{_SIGN}[1-9]\d{{0,2}}\{separator}\d{{3}}{_END}") for separator in ".,"),
        text.filter(text.str.contains(".", literal=True)).str.contains(rf"\.000{_TAIL}").all(),
    ]
    return [cell.alias(f"{name} {place}") for place, cell in enumerate(cells)]


def _proof(decimal: str, group: str) -> str:
    """Return a pattern of numbers that can only have this decimal separator."""
    both = rf"\d{{1,3}}(?:\{group}\d{{3}})+\{decimal}\d*"
    twice = rf"\d{{1,3}}(?:\{group}\d{{3}}){{2,}}"
    indian = rf"\d{{1,2}}(?:\{group}\d{{2}})+\{group}\d{{3}}(?:\{decimal}\d*)?"
    not_three = rf"\d*\{decimal}(?:\d{{1,2}}|\d{{4,}})"
    no_group = rf"(?:0\d*|\d{{4,}})\{decimal}\d*"
    scientific = rf"\d\{decimal}\d+[eE][-+]?\d+"
    return rf"{_SIGN}(?:{both}|{twice}|{indian}|{not_three}|{no_group}|{scientific}){_TAIL}"
