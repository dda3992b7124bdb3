"""The formats of bills that can be read, and the detection of a file's format."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from meritorder.bills.columns import SourceColumns
from meritorder.bills.files import SourceFile
from meritorder.bills.formats import aws, focus, tokens
from meritorder.errors import BillError


def _as_is(raw: pl.LazyFrame) -> pl.LazyFrame:
    return raw


def _unknown(_: SourceColumns) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class BillFormat:
    """One format of bills.

    Args:
        name: Its name in `format=` and `--format`.
        matches: Whether a file with these columns has this format.
        columns: The columns of CHARGES as expressions over those of the file.
        title: Its full name, for a file with these columns.
        prepare: A transformation of the rows before they are read.
        identity: The columns that identify a line item, None if the file lacks them.
        invoiced: Whether its amounts are those of an invoice, rather than a count of usage.
    """

    name: str
    matches: Callable[[frozenset[str]], bool]
    columns: Callable[[SourceColumns], Mapping[str, pl.Expr]]
    title: Callable[[frozenset[str]], str]
    prepare: Callable[[pl.LazyFrame], pl.LazyFrame] = _as_is
    identity: Callable[[SourceColumns], list[pl.Expr] | None] = _unknown
    invoiced: bool = True


FORMATS: Final = (
    BillFormat(name="focus", matches=focus.is_focus, columns=focus.columns, title=focus.title),
    BillFormat(
        name="cur",
        matches=aws.is_cur,
        columns=aws.columns,
        title=aws.title,
        prepare=aws.prepare,
        identity=aws.identity,
    ),
    BillFormat(
        name="openai-costs",
        matches=tokens.is_openai_costs,
        columns=tokens.openai_costs,
        title=lambda _: "OpenAI costs",
        prepare=tokens.drop_empty_days,
    ),
    BillFormat(
        name="openai-usage",
        matches=tokens.is_openai_usage,
        columns=tokens.openai_usage,
        title=lambda _: "OpenAI usage",
        prepare=tokens.unpivot_token_types,
        invoiced=False,
    ),
    BillFormat(
        name="anthropic-costs",
        matches=tokens.is_anthropic_costs,
        columns=tokens.anthropic_costs,
        title=lambda _: "Anthropic costs",
    ),
    BillFormat(
        name="anthropic-usage",
        matches=tokens.is_anthropic_usage,
        columns=tokens.anthropic_usage,
        title=lambda _: "Anthropic usage",
        prepare=tokens.unpivot_token_types,
        invoiced=False,
    ),
    BillFormat(
        name="litellm",
        matches=tokens.is_litellm,
        columns=tokens.litellm,
        title=lambda _: "LiteLLM spend logs",
        identity=tokens.litellm_identity,
        invoiced=False,
    ),
)

# Exports that are not read themselves, because their provider also writes the same charges as FOCUS.
_EXPORT_AS_FOCUS: Final = (
    (
        ({"CostInBillingCurrency"}, {"costInBillingCurrency"}, {"PreTaxCost", "MeterCategory"}),
        "an Azure actual or amortized cost export",
        "export the dataset 'Cost and usage details (FOCUS)' from Cost Management",
    ),
    (
        ({"billing_account_id", "usage_start_time"}, {"billing_account_id", "sku.description"}),
        "a GCP billing export",
        "query Google's FOCUS view of it, and export the result as CSV or Parquet",
    ),
)


def recognize_format(source: SourceFile, name: str | None = None) -> BillFormat:
    """Return the format of a file: the named one, or the one that its columns match.

    Raises:
        BillError: No format has these columns, or there is no such format.
    """
    if name is not None:
        named = next((known for known in FORMATS if known.name == name), None)
        if named is None:
            raise BillError(f"there is no bill format {name}", fix="use " + ", ".join(known.name for known in FORMATS))
        if not named.matches(source.columns):
            raise BillError(f"this does not have the columns of {name}", where=source.path.name, fix="omit the format")
        return named
    for known in FORMATS:
        if known.matches(source.columns):
            return known
    for column_sets, what, fix in _EXPORT_AS_FOCUS:
        if any(columns <= source.columns for columns in column_sets):
            raise BillError(f"this is {what}, which can only be read as FOCUS", where=source.path.name, fix=fix)
    first = ", ".join(sorted(source.columns)[:4])
    raise BillError(
        f"not a bill of a known format: its columns are {first}, ..." if first else "there are no charges in it",
        where=source.path.name,
        fix="use a FOCUS export, an AWS CUR, an OpenAI or Anthropic export, or LiteLLM spend logs",
    )
