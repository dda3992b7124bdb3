"""Answers of cost and usage APIs as records with the columns of a table: OpenAI, Anthropic, OpenCost, AWS, ccusage.

Source: AWS Cost Explorer API reference, "GetCostAndUsage", as `aws ce get-cost-and-usage` prints it, read 2026-11.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from meritorder.errors import BillError

FIX: Final = "download or export it again"

# Objects inside a result of a cost or usage API, whose members are columns of the CSV export.
_NESTED: Final = ("amount", "cache_creation", "server_tool_use", "properties")

_LISTS: Final = ("data", "records", "daily", "weekly", "monthly", "sessions")
_COST_EXPLORER: Final = "ResultsByTime"
_CAPITAL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_DIMENSIONS: Final = {
    "SERVICE": "service",
    "USAGE_TYPE": "usage_type",
    "RECORD_TYPE": "record_type",
    "REGION": "region",
    "LINKED_ACCOUNT": "account",
    "INSTANCE_TYPE": "instance_type",
}
_QUANTITY: Final = "UsageQuantity"


class _Metric(msgspec.Struct, rename="pascal"):
    amount: str
    unit: str


class _Period(msgspec.Struct, rename="pascal"):
    start: str
    end: str


class _Group(msgspec.Struct, rename="pascal"):
    keys: list[str]
    metrics: dict[str, _Metric]


class _Result(msgspec.Struct, rename="pascal"):
    time_period: _Period
    groups: list[_Group] = []
    total: dict[str, _Metric] = {}


class _Definition(msgspec.Struct, rename="pascal"):
    key: str


class _Answer(msgspec.Struct, rename="pascal"):
    """What GetCostAndUsage answers, as far as it is read."""

    results_by_time: list[_Result]
    group_definitions: list[_Definition] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRecords:
    """The records of an API's pages.

    Args:
        records: Text by column.
        has_more: Whether the API has further pages.
    """

    records: list[dict[str, str]]
    has_more: bool


def read(name: str, lines: Path) -> ApiRecords:
    """Read the records of pages, an object a line.

    Raises:
        BillError: A line is damaged, or has no records.
    """
    pages = list(_pages(name, lines))
    last = pages[-1] if pages else {}
    return ApiRecords(
        records=[_flat(record) for page in pages for record in _records(name, page)],
        has_more=bool(last.get("has_more") or last.get("NextPageToken")),
    )


def _pages(name: str, lines: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of JSON lines; numbers stay text, so that no digit of an amount is lost."""
    with lines.open("rb") as source:
        for line in source:
            if line.isspace():
                continue
            try:
                page = json.loads(line.decode("utf-8-sig"), parse_float=str, parse_int=str)
            except (ValueError, RecursionError) as error:
                what = "its JSON is damaged or truncated, or nested too deeply"
                raise BillError(what, where=name, fix=FIX) from error
            if not isinstance(page, dict):
                raise BillError("not a bill: its JSON has no records", where=name)
            yield page


def _records(name: str, page: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the records of a page: the results of time buckets (OpenAI, Anthropic), its list, or the page itself."""
    if isinstance(page.get(_COST_EXPLORER), list):
        yield from _costs(name, page)
        return
    entries = next((page[key] for key in _LISTS if isinstance(page.get(key), list | dict)), page)
    for entry in entries if isinstance(entries, list) else [entries]:
        if isinstance(entry, dict) and isinstance(entry.get("results"), list):
            bucket = {name: value for name, value in entry.items() if name not in ("results", "object")}
            yield from (bucket | result for result in entry["results"])
        elif isinstance(entry, dict) and entry and all(map(_is_allocation, entry.values())):
            yield from entry.values()
        elif isinstance(entry, dict):
            yield entry


def _costs(name: str, page: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the costs of Cost Explorer by period and group, or those of each period if they are not grouped."""
    try:
        answer = msgspec.convert(page, _Answer)
    except msgspec.ValidationError as error:
        raise BillError(f"no answer of AWS Cost Explorer: {error}", where=name, fix=FIX) from error
    names = [_DIMENSIONS.get(definition.key, "description") for definition in answer.group_definitions]
    for result in answer.results_by_time:
        period = {"start": result.time_period.start, "end": result.time_period.end}
        if not result.groups:
            yield period | _metrics(result.total)
        for group in result.groups:
            keys = dict(zip(names or _DIMENSIONS.values(), group.keys, strict=False))
            yield period | keys | _metrics(group.metrics)


def _metrics(metrics: Mapping[str, _Metric]) -> dict[str, str]:
    """Return each metric in a column of its own, with the currency of costs and the unit of quantities."""
    columns = {_CAPITAL.sub("_", name).lower(): metric.amount for name, metric in metrics.items()}
    if _QUANTITY in metrics:
        columns |= {"quantity": columns.pop("usage_quantity"), "unit": metrics[_QUANTITY].unit}
    currencies = [metric.unit for name, metric in metrics.items() if name.endswith("Cost")]
    return columns | ({"currency": currencies[0]} if currencies else {})


def _is_allocation(value: object) -> bool:
    """Return whether this is a cost by name, as in the sets of OpenCost's allocation API."""
    return isinstance(value, dict) and "totalCost" in value


def _flat(record: dict[str, Any]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in record.items():
        if isinstance(value, dict) and name in _NESTED:
            flat |= {f"{name}_{inner}": _text(member) for inner, member in value.items() if member is not None}
        elif value is not None:
            flat[name] = _text(value)
    if "cost_type" in flat and "amount" in flat:
        # Anthropic's cost report counts in cents: "123.45" is $1.2345.
        flat["amount_usd"] = str(Decimal(flat.pop("amount")).scaleb(-2))
    return flat


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
