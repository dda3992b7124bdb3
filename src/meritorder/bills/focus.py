"""FOCUS, the FinOps Open Cost and Usage Specification, 1.0-preview to 1.3, from any provider.

What changed between the versions, as far as it is read here (Source: FOCUS specification changelog and
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
from typing import Final

import polars as pl

from meritorder.bills.charges import Purchase
from meritorder.bills.fields import Fields, mapped
from meritorder.tables import MONEY

REQUIRED: Final = ("BilledCost", "ChargePeriodStart", "BillingCurrency")

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

_PROVIDERS: Final = (
    (r"(?i)^(aws|amazon)", "aws"),
    (r"(?i)(microsoft|azure)", "azure"),
    (r"(?i)(google|gcp)", "gcp"),
    (r"(?i)oracle", "oracle"),
    (r"(?i)openai", "openai"),
    (r"(?i)anthropic", "anthropic"),
)

_STATUS: Final = {
    "Used": "Used",
    "Unused": "Unused",
    "Used Commitment": "Used",
    "Unused Commitment": "Unused",
}


def recognises(columns: frozenset[str]) -> bool:
    """Return whether these are columns of a FOCUS dataset."""
    return set(REQUIRED) <= columns


def title(columns: frozenset[str]) -> str:
    """Return the version, which is not in the data but in which columns it has."""
    return "FOCUS " + next((version for version, added in _VERSIONS if added & columns), "1.0-preview")


def columns(fields: Fields) -> Mapping[str, pl.Expr]:
    """Return the columns of a charge, as expressions over a FOCUS dataset's columns."""
    billed = fields.money("BilledCost")
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
    bought = (category == "Purchase") & _commitment_family(family, commitment).is_not_null()
    unused = status.eq_missing("Unused")
    return {
        "period_start": fields.time("ChargePeriodStart"),
        "period_end": fields.time("ChargePeriodEnd"),
        "provider": _provider(fields.text("ServiceProviderName", "ProviderName", "HostProviderName", "PublisherName")),
        "payer": fields.text("BillingAccountId"),
        "account": fields.text("SubAccountId"),
        "invoice": fields.text("InvoiceId", "x_InvoiceId", needed=False),
        "region": fields.text("RegionId", "Region"),
        "service": fields.text("ServiceName"),
        "sku": pl.coalesce(_specific(meter), fields.text("SkuId")),
        "description": description,
        "resource": fields.text("ResourceId"),
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
        "billed_usd": billed,
        "amortised_usd": _effective(fields, billed),
        "list_usd": pl.when(~bought & ~unused).then(fields.money("ListCost")),
        "tags": fields.tags("Tags"),
        "currency": fields.text("BillingCurrency"),
        "billing_start": fields.time("BillingPeriodStart"),
        "billing_end": fields.time("BillingPeriodEnd"),
    }


def _provider(name: pl.Expr) -> pl.Expr:
    provider = name.str.to_lowercase()
    for pattern, short in reversed(_PROVIDERS):
        provider = pl.when(name.str.contains(pattern)).then(pl.lit(short)).otherwise(provider)
    return provider


def _specific(meter: pl.Expr) -> pl.Expr:
    """Drop meters such as "Compute", which name a category and not what was metered."""
    return pl.when(meter.str.contains(r"[\d:/.\-]|\s")).then(meter)


def _effective(fields: Fields, billed: pl.Expr) -> pl.Expr:
    """Return the amortised cost, which is EffectiveCost by definition; 0 for what commitments cost to buy."""
    stated = fields.text("EffectiveCost", "AmortizedCost").is_not_null()
    return pl.when(stated).then(fields.money("EffectiveCost", "AmortizedCost")).otherwise(billed)


def _commitment_family(family: pl.Expr, commitment: pl.Expr) -> pl.Expr:
    """Return which commitment it is; a provider's own word, or else what it commits to (spend or usage)."""
    return (
        pl.when(family.str.contains(r"(?i)savings? ?plan"))
        .then(pl.lit(Purchase.SAVINGS_PLAN))
        .when(family.str.contains(r"(?i)reserv"))
        .then(pl.lit(Purchase.RESERVED))
        .when(family.str.contains(r"(?i)committed|\bcud\b"))
        .then(pl.lit(Purchase.COMMITTED_USE))
        .when(family == "Spend")
        .then(pl.lit(Purchase.SAVINGS_PLAN))
        .when(family.is_not_null() | commitment.is_not_null())
        .then(pl.lit(Purchase.RESERVED))
    )


def _purchase(
    fields: Fields,
    category: pl.Expr,
    commitment: pl.Expr,
    family: pl.Expr,
    status: pl.Expr,
    *,
    block: pl.Expr,
) -> pl.Expr:
    """Return how it was bought.

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
        .then(pl.lit(Purchase.TAX))
        .when(category.is_in(("Credit", "Refund", "Adjustment")))
        .then(category.str.to_lowercase())
        .when(correction)
        .then(pl.lit(Purchase.REFUND))
        .when(committed | ((category == "Purchase") & of_family.is_not_null()))
        .then(pl.coalesce(of_family, pl.lit(Purchase.OTHER)))
        .when((category == "Purchase") & block)
        .then(pl.lit(Purchase.CAPACITY_BLOCK))
        .when(category == "Purchase")
        .then(pl.lit(Purchase.FEE))
        .when(pricing == "Dynamic")
        .then(pl.lit(Purchase.SPOT))
        .when(pricing == "Other")
        .then(pl.lit(Purchase.OTHER))
        .otherwise(pl.lit(Purchase.ON_DEMAND))
    )
