"""The dispatch of a plan worked out by hand: a machine of eight GPUs at $10 an hour."""

import dataclasses

import numpy as np
import pytest
from tests.samples.planning import HOUR, small

from meritorder.planner.dispatch import dispatch, merit_order
from meritorder.planner.model.problem import Problem
from meritorder.planner.solve.highs import Effort
from meritorder.planner.solve.search import find_plan

EXACT = Effort(gap=1e-9, time_limit_s=20)


def problem() -> Problem:
    """Half a machine of real time in two hours, beside it half a machine of work that waits for the second hour."""
    plain = small([0.5, 0.5], [1.0, 0.0], 2)
    tokens = [np.array([0.5, 0.5]) * HOUR * 1000, np.array([1.0, 0.0]) * HOUR * 1000]
    workloads = tuple(
        dataclasses.replace(demand, tokens=amount) for demand, amount in zip(plain.workloads, tokens, strict=True)
    )
    return dataclasses.replace(plain, workloads=workloads)


def test_gpus_paid_used_and_wanted() -> None:
    dispatched = dispatch(find_plan(problem(), EXACT))
    assert dispatched.paid_gpus == {"on_demand": [8.0, 8.0]}
    assert dispatched.realtime_gpus == pytest.approx([4, 4])
    assert dispatched.deferrable_gpus == pytest.approx([4, 4])
    assert dispatched.arrived_gpus == pytest.approx([8, 0])


def test_merit_order_prices_full_machines() -> None:
    """A saturated replica serves 1,000 tokens a second, 3.6 million an hour for $10."""
    (step,) = merit_order(find_plan(problem(), EXACT))
    assert step.usd_per_mtok == pytest.approx(10 / 3.6)
    assert step.capacity_mtok == pytest.approx(7.2)
    assert step.used_share == pytest.approx(1.0)
