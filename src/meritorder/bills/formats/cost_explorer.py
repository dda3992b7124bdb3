"""Costs of AWS Cost Explorer by period, type of record and usage type, as `bills.accounts.aws` fetches them.

Source: AWS Cost Explorer API reference, "GetCostAndUsage"; AWS Cost Management User Guide, "Understanding your
AWS costs: unblended and amortized"; read 2026-11.
"""

from collections.abc import Mapping
from typing import Final

import polars as pl

from meritorder.bills.charges import PurchaseOption
from meritorder.bills.columns import SourceColumns
from meritorder.bills.formats import aws

NAME: Final = "aws-cost-explorer"
COLUMNS: Final = (
    *("start", "end", "record_type", "usage_type", "service", "region", "account"),
    *("unblended_cost", "amortized_cost", "currency", "quantity", "unit", "commitment"),
)

_LISTED: Final = ("Usage", "SavingsPlanCoveredUsage")
_HOURLY: Final = r"(BoxUsage|SpotUsage|DedicatedUsage|HeavyUsage|Host):"


def is_cost_explorer(columns: frozenset[str]) -> bool:
    """Return whether these are costs of Cost Explorer."""
    return {"record_type", "usage_type", "amortized_cost"} <= columns


def columns(fields: SourceColumns) -> Mapping[str, pl.Expr]:
    """Return the columns of CHARGES as expressions over costs of Cost Explorer.

    The unblended cost of usage under a savings plan is its cost on demand; that of reserved usage is none.
    """
    kind, usage_type = fields.text("record_type"), fields.text("usage_type")
    unblended = fields.money("unblended_cost")
    spot = usage_type.str.contains("SpotUsage", literal=True)
    hourly = usage_type.str.contains(_HOURLY)
    return {
        "period_start": fields.time("start"),
        "period_end": fields.time("end"),
        "provider": pl.lit("aws"),
        "account": fields.text("account", needed=False),
        "region": fields.text("region", needed=False),
        "service": fields.text("service"),
        "sku": usage_type,
        "purchase": pl.when((kind == "Usage") & spot)
        .then(pl.lit(PurchaseOption.SPOT))
        .otherwise(aws.purchase_of(kind)),
        "unused": kind.is_in(aws.UNUSED_TYPES).fill_null(value=False),
        "commitment": fields.text("commitment", needed=False),
        "quantity": fields.number("quantity"),
        "unit": pl.when(hourly).then(pl.lit("Hrs")).otherwise(fields.text("unit")),
        "billed_usd": unblended,
        "amortised_usd": fields.money("amortized_cost"),
        "list_usd": pl.when(kind.is_in(_LISTED)).then(unblended),
        "currency": fields.text("currency"),
    }
