"""What a format of bills consists of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from meritorder.bills.columns import SourceColumns


def _as_is(raw: pl.LazyFrame) -> pl.LazyFrame:
    return raw


def _unknown(_: SourceColumns) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class BillFormat:
    """One format of bills.

    Args:
        name: Its name in `format=` and `--format`.
        matches: Whether a file with these columns has this format.
        columns: The columns of CHARGES as expressions over those of the file.
        title: Its full name, for a file with these columns.
        prepare: A transformation of the rows before they are read.
        identity: The columns that identify a line item, None if the file lacks them.
        invoiced: Whether its amounts are those of an invoice, rather than a count of usage.
    """

    name: str
    matches: Callable[[frozenset[str]], bool]
    columns: Callable[[SourceColumns], Mapping[str, pl.Expr]]
    title: Callable[[frozenset[str]], str]
    prepare: Callable[[pl.LazyFrame], pl.LazyFrame] = _as_is
    identity: Callable[[SourceColumns], list[pl.Expr] | None] = _unknown
    invoiced: bool = True
