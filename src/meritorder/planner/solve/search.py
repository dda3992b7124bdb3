"""Solve a problem: the relaxation, the commitments, whole machines, and the gap between them."""

import dataclasses
import heapq
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from meritorder.errors import ConfigError, InfeasibleError
from meritorder.planner.model.constraints import Formulation, formulate
from meritorder.planner.model.linear_program import Columns, Floats, SparseModel
from meritorder.planner.model.problem import Problem, VenueKind
from meritorder.planner.model.variants import aggregate_to_hours
from meritorder.planner.solve.bounds import hard_bound_usd, lagrangian_bound, min_usd_per_replica_s
from meritorder.planner.solve.diagnosis import explain_infeasibility
from meritorder.planner.solve.dominance import drop_dominated_offers
from meritorder.planner.solve.highs import Solver, SolverResult, SolveStatus, solve
from meritorder.planner.solve.realtime import min_realtime_machines
from meritorder.planner.solve.rounding import repair, safe_load_violations, solve_windows
from meritorder.planner.solve.solution import SOLVER_TOLERANCE, SearchResult, Solution, read_solution

# Up to so many whole numbers branch and bound takes on the programme as a whole.
_SMALL: Final = 1500
# Up to so many it needs no start.
_TINY: Final = 100
_MOST_NODES: Final = 24
_SHARE_ON_COMMITMENTS: Final = 0.5
_MOST_REFINEMENTS: Final = 6
# Solving the relaxation from a solution with its commitments held takes about so many times as long as that did.
_RELEASE: Final = 3.0
_GATHER: Final = 1.05
_SHARE_ON_A_LANE: Final = 0.3
_TOLERANCE: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How hard to try.

    Args:
        time_limit_s: For the whole solve, by the solver's clock.
        gap: Relative gap between cost and bound at which to stop.
    """

    time_limit_s: float = 20.0
    gap: float = 5e-3


@dataclass(slots=True)
class _Incumbent:
    x: Floats | None = None
    usd: float = np.inf

    def offer(self, x: Floats | None, formulation: Formulation) -> None:
        if x is None:
            return
        usd = float(formulation.model.cost @ x)
        if usd < self.usd:
            self.x, self.usd = x, usd


def solve_problem(problem: Problem, effort: Effort = Effort()) -> SearchResult:
    """Find the cheapest plan in whole machines, and prove how cheap any could be.

    Args:
        problem: What to plan.
        effort: When to stop.

    Raises:
        InfeasibleError: No plan keeps every promise; names the constraint that stops it and what would help.
        ConfigError: The programme has no lowest cost.
    """
    return _solve(drop_dominated_offers(problem), effort)


def _solve(problem: Problem, effort: Effort, *, lanes_apart: bool = True) -> SearchResult:
    formulation = formulate(problem)
    large = int(formulation.model.integer.sum()) > _SMALL
    search = _Search(problem=problem, formulation=formulation, effort=effort, solver=Solver(formulation.model))
    committed = search.commit_by_hour() if large else None
    if committed is not None:
        search.round(committed, share=0.7, reserve_s=_RELEASE * committed.solve_s)
    relaxed = search.relax()
    bound_usd = relaxed.usd
    if committed is None:
        start, bound_usd = _branch_on_commitments(search.solver, formulation, relaxed, effort)
        if int(formulation.model.integer.sum()) > _TINY or start is None:
            search.round(relaxed if start is None else start, share=1.0 if large else 0.3)
    best = search.best
    if lanes_apart and not large and best.usd > bound_usd * (1 + effort.gap):
        search.try_lanes_apart()
    if best.usd > bound_usd * (1 + effort.gap):
        bound_usd = max(bound_usd, search.tighten(relaxed) if large else search.branch_and_bound())
    if best.x is None:
        best.offer(_last_resort(formulation, relaxed.x), formulation)
    if best.x is None:
        raise explain_infeasibility(problem)
    return SearchResult(
        formulation=formulation,
        x=best.x,
        usd=best.usd,
        relaxed_usd=relaxed.usd,
        bound_usd=min(max(bound_usd, relaxed.usd), best.usd),
        row_duals=relaxed.row_duals,
        relaxed=relaxed.x,
        solve_s=search.spent_s,
    )


@dataclass(slots=True, kw_only=True)
class _Search:
    """One search: what it has found and what it has spent."""

    problem: Problem
    formulation: Formulation
    effort: Effort
    solver: Solver
    best: _Incumbent = field(default_factory=_Incumbent)
    other_s: float = 0.0

    @property
    def spent_s(self) -> float:
        return self.solver.spent_s + self.other_s

    @property
    def left_s(self) -> float:
        return max(self.effort.time_limit_s - self.spent_s, self.effort.time_limit_s / 10)

    def commit_by_hour(self) -> SolverResult | None:
        """Decide what to buy on slots of an hour, and solve the relaxation with that bought; None if that fails."""
        model = self.formulation.model
        columns = np.flatnonzero(model.slot < 0)
        coarse = aggregate_to_hours(self.problem)
        if coarse is None or not len(columns):
            return None
        small = formulate(coarse)
        solver = Solver(small.model)
        relaxed = solver.run()
        if not relaxed.found:
            return None
        bought, _ = _branch_on_commitments(solver, small, relaxed, self.effort)
        self.other_s += solver.spent_s
        if bought is None:
            return None
        # Timeless columns stand in the same order in both.
        values = bought.x[small.model.slot < 0]
        self.solver.bound(columns, values, values)
        result = self.solver.run()
        self.solver.bound(columns, model.lower[columns], model.upper[columns])
        return result if result.found else None

    def relax(self) -> SolverResult:
        """Solve the relaxation.

        Raises:
            InfeasibleError: It has no solution, so no plan has.
            ConfigError: Its cost has no bottom.
        """
        result = self.solver.run()
        if result.status is SolveStatus.UNBOUNDED and solve(_without_cost(self.formulation), integer=False).found:
            raise ConfigError(
                "the programme has no lowest cost: something is paid for being used",
                where="plan",
                fix="look for a negative price or end value",
            )
        if not result.found:
            raise explain_infeasibility(self.problem)
        return result

    def round(self, start: SolverResult, *, share: float, reserve_s: float = 0.0) -> None:
        """Make the machines whole by windows, in a share of the time that is left beside a reserve."""
        limit_s = share * max(self.left_s - reserve_s, self.left_s / 4)
        enough_usd = start.usd * (1 + self.effort.gap)
        x, took_s = _round(
            self.formulation, start.x.copy(), _worth_s(self.formulation, start.row_duals), limit_s, enough_usd
        )
        self.best.offer(x, self.formulation)
        self.other_s += took_s

    def tighten(self, relaxed: SolverResult) -> float:
        """Return a bound that sees whole machines within windows."""
        bound_usd, took_s = lagrangian_bound(self.formulation, relaxed.row_duals, time_limit_s=self.left_s)
        self.other_s += took_s
        return bound_usd

    def try_lanes_apart(self) -> None:
        """Plan each lane by itself, and take the machines of both: a good start where they share little."""
        problem, formulation = self.problem, self.formulation
        if not (problem.realtime and problem.deferrable):
            return
        x, columns = np.zeros(len(formulation.model.cost)), _decisions(formulation)
        effort = dataclasses.replace(self.effort, time_limit_s=self.left_s * _SHARE_ON_A_LANE)
        for lane in (problem.realtime, problem.deferrable):
            part = dataclasses.replace(problem, workloads=tuple(problem.workloads[w] for w in lane))
            try:
                search = _solve(part, effort, lanes_apart=False)
            except InfeasibleError:
                return
            self.other_s += search.solve_s
            x[columns] += search.x[_decisions(search.formulation)]
        elastic = formulate(problem, elastic=True)
        self.best.offer(repair(formulation, elastic, x, time_limit_s=self.left_s), formulation)

    def branch_and_bound(self) -> float:
        """Search the whole programme from the best plan so far, and return its bound."""
        x, bound_usd, took_s = _branch_and_bound(self.problem, self.formulation, self.best.x, self.effort, self.spent_s)
        self.best.offer(x, self.formulation)
        self.other_s += took_s
        return bound_usd


def _decisions(formulation: Formulation) -> Columns:
    """Return the columns of machines and of what is bought, in one order for every part of a problem."""
    x = formulation.x
    columns = [x.on, *x.commit.values(), *x.blocks.values(), x.promise]
    return np.concatenate([np.asarray(each, np.int64).ravel() for each in columns])


def _without_cost(formulation: Formulation) -> SparseModel:
    return dataclasses.replace(formulation.model, cost=np.zeros_like(formulation.model.cost))


def _branch_on_commitments(
    solver: Solver, formulation: Formulation, relaxed: SolverResult, effort: Effort
) -> tuple[SolverResult | None, float]:
    """Make what is bought whole while machines stay fractions: a few numbers, but most of what whole numbers cost.

    Returns:
        The cheapest solution found with whole commitments, and a bound that no plan is cheaper than.
    """
    model = formulation.model
    columns = np.flatnonzero(model.integer & (model.slot < 0))
    if not len(columns):
        return relaxed, relaxed.usd
    best: SolverResult | None = None
    nodes = [(relaxed.usd, 0, model.lower[columns], model.upper[columns], relaxed)]
    for node in range(1, _MOST_NODES):
        bound_usd, _, lower, upper, at = heapq.heappop(nodes)
        values = at.x[columns]
        away = np.abs(values - np.round(values))
        if away.max() < _TOLERANCE:
            # The cheapest open node is whole: nothing else can be cheaper.
            return at, bound_usd
        for side, (low, high) in enumerate(_halves(values, int(np.argmax(away)), lower, upper)):
            result = _at(solver, columns, low, high, effort)
            if result.found and (best is None or result.usd < best.usd):
                heapq.heappush(nodes, (result.usd, 2 * node + side, low, high, result))
                if np.abs(result.x[columns] - np.round(result.x[columns])).max() < _TOLERANCE:
                    best = result
            elif result.status is SolveStatus.NOTHING:
                heapq.heappush(nodes, (bound_usd, 2 * node + side, low, high, at))
        if not nodes or solver.spent_s > _SHARE_ON_COMMITMENTS * effort.time_limit_s:
            break
    bound_usd = min([np.inf if best is None else best.usd, *(node[0] for node in nodes)])
    if best is None:
        rounded = np.round(relaxed.x[columns])
        best = _at(solver, columns, rounded, rounded, effort)
    return (best if best.found else None), max(bound_usd, relaxed.usd)


def _halves(values: Floats, split: int, lower: Floats, upper: Floats) -> tuple[tuple[Floats, Floats], ...]:
    """Cut the range of one number at its fraction."""
    high, low = upper.copy(), lower.copy()
    high[split], low[split] = np.floor(values[split]), np.ceil(values[split])
    return (lower, high), (low, upper)


def _at(solver: Solver, columns: Columns, lower: Floats, upper: Floats, effort: Effort) -> SolverResult:
    solver.bound(columns, lower, upper)
    return solver.run(time_limit_s=max(effort.time_limit_s - solver.spent_s, effort.time_limit_s / 4))


def _round(
    formulation: Formulation,
    x: Floats,
    replica_value_usd_per_s: dict[int, Floats],
    time_limit_s: float,
    enough_usd: float,
) -> tuple[Floats | None, float]:
    """Make the machines whole by windows, then by windows that straddle the seams of the first."""
    best, spent_s, problem = _Incumbent(), 0.0, formulation.problem
    columns = np.flatnonzero(formulation.model.integer & (formulation.model.slot < 0))
    x[columns] = np.ceil(x[columns] - _TOLERANCE)
    elastic = formulate(formulation.problem, elastic=True)
    relaxed = x
    # Real-time work on its own cheapest machines; and on those whose room work that may wait is worth something.
    alone, beside = (
        min_realtime_machines(formulation, x, {}),
        min_realtime_machines(formulation, x, replica_value_usd_per_s),
    )
    # What it costs to serve a unit of backlog later, a little more than on full machines: those are filled first.
    gathered = {w: _GATHER * usd for w in problem.deferrable if np.isfinite(usd := _later_usd(problem, w))}
    passes: list[tuple[float, Columns, dict[int, float] | None]] = [(0.4, alone, None)]
    passes += [(0.3, beside, None), (0.3, alone, gathered)] if gathered else []
    for share, floor, backlog_value_usd in passes:
        if best.x is not None and spent_s > 0.7 * time_limit_s:
            break
        x, limit_s = relaxed, share * time_limit_s
        for shifted, part in ((False, 0.5), (True, 0.3)):
            x, took_s = solve_windows(
                formulation,
                x,
                time_limit_s=max(part * limit_s, 0.5),
                shifted=shifted,
                floor=None if shifted else floor,
                backlog_value_usd=None if shifted else backlog_value_usd,
            )
            spent_s += took_s
            settled = repair(formulation, elastic, x, time_limit_s=max(limit_s / 4, 0.5))
            if settled is None:
                break
            best.offer(settled, formulation)
            x = settled
            if best.usd <= enough_usd:
                return best.x, spent_s
    return best.x, spent_s


def _later_usd(problem: Problem, w: int) -> float:
    """Return the lowest cost of a unit of a workload's backlog on a machine that is full."""
    routes = [problem.routes[r] for r in problem.routes_of(w)]
    usd = [float(r.work_s[0]) * min_usd_per_replica_s(problem, r.venue) for r in routes if r.kind is VenueKind.POOL]
    return min(usd, default=np.inf)


def _worth_s(formulation: Formulation, row_duals: Floats) -> dict[int, Floats]:
    """Return by pool what one second more of a full replica would save, by the relaxation, shape (slots,)."""
    return {
        p: np.maximum(-row_duals[formulation.rows[f"capacity {p}"]], 0.0) / formulation.problem.horizon.slot_s
        for p in range(len(formulation.problem.pools))
        if f"capacity {p}" in formulation.rows
    }


def _branch_and_bound(
    problem: Problem, formulation: Formulation, start: Floats | None, effort: Effort, spent_s: float
) -> tuple[Floats | None, float, float]:
    """Solve a small programme as a whole; where the envelope promised more than c(n), hold c(n) by steps and repeat."""
    best, bound_usd, took_s = _Incumbent(), -np.inf, 0.0
    exact: dict[int, Columns] = {}
    elastic = formulate(problem, elastic=True)
    for _ in range(_MOST_REFINEMENTS):
        refined = formulate(problem, exact=exact)
        left_s = effort.time_limit_s - spent_s - took_s
        solver = Solver(refined.model, integer=True, gap=effort.gap)
        result = solver.run(time_limit_s=left_s, start=start if not exact else None)
        took_s += solver.spent_s
        bound_usd = max(bound_usd, result.bound_usd)
        if not result.found:
            break
        x = result.x[: len(formulation.model.cost)]
        best.offer(repair(formulation, elastic, x, time_limit_s=max(left_s, 1.0)), formulation)
        missed = safe_load_violations(refined, x)
        if not missed or best.usd <= bound_usd * (1 + effort.gap) or took_s + spent_s >= effort.time_limit_s:
            break
        for p, slots in missed.items():
            exact[p] = np.union1d(exact.get(p, np.zeros(0, np.int64)), slots)
    return best.x, bound_usd, took_s


def _last_resort(formulation: Formulation, relaxed: Floats) -> Floats | None:
    """Round everything up, and mend what that breaks."""
    x = relaxed.copy()
    x[formulation.model.integer] = np.ceil(x[formulation.model.integer] - _TOLERANCE)
    return repair(formulation, formulate(formulation.problem, elastic=True), x, time_limit_s=np.inf)


def find_plan(problem: Problem, effort: Effort | None = None) -> Solution:
    """Find the cheapest plan.

    Args:
        problem: What to plan.
        effort: When to stop.

    Raises:
        InfeasibleError: No plan keeps every promise; says which, and what would help.
    """
    search = solve_problem(problem, effort or Effort())
    hard_usd = min(hard_bound_usd(problem), search.bound_usd) * (1 - SOLVER_TOLERANCE)
    return read_solution(search, hard_usd)
