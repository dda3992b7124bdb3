"""The dispatch of a solution: GPUs over time and venues in merit order, as records of the plan file."""

import numpy as np
from numpy.typing import NDArray

from meritorder.planner.model.problem import Problem, RouteKind
from meritorder.planner.solve.solution import MachineSchedule, Solution, WorkloadRouting
from meritorder.records import planfile
from meritorder.units import SECONDS_PER_HOUR, TOKENS_PER_MTOK

Floats = NDArray[np.float64]


def dispatch(solution: Solution) -> planfile.Dispatch:
    """Return the plan over time, in GPUs by slot: paid for, used by each lane, and needed by arrivals."""
    problem = solution.problem
    gpus = {pool.name: pool.gpus for pool in problem.pools}
    paid: dict[str, Floats] = {}
    for scheduled in solution.schedules:
        in_pool = scheduled.machines.astype(float) * gpus[scheduled.pool]
        paid[scheduled.pricing_model] = paid.get(scheduled.pricing_model, np.zeros(len(in_pool))) + in_pool
    return planfile.Dispatch(
        paid_gpus={pricing_model: in_use.tolist() for pricing_model, in_use in paid.items()},
        realtime_gpus=_gpus_in_use(solution, problem.realtime).tolist(),
        deferrable_gpus=_gpus_in_use(solution, problem.deferrable).tolist(),
        arrived_gpus=_gpus_of_arrivals(solution).tolist(),
    )


def _gpus_in_use(solution: Solution, indices: tuple[int, ...]) -> Floats:
    """Return the GPUs that serve some workloads, shape (slots,)."""
    problem = solution.problem
    total = np.zeros(problem.horizon.length)
    for r, route in enumerate(problem.routes):
        if route.workload in indices and route.kind is RouteKind.POOL:
            pool = problem.pools[route.venue]
            total += route.work_s * solution.flow(r) / problem.horizon.slot_s * pool.gpus / pool.replicas
    return total


def _gpus_of_arrivals(solution: Solution) -> Floats:
    """Return the GPUs that deferrable work would use on arrival, at the average GPU time of the plan, (slots,)."""
    problem = solution.problem
    total = np.zeros(problem.horizon.length)
    for w in problem.deferrable:
        gpu_s = total_flow = 0.0
        for r in problem.routes_of(w):
            route, flow = problem.routes[r], solution.flow(r)
            total_flow += float(flow.sum())
            if route.kind is RouteKind.POOL:
                pool = problem.pools[route.venue]
                gpu_s += float((route.work_s * flow).sum()) * pool.gpus / pool.replicas
        if total_flow > 0:
            total += problem.deferrable_demand(w).volume_s * gpu_s / total_flow / problem.horizon.slot_s
    return total


def merit_order(solution: Solution) -> list[planfile.MeritStep]:
    """Return the cost of a unit of work at each venue that the plan uses, at full utilization, cheapest first."""
    steps = [_pool_step(solution, scheduled) for scheduled in solution.schedules]
    for routing in solution.routing:
        mtok = _tier_mtok(solution.problem, routing)
        if mtok > 0:
            steps.append(
                planfile.MeritStep(
                    venue=routing.venue,
                    pricing_model="tokens",
                    usd_per_mtok=routing.usd / mtok,
                    capacity_mtok=mtok,
                    used_share=1.0,
                )
            )
    return sorted(steps, key=lambda step: step.usd_per_mtok)


def _pool_step(solution: Solution, scheduled: MachineSchedule) -> planfile.MeritStep:
    problem = solution.problem
    p = next(p for p, pool in enumerate(problem.pools) if pool.name == scheduled.pool)
    pool = problem.pools[p]
    payment = next(payment for payment in problem.payments if payment.name == scheduled.payment)
    hours = float(scheduled.machines.sum()) * problem.horizon.slot_h
    mtok_per_hour = _mtok_per_replica_s(problem, p) * SECONDS_PER_HOUR * pool.replicas
    machine_slots = sum(float(other.machines.sum()) for other in solution.schedules if other.pool == scheduled.pool)
    capacity_s = machine_slots * problem.horizon.slot_s * pool.replicas
    used_s = sum(
        float((problem.routes[r].work_s * solution.flow(r)).sum()) for r in problem.routes_to(RouteKind.POOL, p)
    )
    return planfile.MeritStep(
        venue=scheduled.pool,
        pricing_model=scheduled.pricing_model,
        usd_per_mtok=payment.usd_per_hour / mtok_per_hour,
        capacity_mtok=hours * mtok_per_hour,
        used_share=min(1.0, used_s / capacity_s) if capacity_s else 0.0,
    )


def _mtok_per_replica_s(problem: Problem, p: int) -> float:
    """Return the tokens that a saturated replica of a pool serves in a second, over the traffic that may go there."""
    tokens = work_s = 0.0
    for r in problem.routes_to(RouteKind.POOL, p):
        demand = problem.workloads[problem.routes[r].workload]
        if demand.tokens is not None:
            tokens += float(demand.tokens.sum())
            work_s += float(demand.work_s[problem.pools[p].replica].sum())
    return tokens / work_s / TOKENS_PER_MTOK if work_s else 0.0


def _tier_mtok(problem: Problem, routing: WorkloadRouting) -> float:
    """Return the tokens bought along a route to a tier, in millions; 0 for a route to a pool."""
    for route in problem.routes:
        if routing.kind == route.kind == RouteKind.TIER and (routing.workload, routing.venue) == (
            problem.workloads[route.workload].name,
            problem.tiers[route.venue].name,
        ):
            return float((route.tokens * routing.flow).sum()) / TOKENS_PER_MTOK
    return 0.0
