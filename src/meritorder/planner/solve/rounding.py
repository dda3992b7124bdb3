"""Whole machines: windows of the horizon solved by branch and bound, one after the other, then mended as a whole.

A week has thousands of whole numbers, more than branch and bound can look at; but given the backlog at its two ends and
what is committed, a few hours are a programme of their own. The relaxation gives both.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from meritorder.planner.model.constraints import Formulation
from meritorder.planner.model.linear_program import Bools, Columns, Floats, SparseModel, restrict
from meritorder.planner.model.supply import OnDemand, Spot
from meritorder.planner.model.variables import commitment_level, realtime_work
from meritorder.planner.solve.highs import Solver, solve

# Whole numbers of a window: about what branch and bound settles in a fraction of a second.
_WHOLE_IN_WINDOW: Final = 96
_WINDOW_GAP: Final = 4e-3
_MOST_REPAIRS: Final = 30
_TOLERANCE: Final = 1e-6


def windows(formulation: Formulation, active: Bools, *, shifted: bool) -> Iterator[Bools]:
    """Cut every scenario into windows of whole hours; yields the mask of their slots, shape (slots,).

    Args:
        formulation: The programme.
        active: Columns that may be used.
        shifted: Begin half a window later, so that the seams of another sweep lie inside.
    """
    horizon = formulation.problem.horizon
    integer = max(1, int((formulation.model.integer & active & (formulation.model.slot >= 0)).sum()))
    hours = max(1, round(_WHOLE_IN_WINDOW * horizon.length / integer / horizon.slots_per_hour))
    size = hours * horizon.slots_per_hour
    slots = np.arange(horizon.length)
    for scenario in range(horizon.scenarios):
        local = slots - scenario * horizon.slots
        mine = (local >= 0) & (local < horizon.slots)
        begin = -(hours // 2) * horizon.slots_per_hour if shifted else 0
        for first in range(begin, horizon.slots, size):
            chosen = mine & (local >= first) & (local < first + size)
            if chosen.any():
                yield chosen


def usable_columns(formulation: Formulation, x: Floats) -> Bools:
    """Return which columns are worth a look in a window: all but elastic machines that the relaxation never uses.

    Args:
        formulation: The programme.
        x: A solution of the relaxation.
    """
    keep = np.ones(len(formulation.model.cost), np.bool_)
    problem = formulation.problem
    for i, columns in enumerate(formulation.x.on):
        elastic = isinstance(problem.payments[problem.pairs[i][1]], OnDemand | Spot)
        if elastic and x[columns].max(initial=0.0) < _TOLERANCE:
            keep[columns] = False
    return keep


def solve_windows(
    formulation: Formulation,
    x: Floats,
    *,
    time_limit_s: float,
    shifted: bool,
    floor: Columns | None = None,
    backlog_value_usd: dict[int, float] | None = None,
) -> tuple[Floats, float]:
    """Make the machines whole, window by window; what lies outside a window stays as it is.

    Args:
        formulation: The programme.
        x: Values to start from, feasible but for whole numbers; commitments are whole.
        time_limit_s: For all windows together.
        shifted: See `windows`.
        floor: Machines that are there for real-time work, shape (pairs, slots): real-time work leans on exactly these,
            and only what is added for work that may wait is decided. Without it x is whole, and is made better.
        backlog_value_usd: By deferrable workload, what a unit of backlog is worth at the end of a window, which may
            then be any that its patience allows: small work is gathered until it fills a machine. Without it the
            backlog there is at most that of x.

    Returns:
        The new values, and the time it took. Where a window has no answer in time its machines are rounded up.
    """
    x, spent_s = x.copy(), 0.0
    model = formulation.model if floor is None else _on_floor(formulation, x, floor)
    active = usable_columns(formulation, x)
    todo = list(windows(formulation, active, shifted=shifted))
    next_start = _next_starts(formulation) if floor is None else None
    for done, chosen in enumerate(todo):
        inside = (model.slot >= 0) & chosen[model.slot]
        rows = (model.row_slot >= 0) & chosen[model.row_slot]
        free = inside & (active | (model.lower > 0))
        if next_start is not None:
            free, rows = next_start(chosen, free, rows)
        held = np.where(inside & ~free, 0.0, x) if floor is not None else x
        ends = (
            _ends_held(formulation, model, x, chosen)
            if backlog_value_usd is None
            else _ends_priced(formulation, model, chosen, backlog_value_usd)
        )
        small, columns = restrict(ends, held, free, rows)
        limit_s = 2 * (time_limit_s - spent_s) / (len(todo) - done)
        start = x[columns] if floor is None else _rounded_up(small, x[columns])
        result = solve(small, integer=True, time_limit_s=limit_s, gap=_WINDOW_GAP, start=start)
        spent_s += result.solve_s
        if result.found:
            x[inside] = held[inside]
            x[columns] = result.x
        elif floor is not None:
            x[inside] = np.maximum(x[inside], model.lower[inside])
            x[inside & model.integer] = np.ceil(x[inside & model.integer] - _TOLERANCE)
        if spent_s > time_limit_s and floor is None:
            break
    x[model.integer] = np.round(x[model.integer])
    return x, spent_s


def _rounded_up(model: SparseModel, x: Floats) -> Floats:
    """Return a first guess for branch and bound: machines rounded up; what is not whole is the solver's to fill in."""
    guess = np.full(len(x), np.nan)
    guess[model.integer] = np.maximum(np.ceil(x[model.integer] - _TOLERANCE), model.lower[model.integer])
    return guess


def _on_floor(formulation: Formulation, x: Floats, floor: Columns) -> SparseModel:
    """Return the model with real-time work on exactly the machines of the floor, its safe load exactly c(n)."""
    model = formulation.model
    lower, upper, row_upper = model.lower.copy(), model.upper.copy(), model.row_upper.copy()
    on = formulation.x.on
    elastic = [isinstance(formulation.problem.payments[o], OnDemand | Spot) for _, o in formulation.problem.pairs]
    lower[on[elastic]] = np.minimum(floor[elastic], upper[on[elastic]])
    leaning = x.copy()
    leaning[on] = floor
    for p, (level, rows, allowed) in exact_safe_load(formulation, leaning).items():
        lower[formulation.x.lean[p]] = upper[formulation.x.lean[p]] = level
        row_upper[rows] = allowed
    if "safe load together" in formulation.rows:
        row_upper[formulation.rows["safe load together"]] = np.inf
    return dataclasses.replace(model, lower=lower, upper=upper, row_upper=row_upper)


def _next_starts(formulation: Formulation) -> Callable[[Bools, Bools, Bools], tuple[Bools, Bools]]:
    """Return what adds to a window the starts just after it, which its last machines decide."""
    before = formulation.problem.horizon.before
    names = [f"starts {i}" for i in formulation.x.start]

    def widen(chosen: Bools, free: Bools, rows: Bools) -> tuple[Bools, Bools]:
        after = np.flatnonzero((before >= 0) & chosen[before] & ~chosen)
        free, rows = free.copy(), rows.copy()
        for name, columns in zip(names, formulation.x.start.values(), strict=True):
            free[columns[after]] = True
            rows[formulation.rows[name][after]] = True
        return free, rows

    return widen


def _ends_held(formulation: Formulation, model: SparseModel, x: Floats, chosen: Bools) -> SparseModel:
    """Return the model with the backlog at the end of a window no larger than it is."""
    horizon = formulation.problem.horizon
    last = np.flatnonzero(chosen & ~np.roll(chosen, -1))
    upper = model.upper.copy()
    if np.count_nonzero(chosen) < horizon.slots:
        for queue in formulation.x.queue.values():
            upper[queue[last]] = np.minimum(upper[queue[last]], x[queue[last]] * (1 + 1e-9) + _TOLERANCE)
    return dataclasses.replace(model, upper=upper)


def _ends_priced(
    formulation: Formulation, model: SparseModel, chosen: Bools, backlog_value_usd: dict[int, float]
) -> SparseModel:
    """Return the model in which backlog at the end of a window costs what it will cost to serve."""
    horizon = formulation.problem.horizon
    last = np.flatnonzero(chosen & ~np.roll(chosen, -1))
    cost = model.cost.copy()
    if np.count_nonzero(chosen) < horizon.slots:
        for w, queue in formulation.x.queue.items():
            cost[queue[last]] += backlog_value_usd.get(w, 0.0) * horizon.probability[last]
    return dataclasses.replace(model, cost=cost)


def firm_machines(formulation: Formulation, x: Floats) -> dict[int, Columns]:
    """Return the whole machines that real-time work may lean on, by pool, shape (slots,)."""
    problem, machines = formulation.problem, {}
    for p in formulation.x.lean:
        pairs = problem.pairs_of(pool=p)
        spot = [i for i in pairs if isinstance(problem.payments[problem.pairs[i][1]], Spot)]
        total = x[formulation.x.on[list(pairs)]].sum(axis=0)
        firm = total - x[formulation.x.on[spot]].sum(axis=0)
        machines[p] = np.floor(np.minimum(total, firm) + _TOLERANCE).astype(np.int64)
    return machines


def safe_load_violations(formulation: Formulation, x: Floats) -> dict[int, Columns]:
    """Return by pool the slots at which its real-time work is more than c(n) of the machines that are there."""
    problem, missed = formulation.problem, {}
    for p, machines in firm_machines(formulation, x).items():
        safe = problem.pools[p].safe_load
        work = realtime_work(problem, formulation.x, x, p)
        allowed = safe[np.minimum(machines, len(safe) - 1)]
        slots = np.flatnonzero(work > allowed + _TOLERANCE * np.maximum(allowed, 1.0))
        if len(slots):
            missed[p] = slots
    return missed


def repair(formulation: Formulation, elastic: Formulation, x: Floats, *, time_limit_s: float) -> Floats | None:
    """Hold the whole numbers of x, solve for the rest with c(n) exact, and add machines where that cannot be done.

    Args:
        formulation: The programme.
        elastic: The same with slack on its promises (`lp.build`).
        x: Values with whole machines.
        time_limit_s: When to give up.

    Returns:
        A solution in which every constraint holds; None if none was found.
    """
    # What was put together of several plans may be more machines than there are.
    x = _filled(formulation, np.clip(x, formulation.model.lower, formulation.model.upper))
    solver = Solver(formulation.model)
    for _ in range(_MOST_REPAIRS):
        _hold(solver, formulation, x)
        result = solver.run(time_limit_s=time_limit_s - solver.spent_s)
        if result.found:
            result.x[formulation.model.integer] = np.round(x[formulation.model.integer])
            return result.x
        if solver.spent_s >= time_limit_s or not _add_machines(elastic, x):
            return None
    return None


def _filled(formulation: Formulation, x: Floats) -> Floats:
    """Raise machines of commitments that one pool has for itself to what was committed; they cost nothing more."""
    x, problem = x.copy(), formulation.problem
    for i, (_, o) in enumerate(problem.pairs):
        columns = formulation.x.on[i]
        if not formulation.model.integer[columns].any():
            x[columns] = commitment_level(problem, formulation.x, x, o)
    return x


def _hold(solver: Solver, formulation: Formulation, x: Floats) -> None:
    """Fix the machines, and the safe load at exactly c(n)."""
    model = formulation.model
    fixed = model.integer.copy()
    for i, columns in enumerate(formulation.x.on):
        if not model.integer[formulation.x.on[i]].any():
            fixed[columns] = True
    columns = np.flatnonzero(fixed)
    solver.bound(columns, x[columns], x[columns])
    for p, (level, rows, allowed) in exact_safe_load(formulation, x).items():
        solver.bound(formulation.x.lean[p], level, level)
        solver.bound_rows(rows, np.full(len(rows), -np.inf), allowed)
    together = formulation.rows.get("safe load together", np.zeros(0, np.int64))
    solver.bound_rows(together, np.full(len(together), -np.inf), np.full(len(together), np.inf))


def exact_safe_load(formulation: Formulation, x: Floats) -> dict[int, tuple[Floats, Columns, Floats]]:
    """Return by pool the machines that x lets real-time work lean on, and its rows with the bounds that make them c(n).

    Returns:
        By pool: machines, shape (slots,); rows; upper bounds of those rows.
    """
    exact, model = {}, formulation.model
    for p, machines in firm_machines(formulation, x).items():
        safe, lean = formulation.problem.pools[p].safe_load, formulation.x.lean[p]
        level = np.minimum(machines, np.minimum(model.upper[lean], len(safe) - 1)).astype(np.int64)
        rows = formulation.rows.get(f"safe load {p}", np.zeros(0, np.int64))
        slots = model.row_slot[rows]
        load = formulation.problem.realtime_load(p)[slots]
        slope = _slopes(formulation, rows, lean[slots])
        exact[p] = (level.astype(float), rows, np.minimum(safe[level[slots]], load) + slope * level[slots])
    return exact


def _slopes(formulation: Formulation, rows: Columns, columns: Columns) -> Floats:
    """Return the coefficient of a column in each row."""
    matrix = formulation.model.matrix
    slopes = np.zeros(len(rows))
    for place, (row, column) in enumerate(zip(rows, columns, strict=True)):
        entries = slice(matrix.start[row], matrix.start[row + 1])
        slopes[place] = matrix.value[entries][matrix.column[entries] == column].sum()
    return slopes


def _add_machines(elastic: Formulation, x: Floats) -> bool:
    """Add the machine that helps most where promises cannot be kept, in place; False if none can be added."""
    solver = Solver(elastic.model)
    padded = np.zeros(len(elastic.model.cost))
    padded[: len(x)] = x
    _hold(solver, elastic, padded)
    result = solver.run()
    if not result.found:
        return False
    problem, added = elastic.problem, False
    short: dict[int, list[int]] = {}
    for w, columns in (*elastic.x.unserved.items(), *elastic.x.late.items()):
        for t in np.flatnonzero(result.x[columns] > _TOLERANCE).tolist():
            short.setdefault(t, []).append(w)
    for t, workloads in short.items():
        pools = {r.venue for w in workloads for r in problem.routes if r.workload == w and r.kind == "pool"}
        choices = [
            (payment.usd_per_hour / problem.pools[p].replicas, i)
            for i, (p, o) in enumerate(problem.pairs)
            if p in pools
            and isinstance(payment := problem.payments[o], OnDemand)
            and x[elastic.x.on[i][t]] < payment.max_machines
        ]
        if choices:
            x[elastic.x.on[min(choices)[1]][t]] += 1
            added = True
    return added
