"""Purchase options, and the row that every reader makes of a line item."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from functools import reduce
from operator import xor
from typing import Final

import polars as pl

from meritorder.inputs.times import EARLIEST_S, LATEST_S
from meritorder.tables import CHARGES, MONEY


class PurchaseOption(StrEnum):
    """How a charge was bought, and fees, taxes and credits beside it."""

    ON_DEMAND = "on_demand"
    SPOT = "spot"
    SAVINGS_PLAN = "savings_plan"
    RESERVED = "reserved"
    COMMITTED_USE = "committed_use"
    CAPACITY_BLOCK = "capacity_block"
    TOKENS = "tokens"
    FEE = "fee"
    TAX = "tax"
    CREDIT = "credit"
    REFUND = "refund"
    DISCOUNT = "discount"
    ADJUSTMENT = "adjustment"
    OTHER = "other"


COMMITMENTS: Final = (PurchaseOption.SAVINGS_PLAN, PurchaseOption.RESERVED, PurchaseOption.COMMITTED_USE)
"""Commitments to pay for a term; only these can go unused."""

CLASSIFIED: Final = ("instance_family", "kind")
"""Columns of CHARGES that `bills.selection` fills afterwards."""

READER_COLUMNS: Final = tuple(column for column in CHARGES if column.name not in CLASSIFIED)
"""Columns of CHARGES that a reader fills."""

REPORT_COLUMNS: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "format": pl.String,
    "currency": pl.String,
    "billing_start": pl.Datetime("us", "UTC"),
    "billing_end": pl.Datetime("us", "UTC"),
    "line_hash": pl.UInt64,
    "item_hash": pl.UInt64,
    "bought": pl.Boolean,
    "anonymous": pl.Boolean,
    "named_for_training": pl.Boolean,
    "stated_usd": MONEY,
    "refused": pl.String,
    "odd": pl.Boolean,
    "says_total": pl.String,
    "has_words": pl.Boolean,
    "filled_cells": pl.UInt32,
}
"""Columns that a reader fills for the report and that CHARGES does not keep.

`item_hash` is equal for line items with the same identity at the provider, `line_hash` for copies of the same line;
`bought` marks the purchase of a commitment, `anonymous` a line item that may be equal to another and no copy of it,
`named_for_training` a machine whose name says training, notebook or build;
`stated_usd` is the amount in the file, `refused` the reason why the row cannot be used, `odd` marks a number that may
not be written plainly; `says_total`, `has_words` and `filled_cells` tell whether the row is a charge or sums up others.
"""


def fingerprint(columns: Iterable[pl.Expr]) -> pl.Expr:
    """Return a 64-bit hash of the columns; equal for equal rows, else with a probability of 2^-64.

    Each column has its own seed, so that the same text in two columns does not cancel out.
    """
    hashes = [column.hash(seed=seed) for seed, column in enumerate(columns)]
    return reduce(xor, hashes)


_NO: Final = pl.lit(value=False)
_TAX: Final = r"(?i)\b(sales tax|tax(es)?|vat|gst)\b"
NAMES: Final = ("service", "sku", "description", "instance_type")
"""Columns that say what is charged."""


def with_taxes_and_credits(columns: Mapping[str, pl.Expr]) -> Mapping[str, pl.Expr]:
    """Return columns of CHARGES in which what is named a tax is one, and a negative amount is a credit.

    A negative amount with a negative quantity corrects a charge, and stays what it is.
    """
    names = [columns[name] for name in NAMES if name in columns]
    named_tax = pl.concat_str(names, separator=" ", ignore_nulls=True).str.contains(_TAX) if names else _NO
    credit = columns["billed_usd"] < 0
    if "quantity" in columns:
        credit &= (columns["quantity"] >= 0).fill_null(value=True)
    purchase = (
        pl.when(named_tax)
        .then(pl.lit(PurchaseOption.TAX))
        .when(credit)
        .then(pl.lit(PurchaseOption.CREDIT))
        .otherwise(columns["purchase"])
    )
    return {**columns, "purchase": purchase}


def exact(amount: Decimal | float | None) -> Decimal:
    """Return an amount with no more digits than it needs, and at least one after the point: sums over MONEY have 12."""
    value = Decimal(amount or 0)
    return value.quantize(Decimal("0.1")) if value == value.to_integral_value() else value.normalize()


HOUR: Final = "1h"

MEASURES: Final = ("amortised_usd", "list_usd", "quantity")
"""Columns that are summed over time."""


def whole_hours() -> tuple[pl.Expr, pl.Expr]:
    """Return the start and end of each charge's period in whole hours, at least one hour apart."""
    start = pl.col("period_start").dt.truncate(HOUR)
    end = pl.col("period_end").dt.offset_by(HOUR).dt.offset_by("-1us").dt.truncate(HOUR)
    return start, pl.max_horizontal(end, start.dt.offset_by(HOUR))


_PERIOD: Final = ("period_start", "period_end")
# Not as literals of times, which polars computes at once: modules compute nothing when they are imported.
_EARLIEST, _LATEST = (pl.lit(int(epoch_s * 10**6)).cast(pl.Datetime("us", "UTC")) for epoch_s in (EARLIEST_S, LATEST_S))
_DEFAULTS: Final = {
    "unused": _NO,
    "bought": _NO,
    "anonymous": _NO,
    "named_for_training": _NO,
    "priced": pl.lit(value=True),
}


def line_items(raw: pl.LazyFrame, columns: Mapping[str, pl.Expr]) -> pl.LazyFrame:
    """Return one row a line item, with every column of `READER_COLUMNS` and `REPORT_COLUMNS`; absent ones are null.

    A row is refused if it has no time or an amount that is not a number, or for the reason in `columns["refused"]`.
    A time before 2000 or after 2099 is none.
    """
    wanted: dict[str, pl.DataType | type[pl.DataType]] = {column.name: column.dtype for column in READER_COLUMNS}
    wanted |= REPORT_COLUMNS
    unknown = set(columns) - set(wanted)
    if unknown:
        raise AssertionError(f"not columns of a charge: {sorted(unknown)}")
    absent = pl.lit(None)
    frame = raw.select(
        columns.get(name, _DEFAULTS.get(name, absent)).cast(dtype).alias(name) for name, dtype in wanted.items()
    ).with_columns(
        pl.when(pl.col(name).is_between(_EARLIEST, _LATEST)).then(pl.col(name)).alias(name) for name in _PERIOD
    )
    reason = pl.coalesce(
        "refused",
        pl.when(pl.col("period_start").is_null()).then(pl.lit("no readable time")),
        pl.when(pl.col("billed_usd").is_null()).then(pl.lit("no readable amount")),
        pl.when(pl.col("amortised_usd").is_null()).then(pl.lit("no readable amortized amount")),
    )
    return frame.with_columns(
        refused=reason,
        stated_usd=pl.coalesce("stated_usd", "billed_usd"),
        period_end=pl.coalesce("period_end", "period_start"),
    )
