"""Repair of rounded solutions: machines fixed, the safe load c(n) exact, machines added where a promise would break."""

from typing import Final

import numpy as np

from meritorder.planner.model.constraints import Formulation
from meritorder.planner.model.linear_program import Columns, Floats
from meritorder.planner.model.problem import RouteKind
from meritorder.planner.model.supply import OnDemand, Spot
from meritorder.planner.model.variables import committed_machines, realtime_load
from meritorder.planner.solve.highs import Solver

_MAX_REPAIRS: Final = 30
_TOLERANCE: Final = 1e-6


def repair(formulation: Formulation, elastic: Formulation, values: Floats, *, time_limit_s: float) -> Floats | None:
    """Fix the integers of a solution and solve for the rest with c(n) exact, adding machines until it is feasible.

    Args:
        formulation: The program.
        elastic: The elastic program of the same problem.
        values: Values with whole machines.
        time_limit_s: Time limit.

    Returns:
        A solution that satisfies every constraint; None if none was found.
    """
    # Combined plans may exceed the limits on machines.
    values = _use_all_committed(formulation, np.clip(values, formulation.model.lower, formulation.model.upper))
    solver = Solver(formulation.model)
    for _ in range(_MAX_REPAIRS):
        _fix_integers(solver, formulation, values)
        result = solver.run(time_limit_s=time_limit_s - solver.spent_s)
        if result.found:
            integer = formulation.model.integer
            result.values[integer] = np.round(values[integer])
            return result.values
        if solver.spent_s >= time_limit_s or not _add_machines(elastic, values):
            return None
    return None


def firm_machines(formulation: Formulation, values: Floats) -> dict[int, Columns]:
    """Return the whole firm machines of each pool that takes real-time work, shape (slots,)."""
    problem, var = formulation.problem, formulation.variables
    machines = {}
    for p in var.firm:
        pairs = problem.pairs_of(pool=p)
        spot = [i for i in pairs if isinstance(problem.payment_of(i), Spot)]
        firm = values[var.machines[list(pairs)]].sum(axis=0) - values[var.machines[spot]].sum(axis=0)
        machines[p] = np.floor(firm + _TOLERANCE).astype(np.int64)
    return machines


def safe_load_violations(formulation: Formulation, values: Floats) -> dict[int, Columns]:
    """Return, by pool, the slots in which its real-time load exceeds c(n) of its firm machines."""
    problem, violations = formulation.problem, {}
    for p, machines in firm_machines(formulation, values).items():
        safe_load = problem.pools[p].safe_load
        load = realtime_load(problem, formulation.variables, values, p)
        limit = safe_load[np.minimum(machines, len(safe_load) - 1)]
        slots = np.flatnonzero(load > limit + _TOLERANCE * np.maximum(limit, 1.0))
        if len(slots):
            violations[p] = slots
    return violations


def exact_safe_load(formulation: Formulation, values: Floats) -> dict[int, tuple[Floats, Columns, Floats]]:
    """Return the bounds that replace the envelope by c(n) of the firm machines of a solution.

    Returns:
        By pool: firm machines, shape (slots,); rows of the envelope; upper bounds of these rows.
    """
    exact, model, var = {}, formulation.model, formulation.variables
    for p, machines in firm_machines(formulation, values).items():
        safe_load, firm = formulation.problem.pools[p].safe_load, var.firm[p]
        count = np.minimum(machines, np.minimum(model.upper[firm], len(safe_load) - 1)).astype(np.int64)
        rows = formulation.rows.get(f"safe load {p}", np.zeros(0, np.int64))
        slots = model.row_slot[rows]
        load = formulation.problem.max_realtime_load(p)[slots]
        slope = _coefficients(formulation, rows, firm[slots])
        exact[p] = (count.astype(float), rows, np.minimum(safe_load[count[slots]], load) + slope * count[slots])
    return exact


def _coefficients(formulation: Formulation, rows: Columns, columns: Columns) -> Floats:
    """Return the coefficient of one column in each row."""
    matrix = formulation.model.matrix
    coefficients = np.zeros(len(rows))
    for place, (row, column) in enumerate(zip(rows, columns, strict=True)):
        entries = slice(matrix.start[row], matrix.start[row + 1])
        coefficients[place] = matrix.value[entries][matrix.column[entries] == column].sum()
    return coefficients


def _use_all_committed(formulation: Formulation, values: Floats) -> Floats:
    """Run all machines of commitments that serve a single pool, at no cost."""
    values, problem = values.copy(), formulation.problem
    for i, (_, o) in enumerate(problem.pairs):
        columns = formulation.variables.machines[i]
        if not formulation.model.integer[columns].any():
            values[columns] = committed_machines(problem, formulation.variables, values, o)
    return values


def _fix_integers(solver: Solver, formulation: Formulation, values: Floats) -> None:
    """Fix all machines and commitments, and the safe load at exactly c(n)."""
    model = formulation.model
    fixed = model.integer.copy()
    fixed[formulation.variables.machines] = True
    columns = np.flatnonzero(fixed)
    solver.set_bounds(columns, values[columns], values[columns])
    for p, (machines, rows, upper) in exact_safe_load(formulation, values).items():
        solver.set_bounds(formulation.variables.firm[p], machines, machines)
        solver.set_row_bounds(rows, np.full(len(rows), -np.inf), upper)
    joint = formulation.rows.get("joint safe load", np.zeros(0, np.int64))
    solver.set_row_bounds(joint, np.full(len(joint), -np.inf), np.full(len(joint), np.inf))


def _add_machines(elastic: Formulation, values: Floats) -> bool:
    """Add the cheapest machine in each slot where a promise would break, in place; return whether any was added."""
    solver = Solver(elastic.model)
    padded = np.zeros(len(elastic.model.cost))
    padded[: len(values)] = values
    _fix_integers(solver, elastic, padded)
    result = solver.run()
    if not result.found:
        return False
    problem, var, added = elastic.problem, elastic.variables, False
    broken: dict[int, list[int]] = {}
    for w, columns in (*var.unserved.items(), *var.late.items()):
        for t in np.flatnonzero(result.values[columns] > _TOLERANCE).tolist():
            broken.setdefault(t, []).append(w)
    for t, workloads in broken.items():
        pools = {r.venue for r in problem.routes if r.workload in workloads and r.kind is RouteKind.POOL}
        choices = [
            (payment.usd_per_hour / problem.pools[p].replicas, i)
            for i, (p, o) in enumerate(problem.pairs)
            if p in pools
            and isinstance(payment := problem.payments[o], OnDemand)
            and values[var.machines[i][t]] < payment.max_machines
        ]
        if choices:
            values[var.machines[min(choices)[1]][t]] += 1
            added = True
    return added
