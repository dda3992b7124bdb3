"""Decisions and costs read from a solution."""

import pytest
from tests.samples.planning import on_demand, pool, small

from meritorder.planner.model.supply import SavingsPlan
from meritorder.planner.solve.highs import Effort
from meritorder.planner.solve.search import find_plan
from meritorder.planner.solve.solution import realtime_load

EXACT = Effort(gap=1e-9, time_limit_s=20)


def test_savings_plan_discount_is_shown() -> None:
    """At $6 for a $10 machine, a plan pays off for the machine used in both hours, not for the one used in one."""
    plan = SavingsPlan(name="sp", usd_per_hour={"aws-h100": 6.0})
    solution = find_plan(small([0.5, 1.4], [0.0, 0.0], 1, savings_plans=(plan,)), EXACT)
    assert solution.usd == pytest.approx(22)
    (scheduled,) = solution.schedules
    assert (scheduled.usd, scheduled.saved_usd) == (pytest.approx(10), pytest.approx(20))
    (bought,) = solution.purchases
    assert (bought.amount, bought.usd, bought.used_share) == (pytest.approx(6), pytest.approx(12), pytest.approx(1))


def test_schedule_costs_include_starts() -> None:
    solution = find_plan(small([0.5, 0.0], [0.0, 0.0], 1, pools=(pool(startup_paid_s=900.0),)), EXACT)
    assert solution.schedules[0].usd == pytest.approx(12.5)


def test_load_and_lanes_of_a_pool() -> None:
    solution = find_plan(small([0.5, 0.4], [0.2, 0.0], 2, payments=(on_demand(),)), EXACT)
    assert realtime_load(solution, "aws-h100").tolist() == pytest.approx([0.5, 0.4])
    assert (solution.schedules[0].realtime, solution.schedules[0].deferrable) == (True, True)
    assert sum(routing.flow.sum() for routing in solution.routing if routing.workload == "batch") == pytest.approx(720)
