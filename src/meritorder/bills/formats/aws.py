"""AWS Cost and Usage Reports: CUR 2.0 (Data Exports) and the legacy CUR, amortized by AWS's own rules."""

import re
from collections.abc import Mapping
from typing import Final

import polars as pl

from meritorder.bills.charges import PurchaseOption
from meritorder.bills.columns import SourceColumns, mapped
from meritorder.tables import MONEY

REQUIRED: Final = ("line_item_unblended_cost", "line_item_line_item_type", "line_item_usage_start_date")

_CAPITAL: Final = re.compile(r"(?<=[A-Za-z0-9])(?=[A-Z])")
_TAG_PREFIXES: Final = ("resourceTags/", "resource_tags_")

# Source: AWS Data Exports User Guide, "Line item details" (line_item_line_item_type), read 2026-11.
_PURCHASES: Final = {
    "Usage": PurchaseOption.ON_DEMAND,
    "SavingsPlanCoveredUsage": PurchaseOption.SAVINGS_PLAN,
    "SavingsPlanNegation": PurchaseOption.SAVINGS_PLAN,
    "SavingsPlanRecurringFee": PurchaseOption.SAVINGS_PLAN,
    "SavingsPlanUpfrontFee": PurchaseOption.SAVINGS_PLAN,
    "DiscountedUsage": PurchaseOption.RESERVED,
    "RIFee": PurchaseOption.RESERVED,
    "Fee": PurchaseOption.FEE,
    "Tax": PurchaseOption.TAX,
    "Credit": PurchaseOption.CREDIT,
    "Refund": PurchaseOption.REFUND,
    "BundledDiscount": PurchaseOption.DISCOUNT,
    "Discount": PurchaseOption.DISCOUNT,
    "EdpDiscount": PurchaseOption.DISCOUNT,
    "PrivateRateDiscount": PurchaseOption.DISCOUNT,
    "SppDiscount": PurchaseOption.DISCOUNT,
    "DistributorDiscount": PurchaseOption.DISCOUNT,
}

_USAGE_TYPES: Final = ("Usage", "SavingsPlanCoveredUsage", "DiscountedUsage")
UNUSED_TYPES: Final = ("SavingsPlanRecurringFee", "RIFee")

SAVINGS_PLAN_COLUMNS: Final = (
    "savings_plan_savings_plan_effective_cost",
    "savings_plan_total_commitment_to_date",
    "savings_plan_used_commitment",
)
RESERVATION_COLUMNS: Final = (
    "reservation_effective_cost",
    "reservation_unused_recurring_fee",
    "reservation_unused_amortized_upfront_fee_for_billing_period",
)


def snake_case(column: str) -> str:
    """Return the CUR 2.0 name of a legacy column: `lineItem/UsageStartDate` is `line_item_usage_start_date`.

    Columns of tags keep the user's key as it is.
    """
    if column.startswith(_TAG_PREFIXES):
        return column
    return _CAPITAL.sub("_", column.replace("/", "_")).lower()


def is_cur(columns: frozenset[str]) -> bool:
    """Return whether these are the columns of a Cost and Usage Report, CUR 2.0 or legacy."""
    return set(REQUIRED) <= {snake_case(column) for column in columns}


def title(columns: frozenset[str]) -> str:
    """Return the full name of the report's format."""
    return "AWS CUR 2.0" if "line_item_unblended_cost" in columns else "AWS CUR (legacy)"


def prepare(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Rename legacy columns to their CUR 2.0 names; the first of two columns with the same name is kept."""
    names: dict[str, str] = {}
    for name in raw.collect_schema():
        names.setdefault(snake_case(name), name)
    return raw.select(pl.col(name).alias(new) for new, name in names.items())


def columns(fields: SourceColumns) -> Mapping[str, pl.Expr]:
    """Return the columns of CHARGES as expressions over the report's columns."""
    kind = fields.text("line_item_line_item_type")
    usage_type = fields.text("line_item_usage_type")
    operation = fields.text("line_item_operation")
    reservation = fields.text("reservation_reservation_a_r_n", "reservation_reservation_arn")
    plan = fields.text("savings_plan_savings_plan_a_r_n", "savings_plan_savings_plan_arn")
    billed = fields.money("line_item_unblended_cost")
    return {
        "period_start": fields.time("line_item_usage_start_date"),
        "period_end": fields.time("line_item_usage_end_date"),
        "provider": pl.lit("aws"),
        "payer": fields.text("bill_payer_account_id"),
        "account": fields.text("line_item_usage_account_id"),
        "invoice": fields.text("bill_invoice_id"),
        "region": fields.text("product_region_code", "product_region"),
        "service": fields.text("line_item_product_code"),
        "sku": usage_type,
        "description": _description(fields),
        "resource": fields.text("line_item_resource_id"),
        "instance_type": fields.text("product_instance_type"),
        "purchase": _purchase(kind, usage_type, operation, fields.text("pricing_term"), reservation),
        "unused": kind.is_in(UNUSED_TYPES),
        "commitment": pl.coalesce(plan, reservation),
        "quantity": fields.number("line_item_usage_amount"),
        "unit": fields.text("pricing_unit"),
        "billed_usd": billed,
        "amortised_usd": _amortized(fields, kind, billed, reservation),
        "list_usd": pl.when(kind.is_in(_USAGE_TYPES)).then(fields.money("pricing_public_on_demand_cost")),
        "tags": fields.tags("resource_tags", prefixes=_TAG_PREFIXES),
        "currency": fields.text("line_item_currency_code"),
        "billing_start": fields.time("bill_billing_period_start_date"),
        "billing_end": fields.time("bill_billing_period_end_date"),
        "refused": pl.when(kind.is_null()).then(pl.lit("no line item type")),
    }


def _description(fields: SourceColumns) -> pl.Expr:
    """Return AWS's description of the charge; for a Marketplace model, its product name."""
    product = fields.text("product_product_name", needed=False)
    described = pl.coalesce(fields.text("line_item_line_item_description"), product)
    return pl.when(product.str.contains("Bedrock Edition", literal=True)).then(product).otherwise(described)


def identity(fields: SourceColumns) -> list[pl.Expr] | None:
    """Return the columns that identify a line item, None if the report lacks any of them.

    The line item id is unique within one delivery only, so its type and usage type are part of the identity.

    Source: AWS Data Exports User Guide, "Identity details", read 2026-11.
    """
    names = (
        "identity_line_item_id",
        "identity_time_interval",
        "line_item_line_item_type",
        "line_item_usage_type",
    )
    return [fields.text(name) for name in names] if all(map(fields.has, names)) else None


def purchase_of(kind: pl.Expr) -> pl.Expr:
    """Return the purchase option of a line item type; `other` for one that is not known here."""
    return mapped(kind, _PURCHASES, pl.lit(PurchaseOption.OTHER))


def _purchase(kind: pl.Expr, usage_type: pl.Expr, operation: pl.Expr, term: pl.Expr, reservation: pl.Expr) -> pl.Expr:
    """Return the purchase option of a line item; `other` for a line item type that is not known here."""
    block = pl.concat_str(usage_type, operation, ignore_nulls=True).str.contains("CapacityBlock", literal=True)
    spot = (term == "Spot") | usage_type.str.contains("SpotUsage", literal=True)
    return (
        pl.when((kind == "Usage") & spot)
        .then(pl.lit(PurchaseOption.SPOT))
        .when(kind.is_in(("Usage", "Fee")) & block)
        .then(pl.lit(PurchaseOption.CAPACITY_BLOCK))
        .when((kind == "Fee") & reservation.is_not_null())
        .then(pl.lit(PurchaseOption.RESERVED))
        .otherwise(purchase_of(kind))
    )


def _amortized(fields: SourceColumns, kind: pl.Expr, billed: pl.Expr, reservation: pl.Expr) -> pl.Expr:
    """Return the amortized cost of a line item.

    | line item type            | amortized cost                                       |
    |---------------------------|------------------------------------------------------|
    | SavingsPlanCoveredUsage   | its savings plan effective cost                      |
    | SavingsPlanRecurringFee   | total commitment - used commitment, of either sign   |
    | SavingsPlanNegation       | 0: it cancels the on-demand cost of covered usage    |
    | SavingsPlanUpfrontFee     | 0: it is part of the effective cost                  |
    | DiscountedUsage           | its reservation effective cost                       |
    | RIFee                     | unused recurring fee + unused amortized upfront fee  |
    | Fee of a reservation      | 0: it is part of the effective cost                  |
    | any other                 | unblended cost                                       |

    If a report lacks the columns of one kind of commitment, its charges stay at their unblended cost: the same total.

    Source: AWS Well-Architected Labs, CUR Query Library, "Amortized cost"; AWS Data Exports User Guide,
        "Savings Plans details" and "Reservation details". Read 2026-11.
    """
    nothing = pl.lit(0, dtype=MONEY)
    rules: dict[str, pl.Expr] = {}
    effective, total, used = (fields.money(name) for name in SAVINGS_PLAN_COLUMNS)
    if all(map(fields.has, SAVINGS_PLAN_COLUMNS)):
        rules["SavingsPlanCoveredUsage"] = effective
        rules["SavingsPlanRecurringFee"] = total - used.fill_null(nothing)
        rules["SavingsPlanNegation"] = nothing
        rules["SavingsPlanUpfrontFee"] = nothing
    effective, recurring, upfront = (fields.money(name) for name in RESERVATION_COLUMNS)
    if all(map(fields.has, RESERVATION_COLUMNS)):
        rules["DiscountedUsage"] = effective
        rules["RIFee"] = recurring.fill_null(nothing) + upfront.fill_null(nothing)
        rules["Fee"] = pl.when(reservation.is_not_null()).then(nothing).otherwise(billed)
    amortized = billed
    for name, value in rules.items():
        amortized = pl.when(kind == name).then(value).otherwise(amortized)
    return amortized
