"""How a column writes numbers: "1,200.5" or "1.200,5", decided by the column as a whole.

Spaces, apostrophes and currency signs are ignored, parentheses are a minus. A single separator before exactly three
digits ("1,200") does not tell by itself: other cells of the column decide. In a column of whole numbers it groups
digits, unless all cells have the decimals .000; in a column of amounts a comma alone is refused: it could be either.
"""

from dataclasses import dataclass
from typing import Final

import polars as pl

from meritorder.errors import InputError

MISSING: Final = ("", "nan", "null", "none", "na", "n/a", "<na>", "nat", "-", "--", "#n/a", "undefined")
"""Cells that hold no value, in lower case."""

_SPACES: Final = r"[\s\x{00A0}\x{202F}\x{2009}'\x{2019}_]"
_MINUS: Final = r"\x{2212}"
_SIGN: Final = rf"^\s*\(?\s*[-+{_MINUS}]?\s*(?:US)?[$€£]?\s*[-+{_MINUS}]?\s*"
_END: Final = r"\s*[$€£]?\s*\)?\s*$"
_TAIL: Final = rf"(?:[eE][-+]?\d+)?{_END}"


@dataclass(frozen=True, slots=True)
class NumberStyle:
    """How a column writes numbers: its decimal separator and the one that groups digits."""

    decimal: str
    group: str

    def cleaned(self, column: pl.Expr) -> pl.Expr:
        """Return text that a cast reads as a number; null where it is not written in this style."""
        groups = rf"\d{{1,3}}(?:(?:\{self.group}|{_SPACES})\d{{3}})+"
        written = rf"{_SIGN}(?:{groups}|\d+)?(?:\{self.decimal}\d*)?{_TAIL}"
        signed = column.str.replace(rf"^\s*\(|{_MINUS}", "-").str.replace_all(rf"[^\d{self.decimal}eE+\-]", "")
        return pl.when(column.str.contains(written)).then(signed.str.replace(self.decimal, ".", literal=True))


POINT: Final = NumberStyle(decimal=".", group=",")
COMMA: Final = NumberStyle(decimal=",", group=".")


def number(column: pl.Expr, dtype: pl.DataType, style: NumberStyle | None = None) -> pl.Expr:
    """Return a column as Float64, null where it is not a number; without a style as Python writes numbers."""
    text = style.cleaned(column) if style is not None and dtype == pl.String else column
    return text.cast(pl.Float64, strict=False).fill_nan(None)


def decide_style(values: pl.LazyFrame, column: str, *, whole: bool, where: str) -> NumberStyle:
    """Decide how a column of text writes numbers.

    Args:
        values: A table with the column.
        column: Name of the column.
        whole: Whether its numbers are whole, such as counts of tokens.
        where: File and column for messages.

    Raises:
        InputError: Some cells have the point as decimal separator and others the comma, or nothing tells which it is.
    """
    found = values.select(_evidence(pl.col(column).str.replace_all(_SPACES, ""))).collect(engine="streaming")
    point, comma, lone_point, lone_comma, point_zeros = found.row(0)
    if point and comma:
        raise InputError(f"numbers are written in two ways, as {point!r} and {comma!r}", where=where, fix=_FIX)
    if point or comma:
        return POINT if point else COMMA
    if lone_point and lone_comma:
        raise InputError(
            f"numbers are written in two ways, as {lone_point!r} and {lone_comma!r}", where=where, fix=_FIX
        )
    if lone_comma and not whole:
        raise InputError(f"nothing tells whether {lone_comma!r} has a decimal comma", where=where, fix=_FIX)
    return COMMA if lone_point and whole and not point_zeros else POINT


_FIX: Final = "write plain numbers, such as 1200.5"


def _evidence(text: pl.Expr) -> list[pl.Expr]:
    """Return a cell that proves the point, one that proves the comma, lone separators, and whether all end in .000."""

    def first(pattern: str) -> pl.Expr:
        return text.filter(text.str.contains(pattern)).first()

    return [
        *(first(_proof(decimal, group)).alias(decimal) for decimal, group in ((".", ","), (",", "."))),
        *(first(rf"{_SIGN}[1-9]\d{{0,2}}\{separator}\d{{3}}{_END}").alias(f"lone {separator}") for separator in ".,"),
        text.filter(text.str.contains(".", literal=True)).str.contains(rf"\.000{_TAIL}").all().alias("zeros"),
    ]


def _proof(decimal: str, group: str) -> str:
    """Return a pattern of numbers that can only have this decimal separator."""
    both = rf"\d{{1,3}}(?:\{group}\d{{3}})+\{decimal}\d*"
    twice = rf"\d{{1,3}}(?:\{group}\d{{3}}){{2,}}"
    not_three = rf"\d*\{decimal}(?:\d{{1,2}}|\d{{4,}})"
    no_group = rf"(?:0\d*|\d{{4,}})\{decimal}\d*"
    scientific = rf"\d\{decimal}\d+[eE][-+]?\d+"
    return rf"{_SIGN}(?:{both}|{twice}|{not_three}|{no_group}|{scientific}){_TAIL}"
