"""Rows of the program that other answers do not show."""

import dataclasses

import numpy as np
import pytest
from tests.samples.planning import deferrable, hours, on_demand, pool, small

from meritorder.errors import InfeasibleError
from meritorder.planner.model.constraints import formulate
from meritorder.planner.model.problem import Problem
from meritorder.planner.solve.highs import solve


def two_places(safe: list[float]) -> Problem:
    names = ("aws-h100", "gcp-h100")
    return small(
        [0.9, 0.9],
        [0.0, 0.0],
        1,
        pools=tuple(pool(name, safe=safe) for name in names),
        payments=tuple(on_demand(10.0, name) for name in names),
    )


def test_pooling_gain_joins_equal_pools() -> None:
    assert "joint safe load" in formulate(two_places([0.0, 0.5, 1.4])).rows
    assert "joint safe load" not in formulate(two_places([0.0, 0.5, 0.8])).rows


def test_joint_rows_stop_fractions_elsewhere() -> None:
    """0.9 takes two machines in one place: c(1) = 0.5, c(2) = 1.4; so it does when split."""
    relaxed = solve(formulate(two_places([0.0, 0.5, 1.4])).model, integer=False)
    assert relaxed.usd == pytest.approx(2 * 20.0)


def test_exact_safe_load_is_convex() -> None:
    """On one and a half machines, c(n) serves 0.5 + 0.9 / 2 only if the second unit may be a half: it may not."""
    problem = small([0.9], [0.0], 1)
    exact = formulate(problem, exact={0: np.array([0])})
    assert solve(exact.model, integer=True).usd == pytest.approx(20.0)


def test_elastic_program_prices_slack_only() -> None:
    """One machine serves half of what arrives in the first hour and must be done in it."""
    problem = small([0.0, 0.0], [2.0, 0.0], 1, payments=(on_demand(max_machines=1),))
    elastic = formulate(problem, elastic=True)
    result = solve(elastic.model, integer=False)
    assert result.usd == pytest.approx(3600.0)
    assert result.values[elastic.variables.late[1]].tolist() == pytest.approx([3600.0, 0.0])


def test_work_without_venue_is_named() -> None:
    stray = dataclasses.replace(deferrable([1.0], 1), model="other")
    problem = Problem(horizon=hours(1), workloads=(stray,), pools=(pool(),), payments=(on_demand(),))
    with pytest.raises(InfeasibleError, match="workload batch: no pool and no token API may serve it"):
        formulate(problem)
