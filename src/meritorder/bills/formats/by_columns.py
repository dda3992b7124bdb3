"""The format of a bill whose columns the user names, and the names that could be meant."""

import re
import shlex
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

import polars as pl

from meritorder.bills.charges import PurchaseOption
from meritorder.bills.formats.bill_format import BillFormat
from meritorder.bills.formats.declared import DeclaredFormat
from meritorder.errors import BillError

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
_RANGE: Final = r"^(.*\d)\s*(?:\s(?:[-\u2013\u2014]|to|until|bis)\s|/\d{4}-)"
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
