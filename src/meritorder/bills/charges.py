"""The words of a charge: how it was bought, and the row that every reader makes of a line item."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import reduce
from operator import xor
from typing import Final

import polars as pl

from meritorder.tables import CHARGES, MONEY


class Purchase(StrEnum):
    """How a charge was bought."""

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


COMMITMENTS: Final = (Purchase.SAVINGS_PLAN, Purchase.RESERVED, Purchase.COMMITTED_USE)
"""Purchases of a promise to pay for a term; only these can go unused."""

CLASSIFIED: Final = ("instance_family", "kind")
"""Columns that `bills.selection` adds, after the reader."""

READ: Final = tuple(column for column in CHARGES if column.name not in CLASSIFIED)
"""Columns that a reader makes."""

INTERNAL: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "format": pl.String,
    "currency": pl.String,
    "billing_start": pl.Datetime("us", "UTC"),
    "billing_end": pl.Datetime("us", "UTC"),
    "line_hash": pl.UInt64,
    "item_hash": pl.UInt64,
    "stated_usd": MONEY,
    "refused": pl.String,
}
"""Columns that a reader makes for the report, and that CHARGES does not keep.

`item_hash` is equal where the provider's own identity of the line is; `line_hash` where all is that tells two
lines apart; `stated_usd` is the amount in the file, `refused` why the row cannot be used.
"""


def fingerprint(columns: Iterable[pl.Expr]) -> pl.Expr:
    """Return a 64-bit hash that rows share if they share all the columns, else for 1 pair of rows in 2^64.

    Each column has a seed of its own, so that the same text in two columns does not cancel out.
    """
    hashes = [column.hash(seed=seed) for seed, column in enumerate(columns)]
    return reduce(xor, hashes)


HOUR: Final = "1h"

MEASURES: Final = ("amortised_usd", "list_usd", "quantity")
"""What is added up over time."""


def whole_hours() -> tuple[pl.Expr, pl.Expr]:
    """Return start and end of the time that each charge is for, in whole hours, at least one."""
    start = pl.col("period_start").dt.truncate(HOUR)
    end = pl.col("period_end").dt.offset_by(HOUR).dt.offset_by("-1us").dt.truncate(HOUR)
    return start, pl.max_horizontal(end, start.dt.offset_by(HOUR))


_DEFAULTS: Final = {"unused": pl.lit(value=False), "priced": pl.lit(value=True)}


def line_items(raw: pl.LazyFrame, columns: Mapping[str, pl.Expr]) -> pl.LazyFrame:
    """Return one row a line item, with every column of `READ` and `INTERNAL`; absent ones are null.

    A row is refused if it has no time or an amount that is not a number; `columns["refused"]` may say more.
    """
    wanted: dict[str, pl.DataType | type[pl.DataType]] = {column.name: column.dtype for column in READ}
    wanted |= INTERNAL
    unknown = set(columns) - set(wanted)
    if unknown:
        raise AssertionError(f"not columns of a charge: {sorted(unknown)}")
    absent = pl.lit(None)
    frame = raw.select(
        columns.get(name, _DEFAULTS.get(name, absent)).cast(dtype).alias(name) for name, dtype in wanted.items()
    )
    reason = pl.coalesce(
        "refused",
        pl.when(pl.col("period_start").is_null()).then(pl.lit("no readable time")),
        pl.when(pl.col("billed_usd").is_null()).then(pl.lit("no readable amount")),
        pl.when(pl.col("amortised_usd").is_null()).then(pl.lit("no readable amortised amount")),
    )
    return frame.with_columns(
        refused=reason,
        stated_usd=pl.coalesce("stated_usd", "billed_usd"),
        period_end=pl.coalesce("period_end", "period_start"),
    )
