"""Windows of a horizon, and solutions rounded within them."""

import numpy as np
import pytest
from tests.samples.planning import hours, on_demand, pool, realtime, small

from meritorder.planner.model.constraints import formulate
from meritorder.planner.model.problem import Problem
from meritorder.planner.solve.highs import solve
from meritorder.planner.solve.rounding import round_by_windows, usable_columns, windows


@pytest.mark.parametrize("shifted", [False, True])
def test_windows_partition_every_scenario(shifted: bool) -> None:  # noqa: FBT001
    problem = Problem(
        horizon=hours(150, scenarios=2),
        workloads=(realtime([0.5] * 300),),
        pools=(pool(),),
        payments=(on_demand(),),
    )
    formulation = formulate(problem)
    masks = list(windows(formulation, np.ones(len(formulation.model.cost), np.bool_), shifted=shifted))
    assert np.sum(masks, axis=0).tolist() == [1] * 300
    assert not any(mask[:150].any() and mask[150:].any() for mask in masks)


def test_unused_rented_machines_are_left_out() -> None:
    formulation = formulate(small([0.5, 0.5], [0.0, 0.0], 1))
    unused = usable_columns(formulation, np.zeros(len(formulation.model.cost)))
    assert not unused[formulation.variables.machines[0]].any()
    assert unused[formulation.variables.flow[0]].all()


def test_rounding_finds_whole_machines() -> None:
    """Loads of 0.5, 1.4 and 1.5 take one, two and three machines at $10."""
    formulation = formulate(small([0.5, 1.4, 1.5], [0.0, 0.0, 0.0], 1))
    relaxed = solve(formulation.model, integer=False)
    values, _ = round_by_windows(formulation, relaxed, time_limit_s=20, target_usd=0.0)
    assert values is not None
    assert values[formulation.variables.machines[0]].tolist() == [1, 2, 3]
