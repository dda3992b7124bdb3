"""Formats that need no code: which columns of a file are which columns of CHARGES.

Sources, read 2026-11: OpenRouter, "Activity export" and API reference "Get user activity", openrouter.ai/docs; OCI,
"Cost and Usage Reports Overview", docs.oracle.com/iaas; Microsoft Learn, "Save and share customized views", downloads
of cost analysis; Google Cloud, "Cost table report" and "Reports",
cloud.google.com/billing/docs; Alibaba Cloud, "Detailed file format",
alibabacloud.com/help/boa; Runpod REST API, "Pod billing history", docs.runpod.io.
"""

import re
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import polars as pl

from meritorder.bills import currency
from meritorder.bills.charges import NAMES, PurchaseOption, with_taxes_and_credits
from meritorder.bills.columns import SourceColumns, provider_by_name, to_money
from meritorder.bills.formats.bill_format import BillFormat
from meritorder.errors import BillError

_TIMES: Final = ("period_start", "period_end")
_WHOLE_PERIOD: Final = r"(?i)^\W*(?:\w+ )?(?:tax(?:es)?|vat|gst|credits?|discounts?|rounding(?: \w+)?)\b[\s\d.,%()-]*$"
_RANGE: Final = r"^(.*\d)\s*(?:\s(?:[-\u2013\u2014]|to|until|bis)\s|/\d{4}-)"
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


_TOKENS: Final = {"purchase": PurchaseOption.TOKENS, "unit": "tokens", "currency": "USD"}

DECLARED: Final = (
    DeclaredFormat(
        name="openrouter",
        title="OpenRouter activity",
        recognized_by=(
            frozenset({"generation_id", "cost_total", "model_permaslug"}),
            frozenset({"date", "usage", "model_permaslug", "prompt_tokens"}),
        ),
        columns={
            "period_start": ("created_at", "date"),
            "resource": ("generation_id", "endpoint_id"),
            "sku": ("model_permaslug",),
            "model": ("model_permaslug", "model"),
            "description": ("provider_name",),
            "billed_usd": ("cost_total", "usage"),
            "quantity": ("tokens_prompt+tokens_completion", "prompt_tokens+completion_tokens"),
        },
        constants={"provider": "openrouter", "service": "OpenRouter", **_TOKENS},
        tags={"app": ("app_name",), "api_key": ("api_key_name",), "user": ("user",)},
        identity="generation_id",
    ),
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
            frozenset({"UsageDate", "Cost", "Currency"}),
            frozenset({"BillingMonth", "Cost", "Currency"}),
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
)
"""Formats in the order in which they are tried."""

FIELDS: Final = {
    "start": "period_start",
    "end": "period_end",
    "cost": "billed_usd",
    "hours": "quantity",
    "quantity": "quantity",
    "unit": "unit",
    "instance": "instance_type",
    "service": "service",
    "sku": "sku",
    "description": "description",
    "resource": "resource",
    "region": "region",
    "provider": "provider",
    "account": "account",
    "invoice": "invoice",
    "currency": "currency",
    "model": "model",
    "tags": "tags",
}
"""Names that a user gives to columns of a bill, and the columns of CHARGES that they are."""

BY_COLUMNS: Final = "columns"
EXAMPLE: Final = "--columns start=Date,cost=Amount,instance=Product,hours=Hours"
_WORDS: Final = {
    "start": ("date|day|start|month|period|accrued|when|datum|fecha|debut", "end|before|invoice|billing"),
    "end": ("end|until|fin", ""),
    "cost": (
        "cost|amount|total|charge|spend|betrag|montant|importe",
        "unit|price|rate|before|list|credits?|tax|tokens?",
    ),
    "instance": ("instance|product|resource|sku|item|gpu|produit|hardware", "id|name|category|code"),
    "hours": ("hours?", "price|rate"),
    "model": ("model", "id"),
    "provider": ("provider|vendor", "account|id"),
    "service": ("service|product", "category|type|level|id|code"),
    "currency": ("currency", "usage"),
    "account": ("account|project|workspace|projet", "id"),
}
"""Words of a column that may be meant by a name of `FIELDS`, and words that it does not have."""
_WORD_BOUNDARY: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|[^A-Za-z\u00c0-\u024f]+")


def proposal(columns: Collection[str]) -> str:
    """Return the `--columns` line that could be meant, as far as names show; an example if they do not."""
    named: dict[str, str] = {}
    for field_, (wanted, unwanted) in _WORDS.items():
        words = {name: _WORD_BOUNDARY.sub(" ", name).lower().replace("é", "e").split() for name in columns}
        meant = [
            name
            for name, parts in words.items()
            if (name not in named.values() or field_ == "service")  # a product may be a machine or a service
            and any(re.fullmatch(wanted, part) for part in parts)
            and not any(re.fullmatch(unwanted, part) for part in parts)
        ]
        if meant:
            named[field_] = min(meant, key=lambda name: (len(words[name]), name))
    if not {"start", "cost"} <= set(named):
        return f"name its columns, {EXAMPLE}"
    pairs = shlex.quote(",".join(f"{name}={column}" for name, column in named.items()))
    return f"if this is right, add --columns {pairs}; else correct it"


def by_columns(named: Mapping[str, str]) -> BillFormat:
    """Return the format of a file whose columns the user names, as of a GPU cloud without a format of its own.

    Args:
        named: A name of `FIELDS` to the column of the file; `hours` is a quantity of hours.

    Raises:
        BillError: A name is unknown, or the start or the cost is not named.
    """
    unknown = sorted(set(named) - set(FIELDS))
    if unknown:
        fix = "the names are " + ", ".join(FIELDS)
        raise BillError(f"a bill has no column named {unknown[0]}", where="--columns", fix=fix)
    missing = [name for name in ("start", "cost") if name not in named]
    if missing:
        raise BillError(f"a bill needs its {' and '.join(missing)}", where="--columns", fix=f"write {EXAMPLE}")
    columns = {FIELDS[name]: (column,) for name, column in named.items()}
    constants = {"purchase": str(PurchaseOption.ON_DEMAND)}
    if "hours" in named:
        constants["unit"] = "Hours"
    table = DeclaredFormat(
        name=BY_COLUMNS,
        title="columns named by hand",
        recognized_by=(),
        columns=columns,
        constants=constants,
    )
    needed = frozenset(term for column in named.values() for term in column.split("+"))

    def with_ends(raw: pl.LazyFrame) -> pl.LazyFrame:
        return raw if "end" in named else _split_ranges(raw, named["start"])

    return replace(table.to_format(), matches=lambda columns: needed <= columns, prepare=with_ends)


def _split_ranges(raw: pl.LazyFrame, column: str) -> pl.LazyFrame:
    """Keep the start of periods such as "10/1/2026 - 10/31/2026"."""
    if raw.collect_schema()[column] != pl.String:
        return raw
    return raw.with_columns(pl.coalesce(pl.col(column).str.extract(_RANGE), column).alias(column))
