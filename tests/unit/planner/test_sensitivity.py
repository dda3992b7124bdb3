"""Shadow prices of patience, spot and commitments."""

import numpy as np
import pytest
from tests.samples.planning import deferrable, hours, on_demand, pool, steady

from meritorder.planner.model.problem import Problem
from meritorder.planner.model.supply import Spot
from meritorder.planner.sensitivity import analyze_sensitivity
from meritorder.planner.solve.highs import Effort
from meritorder.planner.solve.search import find_plan

EXACT = Effort(gap=1e-9, time_limit_s=20)


def test_values_of_patience_spot_commitments() -> None:
    """Work of 2 in the first hour of four; machines on demand at $10, half a machine of spot at $2."""
    spot = Spot(name="spot", machine="aws-h100", usd_per_hour=2.0, available=np.array(0.5))
    problem = Problem(
        horizon=hours(4),
        workloads=(deferrable([2.0, 0, 0, 0], 2),),
        pools=(pool(),),
        payments=(on_demand(10.0), spot),
    )
    sensitivity = analyze_sensitivity(find_plan(problem, EXACT))
    # In fractions: half a machine of spot in two hours, half a machine on demand in each; an hour more saves 0.5 x $8.
    assert sensitivity.patience_usd_per_hour["batch"] == pytest.approx(4)
    # All in its own slot: 1.5 on demand and 0.5 on spot, 16, against 12.
    assert sensitivity.deferral_usd["batch"] == pytest.approx(4)
    # A machine of 8 GPUs saves $16.
    assert sensitivity.spot_usd_per_gpu["spot"] == pytest.approx(2)
    values = analyze_sensitivity(find_plan(steady(), EXACT)).commitments
    assert [(value.name, value.alone_usd, value.together_usd) for value in values] == [
        ("aws-h100 reserved", pytest.approx(32), pytest.approx(32))
    ]
