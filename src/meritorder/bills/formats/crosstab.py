"""Costs as a cross table, with periods along one side: downloads of AWS Cost Explorer, and tables of spreadsheets.

Cost Explorer writes a row for each period, a column for each service (or usage type, region, ...) with its currency, as
`EC2-Instances($)`, and totals as the first row and the last column. Others have a column for each period.

Source: AWS Cost Management User Guide, "Reading the Cost Explorer data table", read 2026-11.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

import polars as pl

from meritorder.bills import currency
from meritorder.bills.charges import PurchaseOption, with_taxes_and_credits
from meritorder.bills.columns import SourceColumns, provider_by_name
from meritorder.bills.repeated.totals import CENT, HALF_CENT, ROUNDED
from meritorder.inputs.summaries import SAYS_STATISTIC, SAYS_TOTAL

_FIELDS: Final = {
    "service": "service",
    "product": "service",
    "provider": "provider",
    "usage type": "sku",
    "sku": "sku",
    "sku description": "sku",
    "meter": "sku",
    "instance type": "instance_type",
    "region": "region",
    "account": "account",
    "linked account": "account",
    "project": "account",
    "resource": "resource",
    "model": "model",
}
"""What the names of a table are by their heading; those with another heading describe the charge."""

_OF_COST_EXPLORER: Final = re.compile(r"(?i)^total costs?\(")
_TOTAL: Final = re.compile(SAYS_TOTAL)
_STATISTIC: Final = re.compile(SAYS_STATISTIC)
_PARENTHESES: Final = re.compile(r"\([^()]+\)\s*$")
_MONTH: Final = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_PERIOD: Final = re.compile(
    r"(?i)^(?:\d{4}[-/.]\d{1,2}(?:[-/.]\d{1,2}(?:[T ]\d\d:?\d\d\S*)?)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}"
    rf"|{_MONTH}[ -]\d{{2,4}}|\d{{1,2}}[ -]{_MONTH}[ -]\d{{2,4}}|{_MONTH} \d{{1,2}},? \d{{4}})$"
)

_PERIOD_OF: Final = "period of the cell"
_NAME_OF: Final = "name of the cell"
_AMOUNT: Final = "amount of the cell"
_CURRENCY: Final = "currency of the cell"
_STATED: Final = "total of the row"
_PROVIDER: Final = "provider of the table"
_LEAST_PARTS: Final = 2
_ADDED: Final = ("row", _PERIOD_OF, _AMOUNT, _CURRENCY, _STATED, _PROVIDER)


def is_crosstab(columns: frozenset[str]) -> bool:
    """Return whether these are the columns of a cross table of costs."""
    headings = [column for column in columns if not _PARENTHESES.search(column)]
    if _periods(columns):
        return len(columns) > len(_periods(columns))
    amounts = _amounts(columns)
    return len(headings) == 1 and bool(amounts) and (headings[0].lower() in _FIELDS or any(map(_is_total, amounts)))


def _periods(columns: Iterable[str]) -> list[str]:
    """Return the columns that are named after periods."""
    return [column for column in columns if _PERIOD.match(currency.without(column).strip())]


def _amounts(columns: Iterable[str]) -> list[str]:
    """Return the columns whose names have a currency in parentheses."""
    return [column for column in columns if _PARENTHESES.search(column) and currency.in_name(column)]


def _is_total(column: str) -> bool:
    return bool(_TOTAL.search(currency.without(column)))


def prepare(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Return one row a cell, with its period, name and currency, and the total that its row states.

    Totals of rows are no cells, and rows of totals have no period.
    """
    columns = [column for column in raw.collect_schema() if column != "row"]
    periods = _periods(columns)
    totals = [column for column in columns if _is_total(column)]
    figures = [column for column in columns if _STATISTIC.search(currency.without(column))]
    cells = periods or [column for column in _amounts(columns) if column not in figures] or totals
    beside = [column for column in columns if column not in (*cells, *figures)]
    if not periods:
        beside = [column for column in beside if not _PARENTHESES.search(column)]
        cells = _without_sum(raw, cells)
    stated = [total for total in totals if total not in cells][-1:]
    provider = "aws" if any(map(_OF_COST_EXPLORER.match, totals)) else None
    names = {cell: currency.without(cell).strip() for cell in cells}
    currencies = {cell: currency.in_name(cell) for cell in cells}
    long = (
        raw.unpivot(cells, index=["row", *beside, *stated], variable_name=_NAME_OF, value_name=_AMOUNT)
        .rename(dict.fromkeys(stated, _STATED))
        .filter(pl.col(_AMOUNT).str.strip_chars() != "")
        .with_columns(
            pl.col(_NAME_OF).replace_strict(names, return_dtype=pl.String),
            pl.col(_NAME_OF).replace_strict(currencies, return_dtype=pl.String).alias(_CURRENCY),
            pl.lit(provider, dtype=pl.String).alias(_PROVIDER),
        )
    )
    if not periods:
        return long.rename({beside[0]: _PERIOD_OF, _NAME_OF: beside[0]})
    is_total = pl.any_horizontal([pl.col(name).str.contains(SAYS_TOTAL) for name in beside]).fill_null(value=False)
    return long.with_columns(pl.when(~is_total).then(_NAME_OF).alias(_PERIOD_OF)).drop(_NAME_OF)


def _without_sum(raw: pl.LazyFrame, cells: list[str]) -> list[str]:
    """Return the columns without the last one if in all rows it is the sum of the others, whatever it is named."""
    *parts, last = cells
    if len(parts) < _LEAST_PARTS:
        return cells
    fields = SourceColumns(raw.collect_schema(), table=raw, whole=True)
    total = pl.sum_horizontal([fields.number(part).fill_null(0) for part in parts])
    is_sum = ((fields.number(last).fill_null(0) - total).abs() <= len(parts) * float(HALF_CENT)).all()
    return parts if raw.select(is_sum & (total != 0).any()).collect().item() else cells


def columns(fields: SourceColumns) -> Mapping[str, pl.Expr]:
    """Return the columns of CHARGES as expressions over the cells of a cross table."""
    headings = [column for column in fields.schema if column not in _ADDED]
    what = "description" if any(heading.lower() in _FIELDS for heading in headings) else "service"
    named: dict[str, list[str]] = {}
    for heading in headings:
        named.setdefault(_FIELDS.get(heading.lower(), what), []).append(heading)
    names = {
        name: pl.concat_str(
            [fields.text(heading) for heading in of_name],
            separator=", ",
            ignore_nulls=True,
        )
        for name, of_name in named.items()
    }
    start = fields.time(_PERIOD_OF)
    amount = fields.money(_AMOUNT)
    read = {
        "period_start": start,
        "period_end": _end(start),
        "purchase": pl.lit(PurchaseOption.ON_DEMAND),
        "billed_usd": amount,
        "amortised_usd": amount,
        "currency": pl.coalesce(fields.text(_CURRENCY), currency.beside(fields, _AMOUNT)),
        "anonymous": pl.lit(value=True),
        "refused": _differs(fields, amount),
        **names,
    }
    read["provider"] = pl.coalesce(
        fields.text(_PROVIDER), provider_by_name(names.get("provider", pl.lit(None, pl.String)))
    )
    return with_taxes_and_credits(read)


def _end(start: pl.Expr) -> pl.Expr:
    """Return the end of each period: a month on if all begin one, an hour on if any begins within a day, else a day."""
    return (
        pl.when((start.dt.day() == 1).all())
        .then(start.dt.offset_by("1mo"))
        .when((start.dt.hour() != 0).any())
        .then(start.dt.offset_by("1h"))
        .otherwise(start.dt.offset_by("1d"))
    )


def _differs(fields: SourceColumns, amount: pl.Expr) -> pl.Expr:
    """Return why a row is refused whose stated total is not the sum of its cells, each of which may be rounded."""
    if not fields.has(_STATED):
        return pl.lit(None, dtype=pl.String)
    stated = fields.money(_STATED).cast(pl.Float64)
    rounding = pl.min_horizontal(pl.len().over("row") * float(HALF_CENT), stated.abs() * float(ROUNDED))
    difference = (stated - amount.cast(pl.Float64).sum().over("row")).abs()
    return pl.when(difference > pl.max_horizontal(float(CENT), rounding)).then(
        pl.lit("the total of the row is not the sum of its columns")
    )
