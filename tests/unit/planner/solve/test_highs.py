"""The solver's answers to a program that can be solved by hand."""

import numpy as np
import pytest

from meritorder.planner.model.linear_program import LinearProgram, SparseModel
from meritorder.planner.solve.highs import Solver, SolveStatus, solve


def cover(demand: float, upper: float = 10.0) -> SparseModel:
    """Minimize 3 x + 4 y subject to x + 2 y >= demand, in whole numbers."""
    program = LinearProgram()
    x = program.add_variables((2,), cost=[3.0, 4.0], upper=upper, integer=True)
    program.add_constraints("cover", [(x[:1], 1.0), (x[1:], 2.0)], lower=demand)
    return program.to_model()


def test_relaxation_with_shadow_price() -> None:
    """Only y is bought, at $2 for each unit of demand."""
    result = solve(cover(3.0), integer=False)
    assert (result.usd, result.values.tolist()) == (pytest.approx(6), pytest.approx([0, 1.5]))
    assert result.row_duals.tolist() == pytest.approx([2])


def test_whole_numbers_cost_more() -> None:
    result = solve(cover(3.0), integer=True)
    assert result.status is SolveStatus.OPTIMAL
    assert (result.usd, result.values.tolist()) == (pytest.approx(7), pytest.approx([1, 1]))
    assert result.bound_usd == pytest.approx(7)


def test_bounds_change_between_solves() -> None:
    solver = Solver(cover(3.0))
    assert solver.run().usd == pytest.approx(6)
    solver.set_bounds(np.array([1]), np.zeros(1), np.ones(1))
    assert solver.run().usd == pytest.approx(7)
    solver.set_row_bounds(np.array([0]), np.array([2.0]), np.array([np.inf]))
    assert solver.run().usd == pytest.approx(4)


def test_no_solution_has_no_values() -> None:
    result = solve(cover(31.0), integer=False)
    assert (result.found, result.status, result.usd) == (False, SolveStatus.INFEASIBLE, np.inf)
