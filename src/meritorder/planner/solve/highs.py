"""The HiGHS solver behind a narrow interface: arrays in, arrays out, no output, times from the solver's own clock."""

from dataclasses import dataclass
from enum import StrEnum

import highspy
import numpy as np

# `highspy.Highs` prints a banner when it is created; its base class does not.
from highspy._core import _Highs

from meritorder.planner.model.linear_program import Columns, Floats, SparseModel

_STATUS = highspy.HighsModelStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Limits of the search.

    Args:
        time_limit_s: Time limit of a solve, by the solver's clock.
        gap: Relative gap between cost and bound at which to stop.
    """

    time_limit_s: float = 20.0
    gap: float = 5e-3


class SolveStatus(StrEnum):
    """How a solve ended."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"
    INFEASIBLE = "infeasible"
    UNBOUNDED = "unbounded"
    NO_SOLUTION = "no solution found in time"


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverResult:
    """The result of a solve.

    Args:
        status: How it ended.
        values: Values of the columns, shape (columns,); empty if no solution was found.
        usd: Objective value.
        bound_usd: Lower bound on the objective of any solution.
        row_duals: Shadow prices of the rows, shape (rows,); empty for integer programs.
        solve_s: Time spent.
    """

    status: SolveStatus
    values: Floats
    usd: float
    bound_usd: float
    row_duals: Floats
    solve_s: float

    @property
    def found(self) -> bool:
        """Whether there is a solution."""
        return self.status in {SolveStatus.OPTIMAL, SolveStatus.FEASIBLE}


class Solver:
    """One program held in the solver, solved repeatedly under changing bounds; each solve starts from the last.

    Args:
        model: The program.
        integer: Solve by branch and bound; otherwise solve the linear relaxation.
        gap: Relative gap at which branch and bound stops.
    """

    def __init__(self, model: SparseModel, *, integer: bool = False, gap: float = 1e-4) -> None:
        self.integer = integer and bool(model.integer.any())
        self.spent_s = 0.0
        self._highs = _Highs()
        for option, value in (("output_flag", False), ("mip_rel_gap", gap), ("threads", 1)):
            self._highs.setOptionValue(option, value)
        self._highs.passModel(_highs_model(model, integer=self.integer))
        self._cost = model.cost

    def set_bounds(self, columns: Columns, lower: Floats, upper: Floats) -> None:
        """Set the bounds of some columns."""
        for column, low, high in zip(columns.tolist(), lower.tolist(), upper.tolist(), strict=True):
            self._highs.changeColBounds(column, low, high)

    def set_row_bounds(self, rows: Columns, lower: Floats, upper: Floats) -> None:
        """Set the bounds of some rows."""
        for row, low, high in zip(rows.tolist(), lower.tolist(), upper.tolist(), strict=True):
            self._highs.changeRowBounds(row, low, high)

    def run(self, *, time_limit_s: float = np.inf, start: Floats | None = None) -> SolverResult:
        """Solve the program.

        Args:
            time_limit_s: Time limit, by the solver's clock.
            start: A solution to start from, shape (columns,); NaN where it is open.
        """
        before_s = self._highs.getRunTime()
        self._highs.setOptionValue("time_limit", float(before_s + max(time_limit_s, 0.05)))
        if start is not None:
            known = np.flatnonzero(~np.isnan(start)).astype(np.int32)
            self._highs.setSolution(len(known), known, start[known])
        self._highs.run()
        solve_s = self._highs.getRunTime() - before_s
        self.spent_s += solve_s
        result = _read_result(self._highs, integer=self.integer, solve_s=solve_s)
        if start is not None and not self._is_consistent(result):
            # Seen with HiGHS 1.16: the start is returned as the solution, with an objective that is not its own.
            self._highs.clearSolver()
            return self.run(time_limit_s=time_limit_s - solve_s)
        return result

    def _is_consistent(self, result: SolverResult) -> bool:
        """Whether the objective is the cost of the solution."""
        tolerance = 1e-6 * max(1.0, abs(result.usd))
        return not result.found or abs(float(self._cost @ result.values) - result.usd) <= tolerance


def solve(
    model: SparseModel, *, integer: bool, time_limit_s: float = np.inf, gap: float = 1e-4, start: Floats | None = None
) -> SolverResult:
    """Solve a program once; the arguments are those of `Solver`."""
    return Solver(model, integer=integer, gap=gap).run(time_limit_s=time_limit_s, start=start)


def _highs_model(model: SparseModel, *, integer: bool) -> highspy.HighsLp:
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(model.cost), len(model.row_lower)
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = model.cost, model.lower, model.upper
    lp.row_lower_, lp.row_upper_ = model.row_lower, model.row_upper
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.num_col_, lp.a_matrix_.num_row_ = lp.num_col_, lp.num_row_
    lp.a_matrix_.start_ = model.matrix.start
    lp.a_matrix_.index_ = model.matrix.column
    lp.a_matrix_.value_ = model.matrix.value
    if integer:
        types = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        lp.integrality_ = [types[is_integer] for is_integer in model.integer.astype(int)]
    return lp


def _read_result(highs: _Highs, *, integer: bool, solve_s: float) -> SolverResult:
    info = highs.getInfo()
    feasible = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    match highs.getModelStatus():
        case _STATUS.kOptimal | _STATUS.kModelEmpty:
            status = SolveStatus.OPTIMAL
        case _STATUS.kInfeasible:
            status = SolveStatus.INFEASIBLE
        case _STATUS.kUnbounded | _STATUS.kUnboundedOrInfeasible:
            status = SolveStatus.UNBOUNDED
        case _:
            status = SolveStatus.FEASIBLE if feasible and integer else SolveStatus.NO_SOLUTION
    usable = status in {SolveStatus.OPTIMAL, SolveStatus.FEASIBLE}
    solution = highs.getSolution()
    bound_usd = info.mip_dual_bound if integer else info.objective_function_value
    return SolverResult(
        status=status,
        values=np.array(solution.col_value, float) if usable else np.zeros(0),
        usd=info.objective_function_value if usable else np.inf,
        bound_usd=bound_usd if usable or integer else -np.inf,
        row_duals=np.array(solution.row_dual, float) if usable and not integer else np.zeros(0),
        solve_s=solve_s,
    )
