"""The reasons given for the cost of a plan."""

from types import SimpleNamespace
from typing import cast

import pytest
from msgspec import structs
from tests.samples import fleets
from tests.samples.plan import week
from tests.samples.planning import on_demand, reserved, small

from meritorder.domain import Tier
from meritorder.offers import TokenPrice
from meritorder.records.planfile import Commitment, PlanOutcome
from meritorder.records.planproof import InHindsight
from meritorder.study.plan import explain
from meritorder.study.schedule.options import PlanOptions
from meritorder.traces import Trace


def price(provider: str, usd_per_mtok: float, tier: Tier = Tier.STANDARD) -> TokenPrice:
    return TokenPrice(
        provider=provider,
        model="m",
        provider_model="m",
        tier=tier,
        input_usd_per_mtok=usd_per_mtok,
        cached_usd_per_mtok=usd_per_mtok,
        output_usd_per_mtok=usd_per_mtok,
        as_of="2026-01-01",
        source="by hand",
    )


def test_waterfall_adds_up_to_the_plan() -> None:
    problem = small([0.5, 1.4], [0.5, 0], 2, payments=(on_demand(), reserved()))
    parts = explain.waterfall(problem, 100.0, 60.0)
    assert sum(part.usd for part in parts) == pytest.approx(-40.0)
    assert parts[-1].cause == "whole machines, start-ups and tails"


def test_cost_by_pricing_model_adds_up() -> None:
    plan = week()
    assert plan.simulated is not None
    usd = explain.usd_by_pricing_model(plan.schedule, plan.commitments, plan.simulated)
    paid = sum(plan.simulated.usd_by_pool.values()) + plan.simulated.tokens_usd
    assert sum(usd.values()) == pytest.approx(paid + sum(bought.usd for bought in plan.commitments))
    assert usd["tokens"] == plan.simulated.tokens_usd


def test_tokens_come_from_the_cheapest_provider() -> None:
    load = fleets.load([0.0, 1.0], input_tokens=300_000, output_tokens=200_000)
    prices = {"m": [price("a", 2.0), price("b", 1.0), price("a", 3.0, Tier.BATCH)], "n": [price("a", 2.0)]}
    assert explain.tokens_usd({"m": load}, prices) == {"batch": 3.0, "standard": 1.0}
    both = explain.tokens_usd({"m": load, "n": load}, prices)
    assert both == {"standard": 3.0}, "no provider sells every model in batch"


def test_sentence_claims_no_saving_without_one() -> None:
    def sentence(baseline_usd: float) -> str:
        hindsight = InHindsight(
            baseline_usd=baseline_usd,
            total_usd=110.0,
            bound_usd=100.0,
            hard_bound_usd=50.0,
            gap=0.1,
            saving_usd=baseline_usd - 110.0,
            saving_share=1 - 110.0 / baseline_usd,
        )
        policy = PlanOutcome(total_usd=110.0, slo_attainment=1.0, deadlines_missed=0)
        return explain.sentence(5, hindsight, policy)

    assert "saves" not in sentence(100.0)
    assert "costs less than $100.00, even with hindsight: this plan is within 10.0 % of it." in sentence(100.0)
    assert "saves 45 %" in sentence(200.0)


def test_plan_below_the_bound_is_outside_its_family() -> None:
    hindsight = InHindsight(
        baseline_usd=200.0,
        total_usd=90.0,
        bound_usd=100.0,
        hard_bound_usd=50.0,
        gap=-0.1,
        saving_usd=110.0,
        saving_share=0.55,
    )
    policy = PlanOutcome(total_usd=90.0, slo_attainment=1.0, deadlines_missed=0)
    text = explain.sentence(5, hindsight, policy)
    assert "this plan costs less, so it lies outside that family" in text


def test_only_tokens_for_real_time_need_asking() -> None:
    trace = cast("Trace", SimpleNamespace(report=SimpleNamespace(bad_rows=0, rows=9, aside_lines=[])))
    costs = {"batch": 1.0, "standard": 3.0}
    both = week().workloads
    assert {workload.lane for workload in both} == {"realtime", "deferrable"}
    (text,) = explain.warnings(trace, both, PlanOptions(), tokens_usd=costs, total_usd=5.0, backtest=[])
    assert "--tokens standard" in text
    waiting = [workload for workload in both if workload.lane == "deferrable"]
    assert not explain.warnings(trace, waiting, PlanOptions(), tokens_usd=costs, total_usd=5.0, backtest=[])


def test_warnings_name_cheaper_tokens_and_deferral() -> None:
    trace = cast("Trace", SimpleNamespace(report=SimpleNamespace(bad_rows=2, rows=9, aside_lines=[])))
    texts = explain.warnings(
        trace,
        [],
        PlanOptions(backtest=0.5, tiers=()),
        tokens_usd={"batch": 3.0, "standard": 9.0},
        total_usd=5.0,
        backtest=[],
    )
    assert [text.split()[0] for text in texts] == ["2", "no", "there", "bought"]
    assert "--tokens batch" in texts[-1]
    assert not explain.warnings(
        cast("Trace", SimpleNamespace(report=SimpleNamespace(bad_rows=0, rows=9, aside_lines=[]))),
        week().workloads,
        PlanOptions(),
        tokens_usd={"batch": 6.0},
        total_usd=5.0,
        backtest=[],
    )


def test_commitment_on_short_trace_warned() -> None:
    """An hour of requests, and $15 an hour for a year: $131,400."""
    commitment = Commitment(
        name="acme",
        pricing_model="reserved",
        term="1y",
        payment="no_upfront",
        amount=1,
        have=0,
        usd_per_hour=15.0,
        usd=15.0,
        used_share=1.0,
        owed_usd=131_400.0,
    )
    (text,) = explain.commitment_warnings(3600.0, [commitment])
    assert text.startswith("60 min of requests cannot tell whether commitments of $131,400 in all are used")
    assert explain.commitment_warnings(14 * 86_400.0, [commitment]) == []
    assert explain.commitment_warnings(3600.0, [structs.replace(commitment, amount=0)]) == []
