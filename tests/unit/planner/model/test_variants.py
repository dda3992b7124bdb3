"""One problem in another form."""

import dataclasses

import numpy as np
import pytest
from tests.samples.planning import deferrable, on_demand, pool, realtime, steady, with_commitment

from meritorder.planner.commitments import hold_purchases
from meritorder.planner.model.demand import DeferrableDemand, Horizon
from meritorder.planner.model.problem import Problem
from meritorder.planner.model.variants import aggregate_to_hours, slice_slots
from meritorder.planner.solve.highs import Effort
from meritorder.planner.solve.search import find_plan

EXACT = Effort(gap=1e-9, time_limit_s=20)


def test_slice_finishes_its_own_work() -> None:
    whole = dataclasses.replace(with_commitment(np.arange(10.0)), workloads=(deferrable(np.arange(10.0), 4),))
    part = slice_slots(whole, 3, 5)
    demand = part.workloads[0]
    assert isinstance(demand, DeferrableDemand)
    assert demand.volume_s.tolist() == [3600.0 * n for n in range(3, 8)]
    assert demand.due.tolist() == [3, 4, 4, 4, 4]
    assert part.horizon.slots == 5


def test_held_purchases_are_sunk() -> None:
    plan = find_plan(steady(), EXACT)
    again = find_plan(hold_purchases(plan.problem, plan.purchases), EXACT)
    assert again.usd == 0
    doubled = dataclasses.replace(again.problem, workloads=(realtime([3.0, 3.0, 3.0, 3.0]),))
    assert find_plan(doubled, EXACT).usd == pytest.approx(40)


def test_hours_sum_work_and_average_limits() -> None:
    """Four quarters with 1, 0, 0 and 1 machines' work and headroom of 1, 1, 0.5 and 0.5, due in the second hour."""
    horizon = Horizon(slot_s=900.0, slots=8)
    work = np.array([1.0, 0, 0, 1.0, 2.0, 0, 0, 0]) * 900.0
    demand = dataclasses.replace(deferrable([], 1), work_s={"h100": work}, due=np.arange(8) + 4)
    headroom = np.array([1.0, 1.0, 0.5, 0.5] * 2)
    quarters = Problem(horizon=horizon, workloads=(demand,), pools=(pool(headroom=headroom),), payments=(on_demand(),))
    hourly = aggregate_to_hours(quarters)
    assert hourly is not None
    (summed,) = hourly.workloads
    assert isinstance(summed, DeferrableDemand)
    assert summed.volume_s.tolist() == [1800.0, 1800.0]
    # The first quarter's work is due by 1:15, so that of the first hour by 1:00.
    assert summed.due.tolist() == [0, 1]
    assert hourly.pools[0].headroom.tolist() == [0.75, 0.75]
    assert aggregate_to_hours(hourly) is None
