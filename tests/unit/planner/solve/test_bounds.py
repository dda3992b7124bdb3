"""Lower bounds against plans whose cost is known."""

import numpy as np
import pytest
from tests.samples.planning import deferrable, hours, on_demand, pool, reserved, small

from meritorder.planner.model.constraints import formulate
from meritorder.planner.model.problem import Problem
from meritorder.planner.solve.bounds import hard_bound_usd, lagrangian_bound, relaxed_usd
from meritorder.planner.solve.highs import solve
from meritorder.planner.solve.search import Effort, find_plan

EXACT = Effort(gap=1e-9, time_limit_s=20)


def test_hard_bound_assumes_saturated_machines() -> None:
    """A plan of machines that may be three quarters full pays for a third more; physics asks for no more."""
    full, careful = (
        Problem(
            horizon=hours(2),
            workloads=(deferrable([3.0, 0], 1),),
            pools=(pool(max_utilization=share, safe=[0.0]),),
            payments=(on_demand(),),
        )
        for share in (1.0, 0.75)
    )
    assert find_plan(full, EXACT).hard_bound_usd == pytest.approx(30)
    plan = find_plan(careful, EXACT)
    assert plan.usd == pytest.approx(40)
    assert plan.hard_bound_usd == pytest.approx(30)


def test_hard_bound_subtracts_sunk_capacity() -> None:
    """Three machine-hours at $10, of which a held machine could save two at that price."""
    problem = small([0.0, 0.0], [3.0, 0.0], 2, payments=(on_demand(), reserved(held=1, max_machines=0)))
    assert hard_bound_usd(problem) == pytest.approx(10)


def test_lagrangian_bound_between_relaxation_and_plan() -> None:
    load = 0.4 + np.abs(np.sin(np.arange(24) / 4))
    problem = small(load.tolist(), (load / 3).tolist(), 4, pools=(pool(startup_paid_s=900.0),))
    formulation = formulate(problem)
    relaxed = solve(formulation.model, integer=False)
    assert relaxed_usd(problem) == pytest.approx(relaxed.usd)
    bound_usd, _ = lagrangian_bound(formulation, relaxed.row_duals, time_limit_s=20)
    best = find_plan(problem, Effort(gap=1e-3, time_limit_s=20))
    assert relaxed.usd - 1e-6 <= bound_usd <= best.usd + 1e-6
