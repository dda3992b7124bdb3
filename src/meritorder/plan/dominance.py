"""Leave out what can never be the better choice, so that the programme is no larger than its question."""

import dataclasses

from meritorder.plan.demand import OpenEnd
from meritorder.plan.problem import Problem
from meritorder.plan.safe_load import pools_pay
from meritorder.plan.venues import OnDemand, Pool


def without_dominated(problem: Problem) -> Problem:
    """Drop on-demand offers that another offer beats for everybody, and pools that nothing puts machines into.

    An offer beats another if it has no quota, costs no more by the hour and by the start, is billed as finely, and its
    pool is the same but for its place, carries no less, pools (c(n) / n never falls), and may serve every workload that
    the other's may. A pool that has other payments than the one dropped, or a discount on it, keeps its offers: what is
    held there may be worth completing.
    """
    if problem.carbon:
        return problem
    single = {
        o: pairs[0]
        for o in range(len(problem.payments))
        if len(pairs := problem.pairs_of(payment=o)) == 1 and isinstance(problem.payments[o], OnDemand)
    }
    dropped: set[int] = set()
    for o, pair in single.items():
        p = problem.pairs[pair][0]
        if not _free_to_go(problem, p, o):
            continue
        for better, better_pair in single.items():
            q = problem.pairs[better_pair][0]
            if better != o and better not in dropped and _beats(problem, (q, better), (p, o)):
                dropped.add(o)
                break
    payments = tuple(one for o, one in enumerate(problem.payments) if o not in dropped)
    machines = {one.machine for one in payments}
    pools = tuple(pool for pool in problem.pools if pool.machine in machines)
    return dataclasses.replace(problem, payments=payments, pools=pools)


def _free_to_go(problem: Problem, p: int, o: int) -> bool:
    """Whether a pool without this payment loses nothing but the payment itself: spot beside it serves what may wait."""
    pool = problem.pools[p]
    spot_may_be_leant_on = problem.spot_realtime_share > 0
    others = [problem.payments[problem.pairs[i][1]] for i in problem.pairs_of(pool=p) if problem.pairs[i][1] != o]
    firm = any(not hasattr(one, "available") for one in others)
    discounted = any(pool.machine in plan.usd_per_hour for plan in problem.savings_plans)
    running = isinstance(problem.horizon.ends, OpenEnd) and any(
        name == pool.name for name, _ in problem.horizon.ends.running
    )
    return not (firm or discounted or running or (others and spot_may_be_leant_on))


def _beats(problem: Problem, better: tuple[int, int], worse: tuple[int, int]) -> bool:
    (q, b), (p, o) = better, worse
    good, bad = problem.payments[b], problem.payments[o]
    pool, other = problem.pools[q], problem.pools[p]
    return (
        isinstance(good, OnDemand)
        and isinstance(bad, OnDemand)
        and good.most == float("inf")
        and good.usd_per_hour <= bad.usd_per_hour
        and good.minimum_billing_s <= bad.minimum_billing_s
        and _carries_as_much(pool, other)
        and all(
            one.access.permits(pool.provider, pool.region, pool.hardware)
            or not one.access.permits(other.provider, other.region, other.hardware)
            for one in problem.workloads
        )
    )


def _carries_as_much(pool: Pool, other: Pool) -> bool:
    size = min(len(pool.safe_load), len(other.safe_load))
    return (
        (pool.model, pool.replica, pool.replicas) == (other.model, other.replica, other.replicas)
        and len(pool.safe_load) >= len(other.safe_load)
        and bool((pool.safe_load[:size] >= other.safe_load[:size]).all())
        and pools_pay(pool.safe_load)
        and pool.fullest >= other.fullest
        and pool.startup_paid_s <= other.startup_paid_s
    )
