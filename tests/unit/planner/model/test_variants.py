"""One problem in another form."""

import dataclasses

import numpy as np
import pytest
from tests.samples.planning import deferrable, realtime, steady, with_commitment

from meritorder.planner.commitments import hold_purchases
from meritorder.planner.model.demand import (
    DeferrableDemand,
)
from meritorder.planner.model.variants import slice_slots
from meritorder.planner.solve.search import Effort, find_plan

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
