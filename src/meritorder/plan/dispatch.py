"""A solution over time and in merit order: what is paid for, what it works on, and what work costs where."""

import numpy as np
from numpy.typing import NDArray

from meritorder import planfile
from meritorder.plan.demand import Deferrable
from meritorder.plan.problem import Kind, Problem
from meritorder.plan.solution import Schedule, Solution
from meritorder.units import SECONDS_PER_HOUR, TOKENS_PER_MTOK

Floats = NDArray[np.float64]


def dispatch(solution: Solution) -> planfile.Dispatch:
    """Return a solution as GPUs by slot."""
    problem = solution.problem
    gpus = {pool.name: pool.gpus for pool in problem.pools}
    paid: dict[str, Floats] = {}
    for one in solution.schedules:
        each = one.machines.astype(float) * gpus[one.pool]
        paid[one.pricing_model] = paid.get(one.pricing_model, np.zeros(len(each))) + each
    return planfile.Dispatch(
        paid_gpus={name: each.tolist() for name, each in paid.items()},
        realtime_gpus=_running(solution, problem.realtime).tolist(),
        deferrable_gpus=_running(solution, problem.deferrable).tolist(),
        arrived_gpus=_arrived(solution).tolist(),
    )


def _running(solution: Solution, workloads: tuple[int, ...]) -> Floats:
    """Return the GPUs that run some workloads, shape (slots,)."""
    problem, x = solution.problem, solution.solved.x
    total = np.zeros(problem.horizon.length)
    for r, route in enumerate(problem.routes):
        if route.workload in workloads and route.kind is Kind.POOL:
            pool = problem.pools[route.venue]
            flow = x[solution.solved.built.x.flow[r]]
            total += route.takes * flow / problem.horizon.slot_s * pool.gpus / pool.replicas
    return total


def _arrived(solution: Solution) -> Floats:
    """Return the GPUs that deferrable work would take as it arrives, where the plan runs it on average."""
    problem, x = solution.problem, solution.solved.x
    total = np.zeros(problem.horizon.length)
    for w in problem.deferrable:
        demand = problem.workloads[w]
        if not isinstance(demand, Deferrable):
            continue
        gpu_s = flowed = 0.0
        for r in problem.routes_of(w):
            route = problem.routes[r]
            flow = x[solution.solved.built.x.flow[r]]
            flowed += float(flow.sum())
            if route.kind is Kind.POOL:
                pool = problem.pools[route.venue]
                gpu_s += float((route.takes * flow).sum()) * pool.gpus / pool.replicas
        if flowed > 0:
            total += demand.volume_s * gpu_s / flowed / problem.horizon.slot_s
    return total


def merit_order(solution: Solution) -> list[planfile.Merit]:
    """Return what a unit of work costs at each venue that the plan uses, when full; cheapest first."""
    problem = solution.problem
    steps = [_machines(solution, one) for one in solution.schedules]
    steps += [
        planfile.Merit(
            venue=route.venue,
            pricing_model="tokens",
            usd_per_mtok=route.usd / mtok,
            capacity_mtok=mtok,
            used_share=1.0,
        )
        for route in solution.routing
        if route.kind == Kind.TIER and (mtok := _bought_mtok(problem, route.workload, route.venue, route.flow)) > 0
    ]
    return sorted(steps, key=lambda step: step.usd_per_mtok)


def _machines(solution: Solution, one: Schedule) -> planfile.Merit:
    problem = solution.problem
    p = next(i for i, pool in enumerate(problem.pools) if pool.name == one.pool)
    pool = problem.pools[p]
    o = next(i for i, payment in enumerate(problem.payments) if payment.name == one.payment)
    hours = float(one.machines.sum()) * problem.horizon.slot_h
    mtok_per_hour = _mtok_per_replica_s(problem, p) * SECONDS_PER_HOUR * pool.replicas
    here = [each for each in solution.schedules if each.pool == one.pool]
    could_s = sum(float(each.machines.sum()) for each in here) * problem.horizon.slot_s * pool.replicas
    done_s = sum(
        float((problem.routes[r].takes * solution.solved.x[solution.solved.built.x.flow[r]]).sum())
        for r in problem.routes_to(Kind.POOL, p)
    )
    return planfile.Merit(
        venue=one.pool,
        pricing_model=one.pricing_model,
        usd_per_mtok=problem.payments[o].usd_per_hour / mtok_per_hour,
        capacity_mtok=hours * mtok_per_hour,
        used_share=min(1.0, done_s / could_s) if could_s else 0.0,
    )


def _mtok_per_replica_s(problem: Problem, p: int) -> float:
    """Return the tokens that a full replica of a pool serves in a second, over the traffic that may go there."""
    tokens = work_s = 0.0
    for r in problem.routes_to(Kind.POOL, p):
        demand = problem.workloads[problem.routes[r].workload]
        if demand.tokens is not None:
            tokens += float(demand.tokens.sum())
            work_s += float(demand.work_s[problem.pools[p].replica].sum())
    return tokens / work_s / TOKENS_PER_MTOK if work_s else 0.0


def _bought_mtok(problem: Problem, workload: str, venue: str, flow: Floats) -> float:
    for route in problem.routes:
        mine = problem.workloads[route.workload].name == workload and route.kind is Kind.TIER
        if mine and problem.tiers[route.venue].name == venue:
            return float((route.tokens * flow).sum()) / TOKENS_PER_MTOK
    return 0.0
