"""AWS's rules of amortization, each with an amount worked by hand."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from meritorder import bills
from meritorder.bills.formats.aws import snake_case

PLAN = "arn:aws:savingsplans::1:savingsplan/a"
RESERVATION = "arn:aws:ec2:us-east-1:1:reserved-instances/b"
Write = Callable[..., Path]


def row_of(path: Path) -> dict[str, object]:
    (row,) = bills.read(path).charges.collect().to_dicts()
    return row


RULES = [
    pytest.param(
        {"line_item_unblended_cost": "55.04", "pricing_public_on_demand_cost": "55.04"},
        ("on_demand", "55.04", "55.04", "55.04", False),
        id="usage",
    ),
    pytest.param(
        {"line_item_unblended_cost": "4.5", "pricing_term": "Spot", "pricing_public_on_demand_cost": "10.5"},
        ("spot", "4.5", "4.5", "10.5", False),
        id="spot",
    ),
    pytest.param(
        {
            "line_item_line_item_type": "SavingsPlanCoveredUsage",
            "line_item_unblended_cost": "55.04",
            "pricing_public_on_demand_cost": "55.04",
            "savings_plan_savings_plan_a_r_n": PLAN,
            "savings_plan_savings_plan_effective_cost": "41.28",
        },
        ("savings_plan", "55.04", "41.28", "55.04", False),
        id="covered usage costs its effective cost",
    ),
    pytest.param(
        {
            "line_item_line_item_type": "SavingsPlanNegation",
            "line_item_unblended_cost": "-55.04",
            "pricing_public_on_demand_cost": "55.04",
            "savings_plan_savings_plan_a_r_n": PLAN,
        },
        ("savings_plan", "-55.04", "0", None, False),
        id="a negation costs nothing",
    ),
    pytest.param(
        {
            "line_item_line_item_type": "SavingsPlanRecurringFee",
            "line_item_unblended_cost": "30",
            "savings_plan_savings_plan_a_r_n": PLAN,
            "savings_plan_total_commitment_to_date": "60",
            "savings_plan_used_commitment": "41.28",
        },
        ("savings_plan", "30", "18.72", None, True),
        id="a partly upfront plan leaves total minus used",
    ),
    pytest.param(
        {
            "line_item_line_item_type": "SavingsPlanRecurringFee",
            "line_item_unblended_cost": "60",
            "savings_plan_savings_plan_a_r_n": PLAN,
            "savings_plan_total_commitment_to_date": "60",
            "savings_plan_used_commitment": "60.01",
        },
        ("savings_plan", "60", "-0.01", None, True),
        id="more used than committed keeps its sign",
    ),
    pytest.param(
        {
            "line_item_line_item_type": "SavingsPlanUpfrontFee",
            "line_item_unblended_cost": "262800",
            "savings_plan_savings_plan_a_r_n": PLAN,
        },
        ("savings_plan", "262800", "0", None, False),
        id="an upfront fee is in the effective cost",
    ),
    pytest.param(
        {
            "line_item_line_item_type": "DiscountedUsage",
            "pricing_public_on_demand_cost": "5.672",
            "reservation_reservation_a_r_n": RESERVATION,
            "reservation_effective_cost": "3.57336",
        },
        ("reserved", "0", "3.57336", "5.672", False),
        id="reserved usage costs its effective cost",
    ),
    pytest.param(
        {
            "line_item_line_item_type": "RIFee",
            "line_item_unblended_cost": "2658.57984",
            "reservation_reservation_a_r_n": RESERVATION,
            "reservation_unused_recurring_fee": "1400.75712",
            "reservation_unused_amortized_upfront_fee_for_billing_period": "99.5",
        },
        ("reserved", "2658.57984", "1500.25712", None, True),
        id="a reservation's fee leaves what is unused of both fees",
    ),
    pytest.param(
        {
            "line_item_line_item_type": "Fee",
            "line_item_unblended_cost": "10000",
            "line_item_usage_type": "HeavyUsage:p5.48xlarge",
            "reservation_reservation_a_r_n": RESERVATION,
        },
        ("reserved", "10000", "0", None, False),
        id="a reservation's upfront fee is in the effective cost",
    ),
    pytest.param(
        {
            "line_item_line_item_type": "Fee",
            "line_item_unblended_cost": "100",
            "line_item_usage_type": "Support",
        },
        ("fee", "100", "100", None, False),
        id="any other fee",
    ),
    pytest.param(
        {
            "line_item_line_item_type": "Fee",
            "line_item_unblended_cost": "6990.48",
            "line_item_usage_type": "USE1-CapacityBlock:p5en.48xlarge",
        },
        ("capacity_block", "6990.48", "6990.48", None, False),
        id="a capacity block",
    ),
    pytest.param(
        {"line_item_line_item_type": "Tax", "line_item_unblended_cost": "7"},
        ("tax", "7", "7", None, False),
        id="tax",
    ),
    pytest.param(
        {"line_item_line_item_type": "Refund", "line_item_unblended_cost": "-3"},
        ("refund", "-3", "-3", None, False),
        id="a refund is kept",
    ),
    pytest.param(
        {"line_item_line_item_type": "EdpDiscount", "line_item_unblended_cost": "-9"},
        ("discount", "-9", "-9", None, False),
        id="a private discount",
    ),
    pytest.param(
        {"line_item_line_item_type": "SomethingNew", "line_item_unblended_cost": "2"},
        ("other", "2", "2", None, False),
        id="a type that AWS adds later",
    ),
]


@pytest.mark.parametrize(("line", "expected"), RULES)
def test_each_line_item_type(
    cur: Write, line: dict[str, str], expected: tuple[str, str, str, str | None, bool]
) -> None:
    purchase, billed, amortized, listed, unused = expected
    row = row_of(cur(line))
    assert row["purchase"] == purchase
    assert row["billed_usd"] == Decimal(billed)
    assert row["amortised_usd"] == Decimal(amortized)
    assert row["list_usd"] == (None if listed is None else Decimal(listed))
    assert row["unused"] is unused


@pytest.mark.parametrize("amount", ["1.5E-7", "1.5e-07", " 0.00000015 ", "0.000000150000"])
def test_amounts_in_any_notation(cur: Write, amount: str) -> None:
    assert row_of(cur({"line_item_unblended_cost": amount}))["billed_usd"] == Decimal("0.00000015")


def test_legacy_names_become_cur_2() -> None:
    names = {
        "lineItem/UsageStartDate": "line_item_usage_start_date",
        "reservation/ReservationARN": "reservation_reservation_a_r_n",
        "pricing/publicOnDemandCost": "pricing_public_on_demand_cost",
        "savingsPlan/SavingsPlanEffectiveCost": "savings_plan_savings_plan_effective_cost",
        "resourceTags/user:Team": "resourceTags/user:Team",
        "line_item_unblended_cost": "line_item_unblended_cost",
    }
    assert {name: snake_case(name) for name in names} == names


def test_legacy_report_is_read(tmp_path: Path) -> None:
    path = tmp_path / "legacy.csv"
    path.write_text(
        "identity/LineItemId,identity/TimeInterval,lineItem/LineItemType,lineItem/UsageStartDate,lineItem/UsageType,"
        "lineItem/ProductCode,lineItem/UnblendedCost,lineItem/CurrencyCode,pricing/publicOnDemandCost,"
        "savingsPlan/SavingsPlanARN,savingsPlan/SavingsPlanEffectiveCost,savingsPlan/TotalCommitmentToDate,"
        "savingsPlan/UsedCommitment,resourceTags/user:team,resourceTags/aws:createdBy\n"
        "a,t,SavingsPlanCoveredUsage,2026-10-01T00:00:00Z,BoxUsage:g6e.xlarge,AmazonEC2,1.861,USD,1.861,arn,1.34,,,llm,\n"
    )
    bill = bills.read(path)
    (row,) = bill.charges.collect().to_dicts()
    assert bill.report.files[0].title == "AWS CUR (legacy)"
    assert (row["amortised_usd"], row["instance_type"], row["kind"]) == (
        Decimal("1.34"),
        "g6e.xlarge",
        "accelerator",
    )
    assert row["tags"] == '{"user:team":"llm","aws:createdBy":null}'


def test_parquet_with_doubles_and_map(cur: Write, tmp_path: Path) -> None:
    text = pl.read_csv(
        cur({"line_item_unblended_cost": "0.1"}, {"line_item_unblended_cost": "0.2"}), infer_schema=False
    )
    pairs = [[{"key": "user_team", "value": "llm"}], []]
    typed = text.with_columns(
        pl.col("line_item_unblended_cost").cast(pl.Float64),
        pl.col("line_item_usage_start_date").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="ms"),
        resource_tags=pl.Series(pairs, dtype=pl.List(pl.Struct({"key": pl.String, "value": pl.String}))),
    )
    path = tmp_path / "cur.parquet"
    typed.write_parquet(path)
    bill = bills.read(path)
    assert bill.report.billed_usd == Decimal("0.3")
    assert bills.sum_by(bill.groups, "tag:team")["tag:team"].to_list() == [None, "llm"]


def test_missing_columns_keep_unblended_cost(cur: Write) -> None:
    covered = {"line_item_line_item_type": "SavingsPlanCoveredUsage", "line_item_unblended_cost": "55.04"}
    negation = {"line_item_line_item_type": "SavingsPlanNegation", "line_item_unblended_cost": "-55.04"}
    fee = {"line_item_line_item_type": "SavingsPlanRecurringFee", "line_item_unblended_cost": "41.28"}
    bill = bills.read(cur(covered, negation, fee, without=["savings_plan_used_commitment"]))
    assert bill.groups["amortised_usd"].sum() == Decimal("41.28")
    assert any("savings_plan_used_commitment is missing" in warning for warning in bill.report.warnings)


def test_identity_tells_line_items_apart(cur: Write) -> None:
    """Two deliveries of one line item are one, whatever its tags now; without identities every column counts."""
    first = {"line_item_unblended_cost": "2.5"}
    again = first | {"identity_line_item_id": "line-0", "resource_tags": None}
    assert bills.read(cur(first, again)).report.duplicate_rows == 1
    other = first | {"line_item_usage_type": "BoxUsage:p4d.24xlarge"}
    assert bills.read(cur(first, other, without=["identity_line_item_id"])).report.duplicate_rows == 0


def test_block_without_operation(cur: Write) -> None:
    """The usage type alone names a capacity block."""
    block = {"line_item_line_item_type": "Fee", "line_item_usage_type": "USE1-CapacityBlock:p5en.48xlarge"}
    assert row_of(cur(block | {"line_item_operation": None}))["purchase"] == "capacity_block"


def test_usage_type_alone_names_spot(cur: Write) -> None:
    assert row_of(cur({"line_item_usage_type": "SpotUsage:p5.48xlarge"}))["purchase"] == "spot"


def test_marketplace_models_by_product(cur: Write) -> None:
    """A Bedrock model of the Marketplace is described by its product, any other product by AWS's words."""
    path = cur({"line_item_line_item_description": "AWS Marketplace hourly usage"})
    frame = pl.read_csv(path, infer_schema=False)
    for product, described in (
        ("Claude Sonnet 4 (Amazon Bedrock Edition)", "Claude Sonnet 4 (Amazon Bedrock Edition)"),
        ("Amazon EC2", "AWS Marketplace hourly usage"),
    ):
        frame.with_columns(product_product_name=pl.lit(product)).write_csv(path)
        assert row_of(path)["description"] == described
