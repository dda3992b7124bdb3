"""Which format a file has."""

import polars as pl
import pytest

from meritorder.bills.files import SourceFile
from meritorder.bills.formats import FORMATS, recognize_format
from meritorder.errors import BillError


def file_with(*columns: str) -> SourceFile:
    return SourceFile(name="bill.csv", frame=pl.LazyFrame(), columns=frozenset(columns))


@pytest.mark.parametrize(
    ("columns", "name", "title"),
    [
        (("BilledCost", "ChargePeriodStart", "BillingCurrency", "ContractApplied"), "focus", "FOCUS 1.3"),
        (("BilledCost", "ChargePeriodStart", "BillingCurrency"), "focus", "FOCUS 1.0-preview"),
        (
            ("line_item_unblended_cost", "line_item_line_item_type", "line_item_usage_start_date"),
            "cur",
            "AWS CUR 2.0",
        ),
        (
            ("lineItem/UnblendedCost", "lineItem/LineItemType", "lineItem/UsageStartDate"),
            "cur",
            "AWS CUR (legacy)",
        ),
        (("amount_value", "amount_currency"), "openai-costs", "OpenAI costs"),
        (("input_tokens", "num_model_requests"), "openai-usage", "OpenAI usage"),
        (("amount_usd", "cost_type"), "anthropic-costs", "Anthropic costs"),
        (("uncached_input_tokens", "output_tokens"), "anthropic-usage", "Anthropic usage"),
        (("spend", "startTime", "model"), "litellm", "LiteLLM spend logs"),
        (("Date", "MeterCategory", "CostInBillingCurrency"), "azure", "Azure cost export"),
        (("billing_account_id", "usage_start_time", "cost"), "gcp", "GCP billing export"),
        (("CPU Cost", "GPU Cost", "Total Cost"), "opencost", "OpenCost or Kubecost allocations"),
        (("generation_id", "cost_total", "model_permaslug"), "openrouter", "OpenRouter activity"),
        (("UsageDate", "ServiceName", "CostUSD", "Cost", "Currency"), "azure-cost-analysis", "Azure cost analysis"),
        (("Usage start date", "Service description", "Subtotal (€)"), "gcp-report", "GCP billing report"),
        (("Pretax Amount", "Product Name", "Instance ID"), "alibaba", "Alibaba Cloud bill"),
        (("Service", "S3($)", "Total costs($)"), "crosstab", "cross table of costs"),
    ],
)
def test_format_by_columns(columns: tuple[str, ...], name: str, title: str) -> None:
    found = recognize_format(file_with(*columns))
    assert (found.name, found.title(frozenset(columns))) == (name, title)
    assert recognize_format(file_with(*columns), name) is found


def test_spend_log_needs_a_model() -> None:
    with pytest.raises(BillError, match="not a bill of a known format: its columns are spend, startTime"):
        recognize_format(file_with("spend", "startTime"))


def test_invoiced_formats_are_marked() -> None:
    assert {known.name for known in FORMATS if known.invoiced} == {
        *("focus", "cur", "aws-cost-explorer", "azure", "azure-cost-analysis", "gcp", "gcp-cost-table", "gcp-report"),
        *(
            "openai-costs",
            "anthropic-costs",
            "openrouter",
            "oci",
            "alibaba",
            "runpod",
            "digitalocean",
            "snowflake",
            "crosstab",
        ),
    }


def test_unknown_format_names_twelve_columns() -> None:
    with pytest.raises(BillError, match=r"its columns are a, b, c, d, e, f, g, h, i, j, k, l, \.\.\."):
        recognize_format(file_with(*"nmlkjihgfedcba"))
