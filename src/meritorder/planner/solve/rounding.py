"""Rounding: whole machines found by branch and bound in one window of the horizon after the other.

A week has thousands of integers, too many for branch and bound. Given the commitments and the backlog at its ends,
which the relaxation provides, a window of a few hours is a program of its own. Each round is repaired as a whole.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from meritorder.planner.model.constraints import Formulation, formulate
from meritorder.planner.model.linear_program import Bools, Columns, Floats, SparseModel
from meritorder.planner.model.problem import Problem, RouteKind
from meritorder.planner.model.supply import OnDemand, Spot
from meritorder.planner.model.variables import min_usd_per_replica_s
from meritorder.planner.solve.feasibility import exact_safe_load, repair
from meritorder.planner.solve.highs import SolverResult, solve
from meritorder.planner.solve.realtime import min_realtime_machines

# Integers of a window: branch and bound solves about that many in a fraction of a second.
_WINDOW_INTEGERS: Final = 96
_WINDOW_GAP: Final = 4e-3
_TOLERANCE: Final = 1e-6
# Price of backlog at the end of a window, relative to serving it on a fully used machine: full machines come first.
_BACKLOG_PREMIUM: Final = 1.05


@dataclass(slots=True)
class Incumbent:
    """The best solution so far."""

    values: Floats | None = None
    usd: float = np.inf

    def update(self, values: Floats | None, formulation: Formulation) -> None:
        """Take a solution if it is cheaper."""
        if values is None:
            return
        usd = float(formulation.model.cost @ values)
        if usd < self.usd:
            self.values, self.usd = values, usd


def round_by_windows(
    formulation: Formulation, start: SolverResult, *, time_limit_s: float, target_usd: float
) -> tuple[Floats | None, float]:
    """Round a relaxation in several passes over the windows, and then over windows shifted by half.

    The passes differ in the machines that real-time work gets (the cheapest for it alone, or the cheapest given what
    spare capacity saves deferrable work) and in the backlog at the end of a window (bounded, or priced).

    Args:
        formulation: The program.
        start: A solution of the relaxation.
        time_limit_s: Time limit.
        target_usd: Cost at which to stop.

    Returns:
        The cheapest solution found, None if there is none, and the time spent.
    """
    problem, best, spent_s = formulation.problem, Incumbent(), 0.0
    relaxed = start.values.copy()
    columns = np.flatnonzero(formulation.model.integer & (formulation.model.slot < 0))
    relaxed[columns] = np.ceil(relaxed[columns] - _TOLERANCE)
    elastic = formulate(problem, elastic=True)
    alone = min_realtime_machines(formulation, relaxed, {})
    beside = min_realtime_machines(formulation, relaxed, _replica_values(formulation, start.row_duals))
    prices = {w: _BACKLOG_PREMIUM * usd for w in problem.deferrable if np.isfinite(usd := _full_usd(problem, w))}
    passes: list[tuple[float, Columns, dict[int, float] | None]] = [(0.4, alone, None)]
    passes += [(0.3, beside, None), (0.3, alone, prices)] if prices else []
    for share, realtime_machines, backlog_usd in passes:
        if best.values is not None and spent_s > 0.7 * time_limit_s:
            break
        values, limit_s = relaxed, share * time_limit_s
        for shifted, part in ((False, 0.5), (True, 0.3)):
            values, solve_s = solve_windows(
                formulation,
                values,
                time_limit_s=max(part * limit_s, 0.5),
                shifted=shifted,
                realtime_machines=None if shifted else realtime_machines,
                backlog_usd=None if shifted else backlog_usd,
            )
            spent_s += solve_s
            repaired = repair(formulation, elastic, values, time_limit_s=max(limit_s / 4, 0.5))
            if repaired is None:
                break
            best.update(repaired, formulation)
            values = repaired
            if best.usd <= target_usd:
                return best.values, spent_s
    return best.values, spent_s


def _replica_values(formulation: Formulation, row_duals: Floats) -> dict[int, Floats]:
    """Return, by pool, the shadow price of a replica-second of capacity in the relaxation, shape (slots,)."""
    return {
        p: np.maximum(-row_duals[formulation.rows[f"capacity {p}"]], 0.0) / formulation.problem.horizon.slot_s
        for p in range(len(formulation.problem.pools))
        if f"capacity {p}" in formulation.rows
    }


def _full_usd(problem: Problem, w: int) -> float:
    """Return the lowest cost of a unit of backlog on a fully used machine."""
    routes = [problem.routes[r] for r in problem.routes_of(w)]
    usd = [
        float(route.work_s[0]) * min_usd_per_replica_s(problem, route.venue)
        for route in routes
        if route.kind is RouteKind.POOL
    ]
    return min(usd, default=np.inf)


def windows(formulation: Formulation, usable: Bools, *, shifted: bool) -> Iterator[Bools]:
    """Yield the windows of every scenario, of whole hours, as masks of their slots, shape (slots,).

    Args:
        formulation: The program.
        usable: Columns in use.
        shifted: Begin half a window later, so that the ends of the other windows lie inside.
    """
    horizon, model = formulation.problem.horizon, formulation.model
    integers = max(1, int((model.integer & usable & (model.slot >= 0)).sum()))
    hours = max(1, round(_WINDOW_INTEGERS * horizon.length / integers / horizon.slots_per_hour))
    size = hours * horizon.slots_per_hour
    slots = np.arange(horizon.length)
    for scenario in range(horizon.scenarios):
        local = slots - scenario * horizon.slots
        in_scenario = (local >= 0) & (local < horizon.slots)
        begin = -(hours // 2) * horizon.slots_per_hour if shifted else 0
        for first in range(begin, horizon.slots, size):
            window = in_scenario & (local >= first) & (local < first + size)
            if window.any():
                yield window


def usable_columns(formulation: Formulation, values: Floats) -> Bools:
    """Return all columns but those of machines by the hour that the relaxation never uses, shape (columns,).

    Args:
        formulation: The program.
        values: A solution of the relaxation.
    """
    usable = np.ones(len(formulation.model.cost), np.bool_)
    for i, columns in enumerate(formulation.variables.machines):
        by_hour = isinstance(formulation.problem.payment_of(i), OnDemand | Spot)
        if by_hour and values[columns].max(initial=0.0) < _TOLERANCE:
            usable[columns] = False
    return usable


def solve_windows(
    formulation: Formulation,
    values: Floats,
    *,
    time_limit_s: float,
    shifted: bool,
    realtime_machines: Columns | None = None,
    backlog_usd: Mapping[int, float] | None = None,
) -> tuple[Floats, float]:
    """Make the machines whole, window by window, with everything outside the window fixed.

    Args:
        formulation: The program.
        values: A solution with whole commitments.
        time_limit_s: Limit for all windows together.
        shifted: Use windows shifted by half.
        realtime_machines: Machines that real-time work is served with, shape (pairs, slots); only machines for
            deferrable work are then added. Without it `values` are whole, and improved.
        backlog_usd: Price of a second of backlog at the end of a window, by deferrable workload. Without it that
            backlog is at most that of `values`.

    Returns:
        The new values, and the time spent. A window without a solution in time has its machines rounded up.
    """
    values, spent_s = values.copy(), 0.0
    improving = realtime_machines is None
    model = (
        formulation.model
        if realtime_machines is None
        else _with_realtime_machines(formulation, values, realtime_machines)
    )
    usable = usable_columns(formulation, values)
    masks = list(windows(formulation, usable, shifted=shifted))
    for done, window in enumerate(masks):
        inside = (model.slot >= 0) & window[model.slot]
        rows = (model.row_slot >= 0) & window[model.row_slot]
        free = inside & (usable | (model.lower > 0))
        if improving:
            free, rows = _add_next_starts(formulation, window, free, rows)
        fixed = values if improving else np.where(inside & ~free, 0.0, values)
        bounded = (
            _bound_backlog(formulation, model, values, window)
            if backlog_usd is None
            else _price_backlog(formulation, model, window, backlog_usd)
        )
        part, columns = bounded.restrict(fixed, free, rows)
        limit_s = 2 * (time_limit_s - spent_s) / (len(masks) - done)
        start = values[columns] if improving else _round_up(part, values[columns])
        result = solve(part, integer=True, time_limit_s=limit_s, gap=_WINDOW_GAP, start=start)
        spent_s += result.solve_s
        if result.found:
            values[inside] = fixed[inside]
            values[columns] = result.values
        elif not improving:
            values[inside] = np.maximum(values[inside], model.lower[inside])
            values[inside & model.integer] = np.ceil(values[inside & model.integer] - _TOLERANCE)
        if spent_s > time_limit_s and improving:
            break
    values[model.integer] = np.round(values[model.integer])
    return values, spent_s


def _round_up(model: SparseModel, values: Floats) -> Floats:
    """Return a start for branch and bound: integers rounded up, all else open (NaN)."""
    start = np.full(len(values), np.nan)
    start[model.integer] = np.maximum(np.ceil(values[model.integer] - _TOLERANCE), model.lower[model.integer])
    return start


def _with_realtime_machines(formulation: Formulation, values: Floats, realtime_machines: Columns) -> SparseModel:
    """Return the model with real-time work on exactly these machines, its safe load exactly c(n)."""
    model, var = formulation.model, formulation.variables
    lower, upper, row_upper = model.lower.copy(), model.upper.copy(), model.row_upper.copy()
    by_hour = [isinstance(formulation.problem.payments[o], OnDemand | Spot) for _, o in formulation.problem.pairs]
    columns = var.machines[by_hour]
    lower[columns] = np.minimum(realtime_machines[by_hour], upper[columns])
    values = values.copy()
    values[var.machines] = realtime_machines
    for p, (machines, rows, limit) in exact_safe_load(formulation, values).items():
        lower[var.firm[p]] = upper[var.firm[p]] = machines
        row_upper[rows] = limit
    if "joint safe load" in formulation.rows:
        row_upper[formulation.rows["joint safe load"]] = np.inf
    return dataclasses.replace(model, lower=lower, upper=upper, row_upper=row_upper)


def _add_next_starts(formulation: Formulation, window: Bools, free: Bools, rows: Bools) -> tuple[Bools, Bools]:
    """Add the starts just after a window, which depend on its last machines, to its columns and rows."""
    previous = formulation.problem.horizon.previous
    after = np.flatnonzero((previous >= 0) & window[previous] & ~window)
    free, rows = free.copy(), rows.copy()
    for i, columns in formulation.variables.starts.items():
        free[columns[after]] = True
        rows[formulation.rows[f"starts {i}"][after]] = True
    return free, rows


def _bound_backlog(formulation: Formulation, model: SparseModel, values: Floats, window: Bools) -> SparseModel:
    """Return the model with the backlog at the end of a window at most what it is."""
    last = np.flatnonzero(window & ~np.roll(window, -1))
    upper = model.upper.copy()
    if np.count_nonzero(window) < formulation.problem.horizon.slots:
        for backlog in formulation.variables.backlog.values():
            upper[backlog[last]] = np.minimum(upper[backlog[last]], values[backlog[last]] * (1 + 1e-9) + _TOLERANCE)
    return dataclasses.replace(model, upper=upper)


def _price_backlog(
    formulation: Formulation, model: SparseModel, window: Bools, backlog_usd: Mapping[int, float]
) -> SparseModel:
    """Return the model with a price on the backlog at the end of a window."""
    horizon = formulation.problem.horizon
    last = np.flatnonzero(window & ~np.roll(window, -1))
    cost = model.cost.copy()
    if np.count_nonzero(window) < horizon.slots:
        for w, backlog in formulation.variables.backlog.items():
            cost[backlog[last]] += backlog_usd.get(w, 0.0) * horizon.probability[last]
    return dataclasses.replace(model, cost=cost)
