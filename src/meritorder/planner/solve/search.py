"""The search for the cheapest plan: relaxation, commitments, whole machines, and the gap to the lower bound.

A large problem is rounded window by window and bounded by Lagrangian relaxation; a small one ends in branch and bound.
"""

import dataclasses
import heapq
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from meritorder.errors import ConfigError, InfeasibleError
from meritorder.planner.model.constraints import Formulation, formulate
from meritorder.planner.model.linear_program import Columns, Floats
from meritorder.planner.model.problem import Problem
from meritorder.planner.model.variants import aggregate_to_hours
from meritorder.planner.solve.bounds import hard_bound_usd, lagrangian_bound
from meritorder.planner.solve.dominance import drop_dominated_offers
from meritorder.planner.solve.feasibility import explain_infeasibility, repair, safe_load_violations
from meritorder.planner.solve.highs import Effort, Solver, SolverResult, SolveStatus, solve
from meritorder.planner.solve.rounding import Incumbent, round_by_windows
from meritorder.planner.solve.solution import SOLVER_TOLERANCE, ProgramSolution, Solution, read_solution

# Integers up to which branch and bound searches the whole program.
_SMALL: Final = 1500
# Integers up to which it needs no start.
_TINY: Final = 100
_MAX_NODES: Final = 24
_COMMITMENT_TIME_SHARE: Final = 0.5
_MAX_REFINEMENTS: Final = 6
# Time to solve the relaxation, relative to solving it with commitments fixed.
_RELAXATION_TIME_RATIO: Final = 3.0
_LANE_TIME_SHARE: Final = 0.3
_TOLERANCE: Final = 1e-6


def find_plan(problem: Problem, effort: Effort | None = None) -> Solution:
    """Find the cheapest plan with whole machines, and a lower bound on the cost of any.

    Args:
        problem: The planning problem.
        effort: Limits of the search.

    Raises:
        InfeasibleError: No plan keeps every promise; names the one that breaks and what would help.
        ConfigError: The cost is unbounded below.
    """
    result = _search(drop_dominated_offers(problem), effort or Effort())
    hard_usd = min(hard_bound_usd(problem), result.bound_usd) * (1 - SOLVER_TOLERANCE)
    return read_solution(result, hard_usd)


def _search(problem: Problem, effort: Effort, *, lanes_separately: bool = True) -> ProgramSolution:
    formulation = formulate(problem)
    integers = int(formulation.model.integer.sum())
    large = integers > _SMALL
    search = _SearchState(problem=problem, formulation=formulation, effort=effort, solver=Solver(formulation.model))
    committed = search.commit_in_hourly_slots() if large else None
    if committed is not None:
        search.round(committed, share=0.7, reserve_s=_RELAXATION_TIME_RATIO * committed.solve_s)
    relaxed = search.relax()
    bound_usd = relaxed.usd
    if committed is None:
        start, bound_usd = _branch_on_commitments(search.solver, formulation, relaxed, effort)
        if integers > _TINY or start is None:
            search.round(relaxed if start is None else start, share=1.0 if large else 0.3)
    best = search.best
    if lanes_separately and not large and best.usd > bound_usd * (1 + effort.gap):
        search.try_lanes_separately()
    if best.usd > bound_usd * (1 + effort.gap):
        bound_usd = max(bound_usd, search.tighten_bound(relaxed) if large else search.branch_and_bound())
    if best.values is None:
        best.update(_round_up(formulation, relaxed.values), formulation)
    if best.values is None:
        raise explain_infeasibility(problem)
    return ProgramSolution(
        formulation=formulation,
        values=best.values,
        usd=best.usd,
        relaxed_usd=relaxed.usd,
        bound_usd=min(max(bound_usd, relaxed.usd), best.usd),
        row_duals=relaxed.row_duals,
        solve_s=search.spent_s,
    )


@dataclass(slots=True, kw_only=True)
class _SearchState:
    """The state of a search: the best solution, and the time spent."""

    problem: Problem
    formulation: Formulation
    effort: Effort
    solver: Solver
    best: Incumbent = field(default_factory=Incumbent)
    other_s: float = 0.0

    @property
    def spent_s(self) -> float:
        return self.solver.spent_s + self.other_s

    @property
    def left_s(self) -> float:
        return max(self.effort.time_limit_s - self.spent_s, self.effort.time_limit_s / 10)

    def commit_in_hourly_slots(self) -> SolverResult | None:
        """Choose commitments in hourly slots, and solve the relaxation with these fixed; None if that fails."""
        model = self.formulation.model
        columns = np.flatnonzero(model.slot < 0)
        hourly_problem = aggregate_to_hours(self.problem)
        if hourly_problem is None or not len(columns):
            return None
        hourly = formulate(hourly_problem)
        solver = Solver(hourly.model)
        relaxed = solver.run()
        if not relaxed.found:
            return None
        committed, _ = _branch_on_commitments(solver, hourly, relaxed, self.effort)
        self.other_s += solver.spent_s
        if committed is None:
            return None
        # The timeless columns of both programs are in the same order.
        values = committed.values[hourly.model.slot < 0]
        self.solver.set_bounds(columns, values, values)
        result = self.solver.run()
        self.solver.set_bounds(columns, model.lower[columns], model.upper[columns])
        return result if result.found else None

    def relax(self) -> SolverResult:
        """Solve the linear relaxation.

        Raises:
            InfeasibleError: It has no solution, so there is no plan.
            ConfigError: Its cost is unbounded below.
        """
        result = self.solver.run()
        if result.status is SolveStatus.UNBOUNDED:
            free = dataclasses.replace(self.formulation.model, cost=np.zeros_like(self.formulation.model.cost))
            if solve(free, integer=False).found:
                raise ConfigError(
                    "the cost of a plan is unbounded below: some use is paid for",
                    where="plan",
                    fix="look for a negative price",
                )
        if not result.found:
            raise explain_infeasibility(self.problem)
        return result

    def round(self, start: SolverResult, *, share: float, reserve_s: float = 0.0) -> None:
        """Round a relaxation in a share of the time left after a reserve."""
        limit_s = share * max(self.left_s - reserve_s, self.left_s / 4)
        values, solve_s = round_by_windows(
            self.formulation, start, time_limit_s=limit_s, target_usd=start.usd * (1 + self.effort.gap)
        )
        self.best.update(values, self.formulation)
        self.other_s += solve_s

    def tighten_bound(self, relaxed: SolverResult) -> float:
        """Return the Lagrangian bound."""
        bound_usd, solve_s = lagrangian_bound(self.formulation, relaxed.row_duals, time_limit_s=self.left_s)
        self.other_s += solve_s
        return bound_usd

    def try_lanes_separately(self) -> None:
        """Try the machines of both lanes planned separately: a good plan where the lanes share few machines."""
        problem, formulation = self.problem, self.formulation
        if not (problem.realtime and problem.deferrable):
            return
        values, columns = np.zeros(len(formulation.model.cost)), _decision_columns(formulation)
        effort = dataclasses.replace(self.effort, time_limit_s=self.left_s * _LANE_TIME_SHARE)
        for lane in (problem.realtime, problem.deferrable):
            part = dataclasses.replace(problem, workloads=tuple(problem.workloads[w] for w in lane))
            try:
                result = _search(part, effort, lanes_separately=False)
            except InfeasibleError:
                return
            self.other_s += result.solve_s
            values[columns] += result.values[_decision_columns(result.formulation)]
        elastic = formulate(problem, elastic=True)
        self.best.update(repair(formulation, elastic, values, time_limit_s=self.left_s), formulation)

    def branch_and_bound(self) -> float:
        """Search the whole program from the best solution, and return its bound.

        Where the envelope exceeds c(n) at a solution, c(n) holds exactly in those slots, and the search is repeated.
        """
        start, bound_usd, solve_s = self.best.values, -np.inf, 0.0
        begun_s, best = self.spent_s, Incumbent()
        exact: dict[int, Columns] = {}
        elastic = formulate(self.problem, elastic=True)
        for _ in range(_MAX_REFINEMENTS):
            refined = formulate(self.problem, exact=exact)
            left_s = self.effort.time_limit_s - begun_s - solve_s
            solver = Solver(refined.model, integer=True, gap=self.effort.gap)
            result = solver.run(time_limit_s=left_s, start=start if not exact else None)
            solve_s += solver.spent_s
            bound_usd = max(bound_usd, result.bound_usd)
            if not result.found:
                break
            values = result.values[: len(self.formulation.model.cost)]
            best.update(repair(self.formulation, elastic, values, time_limit_s=max(left_s, 1.0)), self.formulation)
            violations = safe_load_violations(refined, values)
            in_gap = best.usd <= bound_usd * (1 + self.effort.gap)
            if not violations or in_gap or solve_s + begun_s >= self.effort.time_limit_s:
                break
            for p, slots in violations.items():
                exact[p] = np.union1d(exact.get(p, np.zeros(0, np.int64)), slots)
        self.best.update(best.values, self.formulation)
        self.other_s += solve_s
        return bound_usd


def _decision_columns(formulation: Formulation) -> Columns:
    """Return the columns of machines and purchases, in the same order for every part of a problem."""
    var = formulation.variables
    blocks = [var.machines, *var.committed.values(), *var.blocks.values(), var.committed_usd_per_hour]
    return np.concatenate([np.asarray(columns, np.int64).ravel() for columns in blocks])


def _branch_on_commitments(
    solver: Solver, formulation: Formulation, relaxed: SolverResult, effort: Effort
) -> tuple[SolverResult | None, float]:
    """Make purchases whole by branch and bound, with machines in fractions: few integers, but most of the gap.

    Returns:
        The cheapest solution found with whole purchases, and a lower bound on any plan.
    """
    model = formulation.model
    columns = np.flatnonzero(model.integer & (model.slot < 0))
    if not len(columns):
        return relaxed, relaxed.usd
    best: SolverResult | None = None
    nodes = [(relaxed.usd, 0, model.lower[columns], model.upper[columns], relaxed)]
    for node in range(1, _MAX_NODES):
        bound_usd, _, lower, upper, parent = heapq.heappop(nodes)
        values = parent.values[columns]
        fractions = np.abs(values - np.round(values))
        if fractions.max() < _TOLERANCE:
            # The cheapest open node is whole, so that no other can be cheaper.
            return parent, bound_usd
        for side, (low, high) in enumerate(_branches(values, int(np.argmax(fractions)), lower, upper)):
            result = _solve_node(solver, columns, low, high, effort)
            if result.found and (best is None or result.usd < best.usd):
                heapq.heappush(nodes, (result.usd, 2 * node + side, low, high, result))
                if np.abs(result.values[columns] - np.round(result.values[columns])).max() < _TOLERANCE:
                    best = result
            elif result.status is SolveStatus.NO_SOLUTION:
                heapq.heappush(nodes, (bound_usd, 2 * node + side, low, high, parent))
        if not nodes or solver.spent_s > _COMMITMENT_TIME_SHARE * effort.time_limit_s:
            break
    bound_usd = min([np.inf if best is None else best.usd, *(node[0] for node in nodes)])
    if best is None:
        rounded = np.round(relaxed.values[columns])
        best = _solve_node(solver, columns, rounded, rounded, effort)
    return (best if best.found else None), max(bound_usd, relaxed.usd)


def _branches(values: Floats, split: int, lower: Floats, upper: Floats) -> tuple[tuple[Floats, Floats], ...]:
    """Return the bounds of both branches on one fractional value."""
    high, low = upper.copy(), lower.copy()
    high[split], low[split] = np.floor(values[split]), np.ceil(values[split])
    return (lower, high), (low, upper)


def _solve_node(solver: Solver, columns: Columns, lower: Floats, upper: Floats, effort: Effort) -> SolverResult:
    solver.set_bounds(columns, lower, upper)
    return solver.run(time_limit_s=max(effort.time_limit_s - solver.spent_s, effort.time_limit_s / 4))


def _round_up(formulation: Formulation, relaxed: Floats) -> Floats | None:
    """Round all integers up and repair the result: the last resort."""
    values, integer = relaxed.copy(), formulation.model.integer
    values[integer] = np.ceil(values[integer] - _TOLERANCE)
    return repair(formulation, formulate(formulation.problem, elastic=True), values, time_limit_s=np.inf)
