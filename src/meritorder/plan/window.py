"""A stretch of a problem as a problem of its own: to choose on one and pay on the other."""

import dataclasses
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from meritorder.plan.demand import Deferrable, OpenEnd, Workload
from meritorder.plan.problem import Problem
from meritorder.plan.venues import Block, Machines, Spot

Column = TypeVar("Column", bound=np.generic)


def stretch_of(problem: Problem, first: int, slots: int) -> Problem:
    """Return a stretch of a problem of one scenario; what arrives in it is done in it, and blocks are left out.

    Args:
        problem: The problem.
        first: First slot of the stretch.
        slots: Its length.
    """
    chosen = slice(first, first + slots)
    whole = problem.horizon.slots

    def cut(column: NDArray[Column]) -> NDArray[Column]:
        return np.broadcast_to(column, (whole,))[chosen]

    def workload(one: Workload) -> Workload:
        work_s = {replica: cut(work) for replica, work in one.work_s.items()}
        tokens = None if one.tokens is None else cut(one.tokens)
        if isinstance(one, Deferrable):
            due = np.clip(cut(one.due) - first, np.arange(slots), slots - 1)
            return dataclasses.replace(one, work_s=work_s, tokens=tokens, due=due)
        burst = None if one.burst is None else cut(one.burst)
        return dataclasses.replace(one, work_s=work_s, tokens=tokens, burst=burst)

    def payment(one: Machines) -> Machines:
        return dataclasses.replace(one, available=cut(one.available)) if isinstance(one, Spot) else one

    return dataclasses.replace(
        problem,
        horizon=dataclasses.replace(problem.horizon, slots=slots, ends=OpenEnd(warm=True)),
        workloads=tuple(workload(one) for one in problem.workloads),
        pools=tuple(dataclasses.replace(pool, room=cut(pool.room)) for pool in problem.pools),
        payments=tuple(payment(one) for one in problem.payments if not isinstance(one, Block)),
        tiers=tuple(
            dataclasses.replace(
                tier, usd={name: cut(usd) for name, usd in tier.usd.items()}, open=cut(np.asarray(tier.open))
            )
            for tier in problem.tiers
        ),
        throughputs=tuple(
            dataclasses.replace(units, unit_s={name: cut(s) for name, s in units.unit_s.items()})
            for units in problem.throughputs
        ),
    )
