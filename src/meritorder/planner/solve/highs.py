"""HiGHS at arm's length: arrays in, arrays out, no output, and time from the solver's own clock."""

from dataclasses import dataclass
from enum import StrEnum

import highspy
import numpy as np

# `highspy.Highs` prints a banner as it is made; the class below it is silent.
from highspy._core import _Highs

from meritorder.planner.model.linear_program import Columns, Floats, SparseModel

_STATUS = highspy.HighsModelStatus


class SolveStatus(StrEnum):
    """How a solve ended."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"
    INFEASIBLE = "infeasible"
    UNBOUNDED = "unbounded"
    NOTHING = "nothing found in time"


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverResult:
    """What the solver found.

    Args:
        status: How it ended.
        x: Values of the columns, shape (columns,); empty if there are none.
        usd: Objective of `x`.
        bound_usd: No solution is cheaper.
        row_duals: Change of the objective by each row's bound, shape (rows,); empty for whole numbers.
        solve_s: Time that it took.
    """

    status: SolveStatus
    x: Floats
    usd: float
    bound_usd: float
    row_duals: Floats
    solve_s: float

    @property
    def found(self) -> bool:
        """Whether there is a solution."""
        return self.status in {SolveStatus.OPTIMAL, SolveStatus.FEASIBLE}


class Solver:
    """One programme in the solver's memory, solved again and again as bounds change; each solve starts from the last.

    Args:
        model: The programme.
        integer: Hold whole numbers whole, by branch and bound; else the relaxation is solved.
        gap: Relative gap at which branch and bound stops.
    """

    def __init__(self, model: SparseModel, *, integer: bool = False, gap: float = 1e-4) -> None:
        self.integer = integer and bool(model.integer.any())
        self.spent_s = 0.0
        self._highs = _Highs()
        for option, value in (("output_flag", False), ("mip_rel_gap", gap), ("threads", 1)):
            self._highs.setOptionValue(option, value)
        self._highs.passModel(_as_highs(model, integer=self.integer))
        self._cost = model.cost

    def bound(self, columns: Columns, lower: Floats, upper: Floats) -> None:
        """Change the bounds of some columns."""
        for column, low, high in zip(columns.tolist(), lower.tolist(), upper.tolist(), strict=True):
            self._highs.changeColBounds(column, low, high)

    def bound_rows(self, rows: Columns, lower: Floats, upper: Floats) -> None:
        """Change the bounds of some rows."""
        for row, low, high in zip(rows.tolist(), lower.tolist(), upper.tolist(), strict=True):
            self._highs.changeRowBounds(row, low, high)

    def run(self, *, time_limit_s: float = np.inf, start: Floats | None = None) -> SolverResult:
        """Solve.

        Args:
            time_limit_s: When to stop, by the solver's clock.
            start: A solution to start from, shape (columns,); not a number where it is open.
        """
        before_s = self._highs.getRunTime()
        self._highs.setOptionValue("time_limit", float(before_s + max(time_limit_s, 0.05)))
        if start is not None:
            known = np.flatnonzero(~np.isnan(start)).astype(np.int32)
            self._highs.setSolution(len(known), known, start[known])
        self._highs.run()
        took_s = self._highs.getRunTime() - before_s
        self.spent_s += took_s
        result = _answer(self._highs, integer=self.integer, took_s=took_s)
        if start is not None and not self._adds_up(result):
            # Seen with HiGHS 1.16: a start that is returned as it went, with an objective that is not its own.
            self._highs.clearSolver()
            return self.run(time_limit_s=time_limit_s - took_s)
        return result

    def _adds_up(self, result: SolverResult) -> bool:
        return not result.found or abs(float(self._cost @ result.x) - result.usd) <= 1e-6 * max(1.0, abs(result.usd))


def solve(
    model: SparseModel, *, integer: bool, time_limit_s: float = np.inf, gap: float = 1e-4, start: Floats | None = None
) -> SolverResult:
    """Solve a programme once; arguments as of `Solver`."""
    return Solver(model, integer=integer, gap=gap).run(time_limit_s=time_limit_s, start=start)


def _as_highs(model: SparseModel, *, integer: bool) -> highspy.HighsLp:
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
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        lp.integrality_ = [kinds[each] for each in model.integer.astype(int)]
    return lp


def _answer(highs: _Highs, *, integer: bool, took_s: float) -> SolverResult:
    status, info = highs.getModelStatus(), highs.getInfo()
    found = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    match status:
        case _STATUS.kOptimal | _STATUS.kModelEmpty:
            ended = SolveStatus.OPTIMAL
        case _STATUS.kInfeasible:
            ended = SolveStatus.INFEASIBLE
        case _STATUS.kUnbounded | _STATUS.kUnboundedOrInfeasible:
            ended = SolveStatus.UNBOUNDED
        case _:
            ended = SolveStatus.FEASIBLE if found and integer else SolveStatus.NOTHING
    usable = ended in {SolveStatus.OPTIMAL, SolveStatus.FEASIBLE}
    solution = highs.getSolution()
    bound_usd = info.mip_dual_bound if integer else info.objective_function_value
    return SolverResult(
        status=ended,
        x=np.array(solution.col_value, float) if usable else np.zeros(0),
        usd=info.objective_function_value if usable else np.inf,
        bound_usd=bound_usd if usable or integer else -np.inf,
        row_duals=np.array(solution.row_dual, float) if usable and not integer else np.zeros(0),
        solve_s=took_s,
    )
