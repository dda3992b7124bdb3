"""Feasibility: repair of rounded solutions, and the reason why a problem has no plan.

A solution is repaired with its machines fixed and the safe load c(n) exact, by adding machines where a promise breaks.
Both find broken promises by the slack of the elastic program.
"""

from typing import Final

import numpy as np

from meritorder.errors import InfeasibleError
from meritorder.planner.model.constraints import Formulation, formulate
from meritorder.planner.model.linear_program import Columns, Floats
from meritorder.planner.model.problem import Problem, RouteKind
from meritorder.planner.model.supply import OnDemand, Spot
from meritorder.planner.model.variables import committed_machines, pool_load
from meritorder.planner.solve.highs import Solver, solve
from meritorder.units import format_duration

_MAX_REPAIRS: Final = 30
_TOLERANCE: Final = 1e-6
_BINDING: Final = {RouteKind.POOL: "safe load and limits of machines", RouteKind.TIER: "rate limits"}


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
        load = pool_load(problem, formulation.variables, values, p)
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


def explain_infeasibility(problem: Problem) -> InfeasibleError:
    """Return an error that names the promise that cannot be kept, when it breaks, and what would help.

    The elastic program, with slack on coverage and patience, is minimized: the slack that remains is the cause.
    """
    elastic = formulate(problem, elastic=True)
    result = solve(elastic.model, integer=False)
    if not result.found:
        return InfeasibleError(
            "the limits contradict each other", where="plan", fix="check quotas and existing commitments"
        )
    slot_h = problem.horizon.slot_h
    for w, columns in elastic.variables.unserved.items():
        unserved = result.values[columns]
        if unserved.max(initial=0.0) > _TOLERANCE:
            worst = int(np.argmax(unserved))
            return InfeasibleError(
                f"in {np.count_nonzero(unserved > _TOLERANCE):,} slots there is not enough capacity for its real-time "
                f"work; at hour {worst * slot_h:.4g} {unserved[worst]:.0%} of it is unserved "
                f"(constraints: {_binding_constraints(problem, w)})",
                where=f"workload {problem.workloads[w].name}",
                fix="allow more machines or a token API, add hardware, or loosen the SLO",
            )
    for w, columns in elastic.variables.late.items():
        late_s = result.values[columns]
        if late_s.max(initial=0.0) > _TOLERANCE:
            demand = problem.deferrable_demand(w)
            worst = int(np.argmax(late_s))
            patience_s = float(np.min(demand.due - np.arange(len(demand.due)) + 1)) * problem.horizon.slot_s
            return InfeasibleError(
                f"with a patience of {format_duration(patience_s)} some of its work is late; "
                f"at hour {worst * slot_h:.4g} {format_duration(late_s[worst])} of work is overdue "
                f"(constraints: patience, {_binding_constraints(problem, w)})",
                where=f"workload {demand.name}",
                fix="give it more patience, allow more machines or a token API, or add hardware",
            )
    return InfeasibleError(
        "the work fits on fractions of machines, but no plan with whole machines was found",
        where="plan",
        fix="allow one machine more, or raise the time limit",
    )


def _binding_constraints(problem: Problem, w: int) -> str:
    kinds = {problem.routes[r].kind for r in problem.routes_of(w)}
    return ", ".join(text for kind, text in _BINDING.items() if kind in kinds) or "no venue may serve it"
