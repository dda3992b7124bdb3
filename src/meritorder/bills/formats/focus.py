"""FOCUS, the FinOps Open Cost and Usage Specification, 1.0-preview to 1.3, from any provider.

Differences between the versions, as far as they matter here (Source: FOCUS specification changelog and
specifications 1.0, 1.1, 1.2 and 1.3, focus.finops.org, read 2026-11):

- 1.0-preview had `Region`, `UsageQuantity`, `UsageUnit` and `ChargeSubcategory` ("Used Commitment", "Unused
  Commitment"), and the pricing categories "On-Demand" and "Commitment-Based".
- 1.0 renamed them to `RegionId`, `ConsumedQuantity`, `ConsumedUnit` and `CommitmentDiscountStatus` ("Used",
  "Unused"), and the categories to "Standard" and "Committed"; it added `ChargeClass` and `ContractedCost`.
- 1.1 added `CapacityReservationId`, `SkuMeter` and `SkuPriceDetails`; to buy a commitment is not "Committed".
- 1.2 added `InvoiceId` and `PricingCurrency`.
- 1.3 names the provider `ServiceProviderName` and `HostProviderName`; `ProviderName` is deprecated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from meritorder.bills.charges import PurchaseOption
from meritorder.bills.columns import SourceColumns, mapped, provider_by_name
from meritorder.tables import MONEY

REQUIRED: Final = ("BilledCost", "ChargePeriodStart", "BillingCurrency")

_BILLED_IN_DOLLARS: Final = "x_BilledCostInUsd"
"""Source: Microsoft Learn, "FOCUS cost and usage details file schema", read 2026-11."""

_VERSIONS: Final = (
    ("1.3", {"ServiceProviderName", "HostProviderName", "ContractApplied"}),
    ("1.2", {"InvoiceId", "PricingCurrency", "BillingAccountType", "SubAccountType"}),
    (
        "1.1",
        {
            "CapacityReservationId",
            "CommitmentDiscountQuantity",
            "SkuMeter",
            "SkuPriceDetails",
            "ServiceSubcategory",
        },
    ),
    ("1.0", {"ChargeClass", "ContractedCost", "RegionId", "ConsumedQuantity"}),
)

_STATUS: Final = {
    "Used": "Used",
    "Unused": "Unused",
    "Used Commitment": "Used",
    "Unused Commitment": "Unused",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Amounts:
    """The amounts of a charge: in dollars where the export has dollars beside another billing currency."""

    billed: pl.Expr
    effective: pl.Expr
    listed: pl.Expr
    currency: pl.Expr

    @classmethod
    def of(cls, fields: SourceColumns) -> "_Amounts":
        """Return the amounts of a dataset.

        The effective cost is 0 for the purchase of a commitment; it is the billed cost where it is not stated.
        """
        billed, listed = fields.money("BilledCost"), fields.money("ListCost")
        stated = fields.text("EffectiveCost", "AmortizedCost").is_not_null()
        effective = pl.when(stated).then(fields.money("EffectiveCost", "AmortizedCost")).otherwise(billed)
        currency = fields.text("BillingCurrency")
        if not fields.has(_BILLED_IN_DOLLARS):
            return cls(billed=billed, effective=effective, listed=listed, currency=currency)
        dollars = fields.money(_BILLED_IN_DOLLARS)
        other = (currency.str.to_uppercase() != "USD") & dollars.is_not_null()
        in_dollars = fields.money("x_EffectiveCostInUsd") if fields.has("x_EffectiveCostInUsd") else dollars
        list_in_dollars = fields.money("x_ListCostInUsd") if fields.has("x_ListCostInUsd") else None
        return cls(
            billed=pl.when(other).then(dollars).otherwise(billed),
            effective=pl.when(other).then(in_dollars).otherwise(effective),
            listed=pl.when(other).then(list_in_dollars).otherwise(listed),
            currency=pl.when(other).then(pl.lit("USD")).otherwise(currency),
        )


def is_focus(columns: frozenset[str]) -> bool:
    """Return whether these are the columns of a FOCUS dataset."""
    return set(REQUIRED) <= columns


def title(columns: frozenset[str]) -> str:
    """Return the format with its version, which shows only in the columns that the dataset has."""
    return "FOCUS " + next((version for version, added in _VERSIONS if added & columns), "1.0-preview")


def columns(fields: SourceColumns) -> Mapping[str, pl.Expr]:
    """Return the columns of CHARGES as expressions over the dataset's columns."""
    amounts = _Amounts.of(fields)
    status = mapped(fields.text("CommitmentDiscountStatus", "ChargeSubcategory"), _STATUS)
    category = fields.text("ChargeCategory", "ChargeType")
    commitment = fields.text("CommitmentDiscountId")
    family = fields.text("CommitmentDiscountType", "CommitmentDiscountCategory")
    meter = fields.text("x_UsageType", "x_SkuDescription", "x_SkuMeterName", "SkuMeter", needed=False)
    description = fields.text("ChargeDescription")
    block = fields.text("CapacityReservationId", needed=False).is_not_null() | pl.concat_str(
        meter, fields.text("SkuId"), description, ignore_nulls=True
    ).str.contains(r"(?i)capacity.?block")
    purchase = _purchase(fields, category, commitment, family, status, block=block)
    resource = fields.text("ResourceId")
    bought = (category == "Purchase") & _commitment_family(family, commitment).is_not_null()
    unused = status.eq_missing("Unused")
    return {
        "period_start": fields.time("ChargePeriodStart"),
        "period_end": fields.time("ChargePeriodEnd"),
        "provider": provider_by_name(
            fields.text("ServiceProviderName", "ProviderName", "HostProviderName", "PublisherName")
        ),
        "payer": fields.text("BillingAccountId"),
        "account": fields.text("SubAccountId"),
        "invoice": fields.text("InvoiceId", "x_InvoiceId", needed=False),
        "region": fields.text("RegionId", "Region"),
        "service": fields.text("ServiceName"),
        "sku": pl.coalesce(_specific(meter), fields.text("SkuId")),
        "description": description,
        "resource": resource,
        "instance_type": pl.coalesce(
            fields.text("x_SkuInstanceType", "x_InstanceType", needed=False),
            fields.text("SkuPriceDetails", "x_SkuDetails", needed=False).str.extract(
                r'(?i)"(?:x_)?InstanceType"\s*:\s*"([^"]+)"'
            ),
        ),
        "purchase": purchase,
        "unused": unused,
        "commitment": commitment,
        "quantity": fields.number("ConsumedQuantity", "PricingQuantity", "UsageQuantity"),
        "unit": fields.text("ConsumedUnit", "PricingUnit", "UsageUnit"),
        "bought": bought.fill_null(value=False),
        "anonymous": resource.is_null(),
        "billed_usd": amounts.billed,
        "amortised_usd": amounts.effective,
        "list_usd": pl.when(~bought & ~unused).then(amounts.listed),
        "tags": fields.tags("Tags"),
        "currency": amounts.currency,
        "billing_start": fields.time("BillingPeriodStart"),
        "billing_end": fields.time("BillingPeriodEnd"),
    }


def _specific(meter: pl.Expr) -> pl.Expr:
    """Keep only meters that name what was metered; drop categories such as "Compute"."""
    return pl.when(meter.str.contains(r"[\d:/.\-]|\s")).then(meter)


def _commitment_family(family: pl.Expr, commitment: pl.Expr) -> pl.Expr:
    """Return the kind of commitment from the provider's own term, else from what it commits to (spend or usage)."""
    return (
        pl.when(family.str.contains(r"(?i)savings? ?plan"))
        .then(pl.lit(PurchaseOption.SAVINGS_PLAN))
        .when(family.str.contains(r"(?i)reserv"))
        .then(pl.lit(PurchaseOption.RESERVED))
        .when(family.str.contains(r"(?i)committed|\bcud\b"))
        .then(pl.lit(PurchaseOption.COMMITTED_USE))
        .when(family == "Spend")
        .then(pl.lit(PurchaseOption.SAVINGS_PLAN))
        .when(family.is_not_null() | commitment.is_not_null())
        .then(pl.lit(PurchaseOption.RESERVED))
    )


def _purchase(
    fields: SourceColumns,
    category: pl.Expr,
    commitment: pl.Expr,
    family: pl.Expr,
    status: pl.Expr,
    *,
    block: pl.Expr,
) -> pl.Expr:
    """Return the purchase option of a charge.

    Source: FOCUS 1.0 to 1.3, columns ChargeCategory, ChargeClass, PricingCategory, CommitmentDiscountStatus.
    """
    pricing = fields.text("PricingCategory")
    correction = fields.text("ChargeClass").is_in(("Correction", "Refund")) & (
        fields.money("BilledCost") < pl.lit(0, dtype=MONEY)
    )
    committed = pricing.is_in(("Committed", "Commitment-Based")) | status.is_in(("Used", "Unused"))
    of_family = _commitment_family(family, commitment)
    return (
        pl.when(category == "Tax")
        .then(pl.lit(PurchaseOption.TAX))
        .when(category.is_in(("Credit", "Refund", "Adjustment")))
        .then(category.str.to_lowercase())
        .when(correction)
        .then(pl.lit(PurchaseOption.REFUND))
        .when(committed | ((category == "Purchase") & of_family.is_not_null()))
        .then(pl.coalesce(of_family, pl.lit(PurchaseOption.OTHER)))
        .when((category == "Purchase") & block)
        .then(pl.lit(PurchaseOption.CAPACITY_BLOCK))
        .when(category == "Purchase")
        .then(pl.lit(PurchaseOption.FEE))
        .when(pricing == "Dynamic")
        .then(pl.lit(PurchaseOption.SPOT))
        .when(pricing == "Other")
        .then(pl.lit(PurchaseOption.OTHER))
        .otherwise(pl.lit(PurchaseOption.ON_DEMAND))
    )
