"""Formats that need no code: which columns of a file are which columns of CHARGES.

Sources, read 2026-11: OpenRouter, "Activity export" and API reference "Get user activity", openrouter.ai/docs; OCI,
"Cost and Usage Reports Overview", docs.oracle.com/iaas.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import polars as pl

from meritorder.bills.charges import PurchaseOption
from meritorder.bills.columns import SourceColumns
from meritorder.bills.formats.bill_format import BillFormat
from meritorder.errors import BillError

_TIMES: Final = ("period_start", "period_end")
_TYPES: Final = {"quantity": "number", "billed_usd": "money"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredFormat:
    """A format as a table of columns.

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
            matches=lambda columns: any(needed <= columns for needed in self.recognized_by),
            columns=self.read,
            title=lambda _: self.title,
            identity=lambda fields: [fields.text(self.identity)] if fields.has(self.identity) else None,
            invoiced=self.invoiced,
        )

    def read(self, fields: SourceColumns) -> Mapping[str, pl.Expr]:
        """Return the columns of CHARGES as expressions over the columns of the file."""
        read: dict[str, pl.Expr] = {name: pl.lit(value) for name, value in self.constants.items()}
        for name, sources in self.columns.items():
            if name in _TIMES:
                read[name] = fields.time(*sources)
            elif name in _TYPES:
                read[name] = _sum(fields, sources, _TYPES[name])
            else:
                read[name] = fields.text(*sources)
        read["amortised_usd"] = read["billed_usd"]
        read["list_usd"] = read["billed_usd"]
        if self.tags:
            tags = {name: fields.text(*sources, needed=False) for name, sources in self.tags.items()}
            read["tags"] = pl.struct(value.alias(name) for name, value in tags.items()).struct.json_encode()
        return read


def _sum(fields: SourceColumns, sources: tuple[str, ...], kind: str) -> pl.Expr:
    """Return the first of the columns, or sums of columns, that the file has."""
    read = fields.money if kind == "money" else fields.number
    terms = next((source.split("+") for source in sources if all(map(fields.has, source.split("+")))), [sources[0]])
    if len(terms) == 1:
        return read(terms[0])
    return pl.sum_horizontal([read(term).fill_null(0) for term in terms])


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

_SIGNS: Final = {"€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR"}
_TAX: Final = r"(?i)\b(sales tax|tax|vat|gst)\b"
BY_COLUMNS: Final = "columns"
EXAMPLE: Final = "--columns start=Date,cost=Amount,instance=Product,hours=Hours"


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
    constants = {"purchase": str(PurchaseOption.ON_DEMAND)}
    if "hours" in named:
        constants["unit"] = "Hours"
    table = DeclaredFormat(
        name=BY_COLUMNS,
        title="columns named by hand",
        recognized_by=(frozenset(term for column in named.values() for term in column.split("+")),),
        columns={FIELDS[name]: (column,) for name, column in named.items()},
        constants=constants,
    )

    def read(fields: SourceColumns) -> Mapping[str, pl.Expr]:
        columns = dict(_with_taxes_and_credits(table.read(fields)))
        columns.setdefault("currency", _currency_by_sign(fields, named["cost"].split("+")[0]))
        return columns

    return replace(table.to_format(), columns=read)


def _currency_by_sign(fields: SourceColumns, name: str) -> pl.Expr:
    """Return the currency whose sign is beside each amount, else dollars."""
    currency: pl.Expr = pl.lit("USD")
    for sign, code in _SIGNS.items():
        currency = pl.when(fields.text(name).str.contains(sign, literal=True)).then(pl.lit(code)).otherwise(currency)
    return currency


def _with_taxes_and_credits(columns: Mapping[str, pl.Expr]) -> Mapping[str, pl.Expr]:
    """Return columns in which negative amounts are credits, and what is named a tax is one."""
    texts = [columns[name] for name in ("service", "sku", "description", "instance_type") if name in columns]
    named_tax = (
        pl.concat_str(texts, separator=" ", ignore_nulls=True).str.contains(_TAX) if texts else pl.lit(value=False)
    )
    purchase = (
        pl.when(named_tax)
        .then(pl.lit(PurchaseOption.TAX))
        .when(columns["billed_usd"] < 0)
        .then(pl.lit(PurchaseOption.CREDIT))
        .otherwise(columns["purchase"])
    )
    return {**columns, "purchase": purchase}
