"""Commitments against the provider's documented rules, the newsvendor's rule, and another library."""

import dataclasses

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.oracle.billing import bill_hour
from tests.samples.planning import HOUR, hours, on_demand, pool, realtime, reserved

from meritorder.planner.model.demand import Horizon, RealtimeDemand
from meritorder.planner.model.problem import Problem
from meritorder.planner.model.supply import MachinePool, OnDemand, SavingsPlan
from meritorder.planner.solve.highs import Effort
from meritorder.planner.solve.search import find_plan
from meritorder.policy.commitments import machines_to_commit

EXACT = Effort(gap=1e-9, time_limit_s=30)


def use_of(machines: dict[str, float], prices: dict[str, float], plan: SavingsPlan, slots: int = 1) -> Problem:
    """A problem in which each machine has a model of its own, so that its use is what it is."""
    return Problem(
        horizon=hours(slots),
        workloads=tuple(
            RealtimeDemand(name=name, model=name, work_s={"h100": np.full(slots, count * HOUR)})
            for name, count in machines.items()
        ),
        pools=tuple(
            MachinePool(
                name=name,
                model=name,
                replica="h100",
                machine=name,
                provider="aws",
                region="here",
                hardware="h100",
                gpus=1,
                safe_load=np.arange(40.0),
                startup_paid_s=0.0,
            )
            for name in machines
        ),
        payments=tuple(OnDemand(name=name, machine=name, usd_per_hour=prices[name]) for name in machines),
        savings_plans=(plan,),
    )


def test_highest_saving_covered_first() -> None:
    """AWS's rule by hand: use is covered in the order of the saving in per cent, until the commitment is spent.

    One hour of 2 x p5 (list 100, rate 60: 40 %), 3 x p4 (list 40, rate 28: 30 %) and 4 x g6 (list 10, rate 8: 20 %),
    and $150 committed: p5 takes 120 of it; the 30 left cover 30 / 28 = 1.0714 p4; g6 gets none.
    On demand remain 1.9286 x 40 + 4 x 10 = 117.14; the bill is 150 + 117.14 = 267.14.

    Source: the order of https://docs.aws.amazon.com/savingsplans/latest/userguide/sp-applying.html, 2025; own numbers.
    """
    use, prices = {"p5": 2, "p4": 3, "g6": 4}, {"p5": 100.0, "p4": 40.0, "g6": 10.0}
    plan = SavingsPlan(
        name="sp", usd_per_hour={"p5": 60.0, "p4": 28.0, "g6": 8.0}, held_usd_per_hour=150.0, max_usd_per_hour=0.0
    )
    bill = bill_hour(use, prices, [(plan, 150.0)])
    assert bill.total_usd == pytest.approx(267.142857)
    assert bill.covered_hours["sp", "p5"] == pytest.approx(2)
    assert bill.covered_hours["sp", "p4"] == pytest.approx(30 / 28)
    found = find_plan(use_of(use, prices, plan), EXACT)
    assert found.usd + 150.0 == pytest.approx(267.142857)


def test_unused_commitment_is_lost() -> None:
    """$50 committed in each of two hours: 1 x p5 at 40 takes 40 of the first; the second, idle, loses all."""
    plan = SavingsPlan(name="sp", usd_per_hour={"p5": 40.0}, held_usd_per_hour=50.0, max_usd_per_hour=0.0)
    busy = bill_hour({"p5": 1}, {"p5": 100.0}, [(plan, 50.0)])
    assert (busy.total_usd, busy.unused_usd) == (pytest.approx(50.0), pytest.approx(10.0))
    idle = bill_hour({}, {"p5": 100.0}, [(plan, 50.0)])
    assert (idle.total_usd, idle.unused_usd) == (pytest.approx(50.0), pytest.approx(50.0))
    problem = use_of({"p5": 1}, {"p5": 100.0}, plan, slots=2)
    second_idle = dataclasses.replace(
        problem, workloads=(dataclasses.replace(problem.workloads[0], work_s={"h100": np.array([2.0, 0.0]) * HOUR}),)
    )
    # Two machines in the first hour: 50 / 40 = 1.25 are covered, 0.75 cost 75; nothing carries over to the second.
    assert find_plan(second_idle, EXACT).usd == pytest.approx(75.0)


def test_reserved_then_narrow_then_wide_plans() -> None:
    narrow = SavingsPlan(name="ec2", usd_per_hour={"p5": 50.0})
    wide = SavingsPlan(name="compute", usd_per_hour={"p5": 70.0, "p4": 28.0})
    prices = {"p5": 100.0, "p4": 40.0}
    bill = bill_hour({"p5": 3, "p4": 1}, prices, [(wide, 35.0), (narrow, 50.0)], {"p5": 1})
    assert bill.covered_hours["ec2", "p5"] == pytest.approx(1)
    # 30 % on either: the tie goes to the lowest rate.
    assert bill.covered_hours["compute", "p4"] == pytest.approx(1)
    assert bill.covered_hours["compute", "p5"] == pytest.approx(7 / 70)
    assert bill.total_usd == pytest.approx(85 + 0.9 * 100)


@settings(max_examples=30, deadline=None)
@given(
    use=st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)),
    shares=st.tuples(st.floats(0.3, 0.95), st.floats(0.3, 0.95), st.floats(0.3, 0.95)),
    dollars=st.floats(0, 300),
)
def test_program_applies_plans_as_providers_do(use: tuple[int, ...], shares: tuple[float, ...], dollars: float) -> None:
    prices = {"a": 98.0, "b": 40.0, "c": 10.0}
    counts = dict(zip(prices, use, strict=True))
    rates = {name: prices[name] * share for name, share in zip(prices, shares, strict=True)}
    plan = SavingsPlan(name="sp", usd_per_hour=rates, held_usd_per_hour=dollars, max_usd_per_hour=0.0)
    bill = bill_hour(counts, prices, [(plan, dollars)])
    assert find_plan(use_of(counts, prices, plan), EXACT).usd == pytest.approx(bill.on_demand_usd, abs=1e-5)


def commit(use: np.ndarray, committed: float) -> float:
    """Return what the program commits to for use that cannot be deferred."""
    problem = Problem(
        horizon=hours(len(use)),
        workloads=(realtime(use.astype(float)),),
        pools=(pool(safe=list(range(30))),),
        payments=(on_demand(10.0), reserved(committed)),
    )
    bought = [purchase.amount for purchase in find_plan(problem, EXACT).purchases]
    return bought[0] if bought else 0.0


@settings(max_examples=25, deadline=None)
@given(use=st.lists(st.integers(0, 9), min_size=3, max_size=24), committed=st.floats(2.03, 9.87))
@example(use=[0, 0, 0, 3, 2], committed=4.0)  # two of five slots at 4 of 10 dollars: both answers cost the same
def test_program_follows_break_even_rule(use: list[int], committed: float) -> None:
    levels = np.array(use, float)

    def cost_usd(machines: float) -> float:
        return committed * machines * levels.size + 10.0 * np.maximum(levels - machines, 0.0).sum()

    by_rule = machines_to_commit(levels, committed, 10.0)
    assert cost_usd(commit(levels, committed)) == pytest.approx(cost_usd(by_rule))
    assert cost_usd(by_rule) == pytest.approx(min(cost_usd(machines) for machines in range(10)))


def test_break_even_rule_over_scenarios() -> None:
    """Two weeks of four hours, the second less likely: levels are weighed by probability."""
    horizon = Horizon(slot_s=HOUR, slots=4, scenarios=2, probabilities=(0.75, 0.25))
    use = np.array([2.0, 2.0, 2.0, 2.0, 5.0, 5.0, 5.0, 5.0])
    problem = Problem(
        horizon=horizon,
        workloads=(realtime(use),),
        pools=(pool(safe=list(range(30))),),
        payments=(on_demand(10.0), reserved(3.0)),
    )
    # Levels 3 to 5 are used with probability 1/4, below 3 / 10.
    assert find_plan(problem, EXACT).purchases[0].amount == 2
    cheaper = dataclasses.replace(problem, payments=(on_demand(10.0), reserved(2.0)))
    assert find_plan(cheaper, EXACT).purchases[0].amount == 5


@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_break_even_rule_equals_finoptim() -> None:
    finoptim = pytest.importorskip("finoptim")
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(5)
    use = np.round(6 + 3 * np.sin(np.arange(24 * 14) / 24 * 2 * np.pi) + rng.normal(0, 1, 24 * 14)).clip(0)
    index = pandas.date_range("2026-01-01", periods=len(use), freq="h")
    result = finoptim.optimise(
        pandas.DataFrame({"p5": use}, index=index),
        pandas.DataFrame({"p5": [10.0, 8.0, 6.1]}, index=["OD", "SP1Y", "RI1Y"]),
        period="H",
    )
    theirs = float(result.optimal_arangment.loc["p5", "one_year_commitments"])
    ours = machines_to_commit(use, 6.1, 10.0)
    assert commit(use, 6.1) == ours
    assert theirs == pytest.approx(ours, abs=0.05)
