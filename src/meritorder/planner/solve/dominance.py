"""Presolve: drop offers that cannot be part of a cheaper plan."""

import dataclasses

from meritorder.planner.model.problem import Problem
from meritorder.planner.model.safe_load import has_pooling_gain
from meritorder.planner.model.supply import UNLIMITED, MachinePool, OnDemand, Spot


def drop_dominated_offers(problem: Problem) -> Problem:
    """Drop on-demand payments that another dominates, and pools left without a payment.

    A payment dominates another if it has no quota, its price, start-up cost and minimum billing are no higher, and its
    pool serves at least as much of the same replicas, gains from pooling, and may serve every workload that the other
    may. A pool keeps its payment if it has commitments or a discount beside it, which the payment may complete.
    """
    if problem.carbon:
        return problem
    offers = [o for o, payment in enumerate(problem.payments) if isinstance(payment, OnDemand)]
    dropped: set[int] = set()
    for o in offers:
        if not _is_droppable(problem, o):
            continue
        for better in offers:
            if better != o and better not in dropped and _dominates(problem, better, o):
                dropped.add(o)
                break
    payments = tuple(payment for o, payment in enumerate(problem.payments) if o not in dropped)
    machines = {payment.machine for payment in payments}
    pools = tuple(pool for pool in problem.pools if pool.machine in machines)
    return dataclasses.replace(problem, payments=payments, pools=pools)


def _is_droppable(problem: Problem, o: int) -> bool:
    """Whether the machines of a payment have no other payment but spot, and no discount."""
    machine = problem.payments[o].machine
    others = [payment for i, payment in enumerate(problem.payments) if i != o and payment.machine == machine]
    discounted = any(machine in plan.usd_per_hour for plan in problem.savings_plans)
    return not discounted and all(isinstance(payment, Spot) for payment in others)


def _dominates(problem: Problem, better: int, worse: int) -> bool:
    good, bad = problem.payments[better], problem.payments[worse]
    return (
        isinstance(good, OnDemand)
        and isinstance(bad, OnDemand)
        and good.max_machines == UNLIMITED
        and good.usd_per_hour <= bad.usd_per_hour
        and good.minimum_billing_s <= bad.minimum_billing_s
        and all(
            any(_may_replace(problem, pool, other) for pool in _pools_of(problem, better))
            for other in _pools_of(problem, worse)
        )
    )


def _pools_of(problem: Problem, o: int) -> list[MachinePool]:
    return [problem.pools[problem.pairs[i][0]] for i in problem.pairs_of(payment=o)]


def _may_replace(problem: Problem, pool: MachinePool, other: MachinePool) -> bool:
    """Whether a pool may serve every workload that another may, and as much."""
    return _serves_as_much(pool, other) and all(
        demand.access.permits(pool.provider, pool.region, pool.hardware)
        or not demand.access.permits(other.provider, other.region, other.hardware)
        for demand in problem.workloads
    )


def _serves_as_much(pool: MachinePool, other: MachinePool) -> bool:
    size = min(len(pool.safe_load), len(other.safe_load))
    return (
        (pool.model, pool.replica, pool.replicas) == (other.model, other.replica, other.replicas)
        and len(pool.safe_load) >= len(other.safe_load)
        and bool((pool.safe_load[:size] >= other.safe_load[:size]).all())
        and has_pooling_gain(pool.safe_load)
        and pool.max_utilization >= other.max_utilization
        and bool((pool.headroom >= other.headroom).all())
        and pool.startup_paid_s <= other.startup_paid_s
    )
