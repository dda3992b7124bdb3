"""Whole machines: windows of the horizon solved by branch and bound, one after the other, then mended as a whole.

A week has thousands of whole numbers, more than branch and bound can look at; but given the backlog at its two ends and
what is committed, a few hours are a programme of their own. The relaxation gives both.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from meritorder.planner.model.constraints import Built
from meritorder.planner.model.linear_program import Bools, Columns, Floats, Model, restricted
from meritorder.planner.model.supply import OnDemand, Spot
from meritorder.planner.model.variables import commitment_level, realtime_work
from meritorder.planner.solve.highs import Solver, solve

# Whole numbers of a window: about what branch and bound settles in a fraction of a second.
_WHOLE_IN_WINDOW: Final = 96
_WINDOW_GAP: Final = 4e-3
_MOST_REPAIRS: Final = 30
_TOLERANCE: Final = 1e-6


def windows(built: Built, active: Bools, *, shifted: bool) -> Iterator[Bools]:
    """Cut every scenario into windows of whole hours; yields the mask of their slots, shape (slots,).

    Args:
        built: The programme.
        active: Columns that may be used.
        shifted: Begin half a window later, so that the seams of another sweep lie inside.
    """
    horizon = built.problem.horizon
    whole = max(1, int((built.model.whole & active & (built.model.slot >= 0)).sum()))
    hours = max(1, round(_WHOLE_IN_WINDOW * horizon.length / whole / horizon.slots_per_hour))
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


def used_columns(built: Built, x: Floats) -> Bools:
    """Return which columns are worth a look in a window: all but elastic machines that the relaxation never uses.

    Args:
        built: The programme.
        x: A solution of the relaxation.
    """
    keep = np.ones(len(built.model.cost), np.bool_)
    problem = built.problem
    for i, columns in enumerate(built.x.on):
        elastic = isinstance(problem.payments[problem.pairs[i][1]], OnDemand | Spot)
        if elastic and x[columns].max(initial=0.0) < _TOLERANCE:
            keep[columns] = False
    return keep


def sweep(
    built: Built,
    x: Floats,
    *,
    time_limit_s: float,
    shifted: bool,
    floor: Columns | None = None,
    worth_usd: dict[int, float] | None = None,
) -> tuple[Floats, float]:
    """Make the machines whole, window by window; what lies outside a window stays as it is.

    Args:
        built: The programme.
        x: Values to start from, feasible but for whole numbers; commitments are whole.
        time_limit_s: For all windows together.
        shifted: See `windows`.
        floor: Machines that are there for real-time work, shape (pairs, slots): real-time work leans on exactly these,
            and only what is added for work that may wait is decided. Without it x is whole, and is made better.
        worth_usd: By deferrable workload, what a unit of backlog is worth at the end of a window, which may then be any
            that its patience allows: small work is gathered until it fills a machine. Without it the backlog there is
            at most that of x.

    Returns:
        The new values, and the time it took. Where a window has no answer in time its machines are rounded up.
    """
    x, spent_s = x.copy(), 0.0
    model = built.model if floor is None else _on_floor(built, x, floor)
    active = used_columns(built, x)
    todo = list(windows(built, active, shifted=shifted))
    next_start = _next_starts(built) if floor is None else None
    for done, chosen in enumerate(todo):
        inside = (model.slot >= 0) & chosen[model.slot]
        rows = (model.row_slot >= 0) & chosen[model.row_slot]
        free = inside & (active | (model.lower > 0))
        if next_start is not None:
            free, rows = next_start(chosen, free, rows)
        held = np.where(inside & ~free, 0.0, x) if floor is not None else x
        ends = (
            _ends_held(built, model, x, chosen) if worth_usd is None else _ends_priced(built, model, chosen, worth_usd)
        )
        small, columns = restricted(ends, held, free, rows)
        limit_s = 2 * (time_limit_s - spent_s) / (len(todo) - done)
        start = x[columns] if floor is None else _rounded_up(small, x[columns])
        answer = solve(small, whole=True, time_limit_s=limit_s, gap=_WINDOW_GAP, start=start)
        spent_s += answer.solve_s
        if answer.found:
            x[inside] = held[inside]
            x[columns] = answer.x
        elif floor is not None:
            x[inside] = np.maximum(x[inside], model.lower[inside])
            x[inside & model.whole] = np.ceil(x[inside & model.whole] - _TOLERANCE)
        if spent_s > time_limit_s and floor is None:
            break
    x[model.whole] = np.round(x[model.whole])
    return x, spent_s


def _rounded_up(model: Model, x: Floats) -> Floats:
    """Return a first guess for branch and bound: machines rounded up; what is not whole is the solver's to fill in."""
    guess = np.full(len(x), np.nan)
    guess[model.whole] = np.maximum(np.ceil(x[model.whole] - _TOLERANCE), model.lower[model.whole])
    return guess


def _on_floor(built: Built, x: Floats, floor: Columns) -> Model:
    """Return the model with real-time work on exactly the machines of the floor, its safe load exactly c(n)."""
    model = built.model
    lower, upper, row_upper = model.lower.copy(), model.upper.copy(), model.row_upper.copy()
    on = built.x.on
    elastic = [isinstance(built.problem.payments[o], OnDemand | Spot) for _, o in built.problem.pairs]
    lower[on[elastic]] = np.minimum(floor[elastic], upper[on[elastic]])
    leaning = x.copy()
    leaning[on] = floor
    for p, (level, rows, allowed) in exact_safe_load(built, leaning).items():
        lower[built.x.lean[p]] = upper[built.x.lean[p]] = level
        row_upper[rows] = allowed
    if "safe load together" in built.rows:
        row_upper[built.rows["safe load together"]] = np.inf
    return dataclasses.replace(model, lower=lower, upper=upper, row_upper=row_upper)


def _next_starts(built: Built) -> Callable[[Bools, Bools, Bools], tuple[Bools, Bools]]:
    """Return what adds to a window the starts just after it, which its last machines decide."""
    before = built.problem.horizon.before
    names = [f"starts {i}" for i in built.x.start]

    def widen(chosen: Bools, free: Bools, rows: Bools) -> tuple[Bools, Bools]:
        after = np.flatnonzero((before >= 0) & chosen[before] & ~chosen)
        free, rows = free.copy(), rows.copy()
        for name, columns in zip(names, built.x.start.values(), strict=True):
            free[columns[after]] = True
            rows[built.rows[name][after]] = True
        return free, rows

    return widen


def _ends_held(built: Built, model: Model, x: Floats, chosen: Bools) -> Model:
    """Return the model with the backlog at the end of a window no larger than it is."""
    horizon = built.problem.horizon
    last = np.flatnonzero(chosen & ~np.roll(chosen, -1))
    upper = model.upper.copy()
    if np.count_nonzero(chosen) < horizon.slots:
        for queue in built.x.queue.values():
            upper[queue[last]] = np.minimum(upper[queue[last]], x[queue[last]] * (1 + 1e-9) + _TOLERANCE)
    return dataclasses.replace(model, upper=upper)


def _ends_priced(built: Built, model: Model, chosen: Bools, worth_usd: dict[int, float]) -> Model:
    """Return the model in which backlog at the end of a window costs what it will cost to serve."""
    horizon = built.problem.horizon
    last = np.flatnonzero(chosen & ~np.roll(chosen, -1))
    cost = model.cost.copy()
    if np.count_nonzero(chosen) < horizon.slots:
        for w, queue in built.x.queue.items():
            cost[queue[last]] += worth_usd.get(w, 0.0) * horizon.chance[last]
    return dataclasses.replace(model, cost=cost)


def machines_by_pool(built: Built, x: Floats) -> dict[int, Columns]:
    """Return the whole machines that real-time work may lean on, by pool, shape (slots,)."""
    problem, machines = built.problem, {}
    for p in built.x.lean:
        pairs = problem.pairs_of(pool=p)
        spot = [i for i in pairs if isinstance(problem.payments[problem.pairs[i][1]], Spot)]
        total = x[built.x.on[list(pairs)]].sum(axis=0)
        firm = total - x[built.x.on[spot]].sum(axis=0)
        machines[p] = np.floor(np.minimum(total, firm) + _TOLERANCE).astype(np.int64)
    return machines


def safe_load_missed(built: Built, x: Floats) -> dict[int, Columns]:
    """Return by pool the slots at which its real-time work is more than c(n) of the machines that are there."""
    problem, missed = built.problem, {}
    for p, machines in machines_by_pool(built, x).items():
        safe = problem.pools[p].safe_load
        work = realtime_work(problem, built.x, x, p)
        allowed = safe[np.minimum(machines, len(safe) - 1)]
        slots = np.flatnonzero(work > allowed + _TOLERANCE * np.maximum(allowed, 1.0))
        if len(slots):
            missed[p] = slots
    return missed


def settle(built: Built, elastic: Built, x: Floats, *, time_limit_s: float) -> Floats | None:
    """Hold the whole numbers of x, solve for the rest with c(n) exact, and add machines where that cannot be done.

    Args:
        built: The programme.
        elastic: The same with slack on its promises (`lp.build`).
        x: Values with whole machines.
        time_limit_s: When to give up.

    Returns:
        A solution in which every constraint holds; None if none was found.
    """
    # What was put together of several plans may be more machines than there are.
    x = _filled(built, np.clip(x, built.model.lower, built.model.upper))
    solver = Solver(built.model)
    for _ in range(_MOST_REPAIRS):
        _hold(solver, built, x)
        answer = solver.run(time_limit_s=time_limit_s - solver.spent_s)
        if answer.found:
            answer.x[built.model.whole] = np.round(x[built.model.whole])
            return answer.x
        if solver.spent_s >= time_limit_s or not _add_machines(elastic, x):
            return None
    return None


def _filled(built: Built, x: Floats) -> Floats:
    """Raise machines of commitments that one pool has for itself to what was committed; they cost nothing more."""
    x, problem = x.copy(), built.problem
    for i, (_, o) in enumerate(problem.pairs):
        columns = built.x.on[i]
        if not built.model.whole[columns].any():
            x[columns] = commitment_level(problem, built.x, x, o)
    return x


def _hold(solver: Solver, built: Built, x: Floats) -> None:
    """Fix the machines, and the safe load at exactly c(n)."""
    model = built.model
    fixed = model.whole.copy()
    for i, columns in enumerate(built.x.on):
        if not model.whole[built.x.on[i]].any():
            fixed[columns] = True
    columns = np.flatnonzero(fixed)
    solver.bound(columns, x[columns], x[columns])
    for p, (level, rows, allowed) in exact_safe_load(built, x).items():
        solver.bound(built.x.lean[p], level, level)
        solver.bound_rows(rows, np.full(len(rows), -np.inf), allowed)
    together = built.rows.get("safe load together", np.zeros(0, np.int64))
    solver.bound_rows(together, np.full(len(together), -np.inf), np.full(len(together), np.inf))


def exact_safe_load(built: Built, x: Floats) -> dict[int, tuple[Floats, Columns, Floats]]:
    """Return by pool the machines that x lets real-time work lean on, and its rows with the bounds that make them c(n).

    Returns:
        By pool: machines, shape (slots,); rows; upper bounds of those rows.
    """
    exact, model = {}, built.model
    for p, machines in machines_by_pool(built, x).items():
        safe, lean = built.problem.pools[p].safe_load, built.x.lean[p]
        level = np.minimum(machines, np.minimum(model.upper[lean], len(safe) - 1)).astype(np.int64)
        rows = built.rows.get(f"safe load {p}", np.zeros(0, np.int64))
        slots = model.row_slot[rows]
        load = built.problem.realtime_load(p)[slots]
        slope = _slopes(built, rows, lean[slots])
        exact[p] = (level.astype(float), rows, np.minimum(safe[level[slots]], load) + slope * level[slots])
    return exact


def _slopes(built: Built, rows: Columns, columns: Columns) -> Floats:
    """Return the coefficient of a column in each row."""
    matrix = built.model.matrix
    slopes = np.zeros(len(rows))
    for place, (row, column) in enumerate(zip(rows, columns, strict=True)):
        entries = slice(matrix.start[row], matrix.start[row + 1])
        slopes[place] = matrix.value[entries][matrix.column[entries] == column].sum()
    return slopes


def _add_machines(elastic: Built, x: Floats) -> bool:
    """Add the machine that helps most where promises cannot be kept, in place; False if none can be added."""
    solver = Solver(elastic.model)
    padded = np.zeros(len(elastic.model.cost))
    padded[: len(x)] = x
    _hold(solver, elastic, padded)
    answer = solver.run()
    if not answer.found:
        return False
    problem, added = elastic.problem, False
    short: dict[int, list[int]] = {}
    for w, columns in (*elastic.x.unserved.items(), *elastic.x.late.items()):
        for t in np.flatnonzero(answer.x[columns] > _TOLERANCE).tolist():
            short.setdefault(t, []).append(w)
    for t, workloads in short.items():
        pools = {r.venue for w in workloads for r in problem.routes if r.workload == w and r.kind == "pool"}
        choices = [
            (payment.usd_per_hour / problem.pools[p].replicas, i)
            for i, (p, o) in enumerate(problem.pairs)
            if p in pools
            and isinstance(payment := problem.payments[o], OnDemand)
            and x[elastic.x.on[i][t]] < payment.most
        ]
        if choices:
            x[elastic.x.on[min(choices)[1]][t]] += 1
            added = True
    return added
