"""Leave out what can never be the better choice, so that the programme is no larger than its question."""

import dataclasses

from meritorder.planner.model.problem import Problem
from meritorder.planner.model.safe_load import has_pooling_gain
from meritorder.planner.model.supply import MachinePool, OnDemand, Spot


def drop_dominated_offers(problem: Problem) -> Problem:
    """Drop on-demand offers that another offer beats for everybody, and pools that nothing puts machines into.

    An offer beats another if it has no quota, costs no more by the hour and by the start, is billed as finely, and its
    pool is the same but for its place, carries no less, pools (c(n) / n never falls), and may serve every workload that
    the other's may. A pool that has other payments than the one dropped, or a discount on it, keeps its offers: what is
    held there may be worth completing.
    """
    if problem.carbon:
        return problem
    offers = [o for o, payment in enumerate(problem.payments) if isinstance(payment, OnDemand)]
    dropped: set[int] = set()
    for o in offers:
        if not _free_to_go(problem, o):
            continue
        for better in offers:
            if better != o and better not in dropped and _beats(problem, better, o):
                dropped.add(o)
                break
    payments = tuple(one for o, one in enumerate(problem.payments) if o not in dropped)
    machines = {one.machine for one in payments}
    pools = tuple(pool for pool in problem.pools if pool.machine in machines)
    return dataclasses.replace(problem, payments=payments, pools=pools)


def _pools_of(problem: Problem, o: int) -> list[MachinePool]:
    return [problem.pools[problem.pairs[i][0]] for i in problem.pairs_of(payment=o)]


def _free_to_go(problem: Problem, o: int) -> bool:
    """Whether pools without this payment lose nothing but the payment itself: spot beside it serves what may wait."""
    machine = problem.payments[o].machine
    others = [one for each, one in enumerate(problem.payments) if each != o and one.machine == machine]
    firm = any(not isinstance(one, Spot) for one in others)
    discounted = any(machine in plan.usd_per_hour for plan in problem.savings_plans)
    return not (firm or discounted)


def _beats(problem: Problem, better: int, worse: int) -> bool:
    good, bad = problem.payments[better], problem.payments[worse]
    return (
        isinstance(good, OnDemand)
        and isinstance(bad, OnDemand)
        and good.max_machines == float("inf")
        and good.usd_per_hour <= bad.usd_per_hour
        and good.minimum_billing_s <= bad.minimum_billing_s
        and all(
            any(_serves_as_well(problem, pool, other) for pool in _pools_of(problem, better))
            for other in _pools_of(problem, worse)
        )
    )


def _serves_as_well(problem: Problem, pool: MachinePool, other: MachinePool) -> bool:
    return _carries_as_much(pool, other) and all(
        one.access.permits(pool.provider, pool.region, pool.hardware)
        or not one.access.permits(other.provider, other.region, other.hardware)
        for one in problem.workloads
    )


def _carries_as_much(pool: MachinePool, other: MachinePool) -> bool:
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
