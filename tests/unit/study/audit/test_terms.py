"""A bill's own prices and running commitments, for a plan."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.samples import audits as samples
from tests.samples.charges import START, Row, line, machine, reservation, savings_plan, write

from meritorder import bills
from meritorder import catalog as facts
from meritorder.domain import PricingModel
from meritorder.planner.model.supply import machine_key
from meritorder.study.audit.pools import BilledPool
from meritorder.study.audit.terms import (
    BillTerms,
    _hours,
    _paid_prices,
    _term,
    read_terms,
    to_catalog_file,
    to_have_file,
)
from meritorder.study.schedule.commitments import read_holdings

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


@pytest.mark.parametrize(
    ("sku", "description", "expected"),
    [
        ("ComputeSP:1yrNoUpfront", None, ("1y", "no_upfront")),
        (None, "Savings plan, 3 year, All Upfront", ("3y", "all_upfront")),
        ("EC2SP:p5.1-yr", "partial_upfront", ("1y", "partial_upfront")),
        ("2yr", "5 years", ("", "")),
        (None, None, ("", "")),
    ],
)
def test_term_is_read_from_texts(sku: str | None, description: str | None, expected: tuple[str, str]) -> None:
    rows = pl.DataFrame(
        {"sku": [sku], "description": [description]}, schema=dict.fromkeys(("sku", "description"), pl.String)
    )
    assert _term(rows) == expected


@pytest.mark.parametrize(("span_h", "hours"), [(10.0, 10.0), (30.0, 24.0), (0.5, 1.0)])
def test_commitment_runs_within_the_bill(span_h: float, hours: float) -> None:
    fleet = samples.ledger(samples.pool([1.0] * 24)).fleet
    assert fleet is not None
    rows = pl.DataFrame({"first": [START], "last": [START + dt.timedelta(hours=span_h)]})
    assert _hours(rows, fleet) == hours


def paid_prices(*pools: BilledPool) -> list[float]:
    fleet = samples.ledger(*pools).fleet
    assert fleet is not None
    return [usd for _, _, usd in _paid_prices(fleet)]


def test_price_is_the_mean_of_pools() -> None:
    """Ten hours at 50 and thirty at 40 cost 42.5 an hour; what cost nothing has no price."""
    pools = samples.pool([10.0], 50.0), samples.pool([30.0], 40.0, may_wait=True)
    assert paid_prices(*pools) == pytest.approx([42.5])
    free = samples.pool([1.0], 0.0, machine=replace(samples.MACHINE, instance="g5.12xlarge"))
    assert paid_prices(free, samples.pool([1.0], 0.5)) == [0.5]


def terms_of(path: Path, rows: Iterable[Row]) -> BillTerms:
    return read_terms(bills.read(write(path, rows)), facts.load(()))


def test_prices_have_six_digits(tmp_path: Path) -> None:
    """A third of a dollar, on demand, reserved and by a savings plan."""
    rows = chain(
        machine([0], usd=1 / 3),
        reservation([0], 1, instance="g5.12xlarge", rate=2 / 3, listed=5.0),
        savings_plan([0], 1, commitment=1 / 3, rate=1 / 3, listed=55.04),
    )
    terms = terms_of(tmp_path / "bill.csv", rows)
    assert {offer.usd_per_hour for offer in terms.offers} == {0.333333, 0.666667}
    assert [reserved.usd_per_hour for reserved in terms.reserved] == [0.666667]
    assert [list(plan.usd_per_hour.values()) for plan in terms.savings_plans] == [[0.333333]]
    assert all(offer.interruptions_per_month is None for offer in terms.offers)


def test_reservations_after_skipped_ones(tmp_path: Path) -> None:
    """One was never used, one is used for an eighth of its hours by another machine; the last is held."""
    rows = chain(
        reservation([], 90, instance="p4d.24xlarge", rate=3.5, listed=5.0, name="never"),
        reservation([0], 9, instance="q9.huge", rate=3.5, listed=5.0, name="unknown"),
        reservation(range(3), 4, instance="g5.12xlarge", rate=3.5, listed=5.0, name="held"),
    )
    tagged = [row | {"resource_tags": '{"workload": "inference"}'} for row in rows]
    terms = terms_of(tmp_path / "bill.csv", tagged)
    assert [(reserved.name.rsplit("/")[-1], reserved.held, reserved.kind) for reserved in terms.reserved] == [
        ("held", 1, "reserved")
    ]
    assert any("never on p4d.24xlarge" in note and "never used" in note for note in terms.notes)


def test_own_prices_replace_same_offers_only() -> None:
    """An offer of the same machine in the same place, bought the same way."""
    own = replace(samples.OFFER, usd_per_hour=7.0)
    others = [replace(samples.OFFER, **change) for change in OTHERS]
    catalog = replace(facts.load(()), offers=(samples.OFFER, *others))
    terms = BillTerms(offers=(own,), reserved=(), savings_plans=(), notes=())
    assert terms.in_catalog(catalog).offers == (own, *others)


OTHERS: list[dict[str, Any]] = [
    {"provider": "gcp"},
    {"region": "us-west-2"},
    {"instance": "p4d.24xlarge"},
    {"pricing_model": PricingModel.SPOT},
]


def test_have_file_leaves_out_unpriced_plans(found: BillTerms) -> None:
    """A plan whose machines have no price cannot be planned with; the next one is written."""
    (plan,) = found.savings_plans
    unpriced = replace(plan, name="unpriced", usd_per_hour={"aws nowhere q9.huge": 1.0})
    text = to_have_file(replace(found, savings_plans=(unpriced, plan)))
    assert "unpriced" not in text
    assert text.count("[[savings_plan]]") == 1


def test_commitments_without_cost_are_over(tmp_path: Path) -> None:
    """A plan that covers an hour for nothing is not running, nor is one that the bill does not name."""
    free = savings_plan([0], 0, commitment=0, rate=0.0, listed=55.04, name="free")
    unnamed = [
        row | {"savings_plan_savings_plan_a_r_n": None}
        for row in savings_plan([1], 0, commitment=0, rate=40.0, listed=55.04)
    ]
    assert terms_of(tmp_path / "bill.csv", [*free, *unnamed]).savings_plans == ()
