"""The same problem in slots of an hour: small enough to branch on what to commit to."""

import dataclasses
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from meritorder.plan.demand import Deferrable, Workload
from meritorder.plan.problem import Carbon, Problem
from meritorder.plan.venues import Block, Machines, Spot

Column = TypeVar("Column", bound=np.generic)


def by_hour(problem: Problem) -> Problem | None:
    """Return the problem in slots of an hour, work added up and limits averaged; None if its hours are not whole."""
    per_hour = problem.horizon.slots_per_hour
    if per_hour == 1 or problem.horizon.slots % per_hour:
        return None
    length = problem.horizon.length

    def hours(column: NDArray[Column]) -> NDArray[Column]:
        return np.broadcast_to(column, (length,)).reshape(-1, per_hour)

    def mean(column: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(hours(column).mean(axis=1))

    def workload(one: Workload) -> Workload:
        work_s = {replica: hours(work).sum(axis=1) for replica, work in one.work_s.items()}
        tokens = None if one.tokens is None else hours(one.tokens).sum(axis=1)
        if isinstance(one, Deferrable):
            # An hour is over when the last of its slots is.
            due = np.maximum((hours(one.due).min(axis=1) + 1) // per_hour - 1, np.arange(length // per_hour))
            return dataclasses.replace(one, work_s=work_s, tokens=tokens, due=due)
        if one.burst is None or not one.work_s:
            return dataclasses.replace(one, work_s=work_s, tokens=tokens)
        work = next(iter(one.work_s.values()))
        total = hours(work).sum(axis=1)
        burst = np.divide(hours(work * one.burst).sum(axis=1), total, out=np.ones(len(total)), where=total > 0)
        return dataclasses.replace(one, work_s=work_s, tokens=tokens, burst=burst)

    def payment(one: Machines) -> Machines:
        if isinstance(one, Spot):
            return dataclasses.replace(one, available=mean(one.available))
        if isinstance(one, Block):
            starts = tuple(start // per_hour for start in one.starts)
            return dataclasses.replace(one, slots=max(1, one.slots // per_hour), starts=starts, have=mean(one.have))
        return one

    carbon = problem.carbon and Carbon(
        usd_per_tonne=problem.carbon.usd_per_tonne,
        grams_per_kwh={
            region: mean(np.asarray(grams, float)) for region, grams in problem.carbon.grams_per_kwh.items()
        },
    )
    return dataclasses.replace(
        problem,
        horizon=dataclasses.replace(
            problem.horizon, slot_s=problem.horizon.slot_s * per_hour, slots=problem.horizon.slots // per_hour
        ),
        workloads=tuple(workload(one) for one in problem.workloads),
        pools=tuple(dataclasses.replace(pool, room=mean(pool.room)) for pool in problem.pools),
        payments=tuple(payment(one) for one in problem.payments),
        tiers=tuple(
            dataclasses.replace(
                tier,
                usd={name: hours(usd).sum(axis=1) for name, usd in tier.usd.items()},
                open=np.asarray(hours(tier.open).all(axis=1)),
            )
            for tier in problem.tiers
        ),
        throughputs=tuple(
            dataclasses.replace(units, unit_s={name: hours(s).sum(axis=1) for name, s in units.unit_s.items()})
            for units in problem.throughputs
        ),
        carbon=carbon,
    )
