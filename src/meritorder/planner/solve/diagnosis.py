"""Why no plan keeps every promise, and what would help."""

import numpy as np

from meritorder.errors import InfeasibleError
from meritorder.planner.model.constraints import formulate
from meritorder.planner.model.problem import Problem
from meritorder.planner.solve.highs import solve
from meritorder.units import format_duration

_TOLERANCE = 1e-6


def explain_infeasibility(problem: Problem) -> InfeasibleError:
    """Return the error that names the promise which cannot be kept, where, and what would help.

    The programme is solved again with slack on every promise and no costs: what is left over is what stops it.
    """
    elastic = formulate(problem, elastic=True)
    result = solve(elastic.model, integer=False)
    if not result.found:
        return InfeasibleError(
            "the limits contradict one another", where="plan", fix="look at quotas and existing commitments"
        )
    slot_h = problem.horizon.slot_h
    for w, columns in elastic.x.unserved.items():
        short = result.x[columns]
        if short.max(initial=0.0) > _TOLERANCE:
            worst = int(np.argmax(short))
            return InfeasibleError(
                f"in {np.count_nonzero(short > _TOLERANCE):,} slots there is no room for all of its real-time work; "
                f"at hour {worst * slot_h:.4g} {short[worst]:.0%} of it stays unserved "
                f"(constraints: {_served_by(problem, w)})",
                where=f"workload {problem.workloads[w].name}",
                fix="allow more machines or a token API, add hardware, or loosen the SLO: a machine then carries more",
            )
    for w, columns in elastic.x.late.items():
        late = result.x[columns]
        if late.max(initial=0.0) > _TOLERANCE:
            demand = problem.deferrable_demand(w)
            worst = int(np.argmax(late))
            patience_s = float(np.min(demand.due - np.arange(len(demand.due)) + 1)) * problem.horizon.slot_s
            return InfeasibleError(
                f"with a patience of {format_duration(patience_s)} some of its work is late; "
                f"at hour {worst * slot_h:.4g} {format_duration(late[worst])} of work is overdue "
                f"(constraints: patience, {_served_by(problem, w)})",
                where=f"workload {demand.name}",
                fix="give it more patience, allow more machines or a token API, or add hardware",
            )
    return InfeasibleError(
        "the work fits on fractions of machines, but no arrangement of whole machines was found",
        where="plan",
        fix="allow one machine more, or give it more time to search",
    )


def _served_by(problem: Problem, w: int) -> str:
    kinds = {route.kind.value for route in problem.routes if route.workload == w}
    names = {"pool": "safe load and limits of machines", "tier": "rate limits"}
    return ", ".join(names[kind] for kind in names if kind in kinds) or "none may serve it"
