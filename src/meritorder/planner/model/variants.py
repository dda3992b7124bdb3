"""The same problem in slots of an hour: small enough to branch on what to commit to."""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from meritorder.planner.model.demand import DeferrableDemand, Demand, OpenEnd
from meritorder.planner.model.problem import CarbonPrice, Problem
from meritorder.planner.model.supply import CapacityBlock, MachinePayment, Reserved, SavingsPlan, Spot
from meritorder.planner.solve.solution import CommitmentPurchase

Column = TypeVar("Column", bound=np.generic)


def aggregate_to_hours(problem: Problem) -> Problem | None:
    """Return the problem in slots of an hour, work added up and limits averaged; None if its hours are not whole."""
    per_hour = problem.horizon.slots_per_hour
    if per_hour == 1 or problem.horizon.slots % per_hour:
        return None
    length = problem.horizon.length

    def hours(column: NDArray[Column]) -> NDArray[Column]:
        return np.broadcast_to(column, (length,)).reshape(-1, per_hour)

    def mean(column: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(hours(column).mean(axis=1))

    def workload(one: Demand) -> Demand:
        work_s = {replica: hours(work).sum(axis=1) for replica, work in one.work_s.items()}
        tokens = None if one.tokens is None else hours(one.tokens).sum(axis=1)
        if isinstance(one, DeferrableDemand):
            # An hour is over when the last of its slots is.
            due = np.maximum((hours(one.due).min(axis=1) + 1) // per_hour - 1, np.arange(length // per_hour))
            return dataclasses.replace(one, work_s=work_s, tokens=tokens, due=due)
        if one.burst is None or not one.work_s:
            return dataclasses.replace(one, work_s=work_s, tokens=tokens)
        work = next(iter(one.work_s.values()))
        total = hours(work).sum(axis=1)
        burst = np.divide(hours(work * one.burst).sum(axis=1), total, out=np.ones(len(total)), where=total > 0)
        return dataclasses.replace(one, work_s=work_s, tokens=tokens, burst=burst)

    def payment(one: MachinePayment) -> MachinePayment:
        if isinstance(one, Spot):
            return dataclasses.replace(one, available=mean(one.available))
        if isinstance(one, CapacityBlock):
            starts = tuple(start // per_hour for start in one.starts)
            return dataclasses.replace(one, slots=max(1, one.slots // per_hour), starts=starts, held=mean(one.held))
        return one

    carbon = problem.carbon and CarbonPrice(
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
        pools=tuple(dataclasses.replace(pool, headroom=mean(pool.headroom)) for pool in problem.pools),
        payments=tuple(payment(one) for one in problem.payments),
        tiers=tuple(
            dataclasses.replace(
                tier,
                usd={name: hours(usd).sum(axis=1) for name, usd in tier.usd.items()},
            )
            for tier in problem.tiers
        ),
        carbon=carbon,
    )


def slice_slots(problem: Problem, first: int, slots: int) -> Problem:
    """Return a stretch of a problem of one scenario; what arrives in it is done in it, and blocks are left out.

    Args:
        problem: The problem.
        first: First slot of the stretch.
        slots: Its length.
    """
    chosen = slice(first, first + slots)
    integer = problem.horizon.slots

    def cut(column: NDArray[Column]) -> NDArray[Column]:
        return np.broadcast_to(column, (integer,))[chosen]

    def workload(one: Demand) -> Demand:
        work_s = {replica: cut(work) for replica, work in one.work_s.items()}
        tokens = None if one.tokens is None else cut(one.tokens)
        if isinstance(one, DeferrableDemand):
            due = np.clip(cut(one.due) - first, np.arange(slots), slots - 1)
            return dataclasses.replace(one, work_s=work_s, tokens=tokens, due=due)
        burst = None if one.burst is None else cut(one.burst)
        return dataclasses.replace(one, work_s=work_s, tokens=tokens, burst=burst)

    def payment(one: MachinePayment) -> MachinePayment:
        return dataclasses.replace(one, available=cut(one.available)) if isinstance(one, Spot) else one

    return dataclasses.replace(
        problem,
        horizon=dataclasses.replace(problem.horizon, slots=slots, ends=OpenEnd(warm=True)),
        workloads=tuple(workload(one) for one in problem.workloads),
        pools=tuple(dataclasses.replace(pool, headroom=cut(pool.headroom)) for pool in problem.pools),
        payments=tuple(payment(one) for one in problem.payments if not isinstance(one, CapacityBlock)),
        tiers=tuple(
            dataclasses.replace(tier, usd={name: cut(usd) for name, usd in tier.usd.items()}) for tier in problem.tiers
        ),
    )


def hold_purchases(problem: Problem, purchases: Sequence[CommitmentPurchase]) -> Problem:
    """Return the problem with purchases held already, and no others to be made: their cost is sunk, and not in it."""
    bought = {one.name: one.amount for one in purchases}

    def payment(one: MachinePayment) -> MachinePayment:
        match one:
            case Reserved():
                return dataclasses.replace(one, held=one.held + round(bought.get(one.name, 0)), max_machines=0)
            case CapacityBlock():
                starts = next((each.starts for each in purchases if each.name == one.name), ())
                local = np.arange(problem.horizon.length) % problem.horizon.slots
                blocks = sum(((local >= s) & (local < s + one.slots)).astype(float) for s in starts)
                return dataclasses.replace(one, held=np.asarray(one.held + blocks, float), max_machines=0)
        return one

    return dataclasses.replace(
        problem,
        payments=tuple(payment(one) for one in problem.payments),
        savings_plans=tuple(
            dataclasses.replace(
                one, held_usd_per_hour=one.held_usd_per_hour + bought.get(one.name, 0.0), max_usd_per_hour=0.0
            )
            for one in problem.savings_plans
        ),
    )


def scale_demand(problem: Problem, share: float) -> Problem:
    """Return the problem with all demand multiplied, and with it what its tokens and units come to."""

    def workload(one: Demand) -> Demand:
        work_s = {replica: work * share for replica, work in one.work_s.items()}
        return dataclasses.replace(one, work_s=work_s, tokens=None if one.tokens is None else one.tokens * share)

    return dataclasses.replace(
        problem,
        workloads=tuple(workload(one) for one in problem.workloads),
        tiers=tuple(
            dataclasses.replace(one, usd={name: usd * share for name, usd in one.usd.items()}) for one in problem.tiers
        ),
    )


def replace_due_slots(problem: Problem, workload: DeferrableDemand, due: np.ndarray) -> Problem:
    """Return the problem with other due slots for one workload."""
    changed = dataclasses.replace(workload, due=due)
    return dataclasses.replace(
        problem, workloads=tuple(changed if one is workload else one for one in problem.workloads)
    )


def restrict_purchases(problem: Problem, names: frozenset[str]) -> Problem:
    """Return the problem in which only these commitments can be bought; what is held stays held."""

    def kept(one: MachinePayment) -> MachinePayment:
        if isinstance(one, Reserved | CapacityBlock) and one.name not in names:
            return dataclasses.replace(one, max_machines=0)
        return one

    def kept_plan(one: SavingsPlan) -> SavingsPlan:
        return one if one.name in names else dataclasses.replace(one, max_usd_per_hour=0.0)

    return dataclasses.replace(
        problem,
        payments=tuple(kept(one) for one in problem.payments),
        savings_plans=tuple(kept_plan(one) for one in problem.savings_plans),
    )
