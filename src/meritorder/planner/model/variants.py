"""Variants of a problem: in hourly slots, a slice of its slots, with other demand, patience or purchases."""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from meritorder.planner.model.demand import DeferrableDemand, Demand, OpenEnd
from meritorder.planner.model.problem import CarbonPrice, Problem
from meritorder.planner.model.supply import CapacityBlock, MachinePayment, Reserved, Spot

Column = TypeVar("Column", bound=np.generic)
Floats = NDArray[np.float64]


def aggregate_to_hours(problem: Problem) -> Problem | None:
    """Return the problem in hourly slots, work summed and limits averaged.

    Returns:
        None if the slots are hours already, or do not fill whole hours.
    """
    per_hour = problem.horizon.slots_per_hour
    if per_hour == 1 or problem.horizon.slots % per_hour:
        return None
    length = problem.horizon.length

    def by_hour(column: NDArray[Column]) -> NDArray[Column]:
        return np.broadcast_to(column, (length,)).reshape(-1, per_hour)

    def mean(column: Floats) -> Floats:
        return np.asarray(by_hour(column).mean(axis=1))

    def aggregate_demand(demand: Demand) -> Demand:
        work_s = {replica: by_hour(work).sum(axis=1) for replica, work in demand.work_s.items()}
        tokens = None if demand.tokens is None else by_hour(demand.tokens).sum(axis=1)
        if isinstance(demand, DeferrableDemand):
            # An hour ends with the last of its slots.
            due = np.maximum((by_hour(demand.due).min(axis=1) + 1) // per_hour - 1, np.arange(length // per_hour))
            return dataclasses.replace(demand, work_s=work_s, tokens=tokens, due=due)
        if demand.burst is None or not demand.work_s:
            return dataclasses.replace(demand, work_s=work_s, tokens=tokens)
        work = next(iter(demand.work_s.values()))
        total = by_hour(work).sum(axis=1)
        burst_s = by_hour(work * demand.burst).sum(axis=1)
        burst = np.divide(burst_s, total, out=np.ones(len(total)), where=total > 0)
        return dataclasses.replace(demand, work_s=work_s, tokens=tokens, burst=burst)

    def aggregate_payment(payment: MachinePayment) -> MachinePayment:
        match payment:
            case Spot():
                return dataclasses.replace(payment, available=mean(payment.available))
            case CapacityBlock():
                starts = tuple(start // per_hour for start in payment.starts)
                slots = max(1, payment.slots // per_hour)
                return dataclasses.replace(payment, slots=slots, starts=starts, held=mean(payment.held))
        return payment

    return dataclasses.replace(
        problem,
        horizon=dataclasses.replace(
            problem.horizon, slot_s=problem.horizon.slot_s * per_hour, slots=problem.horizon.slots // per_hour
        ),
        workloads=tuple(aggregate_demand(demand) for demand in problem.workloads),
        pools=tuple(dataclasses.replace(pool, headroom=mean(pool.headroom)) for pool in problem.pools),
        payments=tuple(aggregate_payment(payment) for payment in problem.payments),
        tiers=tuple(
            dataclasses.replace(tier, usd={name: by_hour(usd).sum(axis=1) for name, usd in tier.usd.items()})
            for tier in problem.tiers
        ),
        carbon=map_carbon(problem, mean),
    )


def slice_slots(problem: Problem, first: int, slots: int) -> Problem:
    """Return a slice of a problem of one scenario, in which all work that arrives is done; blocks are left out.

    Args:
        problem: The planning problem.
        first: First slot of the slice.
        slots: Number of slots.
    """
    length = problem.horizon.slots

    def cut(column: NDArray[Column]) -> NDArray[Column]:
        return np.broadcast_to(column, (length,))[first : first + slots]

    def cut_demand(demand: Demand) -> Demand:
        work_s = {replica: cut(work) for replica, work in demand.work_s.items()}
        tokens = None if demand.tokens is None else cut(demand.tokens)
        if isinstance(demand, DeferrableDemand):
            due = np.clip(cut(demand.due) - first, np.arange(slots), slots - 1)
            return dataclasses.replace(demand, work_s=work_s, tokens=tokens, due=due)
        burst = None if demand.burst is None else cut(demand.burst)
        return dataclasses.replace(demand, work_s=work_s, tokens=tokens, burst=burst)

    def cut_payment(payment: MachinePayment) -> MachinePayment:
        if isinstance(payment, Spot):
            return dataclasses.replace(payment, available=cut(payment.available))
        return payment

    return dataclasses.replace(
        problem,
        horizon=dataclasses.replace(problem.horizon, slots=slots, ends=OpenEnd(warm=True)),
        workloads=tuple(cut_demand(demand) for demand in problem.workloads),
        pools=tuple(dataclasses.replace(pool, headroom=cut(pool.headroom)) for pool in problem.pools),
        payments=tuple(cut_payment(payment) for payment in problem.payments if not isinstance(payment, CapacityBlock)),
        tiers=tuple(
            dataclasses.replace(tier, usd={name: cut(usd) for name, usd in tier.usd.items()}) for tier in problem.tiers
        ),
        carbon=map_carbon(problem, cut),
    )


def map_carbon(problem: Problem, function: Callable[[Floats], Floats]) -> CarbonPrice | None:
    """Return the carbon price of a problem with a function applied to the intensities of each region."""
    if problem.carbon is None:
        return None
    grams = {region: function(np.asarray(grams, float)) for region, grams in problem.carbon.grams_per_kwh.items()}
    return dataclasses.replace(problem.carbon, grams_per_kwh=grams)


def scale_demand(problem: Problem, share: float) -> Problem:
    """Return the problem with all work and tokens multiplied."""

    def scale(demand: Demand) -> Demand:
        work_s = {replica: work * share for replica, work in demand.work_s.items()}
        tokens = None if demand.tokens is None else demand.tokens * share
        return dataclasses.replace(demand, work_s=work_s, tokens=tokens)

    return dataclasses.replace(
        problem,
        workloads=tuple(scale(demand) for demand in problem.workloads),
        tiers=tuple(
            dataclasses.replace(tier, usd={name: usd * share for name, usd in tier.usd.items()})
            for tier in problem.tiers
        ),
    )


def replace_due_slots(problem: Problem, workload: DeferrableDemand, due: NDArray[np.int64]) -> Problem:
    """Return the problem with other due slots for one workload."""
    changed = dataclasses.replace(workload, due=due)
    return dataclasses.replace(
        problem, workloads=tuple(changed if demand is workload else demand for demand in problem.workloads)
    )


def restrict_purchases(problem: Problem, names: frozenset[str]) -> Problem:
    """Return the problem in which only these commitments can be bought; those held remain."""
    return dataclasses.replace(
        problem,
        payments=tuple(
            dataclasses.replace(payment, max_machines=0)
            if isinstance(payment, Reserved | CapacityBlock) and payment.name not in names
            else payment
            for payment in problem.payments
        ),
        savings_plans=tuple(
            plan if plan.name in names else dataclasses.replace(plan, max_usd_per_hour=0.0)
            for plan in problem.savings_plans
        ),
    )
