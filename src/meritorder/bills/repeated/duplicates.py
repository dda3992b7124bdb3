"""Money that files state more than once: copies of lines, and commitments at their purchase and again at their use."""

from dataclasses import dataclass
from typing import Final, TypeVar

import polars as pl

from meritorder.bills.charges import fingerprint
from meritorder.bills.columns import SourceColumns
from meritorder.tables import MONEY

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)

_SCHEMA: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "source": pl.String,
    "rows": pl.UInt32,
    "billed_usd": MONEY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """Line items that occur more than once.

    Args:
        copies: Rows and dollars of exact copies, by `source`; they are not counted.
        versions: Number of line items with the identity of another and a different amount; all are counted.
        alike: Rows and dollars, by `source`, of line items that equal another of their file and name no resource: they
            may be different machines, and all are counted.
    """

    copies: pl.DataFrame
    versions: int
    alike: pl.DataFrame


def hashes(fields: SourceColumns, columns: dict[str, pl.Expr], identity: list[pl.Expr] | None) -> dict[str, pl.Expr]:
    """Return hashes that are equal for the same line item and for copies of the same line.

    If the provider identifies its line items, a copy has the same identity and amounts; else every column is the same.
    """
    if identity is not None:
        compared = ("period_start", "resource", "quantity", "billed_usd", "amortised_usd")
        return {
            "item_hash": fingerprint(identity),
            "line_hash": fingerprint([*identity, *(columns[name] for name in compared)]),
        }
    names = [name for name, dtype in fields.schema.items() if name != "row" and not dtype.is_nested()]
    # A map of tags cannot be hashed; as text it can.
    tags = [columns["tags"]] if "tags" in columns else []
    return {"line_hash": fingerprint([*map(pl.col, names), *tags])}


def without_copies(lines: pl.LazyFrame) -> tuple[pl.LazyFrame, Duplicates]:
    """Return each line once, and the duplicates.

    Equal lines that name no resource are copies only if another file has them too: in one file they may be different
    machines.
    """
    counted = lines.filter(pl.col("refused").is_null())
    size = counted.select(
        rows=pl.len(),
        lines=pl.col("line_hash").n_unique(),
        identified_lines=pl.col("line_hash").filter(pl.col("item_hash").is_not_null()).n_unique(),
        items=pl.col("item_hash").drop_nulls().n_unique(),
    ).collect(engine="streaming")
    [(rows, distinct, identified, items)] = size.rows()
    none = pl.DataFrame(schema=_SCHEMA)
    if rows == distinct:
        return lines, Duplicates(copies=none, versions=identified - items, alike=none)
    repeated = counted.group_by("line_hash").len().filter(pl.col("len") > 1).collect(engine="streaming")
    place = fingerprint(map(pl.col, ("source", "row", "line_hash")))
    equal = (
        lines.filter(pl.col("line_hash").is_in(repeated["line_hash"].implode()))
        .select("source", "row", "line_hash", "anonymous", "billed_usd", place=place)
        .collect(engine="streaming")
        .sort("source", "row", maintain_order=True)
        .with_columns(nth=pl.int_range(pl.len()).over("source", "line_hash"))
        .with_columns(nth=pl.when("anonymous").then("nth").otherwise(0))
    )
    first = equal.select(pl.struct("line_hash", "nth").is_first_distinct()).to_series()
    copied = equal.filter(~first)
    alike = equal.filter(first & (pl.col("nth") > 0))
    once = lines.filter(~place.is_in(copied["place"].implode())) if copied.height else lines
    return once, Duplicates(copies=_by_source(copied), versions=identified - items, alike=_by_source(alike))


def _by_source(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.group_by("source").agg(rows=pl.len(), billed_usd=pl.col("billed_usd").sum()).sort("source")


def purchases_counted_at_use(groups: pl.DataFrame) -> pl.DataFrame:
    """Return the groups that buy a commitment at an amortized cost, although what it covers has one too.

    FOCUS has the effective cost of such a purchase at 0; some exporters repeat the billed cost.

    Source: FOCUS 1.2, "EffectiveCost" and "Commitment Discounts"; focus.finops.org, read 2026-11.
    """
    key = ("provider", "commitment")
    used = (
        groups.filter(~pl.col("bought") & pl.col("commitment").is_not_null())
        .group_by(key)
        .agg(used_usd=pl.col("amortised_usd").sum())
        .filter(pl.col("used_usd") > 0)
    )
    bought = groups.filter(pl.col("bought") & (pl.col("amortised_usd") != 0))
    return bought.join(used, on=key, how="semi", nulls_equal=True)


def without_amortized_cost(frame: Frame, groups: pl.DataFrame) -> Frame:
    """Return line items or their sums with the amortized cost of these groups at zero."""
    if groups.is_empty():
        return frame
    spent = pl.col("group").is_in(groups["group"].implode())
    present = [name for name in ("amortised_usd", "unlisted_usd") if name in frame.collect_schema()]
    return frame.with_columns(pl.when(spent).then(0).otherwise(pl.col(name)).alias(name) for name in present)
