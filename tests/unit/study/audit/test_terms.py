"""A bill's own prices and running commitments, for a plan."""

from itertools import chain
from pathlib import Path

import pytest
from tests.samples.charges import line, machine, reservation, write

from meritorder import bills
from meritorder import catalog as facts
from meritorder.domain import PricingModel
from meritorder.planner.model.supply import machine_key
from meritorder.study.audit.terms import BillTerms, read_terms, to_catalog_file, to_have_file
from meritorder.study.plan.commitments import read_holdings

HOURS = 200
PLAN = {"savings_plan_savings_plan_a_r_n": "arn:aws:savingsplans::1:savingsplan/a"}


@pytest.fixture
def found(tmp_path: Path) -> BillTerms:
    covered = [
        line(
            "SavingsPlanCoveredUsage",
            hour,
            55.04,
            line_item_usage_type="BoxUsage:p5.48xlarge",
            line_item_usage_amount=1,
            pricing_public_on_demand_cost=55.04,
            pricing_unit="Hrs",
            product_instance_type="p5.48xlarge",
            product_region_code="us-east-1",
            savings_plan_savings_plan_effective_cost=40,
            **PLAN,
        )
        for hour in range(HOURS // 2)
    ]
    fees = [
        line(
            "SavingsPlanRecurringFee",
            hour,
            40,
            line_item_usage_type="ComputeSP:1yrNoUpfront",
            savings_plan_total_commitment_to_date=40,
            savings_plan_used_commitment=40 if hour < HOURS // 2 else 0,
            **PLAN,
        )
        for hour in range(HOURS)
    ]
    negated = [line("SavingsPlanNegation", hour, -55.04, **PLAN) for hour in range(HOURS // 2)]
    two = chain(
        reservation(range(HOURS), 2 * HOURS, instance="g5.12xlarge", rate=3.5, listed=5.672),
        machine(range(50), usd=50.0, list_usd=55.04),
        machine(range(10), instance="g6e.12xlarge", usd=4.0, spot=True),
        machine(range(10), instance="q9.huge", usd=1.0, tags={"workload": "inference"}),
    )
    return read_terms(bills.read(write(tmp_path / "bill.csv", chain(covered, fees, negated, two))), facts.load(()))


def test_prices_are_those_paid(found: BillTerms) -> None:
    paid = {(offer.instance, offer.pricing_model): offer.usd_per_hour for offer in found.offers}
    assert paid == pytest.approx(
        {
            ("p5.48xlarge", PricingModel.ON_DEMAND): 50.0,
            ("p5.48xlarge", PricingModel.SAVINGS_PLAN): 40.0,
            ("g5.12xlarge", PricingModel.RESERVED): 3.5,
            ("g6e.12xlarge", PricingModel.SPOT): 4.0,
        }
    )
    spot = next(offer for offer in found.offers if offer.pricing_model is PricingModel.SPOT)
    assert spot.interruptions_per_month is not None
    assert any("q9.huge" in note for note in found.notes)


def test_running_commitments_are_held(found: BillTerms) -> None:
    (held,) = found.reserved
    assert (held.held, held.max_machines, held.usd_per_hour) == (2, 0, pytest.approx(3.5))
    (plan,) = found.savings_plans
    assert plan.held_usd_per_hour == pytest.approx(40.0)
    assert plan.max_usd_per_hour == 0
    assert (plan.term, plan.payment) == ("1y", "no_upfront")
    machines = {machine_key(offer) for offer in found.offers}
    assert {held.machine, *plan.usd_per_hour} <= machines


def test_bill_replaces_list_prices(found: BillTerms) -> None:
    catalog = facts.load(())
    planned = found.in_catalog(catalog)
    here = planned.select_offers("h100", "aws", "us-east-1", PricingModel.ON_DEMAND)
    assert [offer.usd_per_hour for offer in here if offer.instance == "p5.48xlarge"] == pytest.approx([50.0])
    assert len(planned.offers) > len(catalog.offers) - len(found.offers)


def test_catalog_file_replaces_list_prices(found: BillTerms, tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    path.write_text(to_catalog_file(found.offers))
    catalog = facts.load((path,))
    assert {offer for offer in catalog.offers if offer.source.startswith("bill ")} == set(found.offers)
    here = catalog.select_offers("h100", "aws", "us-east-1", PricingModel.ON_DEMAND)
    assert [offer.usd_per_hour for offer in here if offer.instance == "p5.48xlarge"] == pytest.approx([50.0])


def test_have_file_round_trip(found: BillTerms, tmp_path: Path) -> None:
    rates, held = tmp_path / "rates.csv", tmp_path / "held.toml"
    rates.write_text(to_catalog_file(found.offers))
    held.write_text(to_have_file(found))
    have = read_holdings(held, facts.load((rates,)))
    assert [(reserved.machine, reserved.held, reserved.kind) for reserved in have.reserved] == [
        (reserved.machine, reserved.held, reserved.kind) for reserved in found.reserved
    ]
    (plan,), (own,) = have.savings_plans, found.savings_plans
    assert plan.held_usd_per_hour == pytest.approx(own.held_usd_per_hour)
    assert plan.usd_per_hour == pytest.approx(dict(own.usd_per_hour))


def test_bill_without_machines_has_no_terms(tmp_path: Path) -> None:
    row = line("Usage", 0, 5.0, line_item_product_code="AmazonBedrock", line_item_usage_type="x-input-tokens")
    none = read_terms(bills.read(write(tmp_path / "bill.csv", [row])), facts.load(()))
    assert (none.offers, none.reserved, none.savings_plans) == ((), (), ())
    assert none.notes


@pytest.mark.parametrize(("fee_hours", "machines"), [(HOURS, 1), (3 * HOURS // 2 + 2, 2), (3 * HOURS // 2 - 2, 1)])
def test_reserved_machines_are_rounded(tmp_path: Path, fee_hours: int, machines: int) -> None:
    """A reservation's cost over its rate and the hours of the bill is its number of machines."""
    rows = reservation(range(HOURS), fee_hours, instance="g5.12xlarge", rate=3.5, listed=5.672)
    terms = read_terms(bills.read(write(tmp_path / "bill.csv", rows)), facts.load(()))
    assert [reserved.held for reserved in terms.reserved] == [machines]


def test_never_used_reservation_has_no_rate(tmp_path: Path) -> None:
    rows = chain(machine([0, 1]), reservation([], 2, instance="g5.12xlarge", rate=3.5, listed=5.672))
    terms = read_terms(bills.read(write(tmp_path / "bill.csv", rows)), facts.load(()))
    assert terms.reserved == ()


def test_own_price_is_after_discounts(tmp_path: Path) -> None:
    """Ten hours at 50, less a discount of 100 on a separate line, cost 40 an hour."""
    discount = line("EdpDiscount", 0, -100.0, line_item_usage_type="BoxUsage:p5.48xlarge")
    rows = [*machine(range(10), usd=50.0), discount]
    (offer,) = read_terms(bills.read(write(tmp_path / "bill.csv", rows)), facts.load(())).offers
    assert (offer.usd_per_hour, offer.pricing_model) == (pytest.approx(40.0), PricingModel.ON_DEMAND)
    assert (offer.hardware, offer.gpus, offer.as_of) == ("h100", 8, "2026-10-05")
