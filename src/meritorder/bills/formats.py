"""Every kind of bill that can be read, and which one a file is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from meritorder.bills import aws, focus, tokens
from meritorder.bills.fields import Fields
from meritorder.bills.files import SourceFile
from meritorder.errors import BillError


def _as_is(raw: pl.LazyFrame) -> pl.LazyFrame:
    return raw


def _unknown(_: Fields) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One kind of bill.

    Args:
        name: What the user calls it, in `format=`.
        recognises: Whether a file with these columns is one.
        columns: The columns of a charge, from the columns of the file.
        title: Its full name, by the columns that it has.
        prepare: What to do to the rows first.
        identity: What the provider identifies a line item by, None where the file does not say.
        invoiced: False if it is not what is paid, but what somebody counted.
    """

    name: str
    recognises: Callable[[frozenset[str]], bool]
    columns: Callable[[Fields], Mapping[str, pl.Expr]]
    title: Callable[[frozenset[str]], str]
    prepare: Callable[[pl.LazyFrame], pl.LazyFrame] = _as_is
    identity: Callable[[Fields], list[pl.Expr] | None] = _unknown
    invoiced: bool = True


FORMATS: Final = (
    Format(name="focus", recognises=focus.recognises, columns=focus.columns, title=focus.title),
    Format(
        name="cur",
        recognises=aws.recognises,
        columns=aws.columns,
        title=aws.title,
        prepare=aws.prepare,
        identity=aws.identity,
    ),
    Format(
        name="openai-costs",
        recognises=tokens.is_openai_costs,
        columns=tokens.openai_costs,
        title=lambda _: "OpenAI costs",
        prepare=tokens.drop_empty_days,
    ),
    Format(
        name="openai-usage",
        recognises=tokens.is_openai_usage,
        columns=tokens.openai_usage,
        title=lambda _: "OpenAI usage",
        prepare=tokens.one_row_a_token_type,
        invoiced=False,
    ),
    Format(
        name="anthropic-costs",
        recognises=tokens.is_anthropic_costs,
        columns=tokens.anthropic_costs,
        title=lambda _: "Anthropic costs",
    ),
    Format(
        name="anthropic-usage",
        recognises=tokens.is_anthropic_usage,
        columns=tokens.anthropic_usage,
        title=lambda _: "Anthropic usage",
        prepare=tokens.one_row_a_token_type,
        invoiced=False,
    ),
    Format(
        name="litellm",
        recognises=tokens.is_litellm,
        columns=tokens.litellm,
        title=lambda _: "LiteLLM spend logs",
        identity=tokens.litellm_identity,
        invoiced=False,
    ),
)

# Exports that hold the same charges, which their provider also writes as FOCUS.
_BY_WAY_OF_FOCUS: Final = (
    (
        ({"CostInBillingCurrency"}, {"costInBillingCurrency"}, {"PreTaxCost", "MeterCategory"}),
        "an Azure actual or amortised cost export",
        "export the dataset 'Cost and usage details (FOCUS)' from Cost Management",
    ),
    (
        ({"billing_account_id", "usage_start_time"}, {"billing_account_id", "sku.description"}),
        "a GCP billing export",
        "query Google's FOCUS view of it, and export the result as CSV or Parquet",
    ),
)


def recognise(source: SourceFile, name: str | None = None) -> Format:
    """Return what kind of bill a file is: by its columns, or as told.

    Raises:
        BillError: No bill has these columns, or there is no such format.
    """
    if name is not None:
        told = next((known for known in FORMATS if known.name == name), None)
        if told is None:
            raise BillError(f"there is no bill format {name}", fix="use " + ", ".join(known.name for known in FORMATS))
        if not told.recognises(source.columns):
            raise BillError(f"this has not the columns of {name}", where=source.path.name, fix="leave the format out")
        return told
    for known in FORMATS:
        if known.recognises(source.columns):
            return known
    for column_sets, what, fix in _BY_WAY_OF_FOCUS:
        if any(columns <= source.columns for columns in column_sets):
            raise BillError(f"this is {what}, which is read by way of FOCUS", where=source.path.name, fix=fix)
    some = ", ".join(sorted(source.columns)[:4])
    raise BillError(
        f"not a bill that is known here: its columns are {some}, ..." if some else "there are no charges in it",
        where=source.path.name,
        fix="use a FOCUS export, an AWS CUR, an OpenAI or Anthropic export, or LiteLLM spend logs",
    )
