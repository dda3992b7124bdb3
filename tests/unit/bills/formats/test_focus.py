"""FOCUS: the names of each version, and amortization."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from meritorder import bills

Write = Callable[..., Path]

PURCHASES = [
    ({"PricingCategory": "Standard"}, "on_demand"),
    ({"PricingCategory": "On-Demand"}, "on_demand"),
    ({"PricingCategory": None}, "on_demand"),
    ({"PricingCategory": "Dynamic"}, "spot"),
    ({"PricingCategory": "Committed", "CommitmentDiscountType": "Savings Plan"}, "savings_plan"),
    ({"PricingCategory": "Commitment-Based", "CommitmentDiscountType": "Reserved Instance"}, "reserved"),
    ({"PricingCategory": "Committed", "CommitmentDiscountType": "Reservation"}, "reserved"),
    ({"PricingCategory": "Committed", "CommitmentDiscountType": "Committed Use Discount"}, "committed_use"),
    ({"PricingCategory": "Committed", "CommitmentDiscountCategory": "Spend"}, "savings_plan"),
    ({"PricingCategory": "Committed", "CommitmentDiscountCategory": "Usage"}, "reserved"),
    ({"ChargeCategory": "Purchase", "CommitmentDiscountType": "Savings Plan"}, "savings_plan"),
    ({"ChargeCategory": "Purchase", "SkuId": "CapacityBlock p5en.48xlarge"}, "capacity_block"),
    ({"ChargeCategory": "Purchase", "PricingCategory": "Standard"}, "fee"),
    ({"ChargeCategory": "Tax"}, "tax"),
    ({"ChargeCategory": "Credit", "BilledCost": "-1"}, "credit"),
    ({"ChargeCategory": "Adjustment"}, "adjustment"),
    ({"ChargeClass": "Correction", "BilledCost": "-1", "EffectiveCost": "-1"}, "refund"),
    ({"PricingCategory": "Other"}, "other"),
    ({"ChargeClass": "Correction", "BilledCost": "-0.5"}, "refund"),
    ({"ChargeClass": "Correction", "BilledCost": "0"}, "on_demand"),
    ({"ChargeClass": "Correction", "BilledCost": "0.5"}, "on_demand"),
    ({"BilledCost": "-1"}, "on_demand"),
    ({"ChargeCategory": "Purchase", "SkuId": "x", "CapacityReservationId": "cr-1"}, "capacity_block"),
    ({"PricingCategory": "Committed", "CommitmentDiscountId": "c-1"}, "reserved"),
    ({"CommitmentDiscountStatus": "Used", "CommitmentDiscountType": "Savings Plan"}, "savings_plan"),
]


@pytest.mark.parametrize(("row", "purchase"), PURCHASES)
def test_how_a_charge_was_bought(focus: Write, row: dict[str, str], purchase: str) -> None:
    assert bills.read(focus(row)).groups["purchase"].to_list() == [purchase]


VERSIONS = [
    (
        "1.0-preview",
        {"ConsumedQuantity": "UsageQuantity", "RegionId": "Region", "ChargeClass": "ChargeSubcategory"},
        {},
    ),
    ("1.0", {}, {}),
    ("1.1", {}, {"SkuMeter": "BoxUsage:p5.48xlarge"}),
    ("1.2", {}, {"InvoiceId": "INV-7"}),
    ("1.3", {"ProviderName": "ServiceProviderName"}, {"InvoiceId": "INV-7"}),
]


@pytest.mark.parametrize(("version", "rename", "more"), VERSIONS)
def test_versions_read_alike(focus: Write, version: str, rename: dict[str, str], more: dict[str, str]) -> None:
    amounts = {"BilledCost": "55.04", "EffectiveCost": "55.04", "ListCost": "55.04"}
    bill = bills.read(focus(amounts | more, rename=rename))
    (row,) = bill.charges.collect().to_dicts()
    assert bill.report.files[0].title == f"FOCUS {version}"
    assert (row["provider"], row["region"], row["quantity"]) == ("aws", "us-east-1", 1.0)
    assert (row["instance_type"], row["instance_family"], row["kind"]) == ("p5.48xlarge", "p5", "accelerator")


def test_preview_names_unused_commitments(focus: Write) -> None:
    unused = {
        "ChargeClass": "Unused Commitment",
        "EffectiveCost": "3",
        "CommitmentDiscountType": "Savings Plan",
    }
    path = focus(unused, rename={"ChargeClass": "ChargeSubcategory", "CommitmentDiscountStatus": "x_Status"})
    assert bills.read(path).groups.select("unused", "purchase").row(0) == (True, "savings_plan")


def test_commitment_is_amortized_over_use(focus: Write) -> None:
    plan = {"CommitmentDiscountId": "plan", "CommitmentDiscountType": "Savings Plan"}
    used = plan | {"PricingCategory": "Committed", "CommitmentDiscountStatus": "Used"}
    bill = bills.read(
        focus(
            plan | {"ChargeCategory": "Purchase", "BilledCost": "60", "ListCost": "60"},
            used | {"EffectiveCost": "41.28", "ListCost": "55.04"},
            used | {"EffectiveCost": "18.72", "CommitmentDiscountStatus": "Unused", "SkuId": "ComputeSP"},
        )
    )
    made = bills.compute_figures(bill.groups)
    assert (made.billed_usd, made.amortised_usd) == (60, 60)
    assert (made.used_commitment_usd, made.unused_commitment_usd) == (Decimal("41.28"), Decimal("18.72"))
    assert made.on_demand_equivalent_usd == Decimal("55.04")
    assert set(bill.groups["kind"]) == {"accelerator", "commitment"}


def test_azure_and_google_accelerators(focus: Write) -> None:
    azure = {
        "ProviderName": "Microsoft",
        "SkuId": "DZH318Z0BQ35",
        "x_SkuInstanceType": "Standard_ND96isr_H100_v5",
    }
    cpu = {"ProviderName": "Microsoft", "SkuId": "DZH318Z0BQ36", "x_SkuInstanceType": "Standard_D4s_v5"}
    google = {
        "ProviderName": "Google Cloud",
        "SkuId": "6F81",
        "ChargeDescription": "Nvidia H100 80GB Mega GPU running in Americas",
    }
    tokens = {
        "ProviderName": "Google Cloud",
        "SkuId": "77",
        "ChargeDescription": "Gemini 2.5 Flash Text Output - Predictions",
    }
    openai = {
        "ProviderName": "Microsoft",
        "SkuId": "8",
        "ServiceName": "Azure OpenAI",
        "x_SkuMeterName": "gpt 4o 0806 Batch Outp glbl Tokens",
    }
    paid = {"BilledCost": "1", "EffectiveCost": "1"}
    rows = [row | paid for row in (azure, cpu, google, tokens, openai)]
    groups = bills.read(focus(*rows)).charges.sort("row").collect()
    assert groups["kind"].to_list() == ["accelerator", None, "accelerator", "tokens", "tokens"]
    assert groups["tier"].to_list() == [None, None, None, "standard", "batch"]
    assert groups["token_type"].to_list()[3:] == ["output", "output"]


@pytest.mark.parametrize(
    "start",
    [
        "2026-10-01T00:00:00Z",
        "2026-10-01 00:00:00",
        "2026-10-01T00:00Z",
        "2026-10-01",
        "2026-10-01T02:00:00+02:00",
    ],
)
def test_times_in_any_notation(focus: Write, start: str) -> None:
    bill = bills.read(focus({"BilledCost": "1", "ChargePeriodStart": start}))
    assert bill.report.period_start is not None
    assert bill.report.period_start.isoformat() == "2026-10-01T00:00:00+00:00"


def test_optional_columns_are_not_missing(focus: Write) -> None:
    """A dataset of FOCUS 1.0 with its own columns lacks none, whatever later versions and providers add."""
    (file,) = bills.read(focus({"BilledCost": "1"})).report.files
    assert file.missing == ()
