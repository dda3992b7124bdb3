"""Commitments to make and commitments that are unused."""

from dataclasses import replace
from itertools import chain

import pytest
from tests.samples import audits as samples
from tests.samples.audits import OFFER
from tests.samples.charges import line, machine, reservation
from tests.unit.study.audit.conftest import MONTH, WEEKS, Audited, kinds, only

from meritorder.domain import PricingModel
from meritorder.offers import Offer
from meritorder.study.audit.ledger import UnusedCommitment
from meritorder.study.audit.market import MachinePrice
from meritorder.study.audit.steps.commitments import (
    _advice,
    _family,
    _short,
    find_commitments_to_make,
    find_unused_commitments,
)
from meritorder.units import format_usd


def test_machine_that_always_runs(audited: Audited) -> None:
    # The catalog's price of a year's reservation of g6e.12xlarge is below its on-demand price of 10.49264.
    answer = audited(machine(MONTH, instance="g6e.12xlarge", usd=10.49264, tags={"service": "chat"}))
    found = only(answer, "commitment_for_on_demand")
    price = next(price for price in answer.prices if price.pricing_model == "reserved")
    assert found.usd == pytest.approx(WEEKS * (10.49264 - price.usd))
    assert "chat" in found.evidence
    assert "meritorder audit bill.csv --rates rates.csv --held held.toml" in found.fix


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


def reserved(usd_per_hour: float) -> Offer:
    return replace(OFFER, pricing_model=PricingModel.RESERVED, term="1y", usd_per_hour=usd_per_hour)


def plan(usd_per_hour: float) -> Offer:
    return replace(OFFER, pricing_model=PricingModel.SAVINGS_PLAN, term="1y", usd_per_hour=usd_per_hour)


def test_whole_machines_above_break_even() -> None:
    """At 6 of 10, the first machine, used in 3 of 4 hours, pays: 4 x 6 + 2 x 10 instead of 5 x 10."""
    paid = samples.ledger(samples.pool([2.0, 2.0, 1.0, 0.0]))
    left, (finding,) = find_commitments_to_make(paid, samples.context(reserved(6.0)))
    assert finding.usd == pytest.approx(50 - 44)
    assert left.pools[0].usd == pytest.approx(44)
    assert finding.title.startswith("1 x p5.48xlarge")


def test_savings_plan_of_any_size() -> None:
    """At 6 of 10 the plan is sized at the 40th percentile of use, 1: 4 x 6 + 10 x (1 + 1) instead of 50."""
    paid = samples.ledger(samples.pool([0.0, 1.0, 2.0, 2.0]))
    _, (finding,) = find_commitments_to_make(paid, samples.context(plan(6.0)))
    assert finding.usd == pytest.approx(50 - (4 * 6 + 2 * 10))
    assert "$6.00 an hour" in finding.fix


def test_free_commitment_is_no_price() -> None:
    """A price of zero means that the bill or the catalog states none; no saving can be derived from it."""
    price = MachinePrice(usd_per_hour=0.0, source="list", confidence="high", own=False, by_the_dollar=True)
    assert _advice(samples.pool([1.0] * 4), price).usd == 0.0


def test_better_of_two_commitments() -> None:
    paid = samples.ledger(samples.pool([1.0] * 4))
    _, (finding,) = find_commitments_to_make(paid, samples.context(reserved(7.0), plan(6.0)))
    assert finding.usd == pytest.approx(4 * 4)
    assert "savings plan" in finding.title


@pytest.mark.parametrize("usd_per_hour", [10.0, 11.0])
def test_commitment_at_the_price_saves_nothing(usd_per_hour: float) -> None:
    paid = samples.ledger(samples.pool([1.0] * 4))
    assert find_commitments_to_make(paid, samples.context(reserved(usd_per_hour))) == (paid, [])


def test_machines_on_spot_need_no_commitment() -> None:
    paid = samples.ledger(samples.pool([1.0] * 4, on_spot=True))
    assert find_commitments_to_make(paid, samples.context(reserved(6.0))) == (paid, [])


def test_monthly_bill_shows_no_hours() -> None:
    paid = samples.ledger(samples.pool([1.0] * 48), step_h=48.0)
    assert find_commitments_to_make(paid, samples.context(reserved(6.0))) == (paid, [])


@pytest.mark.parametrize(
    ("hours", "step_h", "months", "confidence"),
    [
        (168, 1.0, 3.0, "high"),
        (168, 1.0, 2.0, "medium"),
        (167, 1.0, 3.0, "low"),
        (168, 24.0, 3.0, "low"),
    ],
)
def test_longer_bills_are_more_certain(hours: int, step_h: float, months: float, confidence: str) -> None:
    paid = samples.ledger(samples.pool([1.0] * hours), step_h=step_h, months=months)
    _, (finding,) = find_commitments_to_make(paid, samples.context(reserved(6.0)))
    assert finding.confidence == confidence


def unused(**more: object) -> UnusedCommitment:
    commitment = UnusedCommitment(
        provider="aws",
        commitment="arn/sp-1",
        purchase="savings_plan",
        usd=30.0,
        used_usd=70.0,
        list_usd=120.0,
        instances=("p5.48xlarge",),
        regions=("us-east-1",),
        bound=False,
    )
    return replace(commitment, **more)  # type: ignore[arg-type]


def test_unused_part_and_net_saving() -> None:
    """70 of 100 was used, for what costs 120 on demand: 20 saved."""
    left, (finding,) = find_unused_commitments(samples.ledger(unused=[unused()]), samples.context())
    assert left.unused == ()
    assert (finding.kind, finding.usd, finding.confidence) == ("unused_commitment", 30.0, "high")
    assert "70 % of $100.00 was used; against on demand it saved $20.00 in total" in finding.evidence


@pytest.mark.parametrize(
    ("list_usd", "text"),
    [
        (100.0, "saved $0 in total"),
        (90.0, "lost $10.00 in total"),
        (0.0, "it covered nothing"),
        (0.5, "lost $99.50"),
        (100.5, "saved $0.50"),
    ],
)
def test_commitment_may_lose_money(list_usd: float, text: str) -> None:
    _, (finding,) = find_unused_commitments(samples.ledger(unused=[unused(list_usd=list_usd)]), samples.context())
    assert text in finding.evidence


def test_less_than_a_cent_stays_unused() -> None:
    paid = samples.ledger(unused=[unused(usd=0.009)])
    assert find_unused_commitments(paid, samples.context()) == (paid, [])


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({}, "commitment_wrong_family"),
        ({"instances": ("g5.48xlarge",)}, "unused_commitment"),
        ({"instances": ()}, "unused_commitment"),
        ({"regions": ("eu-west-1",)}, "unused_commitment"),
        ({"regions": ()}, "commitment_wrong_family"),
        ({"provider": "gcp"}, "unused_commitment"),
        ({"usd": 40.5}, "unused_commitment"),
        ({"usd": 40.0}, "commitment_wrong_family"),
        ({"bound": False}, "unused_commitment"),
    ],
)
def test_wrong_family_if_others_cost_more(change: dict[str, object], kind: str) -> None:
    """40 was paid on demand for g5 machines in us-east-1, which a commitment to p5 does not cover."""
    machine = replace(samples.MACHINE, instance="g5.2xlarge")
    commitment = unused(**({"bound": True, "purchase": "reserved"} | change))
    paid = samples.ledger(samples.pool([4.0], machine=machine), unused=[commitment])
    _, (finding,) = find_unused_commitments(paid, samples.context())
    assert finding.kind == kind


@pytest.mark.parametrize(
    ("instance", "family"),
    [
        ("ml.p5.48xlarge", "p5"),
        ("a3-highgpu-8g", "a3"),
        ("Standard_ND96isr_H100_v5", "standard_nd"),
        ("g6e.12xlarge", "g6e"),
    ],
)
def test_family_of_instance(instance: str, family: str) -> None:
    assert _family(instance) == family


def test_commitment_after_skipped_pool() -> None:
    """The first pool has no price of a commitment; two machines of the other cost 12 an hour instead of 20."""
    other = samples.pool([2.0] * 4, machine=replace(samples.MACHINE, region="eu-west-1"))
    left, (finding,) = find_commitments_to_make(
        samples.ledger(other, samples.pool([2.0] * 4)), samples.context(reserved(6.0))
    )
    assert finding.usd == pytest.approx(4 * 8.0)
    assert [pool.usd for pool in left.pools] == pytest.approx([80.0, 48.0])
    assert finding.fix.startswith("commit to 2 x p5.48xlarge, $12.00 an hour for a year")


def test_evidence_of_a_commitment() -> None:
    """A machine that ran in three of four hours pays at 60 % of the price."""
    context = samples.context(reserved(6.0))
    _, (finding,) = find_commitments_to_make(samples.ledger(samples.pool([2.0, 2.0, 1.0, 0.0])), context)
    assert "pays off if used in more than 60 % of the hours; 1 or more ran in 75 % of 4" in finding.evidence
    assert "steps of" not in finding.evidence
    _, (daily,) = find_commitments_to_make(samples.ledger(samples.pool([1.0] * 4), step_h=24.0), context)
    assert daily.evidence.endswith("the bill has steps of 24 hours, usage within them is not known")


def test_unused_after_a_cent() -> None:
    small = unused(usd=0.009, commitment="small")
    left, (finding,) = find_unused_commitments(samples.ledger(unused=[small, unused()]), samples.context())
    assert left.unused == (small,)
    assert finding.title == "savings plan sp-1 is not fully used"


@pytest.mark.parametrize(("name", "short"), [("arn:1/x/sp-1", "sp-1"), ("plain", "plain"), ("a/", "a/")])
def test_short_name_is_the_last_part(name: str, short: str) -> None:
    assert _short(name) == short
