"""Why a problem has no plan, and what would help."""

from typing import Final

import numpy as np

from meritorder.errors import InfeasibleError
from meritorder.planner.model.constraints import formulate
from meritorder.planner.model.problem import Problem, RouteKind
from meritorder.planner.solve.highs import solve
from meritorder.units import format_duration

_TOLERANCE: Final = 1e-6
_BINDING: Final = {RouteKind.POOL: "safe load and limits of machines", RouteKind.TIER: "rate limits"}


def explain_infeasibility(problem: Problem) -> InfeasibleError:
    """Return an error that names the promise that cannot be kept, when it breaks, and what would help.

    The elastic program, with slack on coverage and patience, is minimized: the slack that remains is the cause.
    """
    elastic = formulate(problem, elastic=True)
    result = solve(elastic.model, integer=False)
    if not result.found:
        return InfeasibleError(
            "the limits contradict one another", where="plan", fix="check quotas and existing commitments"
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
