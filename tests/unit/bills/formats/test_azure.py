"""Azure's own cost exports."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from meritorder import bills

ROW = {
    "date": "10/14/2026",
    "billingPeriodStartDate": "10/01/2026",
    "billingPeriodEndDate": "10/31/2026",
    "billingAccountId": "agreement-1",
    "SubscriptionId": "sub-1",
    "meterCategory": "Virtual Machines",
    "meterSubCategory": "NDsr H100 v5 Series",
    "meterName": "ND96isr H100 v5",
    "ProductName": "Virtual Machines NDsr H100 v5 Series - ND96isr H100 v5 - US East",
    "chargeType": "Usage",
    "pricingModel": "OnDemand",
    "quantity": "24",
    "unitOfMeasure": "1 Hour",
    "costInBillingCurrency": "2400",
    "paygCostInBillingCurrency": "2400",
    "billingCurrency": "USD",
    "resourceLocation": "eastus",
    "ResourceId": "/subscriptions/sub-1/virtualMachines/chat-1",
    "additionalInfo": '{"UsageType":"ComputeHR","ServiceType":"Standard_ND96isr_H100_v5"}',
    "benefitId": None,
    "tags": '"team": "chat"',
}
PLAN = {"pricingModel": "SavingsPlan", "benefitId": "/providers/Microsoft.BillingBenefits/savingsPlanOrders/p"}


def written(path: Path, *rows: Mapping[str, str | None]) -> Path:
    pl.DataFrame([ROW | dict(row) for row in rows]).write_csv(path)
    return path


def test_usage_is_machine_hours(tmp_path: Path) -> None:
    (charge,) = bills.read(written(tmp_path / "a.csv", {})).charges.collect().to_dicts()
    assert (charge["billed_usd"], charge["list_usd"], charge["quantity"], charge["unit"]) == (
        2400,
        2400,
        24.0,
        "1 Hour",
    )
    assert (charge["instance_type"], charge["kind"]) == ("Standard_ND96isr_H100_v5", "accelerator")
    assert (charge["purchase"], charge["region"], charge["tags"]) == ("on_demand", "eastus", '{"team": "chat"}')
    assert (f"{charge['period_start']:%m-%d}", f"{charge['period_end']:%m-%d}") == ("10-14", "10-15")


@pytest.mark.parametrize(
    ("row", "purchase", "unused"),
    [
        (PLAN, "savings_plan", False),
        ({"pricingModel": "Spot"}, "spot", False),
        ({"pricingModel": "Reservation"}, "reserved", False),
        (PLAN | {"chargeType": "UnusedSavingsPlan"}, "savings_plan", True),
        ({"chargeType": "UnusedReservation", "pricingModel": "Reservation"}, "reserved", True),
        (PLAN | {"chargeType": "Purchase"}, "savings_plan", False),
        ({"chargeType": "Purchase", "pricingModel": None}, "fee", False),
        ({"chargeType": "Refund"}, "refund", False),
        ({"chargeType": "RoundingAdjustment"}, "adjustment", False),
    ],
)
def test_purchase_options(tmp_path: Path, row: dict[str, str | None], purchase: str, *, unused: bool) -> None:
    [found] = bills.read(written(tmp_path / "a.csv", row, {}, {})).groups.select("purchase", "unused").rows()[:1]
    assert found == (purchase, unused)


def test_dollars_beside_another_currency(tmp_path: Path) -> None:
    euro = {"billingCurrency": "EUR", "costInUsd": "2616", "paygCostInUsd": "3000"}
    (group,) = bills.read(written(tmp_path / "a.csv", euro)).groups.to_dicts()
    assert (group["billed_usd"], group["list_usd"], group["currency"]) == (2616, 3000, "USD")


def test_older_agreements_spell_otherwise(tmp_path: Path) -> None:
    names = {
        "costInBillingCurrency": "PreTaxCost",
        "date": "UsageDateTime",
        "meterCategory": "MeterCategory",
        "quantity": "UsageQuantity",
        "resourceLocation": "ResourceLocation",
    }
    path = written(tmp_path / "a.csv", {})
    pl.read_csv(path, infer_schema=False).rename(names).write_csv(path)
    bill = bills.read(path)
    assert bill.report.files[0].format == "azure"
    assert (bill.report.billed_usd, bill.groups["quantity"].item()) == (Decimal(2400), 24.0)


def test_purchase_beside_covered_usage_is_counted_once(tmp_path: Path) -> None:
    bought = PLAN | {"chargeType": "Purchase", "meterName": "Compute savings plan", "additionalInfo": None}
    bill = bills.read(written(tmp_path / "a.csv", bought, PLAN | {"costInBillingCurrency": "1500"}))
    figures = bills.compute_figures(bill.groups)
    assert (figures.billed_usd, figures.amortised_usd) == (3900, 1500)


def test_actual_and_amortized_costs_are_counted_twice(tmp_path: Path) -> None:
    bought = PLAN | {"chargeType": "Purchase", "additionalInfo": None}
    actual = written(tmp_path / "actual.csv", bought, PLAN | {"costInBillingCurrency": "0"}, {})
    amortized = written(tmp_path / "amortized.csv", PLAN | {"costInBillingCurrency": "1500"}, {})
    warned = "actual.csv has actual costs and amortized.csv amortized ones of the same month: it is counted twice"
    assert warned in bills.read([actual, amortized]).report.warnings
    assert warned not in bills.read([actual, written(tmp_path / "part2.csv", {})]).report.warnings
