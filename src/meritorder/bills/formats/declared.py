"""Formats that need no code: which columns of a file are which columns of CHARGES.

Sources, read 2026-11: OCI, "Cost and Usage Reports Overview", docs.oracle.com/iaas; Microsoft Learn, "Save and share
customized views", downloads of cost analysis; Google Cloud, "Cost table report" and "Reports",
cloud.google.com/billing/docs; Alibaba Cloud, "Detailed file format", alibabacloud.com/help/boa; Runpod REST API, "Pod
billing history", docs.runpod.io; DigitalOcean API, "Retrieve an Invoice CSV", docs.digitalocean.com; Snowflake,
"USAGE_IN_CURRENCY_DAILY view", docs.snowflake.com; Databricks, "Billable usage system table reference" and "Pricing
system table reference", docs.databricks.com.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from meritorder.bills import currency
from meritorder.bills.charges import NAMES, PurchaseOption, with_taxes_and_credits
from meritorder.bills.columns import SourceColumns, provider_by_name, to_money
from meritorder.bills.formats.bill_format import BillFormat

_TIMES: Final = ("period_start", "period_end")
_WHOLE_PERIOD: Final = r"(?i)^\W*(?:\w+ )?(?:tax(?:es)?|vat|gst|credits?|discounts?|rounding(?: \w+)?)\b[\s\d.,%()-]*$"
_SEPARATORS: Final = re.compile(r"[\s_-]")


def _plain(column: str) -> str:
    """Return the name of a column without case, separators, and a currency at its end."""
    return _SEPARATORS.sub("", currency.without(column)).casefold()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredFormat:
    """A format as a table of columns, whose names may differ in case, separators, and a currency at their end.

    Args:
        name: Its name in `--format`.
        title: Its full name.
        recognized_by: Sets of columns; a file with all of one set has this format.
        columns: Column of CHARGES to the columns of the file that may hold it, in order of preference; `a+b` is a sum.
        constants: Column of CHARGES to its value in every row.
        tags: Name of a tag to the columns that may hold it.
        identity: Column that identifies a line item, "" if none does.
        invoiced: Whether its amounts are those of an invoice.
    """

    name: str
    title: str
    recognized_by: tuple[frozenset[str], ...]
    columns: Mapping[str, tuple[str, ...]]
    constants: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    identity: str = ""
    invoiced: bool = True

    def to_format(self) -> BillFormat:
        """Return the format for the reader."""
        return BillFormat(
            name=self.name,
            matches=self._matches,
            columns=self.read,
            title=lambda _: self.title,
            identity=self._identify,
            invoiced=self.invoiced,
        )

    def _identify(self, fields: SourceColumns) -> list[pl.Expr] | None:
        return [fields.text(self.identity)] if self.identity and fields.has(self.identity) else None

    def _matches(self, columns: frozenset[str]) -> bool:
        plain = set(map(_plain, columns))
        return any(set(map(_plain, needed)) <= plain for needed in self.recognized_by)

    def read(self, fields: SourceColumns) -> Mapping[str, pl.Expr]:
        """Return the columns of CHARGES as expressions over the columns of the file."""
        read: dict[str, pl.Expr] = {name: pl.lit(value) for name, value in self.constants.items()}
        for name, sources in self.columns.items():
            spelled = _spelled(fields, sources)
            if name in _TIMES:
                read[name] = fields.time(*spelled)
            elif name == "quantity":
                read[name] = _sum([fields.number(term) for term in _terms(fields, sources)])
            elif name != "billed_usd":
                read[name] = fields.text(*spelled)
        read["period_start"] = _of_whole_period(read)
        amounts = _terms(fields, self.columns["billed_usd"])
        cost = _sum([_dollars(fields, term) for term in amounts])
        read |= {"billed_usd": cost, "amortised_usd": cost, "list_usd": cost}
        if "currency" not in read:
            named = currency.in_name(amounts[0])
            read["currency"] = pl.lit(named) if named else currency.beside(fields, amounts[0])
        if "provider" in self.columns:
            read["provider"] = provider_by_name(read["provider"])
        if not self.identity:
            read["anonymous"] = read["resource"].is_null() if "resource" in read else pl.lit(value=True)
        if self.tags:
            tags = {name: fields.text(*_spelled(fields, sources), needed=False) for name, sources in self.tags.items()}
            read["tags"] = pl.struct(value.alias(name) for name, value in tags.items()).struct.json_encode()
        return with_taxes_and_credits(read)


def _of_whole_period(read: Mapping[str, pl.Expr]) -> pl.Expr:
    """Return the start of each charge; a tax, credit or rounding without a time is of the whole period."""
    start = read["period_start"]
    of_whole_period = [read[name].str.contains(_WHOLE_PERIOD) for name in NAMES if name in read]
    if not of_whole_period:
        return start
    return pl.when(start.is_null() & pl.any_horizontal(of_whole_period)).then(start.min()).otherwise(start)


def _spelled(fields: SourceColumns, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns of the file with these names, as it spells them; the first name if it has none of them."""
    spelled = {_plain(column): column for column in reversed(fields.schema)}
    columns = [name if fields.has(name) else spelled.get(_plain(name)) for name in names]
    return tuple(filter(None, columns)) or names[:1]


def _terms(fields: SourceColumns, sources: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first of the columns that the file has, or the columns of the first sum of which it has all."""
    for source in sources:
        terms = [term for name in source.split("+") for term in _spelled(fields, (name,))]
        if fields.has(source) or all(map(fields.has, terms)):
            return (source,) if fields.has(source) else tuple(terms)
    return sources[:1]


def _sum(terms: list[pl.Expr]) -> pl.Expr:
    return terms[0] if len(terms) == 1 else pl.sum_horizontal([term.fill_null(0) for term in terms])


def _dollars(fields: SourceColumns, name: str) -> pl.Expr:
    """Return amounts in whole units of their currency, also if the column counts cents."""
    parts = currency.parts_in_name(name)
    amount = fields.money(name)
    if parts == 1:
        return amount
    fields.assumptions.append(f"{parts:,} of {name} are taken as one unit of its currency")
    return to_money(amount.cast(pl.Float64) / parts)


DECLARED: Final = (
    DeclaredFormat(
        name="oci",
        title="OCI cost report",
        recognized_by=(frozenset({"lineItem/intervalUsageStart", "cost/myCost", "product/service"}),),
        columns={
            "period_start": ("lineItem/intervalUsageStart",),
            "period_end": ("lineItem/intervalUsageEnd",),
            "payer": ("lineItem/tenantId",),
            "account": ("product/compartmentName", "product/compartmentId"),
            "region": ("product/region",),
            "service": ("product/service",),
            "sku": ("cost/productSku",),
            "description": ("product/Description",),
            "resource": ("product/resourceId",),
            "quantity": ("usage/billedQuantity",),
            "unit": ("cost/billingUnitReadable", "cost/skuUnitDescription"),
            "currency": ("cost/currencyCode",),
            "billed_usd": ("cost/myCost",),
        },
        constants={"provider": "oracle", "purchase": PurchaseOption.ON_DEMAND},
    ),
    DeclaredFormat(
        name="azure-cost-analysis",
        title="Azure cost analysis",
        recognized_by=(
            frozenset({"UsageDate", "CostUSD"}),
            frozenset({"BillingMonth", "CostUSD"}),
            *(
                frozenset({date, "Cost", "Currency", kept})
                for date in ("UsageDate", "BillingMonth")
                for kept in (
                    *("ServiceName", "ServiceFamily", "MeterCategory", "MeterSubcategory", "Meter", "ResourceId"),
                    *("ResourceGroup", "ResourceGroupName", "ResourceType", "ResourceLocation", "SubscriptionName"),
                )
            ),
        ),
        columns={
            "period_start": ("UsageDate", "BillingMonth"),
            "account": ("SubscriptionName", "SubscriptionId"),
            "region": ("ResourceLocation", "Location"),
            "service": ("ServiceName", "MeterCategory", "ServiceFamily"),
            "sku": ("Meter", "MeterName", "MeterSubcategory", "Product"),
            "description": ("ResourceType", "ChargeType", "ResourceGroupName", "ResourceGroup"),
            "resource": ("ResourceId", "Resource"),
            "billed_usd": ("CostUSD", "Cost"),
        },
        constants={"provider": "azure", "purchase": PurchaseOption.ON_DEMAND},
    ),
    DeclaredFormat(
        name="gcp-cost-table",
        title="GCP cost table",
        recognized_by=(frozenset({"Service description", "SKU description", "Cost type", "Usage start date", "Cost"}),),
        columns={
            "period_start": ("Usage start date",),
            "period_end": ("Usage end date",),
            "payer": ("Billing account ID",),
            "account": ("Project ID",),
            "service": ("Service description",),
            "sku": ("SKU description",),
            "description": ("Credit type", "Cost type"),
            "quantity": ("Usage amount",),
            "unit": ("Usage unit",),
            "billed_usd": ("Unrounded cost", "Cost"),
        },
        constants={"provider": "gcp", "purchase": PurchaseOption.ON_DEMAND},
    ),
    DeclaredFormat(
        name="gcp-report",
        title="GCP billing report",
        recognized_by=tuple(
            frozenset({date, "Service description", "Subtotal"})
            for date in ("Usage start date", "Usage date", "Date", "Day", "Month", "Invoice month")
        ),
        columns={
            "period_start": ("Usage start date", "Usage date", "Date", "Day", "Month", "Invoice month"),
            "account": ("Project ID", "Project name"),
            "region": ("Region", "Location"),
            "service": ("Service description",),
            "sku": ("SKU description",),
            "billed_usd": ("Unrounded subtotal", "Subtotal"),
        },
        constants={"provider": "gcp", "purchase": PurchaseOption.ON_DEMAND},
    ),
    DeclaredFormat(
        name="alibaba",
        title="Alibaba Cloud bill",
        recognized_by=(frozenset({"PretaxAmount", "ProductName", "InstanceID"}),),
        columns={
            "period_start": ("UsageStartTime", "BillingDate", "BillingCycle", "BillingMonth"),
            "period_end": ("UsageEndTime",),
            "payer": ("AccountID", "BillAccountID"),
            "account": ("OwnerID", "OwnerAccountName", "AccountName"),
            "region": ("Region",),
            "service": ("ProductName",),
            "sku": ("BillingItem", "ProductDetail", "ProductCode"),
            "description": ("InstanceConfig", "InstanceSpec", "ProductDetail"),
            "instance_type": ("InstanceSpec",),
            "resource": ("InstanceID",),
            "tags": ("Tag", "InstanceTag"),
            "billed_usd": ("PretaxAmount",),
        },
        constants={"provider": "alibaba", "purchase": PurchaseOption.ON_DEMAND},
    ),
    DeclaredFormat(
        name="runpod",
        title="Runpod billing history",
        recognized_by=(frozenset({"time", "amount", "timeBilledMs"}),),
        columns={
            "period_start": ("time",),
            "instance_type": ("gpuTypeId",),
            "sku": ("gpuTypeId",),
            "resource": ("podId", "endpointId", "networkVolumeId"),
            "billed_usd": ("amount",),
        },
        constants={
            "provider": "runpod",
            "service": "Runpod",
            "currency": "USD",
            "purchase": PurchaseOption.ON_DEMAND,
        },
    ),
    DeclaredFormat(
        name="digitalocean",
        title="DigitalOcean invoice",
        recognized_by=(frozenset({"product", "group_description", "description", "hours", "start", "end", "USD"}),),
        columns={
            "period_start": ("start",),
            "period_end": ("end",),
            "account": ("project_name",),
            "service": ("product",),
            "sku": ("group_description",),
            "description": ("description",),
            "instance_type": ("description",),
            "resource": ("description",),
            "quantity": ("hours",),
            "billed_usd": ("USD",),
        },
        constants={
            "provider": "digitalocean",
            "unit": "Hours",
            "currency": "USD",
            "purchase": PurchaseOption.ON_DEMAND,
        },
    ),
    DeclaredFormat(
        name="databricks",
        title="Databricks usage at list prices",
        recognized_by=tuple(
            frozenset({"sku_name", "usage_quantity", cost})
            for cost in ("list_cost", "cost", "usage_cost", "total_cost", "list_cost_usd", "cost_usd", "usage_usd")
        ),
        columns={
            "period_start": ("usage_start_time", "usage_date"),
            "period_end": ("usage_end_time",),
            "account": ("workspace_id",),
            "service": ("billing_origin_product",),
            "sku": ("sku_name",),
            "resource": ("usage_metadata.endpoint_name", "endpoint_name"),
            "tags": ("custom_tags",),
            "quantity": ("usage_quantity",),
            "unit": ("usage_unit",),
            "billed_usd": (
                *("list_cost", "cost", "usage_cost", "total_cost", "list_cost_usd", "cost_usd", "usage_usd"),
            ),
        },
        constants={"provider": "databricks", "purchase": PurchaseOption.ON_DEMAND},
        invoiced=False,
    ),
    DeclaredFormat(
        name="snowflake",
        title="Snowflake usage in currency",
        recognized_by=(frozenset({"USAGE_DATE", "USAGE_TYPE", "USAGE_IN_CURRENCY"}),),
        columns={
            "period_start": ("USAGE_DATE",),
            "payer": ("ORGANIZATION_NAME",),
            "account": ("ACCOUNT_NAME", "ACCOUNT_LOCATOR"),
            "region": ("REGION",),
            "service": ("SERVICE_TYPE", "USAGE_TYPE"),
            "sku": ("RATING_TYPE", "USAGE_TYPE"),
            "description": ("BILLING_TYPE",),
            "billed_usd": ("USAGE_IN_CURRENCY",),
        },
        constants={"provider": "snowflake", "purchase": PurchaseOption.ON_DEMAND},
    ),
)
"""Formats in the order in which they are tried."""
