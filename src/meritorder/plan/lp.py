"""The whole programme of a problem."""

from collections.abc import Mapping
from dataclasses import dataclass

from meritorder.plan import constraints
from meritorder.plan.problem import Problem
from meritorder.plan.programme import Columns, Model, Programme
from meritorder.plan.variables import Variables, define_variables


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A programme ready to be solved.

    Args:
        problem: What it is about.
        model: Its arrays.
        x: Columns of its variables.
        rows: Rows of its constraints by name.
    """

    problem: Problem
    model: Model
    x: Variables
    rows: Mapping[str, Columns]


def build(problem: Problem, *, exact: Mapping[int, Columns] | None = None, elastic: bool = False) -> Built:
    """Write a problem as a programme.

    Args:
        problem: What to plan.
        exact: By pool, slots at which its safe load is held by whole steps instead of by the envelope.
        elastic: Minimise broken promises instead of cost.
    """
    programme = Programme()
    x = define_variables(programme, problem, elastic=elastic)
    constraints.define_coverage(programme, problem, x)
    constraints.define_safe_load(programme, problem, x)
    constraints.define_lean(programme, problem, x)
    constraints.define_capacity(programme, problem, x)
    constraints.define_backlog(programme, problem, x)
    constraints.define_patience(programme, problem, x)
    constraints.define_handed(programme, problem, x)
    constraints.define_starts(programme, problem, x)
    constraints.define_limits(programme, problem, x)
    constraints.define_savings_plans(programme, problem, x)
    constraints.define_rate_limits(programme, problem, x)
    for pool, slots in (exact or {}).items():
        constraints.define_steps(programme, problem, x, pool, slots)
    model = programme.model()
    if elastic:
        slack = [column for one in (x.unserved, x.late) for columns in one.values() for column in columns]
        model.cost[:] = 0.0
        model.cost[slack] = 1.0
    return Built(problem=problem, model=model, x=x, rows=programme.rows)
