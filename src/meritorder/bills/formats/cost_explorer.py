"""Costs of AWS Cost Explorer by period and what they are grouped by, as its API answers and `audit aws` fetches them.

Source: AWS Cost Explorer API reference, "GetCostAndUsage"; AWS Cost Management User Guide, "Understanding your
AWS costs: unblended and amortized"; read 2026-11.
"""

from collections.abc import Mapping
from typing import Final

import polars as pl

from meritorder.bills.charges import PurchaseOption, with_taxes_and_credits
from meritorder.bills.columns import SourceColumns
from meritorder.bills.formats import aws

NAME: Final = "aws-cost-explorer"
COLUMNS: Final = (
    *("start", "end", "record_type", "usage_type", "service", "region", "account"),
    *("unblended_cost", "amortized_cost", "currency", "quantity", "unit", "commitment"),
)

_LISTED: Final = ("Usage", "SavingsPlanCoveredUsage")
_HOURLY: Final = r"(BoxUsage|SpotUsage|DedicatedUsage|HeavyUsage|Host):"
_BILLED: Final = ("unblended_cost", "net_unblended_cost", "blended_cost", "amortized_cost", "net_amortized_cost")
_AMORTIZED: Final = ("amortized_cost", "net_amortized_cost", *_BILLED)


def is_cost_explorer(columns: frozenset[str]) -> bool:
    """Return whether these are costs of Cost Explorer."""
    return {"start", "end", "currency"} <= columns and any(name in columns for name in _BILLED)


def columns(fields: SourceColumns) -> Mapping[str, pl.Expr]:
    """Return the columns of CHARGES as expressions over costs of Cost Explorer.

    The unblended cost of usage under a savings plan is its cost on demand; that of reserved usage is none.
    """
    kind, usage_type = fields.text("record_type", needed=False), fields.text("usage_type", needed=False)
    billed = fields.money(*_BILLED)
    spot = usage_type.str.contains("SpotUsage", literal=True)
    hourly = usage_type.str.contains(_HOURLY)
    read = {
        "period_start": fields.time("start"),
        "period_end": fields.time("end"),
        "provider": pl.lit("aws"),
        "account": fields.text("account", needed=False),
        "region": fields.text("region", needed=False),
        "service": fields.text("service", needed=False),
        "sku": usage_type,
        "description": fields.text("description", needed=False),
        "instance_type": fields.text("instance_type", needed=False),
        "purchase": pl.when(((kind == "Usage") | kind.is_null()) & spot)
        .then(pl.lit(PurchaseOption.SPOT))
        .when(kind.is_null())
        .then(pl.lit(PurchaseOption.ON_DEMAND))
        .otherwise(aws.purchase_of(kind)),
        "unused": kind.is_in(aws.UNUSED_TYPES).fill_null(value=False),
        "commitment": fields.text("commitment", needed=False),
        "unit": pl.when(hourly).then(pl.lit("Hrs")).otherwise(fields.text("unit", needed=False)),
        "billed_usd": billed,
        "amortised_usd": fields.money(*_AMORTIZED),
        "list_usd": pl.when(kind.is_in(_LISTED)).then(billed),
        "currency": fields.text("currency"),
    }
    if fields.has("quantity"):
        read["quantity"] = fields.number("quantity")
    return read if fields.has("record_type") else with_taxes_and_credits(read)
