"""Azure's own cost exports, actual and amortized: of enterprise and customer agreements, and of partners.

In an export of actual costs the purchase of a commitment has its cost and covered usage costs nothing; in one of
amortized costs it is the other way round. Either is taken as it is.

Source: Microsoft Learn, "Cost and usage details file schema", learn.microsoft.com/azure/cost-management-billing, read
2026-11.
"""

from collections.abc import Mapping
from typing import Final

import polars as pl

from meritorder.bills.charges import PurchaseOption
from meritorder.bills.columns import SourceColumns, mapped

_COST: Final = ("costinbillingcurrency", "pretaxcost", "cost")
_DATE: Final = ("date", "usagedatetime", "usagedate")
_KIND: Final = "metercategory"

_PRICING: Final = {
    "OnDemand": PurchaseOption.ON_DEMAND,
    "Spot": PurchaseOption.SPOT,
    "Reservation": PurchaseOption.RESERVED,
    "SavingsPlan": PurchaseOption.SAVINGS_PLAN,
}
_CHARGES: Final = {
    "UnusedReservation": PurchaseOption.RESERVED,
    "UnusedSavingsPlan": PurchaseOption.SAVINGS_PLAN,
    "Refund": PurchaseOption.REFUND,
    "Tax": PurchaseOption.TAX,
    "Credit": PurchaseOption.CREDIT,
    "RoundingAdjustment": PurchaseOption.ADJUSTMENT,
}
_UNUSED: Final = ("UnusedReservation", "UnusedSavingsPlan")


def is_cost_export(columns: frozenset[str]) -> bool:
    """Return whether these are the columns of a cost export, in any of its spellings."""
    lower = {column.lower() for column in columns}
    return _KIND in lower and any(name in lower for name in _COST) and any(name in lower for name in _DATE)


def prepare(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Write the names of columns in lower case; agreements differ in their spelling."""
    names: dict[str, str] = {}
    for name in raw.collect_schema():
        names.setdefault(name.lower(), name)
    return raw.select(pl.col(name).alias(new) for new, name in names.items())


def columns(fields: SourceColumns) -> Mapping[str, pl.Expr]:
    """Return the columns of CHARGES as expressions over the export's columns."""
    kind = fields.text("chargetype")
    pricing = fields.text("pricingmodel")
    commitment = fields.text("benefitid", "reservationid", "benefitname", "reservationname", needed=False)
    bought = (kind == "Purchase") & (commitment.is_not_null() | pricing.is_in(("Reservation", "SavingsPlan")))
    start = fields.time(*_DATE)
    cost, currency = (
        _amount(fields, _COST, "costinusd"),
        fields.text("billingcurrency", "billingcurrencycode", "currency"),
    )
    in_dollars = fields.text("costinusd", needed=False).is_not_null()
    used = kind.is_null() | (kind == "Usage")
    resource = fields.text("resourceid", "instanceid")
    return {
        "period_start": start,
        "period_end": start.dt.offset_by("1d"),
        "provider": pl.lit("azure"),
        "payer": fields.text("billingaccountid", "billingprofileid"),
        "account": fields.text("subscriptionid", "subscriptionguid", "subscriptionname"),
        "invoice": fields.text("invoiceid", "invoicenumber", needed=False),
        "region": fields.text("resourcelocation", "location"),
        "service": fields.text("metercategory", "consumedservice"),
        "sku": pl.concat_str(
            fields.text("metername"), fields.text("metersubcategory"), separator=", ", ignore_nulls=True
        ),
        "description": fields.text("productname", "product"),
        "resource": resource,
        "instance_type": fields.text("additionalinfo", needed=False).str.extract(r'"ServiceType"\s*:\s*"([^"]+)"'),
        "purchase": pl.when(bought & (pricing == "SavingsPlan"))
        .then(pl.lit(PurchaseOption.SAVINGS_PLAN))
        .when(bought)
        .then(pl.lit(PurchaseOption.RESERVED))
        .when(kind == "Purchase")
        .then(pl.lit(PurchaseOption.FEE))
        .otherwise(mapped(kind, _CHARGES, mapped(pricing, _PRICING, pl.lit(PurchaseOption.ON_DEMAND)))),
        "unused": kind.is_in(_UNUSED).fill_null(value=False),
        "bought": bought.fill_null(value=False),
        "anonymous": resource.is_null(),
        "commitment": commitment,
        "quantity": pl.when(used).then(fields.number("quantity", "usagequantity", "consumedquantity")),
        "unit": fields.text("unitofmeasure"),
        "billed_usd": cost,
        "amortised_usd": cost,
        "list_usd": pl.when(used).then(_amount(fields, ("paygcostinbillingcurrency",), "paygcostinusd")),
        "tags": _tags(fields.text("tags", needed=False)),
        "currency": pl.when(in_dollars).then(pl.lit("USD")).otherwise(pl.coalesce(currency, pl.lit("USD"))),
        "billing_start": fields.time("billingperiodstartdate", "billingperiodstart"),
        "billing_end": fields.time("billingperiodenddate", "billingperiodend").dt.offset_by("1d"),
    }


def _amount(fields: SourceColumns, names: tuple[str, ...], in_dollars: str) -> pl.Expr:
    """Return an amount in dollars where the export has that, else in the billing currency."""
    if not fields.has(in_dollars):
        return fields.money(*names)
    return pl.coalesce(fields.money(in_dollars), fields.money(*names))


def _tags(text: pl.Expr) -> pl.Expr:
    """Return tags as JSON; some exports leave out the braces around the pairs."""
    return pl.when(text.str.starts_with('"')).then(pl.concat_str(pl.lit("{"), text, pl.lit("}"))).otherwise(text)
