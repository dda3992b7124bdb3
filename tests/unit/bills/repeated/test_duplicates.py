"""Money that files state more than once."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from meritorder import bills

Write = Callable[..., Path]

HOUR = {"BilledCost": "2.5", "EffectiveCost": "2.5", "ListCost": "2.5"}
UNNAMED = HOUR | {"ResourceId": None}
PLAN = {
    "CommitmentDiscountId": "plan-7",
    "CommitmentDiscountType": "Savings Plan",
    "CommitmentDiscountCategory": "Spend",
}
BOUGHT = PLAN | {
    "ChargeCategory": "Purchase",
    "PricingCategory": None,
    "BilledCost": "300",
    "EffectiveCost": "300",
    "ResourceId": None,
    "SkuId": "plan",
}
USED = PLAN | {
    "PricingCategory": "Committed",
    "CommitmentDiscountStatus": "Used",
    "EffectiveCost": "70",
    "ListCost": "110",
}


def test_like_machines_without_id_are_counted(focus: Write) -> None:
    """Two equal rows that name no resource are two machines; two that name the same one are one row twice."""
    report = bills.read(focus(UNNAMED, UNNAMED, HOUR | {"ResourceId": "i-1"}, HOUR | {"ResourceId": "i-1"})).report
    assert report.billed_usd == Decimal("7.5")
    assert (report.duplicate_rows, report.duplicates_usd) == (1, Decimal("2.5"))
    assert any("1 line item of 2.50 USD equal another and name no resource" in text for text in report.warnings)


def test_like_machines_in_two_files_are_copies(focus: Write) -> None:
    """Both files have two of them, the second has a third."""
    first, second = focus(UNNAMED, UNNAMED, name="a.csv"), focus(UNNAMED, UNNAMED, UNNAMED, name="b.csv")
    report = bills.read([first, second]).report
    assert (report.billed_usd, report.duplicate_rows) == (Decimal("7.5"), 2)


def test_commitment_is_counted_at_its_use(focus: Write) -> None:
    """Bought for 300 with an effective cost of 300, while 140 of it were used and 20 were not: 160 in all."""
    unused = PLAN | {"CommitmentDiscountStatus": "Unused", "EffectiveCost": "20", "PricingCategory": "Committed"}
    bill = bills.read(focus(BOUGHT, USED, USED, unused))
    figures = bills.compute_figures(bill.groups)
    assert (figures.billed_usd, figures.amortised_usd) == (Decimal(300), Decimal(160))
    assert figures.commitment_utilization == pytest.approx(Decimal("0.875"))
    assert bill.charges.collect()["amortised_usd"].sum() == Decimal(160)
    assert bill.spans["amortised_usd"].sum() == pytest.approx(160)
    assert any("effective cost of 300.00 USD" in text for text in bill.report.warnings)


def test_commitment_without_use_keeps_its_cost(focus: Write) -> None:
    """Nothing in the bill was covered by it, so its cost is nowhere else."""
    other = USED | {"CommitmentDiscountId": "plan-8"}
    assert bills.compute_figures(bills.read(focus(BOUGHT, other)).groups).amortised_usd == Decimal(370)
