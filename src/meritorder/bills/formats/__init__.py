"""The formats of bills that can be read, and the detection of a file's format."""

from collections.abc import Collection, Mapping
from typing import Final

from meritorder.bills.files import SourceFile
from meritorder.bills.formats import (
    aws,
    azure,
    by_columns,
    cost_explorer,
    crosstab,
    declared,
    focus,
    gcp,
    kubernetes,
    metered,
    tokens,
)
from meritorder.bills.formats.bill_format import BillFormat
from meritorder.errors import BillError

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
        name=cost_explorer.NAME,
        matches=cost_explorer.is_cost_explorer,
        columns=cost_explorer.columns,
        title=lambda _: "AWS Cost Explorer",
    ),
    BillFormat(
        name="azure",
        matches=azure.is_cost_export,
        columns=azure.columns,
        title=lambda _: "Azure cost export",
        prepare=azure.prepare,
    ),
    BillFormat(
        name="gcp",
        matches=gcp.is_billing_export,
        columns=gcp.columns,
        title=lambda _: "GCP billing export",
        prepare=gcp.prepare,
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
    BillFormat(
        name="opencost",
        matches=kubernetes.is_allocation,
        columns=kubernetes.columns,
        title=lambda _: "OpenCost or Kubecost allocations",
        prepare=kubernetes.prepare,
        invoiced=False,
    ),
    *(table.to_format() for table in (*metered.METERED, *declared.DECLARED)),
    BillFormat(
        name="crosstab",
        matches=crosstab.is_crosstab,
        columns=crosstab.columns,
        title=lambda _: "cross table of costs",
        prepare=crosstab.prepare,
    ),
)

_DATABRICKS_USAGE: Final = frozenset({"sku_name", "usage_quantity", "usage_unit"})
_SHOWN: Final = 12
_NAME_LENGTH: Final = 40


def recognize_format(source: SourceFile, name: str | None = None, named: Mapping[str, str] | None = None) -> BillFormat:
    """Return the format of a file: the named one, or the one that its columns match.

    Args:
        source: The file.
        name: Name of the format; None to detect it.
        named: Columns that the user names, as for `by_columns.by_columns`; they take precedence.

    Raises:
        BillError: No format has these columns, or there is no such format.
    """
    if named:
        chosen = by_columns.by_columns(named)
        if not chosen.matches(source.columns):
            absent = [column for column in named.values() if not set(column.split("+")) <= source.columns]
            have = _listed(source.columns)
            raise BillError(f"no column {absent[0]}", where=source.name, fix=f"its columns are {have}")
        return chosen
    if name is not None:
        wanted = next((known for known in FORMATS if known.name == name), None)
        if wanted is None:
            raise BillError(f"there is no bill format {name}", fix="use " + ", ".join(known.name for known in FORMATS))
        if not wanted.matches(source.columns):
            raise BillError(f"this does not have the columns of {name}", where=source.name, fix="omit the format")
        return wanted
    for known in FORMATS:
        if known.matches(source.columns):
            return known
    if source.columns >= _DATABRICKS_USAGE:
        raise BillError(
            "system.billing.usage counts units (DBUs) and has no amounts",
            where=source.name,
            fix="join system.billing.list_prices, and export usage_quantity * pricing.default AS list_cost beside it",
        )
    first = _listed(source.columns)
    raise BillError(
        f"not a bill of a known format: its columns are {first}, ..." if first else "there are no charges in it",
        where=source.name,
        fix=f"{by_columns.proposal(source.columns)}, or use one of: {', '.join(known.name for known in FORMATS)}",
    )


def _listed(columns: Collection[str]) -> str:
    """Return the first columns in a line; names that a damaged file makes of whole rows are cut."""
    return ", ".join(" ".join(name.split())[:_NAME_LENGTH] for name in sorted(columns)[:_SHOWN])
