"""FinOps figures, worked by hand."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from meritorder import bills
from meritorder.errors import BillError
from meritorder.tables import MONEY

Write = Callable[..., Path]
PLAN = {"savings_plan_savings_plan_a_r_n": "arn"}


@pytest.fixture
def month(cur: Write) -> bills.Bill:
    """100 USD on demand, 100 covered at 70, a plan of 80 of which 10 is unused, spot, storage and tax."""
    return bills.read(
        cur(
            {"line_item_unblended_cost": "100", "pricing_public_on_demand_cost": "100"},
            PLAN
            | {
                "line_item_line_item_type": "SavingsPlanCoveredUsage",
                "line_item_unblended_cost": "100",
                "pricing_public_on_demand_cost": "100",
                "savings_plan_savings_plan_effective_cost": "70",
            },
            PLAN | {"line_item_line_item_type": "SavingsPlanNegation", "line_item_unblended_cost": "-100"},
            PLAN
            | {
                "line_item_line_item_type": "SavingsPlanRecurringFee",
                "line_item_unblended_cost": "80",
                "savings_plan_total_commitment_to_date": "80",
                "savings_plan_used_commitment": "70",
                "line_item_usage_type": "ComputeSP",
                "product_instance_type": None,
            },
            {
                "line_item_unblended_cost": "30",
                "pricing_public_on_demand_cost": "100",
                "pricing_term": "Spot",
            },
            {
                "line_item_unblended_cost": "5",
                "pricing_public_on_demand_cost": "5",
                "line_item_usage_type": "EBS:VolumeUsage.gp3",
                "product_instance_type": None,
            },
            {
                "line_item_unblended_cost": "9",
                "line_item_line_item_type": "Tax",
                "product_instance_type": None,
                "line_item_usage_type": None,
            },
        )
    )


def test_figures_of_a_month_by_hand(month: bills.Bill) -> None:
    made = bills.compute_figures(month.groups)
    assert made.billed_usd == made.amortised_usd == 224
    assert (made.on_demand_usd, made.spot_usd) == (100, 30)
    assert (made.on_demand_equivalent_usd, made.effective_usd) == (200, 180)
    assert made.effective_savings_rate == Decimal("0.1")
    assert (made.commitment_usd, made.used_commitment_usd, made.unused_commitment_usd) == (80, 70, 10)
    assert made.commitment_utilization == Decimal("0.875")
    assert made.commitment_coverage == Decimal("0.5")


def test_figures_of_inference_only(month: bills.Bill) -> None:
    made = bills.compute_figures(bills.select_inference(month.groups))
    assert (made.billed_usd, made.amortised_usd, made.unused_commitment_usd) == (210, 210, 10)


def test_nothing_to_compare_has_no_rate(cur: Write) -> None:
    made = bills.compute_figures(
        bills.read(cur({"line_item_line_item_type": "Tax", "line_item_unblended_cost": "9"})).groups
    )
    assert (made.effective_savings_rate, made.commitment_utilization, made.commitment_coverage) == (
        None,
        None,
        None,
    )


def test_unlisted_hours_are_outside_the_rate(cur: Write) -> None:
    hours = {"line_item_unblended_cost": "50", "pricing_public_on_demand_cost": "100"}
    made = bills.compute_figures(bills.read(cur(hours, hours | {"pricing_public_on_demand_cost": None})).groups)
    assert (made.on_demand_usd, made.effective_usd, made.unlisted_usd) == (100, 50, 50)
    assert made.effective_savings_rate == Decimal("0.5")


def test_negotiated_discounts_are_savings(cur: Write) -> None:
    hours = {"line_item_unblended_cost": "100", "pricing_public_on_demand_cost": "100"}
    discount = {"line_item_line_item_type": "EdpDiscount", "line_item_unblended_cost": "-9"}
    storage = discount | {"product_instance_type": None, "line_item_usage_type": "EBS:VolumeUsage.gp3"}
    made = bills.compute_figures(bills.read(cur(hours, discount, storage)).groups)
    assert (made.effective_usd, made.effective_savings_rate) == (91, Decimal("0.09"))


def test_by_team_and_service(month: bills.Bill) -> None:
    sums = bills.sum_by(month.groups, "tag:team", "service")
    assert sums.select("tag:team", "service", "amortised_usd").rows() == [("llm", "AmazonEC2", Decimal(224))]


def test_commitments_are_summed_by_plan(month: bills.Bill) -> None:
    (plan,) = bills.sum_commitments(month.groups).to_dicts()
    assert (plan["billed_usd"], plan["used_usd"], plan["unused_usd"], plan["list_usd"]) == (80, 70, 10, 100)
    assert (plan["instance_types"], plan["inference"]) == (["p5.48xlarge"], True)


def test_tokens_that_could_wait(cur: Write) -> None:
    def tokens(kind: str, cost: str, amount: str, wait: str) -> dict[str, str | None]:
        return {
            "line_item_product_code": "AmazonBedrock",
            "line_item_operation": None,
            "line_item_usage_type": f"USE1-Nova-{kind}",
            "product_instance_type": None,
            "line_item_unblended_cost": cost,
            "line_item_usage_amount": amount,
            "pricing_unit": "1K tokens",
            "resource_tags": f'{{"latency_class": "{wait}"}}',
        }

    groups = bills.read(
        cur(
            tokens("input-tokens", "30", "10", "deferrable"),
            tokens("input-tokens", "60", "20", "interactive"),
            tokens("input-tokens-batch", "15", "10", "deferrable"),
            tokens("output-tokens", "40", "10", "deferrable"),
        )
    ).groups
    spend = bills.sum_tokens(groups).filter("may_wait", tier="standard").sort("token_type")
    assert spend["amortised_usd"].sum() == 70
    assert spend.select("usd_per_unit", "batch_usd_per_unit").rows() == [(3.0, 1.5), (4.0, None)]


def test_long_charges_are_spread(cur: Write) -> None:
    day = {"line_item_usage_end_date": "2026-10-02T00:00:00Z", "line_item_unblended_cost": "48"}
    shape = bills.hourly_charges(bills.read(cur({"line_item_unblended_cost": "3"}, day)).charges, "kind")
    assert shape.height == 24
    assert shape["amortised_usd"].to_list() == [5.0] + [2.0] * 23


def test_shares_of_nothing_are_missing() -> None:
    assert bills.ratio(Decimal(1), Decimal(0)) is None
    assert bills.ratio(Decimal(1), Decimal(4)) == Decimal("0.25")
    assert str(bills.ratio(Decimal(2), Decimal(2))) == "1.0"


def test_sums_round_nowhere(cur: Write) -> None:
    """A thousand times 1e-10 and a large amount keep every digit."""
    small = {"line_item_unblended_cost": "0.0000000001"}
    bill = bills.read(cur({"line_item_unblended_cost": "123456789.5"}, *[small] * 1000))
    assert bills.compute_figures(bill.groups).billed_usd == Decimal("123456789.5000001")


def test_commitment_with_most_unused_first(cur: Write) -> None:
    def plan(name: str, total: str, used: str) -> dict[str, str | None]:
        return {
            "savings_plan_savings_plan_a_r_n": name,
            "line_item_line_item_type": "SavingsPlanRecurringFee",
            "line_item_unblended_cost": total,
            "savings_plan_total_commitment_to_date": total,
            "savings_plan_used_commitment": used,
        }

    groups = bills.read(cur(plan("a", "10", "9"), plan("b", "20", "15"), plan("c", "5", "0"))).groups
    sums = bills.sum_commitments(groups)
    assert sums["commitment"].to_list() == ["b", "c", "a"]
    assert sums["unused_usd"].to_list() == [5, 5, 1]
    assert sums["billed_usd"].sum() == 35


def test_correction_makes_unused_negative(cur: Write) -> None:
    fee = {
        "savings_plan_savings_plan_a_r_n": "arn",
        "line_item_line_item_type": "SavingsPlanRecurringFee",
        "line_item_unblended_cost": "10",
        "savings_plan_total_commitment_to_date": "10",
        "savings_plan_used_commitment": "12",
    }
    made = bills.compute_figures(bills.read(cur(fee)).groups)
    assert (made.unused_commitment_usd, made.effective_usd) == (-2, -2)
    assert made.commitment_utilization == 0


def test_blocks_and_spot_outside_rate(cur: Write) -> None:
    hour = {"line_item_unblended_cost": "60", "pricing_public_on_demand_cost": "100"}
    block = {
        "line_item_line_item_type": "Fee",
        "line_item_unblended_cost": "500",
        "line_item_usage_type": "CapacityBlock:p5",
    }
    spot = hour | {"pricing_term": "Spot"}
    made = bills.compute_figures(bills.read(cur(hour, block, spot)).groups)
    assert (made.on_demand_equivalent_usd, made.effective_usd) == (100, 60)
    assert made.effective_savings_rate == Decimal("0.4")
    assert (made.capacity_block_usd, made.spot_usd, made.billed_usd) == (500, 60, 620)


def test_break_down_by_unknown_column(month: bills.Bill) -> None:
    with pytest.raises(BillError, match="--by: no column color to break costs down by"):
        bills.sum_by(month.groups, "color")


def test_largest_sum_first(month: bills.Bill) -> None:
    sums = bills.sum_by(month.groups, "purchase")
    amounts = sums["amortised_usd"].to_list()
    assert amounts == sorted(amounts, reverse=True)
    assert dict(sums.select("purchase", "amortised_usd").rows()) == {
        "on_demand": Decimal(105),
        "savings_plan": Decimal(80),
        "spot": Decimal(30),
        "tax": Decimal(9),
    }


def dollars(**columns: list[object]) -> pl.DataFrame:
    """Return groups with these columns; amounts are exact."""
    return pl.DataFrame(columns, schema_overrides={name: MONEY for name in columns if name.endswith("_usd")})


def test_which_on_demand_hours_count() -> None:
    """A machine of any kind, an endpoint without a machine type, and usage of a commitment; storage does not count."""
    groups = dollars(
        purchase=["on_demand"] * 4,
        unused=[False] * 4,
        instance_type=["m7i.large", None, None, None],
        kind=[None, "endpoint", None, None],
        commitment=[None, None, "arn", None],
        billed_usd=[10, 20, 3, 5],
        amortised_usd=[10, 20, 3, 5],
        list_usd=[10, 25, 4, 5],
        unlisted_usd=[0, 0, 0, 0],
    )
    made = bills.compute_figures(groups)
    assert (made.on_demand_usd, made.on_demand_equivalent_usd, made.amortised_usd) == (33, 39, 38)
    assert made.effective_savings_rate == pytest.approx(1 - Decimal(33) / 39)


def test_equal_sums_are_sorted_by_name() -> None:
    groups = dollars(
        account=["b", "a", "c"],
        service=["x", "x", "x"],
        billed_usd=[1, 1, 2],
        amortised_usd=[1, 1, 2],
        list_usd=[1, 1, 2],
        rows=[1, 1, 1],
    )
    assert bills.sum_by(groups, "account")["account"].to_list() == ["c", "a", "b"]
    with pytest.raises(BillError) as caught:
        bills.sum_by(groups, "color")
    assert "instance_type" in str(caught.value.fix)
    assert "quantity" not in str(caught.value.fix)


def test_token_prices_by_unit() -> None:
    """Half a unit at 3 costs 6 a unit; nothing bought has no price; a type that is not named has a batch price too."""
    groups = dollars(
        provider=["aws"] * 5,
        model=["m"] * 5,
        token_type=["input", "output", None, None, "input"],
        unit=["1K"] * 5,
        kind=["tokens"] * 5,
        tier=["standard", "standard", "standard", "batch", "standard"],
        priced=[True, True, True, True, False],
        may_wait=[False] * 5,
        amortised_usd=[3, 1, 8, 2, 99],
        quantity=[0.5, 0.0, 4.0, 2.0, 1.0],
    )
    rows = bills.sum_tokens(groups).select("token_type", "tier", "usd_per_unit", "batch_usd_per_unit").rows()
    assert rows == [
        (None, "standard", 2.0, 1.0),
        ("input", "standard", 6.0, None),
        (None, "batch", 1.0, 1.0),
        ("output", "standard", None, None),
    ]
