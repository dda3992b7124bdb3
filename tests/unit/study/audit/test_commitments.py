"""Commitments to make and commitments that are unused."""

from itertools import chain

import pytest
from tests.samples.charges import line, machine, reservation
from tests.unit.study.audit.conftest import MONTH, WEEKS, Audited, kinds, only

from meritorder.units import format_usd


def test_machine_that_always_runs(audited: Audited) -> None:
    # The catalog's price of a year's reservation of g6e.12xlarge is below its on-demand price of 10.49264.
    answer = audited(machine(MONTH, instance="g6e.12xlarge", usd=10.49264, tags={"service": "chat"}))
    found = only(answer, "commitment_for_on_demand")
    price = next(price for price in answer.prices if price.pricing_model == "reserved")
    assert found.usd == pytest.approx(WEEKS * (10.49264 - price.usd))
    assert "chat" in found.evidence
    assert "meritorder plan requests.csv --model MODEL --bill bill.csv" in found.fix


def test_machine_that_seldom_runs(audited: Audited) -> None:
    daytime = [hour for hour in MONTH if hour % 24 < 12]
    rows = chain(
        machine(daytime, instance="g6e.12xlarge", usd=10.49264),
        machine(MONTH, instance="c7i.large", usd=0.1, tags={"workload": "inference"}),
    )
    assert "commitment_for_on_demand" not in kinds(audited(rows))


def test_hours_are_those_of_the_bill(audited: Audited) -> None:
    tenth_day = range(10 * 24)
    other = [line("Usage", hour, 0.1, line_item_product_code="AmazonS3", line_item_usage_type="x") for hour in MONTH]
    year = {"line_item_usage_end_date": "2027-10-05T00:00:00Z", "line_item_usage_type": "ComputeSP:1yrAllUpfront"}
    upfront = line("SavingsPlanUpfrontFee", 0, 9.0, savings_plan_savings_plan_a_r_n="arn:x") | year
    rows = list(machine(tenth_day, instance="g6e.12xlarge", usd=10.49264))
    assert "commitment_for_on_demand" not in kinds(audited([*rows, *other]))
    assert only(audited([*rows, upfront]), "commitment_for_on_demand").usd > 0


def test_savings_plan_covers_part_of_machine(audited: Audited) -> None:
    plan = {"savings_plan_savings_plan_a_r_n": "arn:aws:savingsplans::1:savingsplan/a"}
    covered = [
        line(
            "SavingsPlanCoveredUsage",
            hour,
            5.504,
            line_item_usage_type="BoxUsage:p5.48xlarge",
            line_item_usage_amount=0.1,
            pricing_public_on_demand_cost=5.504,
            pricing_unit="Hrs",
            product_instance_type="p5.48xlarge",
            product_region_code="us-east-1",
            savings_plan_savings_plan_effective_cost=3.3024,
            **plan,
        )
        for hour in MONTH
    ]
    negated = [line("SavingsPlanNegation", hour, -5.504, **plan) for hour in MONTH]
    rows = chain(covered, negated, machine(MONTH, count=0.5, name="i-1"))
    found = only(audited(rows), "commitment_for_on_demand")
    assert found.usd == pytest.approx(WEEKS * 0.5 * (55.04 - 33.024))
    assert format_usd(0.5 * 33.024) in found.fix


def test_unused_reservation_beside_on_demand_machines(audited: Audited) -> None:
    unused = reservation(range(100), 400, instance="g5.12xlarge", rate=3.5, listed=5.672)
    alone = audited(list(unused))
    assert only(alone, "unused_commitment").usd == pytest.approx(300 * 3.5)
    beside = audited(
        chain(reservation(range(100), 400, instance="g5.12xlarge", rate=3.5, listed=5.672), machine(range(50)))
    )
    found = only(beside, "commitment_wrong_family")
    assert found.usd == pytest.approx(300 * 3.5)
    assert "g5.12xlarge" in found.title
