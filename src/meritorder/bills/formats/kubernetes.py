"""Allocations of OpenCost and Kubecost: the cost of pods, as CSV or as the answer of the allocation API.

The cost of a pod with a GPU is split into its GPU and the rest of its machine.

Source: OpenCost, "API", /allocation, opencost.io/docs/integrations/api; Kubecost, "Allocation API", read 2026-11.
"""

import re
from collections.abc import Mapping
from typing import Final

import polars as pl

from meritorder.bills.charges import PurchaseOption
from meritorder.bills.columns import SourceColumns

_COMPONENTS: Final = {
    "gpucost": "GPU",
    "cpucost": "CPU",
    "ramcost": "memory",
    "pvcost": "storage",
    "networkcost": "network",
    "loadbalancercost": "load balancer",
    "sharedcost": "shared",
    "externalcost": "external",
}
"""Components of the total, as the columns are named without spaces and case; adjustments are part of them."""

_REQUIRED: Final = frozenset({"gpucost", "cpucost", "totalcost"})
_NOT_LETTERS: Final = re.compile(r"[^a-z0-9]")


def _plain(column: str) -> str:
    return column if column == "row" else _NOT_LETTERS.sub("", column.lower())


def is_allocation(columns: frozenset[str]) -> bool:
    """Return whether these are the columns of an allocation."""
    return frozenset(map(_plain, columns)) >= _REQUIRED


def prepare(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Turn each pod into one row for each component of its cost, and one for what the components leave of its total."""
    names: dict[str, str] = {}
    for name in raw.collect_schema():
        names.setdefault(_plain(name), name)
    plain = raw.select(pl.col(name).cast(pl.String).alias(new) for new, name in names.items())
    present = [name for name in _COMPONENTS if name in names]
    amounts = plain.with_columns(pl.col("row").cast(pl.UInt32), rest=_number("totalcost") - _total(present))
    has_gpu = (_number("gpucost") > 0).alias("hasgpu")
    index = [name for name in names if name not in present and name != "totalcost"]
    return (
        amounts.with_columns(has_gpu, pl.col("rest").round(6).cast(pl.String))
        .unpivot([*present, "rest"], index=[*index, "hasgpu"], variable_name="component", value_name="amount")
        .filter(_number("amount").is_null() & pl.col("amount").is_not_null() | (_number("amount") != 0))
    )


def _number(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Float64, strict=False)


def _total(names: list[str]) -> pl.Expr:
    return pl.sum_horizontal([_number(name).fill_null(0) for name in names])


def columns(fields: SourceColumns) -> Mapping[str, pl.Expr]:
    """Return the columns of CHARGES as expressions over the components of allocations."""
    component = fields.text("component")
    is_gpu = component == "gpucost"
    title = component.replace_strict({**_COMPONENTS, "rest": "other"}, default=None)
    amount = fields.money("amount")
    return {
        "period_start": fields.time("starttime", "start", "windowstart"),
        "period_end": fields.time("endtime", "end", "windowend"),
        "provider": pl.lit("kubernetes"),
        "account": fields.text("cluster", "propertiescluster"),
        "service": pl.lit("Kubernetes"),
        "sku": pl.when(is_gpu | ~pl.col("hasgpu")).then(title).otherwise(pl.concat_str(title, pl.lit(" beside a GPU"))),
        "resource": fields.text("name", "pod"),
        "purchase": pl.lit(PurchaseOption.ON_DEMAND),
        "quantity": pl.when(is_gpu).then(fields.number("gpuhours")),
        "unit": pl.when(is_gpu).then(pl.lit("GPU-Hours")),
        "billed_usd": amount,
        "amortised_usd": amount,
        "list_usd": amount,
        "tags": pl.struct(
            pod=fields.text("name", "pod"),
            cluster=fields.text("cluster", "propertiescluster", needed=False),
            node=fields.text("node", "propertiesnode", needed=False),
            namespace=fields.text("namespace", "propertiesnamespace", needed=False),
        ).struct.json_encode(),
        "currency": pl.lit("USD"),
    }
