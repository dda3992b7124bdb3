"""GCP's billing export to BigQuery, standard and detailed, as JSON lines, Parquet or CSV of the nested columns.

Credits become rows of their own, except those of committed use, which are the discount of what a commitment covers.

Source: Google Cloud, "Structure of Standard data export" and "Detailed data export",
cloud.google.com/billing/docs/how-to/export-data-bigquery-tables, read 2026-11.
"""

from collections.abc import Mapping
from typing import Final

import polars as pl

from meritorder.bills.charges import PurchaseOption
from meritorder.bills.columns import SourceColumns, mapped, to_money
from meritorder.units import SECONDS_PER_HOUR

_REQUIRED: Final = frozenset({"billing_account_id", "usage_start_time", "cost"})
_NESTED: Final = {
    "service": ("description",),
    "sku": ("description",),
    "project": ("id",),
    "usage": ("amount", "unit", "amount_in_pricing_units", "pricing_unit"),
    "location": ("region", "location"),
    "invoice": ("month",),
    "resource": ("global_name", "name"),
}
"""Members that are read of nested columns."""

_CREDIT: Final = pl.List(pl.Struct({"name": pl.String, "type": pl.String, "amount": pl.String}))
_COSTS: Final = {
    "tax": PurchaseOption.TAX,
    "adjustment": PurchaseOption.ADJUSTMENT,
    "rounding_error": PurchaseOption.OTHER,
}
_COMMITTED: Final = r"(?i)^COMMITTED_USAGE_DISCOUNT|committed use"
_DISCOUNT: Final = r"(?i)DISCOUNT|\bSUD\b|sustained use"


def is_billing_export(columns: frozenset[str]) -> bool:
    """Return whether these are the columns of a billing export."""
    return columns >= _REQUIRED


def prepare(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Return one row for each cost, with the credits of committed use in it, and one for each other credit."""
    schema = raw.collect_schema()
    flat = raw.with_columns(
        _member(schema, column, member).alias(f"{column}_{member}")
        for column, members in _NESTED.items()
        for member in members
        if f"{column}_{member}" not in schema
    )
    flat = flat.drop(name for name in _NESTED if name in schema and schema[name].is_nested())
    if "credits" not in schema:
        return flat
    nested = schema["credits"].is_nested()
    listing = pl.col("credits") if nested else pl.col("credits").str.json_decode(_CREDIT)
    listed = flat.with_columns(credits=listing).with_columns(credited=pl.lit(None, dtype=pl.String))
    credit_rows = listed.explode("credits").filter(pl.col("credits").is_not_null())
    name, kind, amount = (_field(schema, member) for member in ("name", "type", "amount"))
    split = credit_rows.with_columns(credit_kind=pl.coalesce(kind, name), credited=amount).drop("credits")
    committed = pl.col("credit_kind").str.contains(_COMMITTED).fill_null(value=False)
    covered = (
        split.filter(committed)
        .group_by("row")
        .agg(covered=pl.col("credited").cast(pl.Float64, strict=False).sum().cast(pl.String))
    )
    costs = listed.drop("credits").join(covered, on="row", how="left").with_columns(credit_kind=pl.lit(None, pl.String))
    others = split.filter(~committed).with_columns(covered=pl.lit(None, dtype=pl.String))
    return pl.concat([costs, others], how="diagonal")


def _member(schema: pl.Schema, column: str, member: str) -> pl.Expr:
    """Return a member of a nested column as text; null if it has none."""
    dotted = f"{column}.{member}"
    if dotted in schema:
        return pl.col(dotted).cast(pl.String)
    dtype = schema.get(column)
    if isinstance(dtype, pl.Struct):
        names = {field.name for field in dtype.fields}
        return pl.col(column).struct.field(member).cast(pl.String) if member in names else pl.lit(None, pl.String)
    if dtype == pl.String:
        text = pl.col(column)
        return pl.when(text.str.starts_with("{")).then(text.str.json_path_match(f"$.{member}"))
    return pl.lit(None, dtype=pl.String)


def _field(schema: pl.Schema, member: str) -> pl.Expr:
    """Return a member of a credit as text; null if credits have none."""
    dtype = schema["credits"]
    inner = dtype.inner if isinstance(dtype, pl.List) else _CREDIT.inner
    names = {field.name for field in inner.fields} if isinstance(inner, pl.Struct) else set()
    return pl.col("credits").struct.field(member).cast(pl.String) if member in names else pl.lit(None, pl.String)


def columns(fields: SourceColumns) -> Mapping[str, pl.Expr]:
    """Return the columns of CHARGES as expressions over the costs and credits of the export."""
    credited = fields.text("credited", needed=False)
    is_credit = credited.is_not_null()
    kind = fields.text("credit_kind", needed=False)
    covered = fields.number("covered") if fields.has("covered") else pl.lit(None, dtype=pl.Float64)
    sku = fields.text("sku_description")
    unit, amount = fields.text("usage_unit"), fields.number("usage_amount")
    in_seconds = unit == "seconds"
    cost = pl.when(is_credit).then(_money(fields, "credited")).otherwise(_with_credit(fields.money("cost"), covered))
    rate = fields.number("currency_conversion_rate") if fields.has("currency_conversion_rate") else None
    currency = fields.text("currency")
    other = (currency.str.to_uppercase() != "USD") & (rate > 0) if rate is not None else pl.lit(value=False)

    def dollars(money: pl.Expr) -> pl.Expr:
        return money if rate is None else pl.when(other).then(to_money(money.cast(pl.Float64) / rate)).otherwise(money)

    month = fields.text("invoice_month", needed=False).str.to_date("%Y%m", strict=False)
    commitment = sku.str.contains(r"(?i)^commitment\b") & ~is_credit
    return {
        "period_start": fields.time("usage_start_time"),
        "period_end": fields.time("usage_end_time"),
        "provider": pl.lit("gcp"),
        "payer": fields.text("billing_account_id"),
        "account": fields.text("project_id"),
        "region": fields.text("location_region", "location_location", needed=False),
        "service": fields.text("service_description"),
        "sku": sku,
        "description": pl.when(is_credit).then(kind),
        "resource": fields.text("resource_global_name", "resource_name", needed=False),
        "purchase": pl.when(is_credit & kind.str.contains(_DISCOUNT))
        .then(pl.lit(PurchaseOption.DISCOUNT))
        .when(is_credit)
        .then(pl.lit(PurchaseOption.CREDIT))
        .when(commitment | covered.is_not_null())
        .then(pl.lit(PurchaseOption.COMMITTED_USE))
        .when(sku.str.contains(r"(?i)\b(spot|preemptible)\b"))
        .then(pl.lit(PurchaseOption.SPOT))
        .otherwise(mapped(fields.text("cost_type", needed=False), _COSTS, pl.lit(PurchaseOption.ON_DEMAND))),
        "anonymous": fields.text("resource_global_name", "resource_name", needed=False).is_null(),
        "quantity": pl.when(~is_credit).then(pl.when(in_seconds).then(amount / SECONDS_PER_HOUR).otherwise(amount)),
        "unit": pl.when(in_seconds).then(pl.lit("hour")).otherwise(unit),
        "billed_usd": dollars(cost),
        "amortised_usd": dollars(cost),
        "list_usd": pl.when(~is_credit & ~commitment).then(dollars(fields.money("cost_at_list", "cost"))),
        "tags": _labels(fields),
        "currency": pl.when(other).then(pl.lit("USD")).otherwise(currency),
        "billing_start": month.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        "billing_end": month.dt.offset_by("1mo").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
    }


def _money(fields: SourceColumns, name: str) -> pl.Expr:
    return fields.money(name) if fields.has(name) else pl.lit(None)


def _with_credit(cost: pl.Expr, covered: pl.Expr) -> pl.Expr:
    return pl.when(covered.is_null()).then(cost).otherwise(cost + to_money(covered))


def _labels(fields: SourceColumns) -> pl.Expr:
    """Return labels as JSON, from a list of pairs or from JSON text of it."""
    text = fields.tags("labels")
    return (
        pl.when(text.str.starts_with("[")).then(pl.concat_str(pl.lit('{"pairs":'), text, pl.lit("}"))).otherwise(text)
    )
