"""The record of a solution in the plan file."""

from types import SimpleNamespace
from typing import cast

import pytest
from tests.samples import fleets
from tests.samples.planning import on_demand, reserved, small

from meritorder.planner.solve.highs import Effort
from meritorder.planner.solve.search import find_plan
from meritorder.study.schedule.capacity import Serving
from meritorder.study.schedule.case import PlanningCase
from meritorder.study.schedule.commitments import ChosenCommitments
from meritorder.study.schedule.executable import executable_plan
from meritorder.study.schedule.supply import Site

PROBLEM = small([0.5, 1.4], [0.5, 0], 2, payments=(on_demand(), reserved()))


def case_of(commitments: ChosenCommitments | None) -> PlanningCase:
    machine = fleets.machine(fleets.load([0.0]))
    serving = SimpleNamespace(machine=machine, backfill=fleets.backfill(8, prefill_tokens=64, kv_share=0.9))
    sites = {pool.name: Site(pool=pool, serving=cast("Serving", serving), offers=()) for pool in PROBLEM.pools}
    return cast("PlanningCase", SimpleNamespace(sites=sites, commitments=commitments, several_models=False))


def test_executable_plan_follows_the_solution() -> None:
    solution = find_plan(PROBLEM, Effort(gap=1e-9))
    plan = executable_plan(solution, case_of(None), {})
    assert [row.machines for row in plan.schedule] == [row.machines.tolist() for row in solution.schedules]
    assert {route.workload: route.lane for route in plan.routes} == {"chat": "realtime", "batch": "deferrable"}
    (pool,) = plan.pools
    assert (pool.max_num_seqs, pool.backfill_seats, pool.startup_paid_s) == (32, 8, 240.0)
    assert sum(row.usd for row in plan.schedule) + plan.commitments[0].usd == pytest.approx(solution.usd)


def test_commitments_chosen_before_are_bought() -> None:
    solution = find_plan(PROBLEM, Effort(gap=1e-9))
    (bought,) = (purchase for purchase in solution.purchases if purchase.amount)
    chosen = ChosenCommitments(problem=PROBLEM, solution=solution)
    plan = executable_plan(solution, case_of(chosen), {})
    recorded = plan.commitments[0]
    assert (recorded.amount, recorded.have) == (bought.amount, bought.held - bought.amount)
    assert recorded.usd == pytest.approx(bought.amount * bought.usd_per_hour * PROBLEM.horizon.hours)
    # The whole year is owed, whatever the plan covers.
    assert recorded.owed_usd == pytest.approx(bought.amount * bought.usd_per_hour * 8760)
