"""A solution as the records of the plan file."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from meritorder import planfile
from meritorder.domain import Lane
from meritorder.errors import ConfigError
from meritorder.planner.commitments import CommitmentRecommendation
from meritorder.planner.model.demand import DeferrableDemand, Demand
from meritorder.planner.model.problem import Problem, RouteKind
from meritorder.planner.model.supply import MachinePool
from meritorder.planner.sensitivity import Sensitivity
from meritorder.planner.solve.solution import CommitmentPurchase, MachineSchedule, Solution, WorkloadRouting
from meritorder.units import SECONDS_PER_HOUR, TOKENS_PER_MTOK

Floats = NDArray[np.float64]


def to_file(
    solution: Solution,
    *,
    sensitivity: Sensitivity | None = None,
    recommendations: Sequence[CommitmentRecommendation] = (),
) -> planfile.Plan:
    """Return a solution as a plan file, without a baseline and without the results of the simulation.

    Args:
        solution: A plan of one scenario.
        sensitivity: Marginal values.
        recommendations: How to buy its commitments.

    Raises:
        ConfigError: It has several scenarios, and so no single schedule.
    """
    problem = solution.problem
    if problem.horizon.scenarios > 1:
        raise ConfigError(
            "a plan over scenarios has no single schedule",
            where="plan",
            fix="hold its commitments, and plan one scenario",
        )
    return planfile.Plan(
        total_usd=solution.usd,
        planned_usd=solution.usd,
        bound_usd=solution.bound_usd,
        hard_bound_usd=solution.hard_bound_usd,
        gap=solution.gap,
        slot_s=problem.horizon.slot_s,
        slots=problem.horizon.slots,
        pools=pools(solution),
        schedule=schedule(solution),
        routes=routes(solution),
        workloads=workloads(solution, sensitivity),
        commitments=commitments(solution, sensitivity, recommendations),
        by_pricing_model=solution.by_pricing_model,
        prices=[],
        assumptions=[],
        solve_s=solution.solve_s,
        carbon_usd_per_tonne=problem.carbon.usd_per_tonne if problem.carbon else None,
        spot_worth_usd_per_gpu=sensitivity.spot_usd_per_gpu if sensitivity else {},
    )


def pools(solution: Solution) -> list[planfile.PlanPool]:
    """Return the pools that a plan uses; how their engines run is for the caller to add."""
    used = {schedule.pool for schedule in solution.schedules}
    return [
        planfile.PlanPool(
            name=pool.name,
            model=pool.model,
            replica=pool.replica,
            provider=pool.provider,
            region=pool.region,
            machine=pool.machine,
            hardware=pool.hardware,
            gpus=pool.gpus,
            replicas=pool.replicas,
            startup_s=pool.startup_s,
            startup_paid_s=pool.startup_paid_s,
            carbon_usd_per_hour=_carbon_usd_per_hour(solution.problem, pool),
        )
        for pool in solution.problem.pools
        if pool.name in used
    ]


def _carbon_usd_per_hour(problem: Problem, pool: MachinePool) -> list[float]:
    if problem.carbon is None:
        return []
    usd_per_hour: list[float] = np.broadcast_to(problem.carbon.usd_per_hour(pool), (problem.horizon.slots,)).tolist()
    return usd_per_hour


def schedule(solution: Solution) -> list[planfile.PoolSchedule]:
    """Return the machines of each pool under each payment."""
    payments = {payment.name: payment for payment in solution.problem.payments}
    return [
        planfile.PoolSchedule(
            pool=scheduled.pool,
            payment=scheduled.payment,
            pricing_model=scheduled.pricing_model,
            usd_per_hour=payments[scheduled.payment].usd_per_hour,
            minimum_billing_s=float(getattr(payments[scheduled.payment], "minimum_billing_s", 0.0)),
            machines=scheduled.machines.tolist(),
            realtime=scheduled.realtime,
            deferrable=scheduled.deferrable,
            usd=scheduled.usd,
            saved_usd=scheduled.saved_usd,
            interruptions_per_hour=float(getattr(payments[scheduled.payment], "interruptions_per_hour", 0.0)),
        )
        for scheduled in solution.schedules
    ]


def routes(solution: Solution) -> list[planfile.PlanRoute]:
    """Return the flow of each workload to each venue."""
    lanes = {demand.name: _lane(demand) for demand in solution.problem.workloads}
    providers = {tier.name: tier.provider for tier in solution.problem.tiers}
    return [
        planfile.PlanRoute(
            workload=routing.workload,
            lane=lanes[routing.workload],
            venue=routing.venue,
            kind=routing.kind,
            flow=routing.flow.tolist(),
            usd=routing.usd,
            provider=providers.get(routing.venue, ""),
        )
        for routing in solution.routing
    ]


def _lane(demand: Demand) -> str:
    return str(Lane.DEFERRABLE if isinstance(demand, DeferrableDemand) else Lane.REALTIME)


def workloads(solution: Solution, sensitivity: Sensitivity | None = None) -> list[planfile.WorkloadPlan]:
    """Return the workloads with their backlog and the value of their patience."""
    slot_s = solution.problem.horizon.slot_s
    records = []
    for demand in solution.problem.workloads:
        patience_s, backlog_s = None, []
        if isinstance(demand, DeferrableDemand):
            patience_s = float(np.min(demand.due - np.arange(len(demand.due)) + 1)) * slot_s
            backlog_s = solution.backlog_s[demand.name].tolist()
        records.append(
            planfile.WorkloadPlan(
                name=demand.name,
                lane=_lane(demand),
                model=demand.model,
                patience_s=patience_s,
                patience_worth_usd_per_hour=(
                    sensitivity.patience_usd_per_hour.get(demand.name) if sensitivity else None
                ),
                deferral_saves_usd=sensitivity.deferral_usd.get(demand.name) if sensitivity else None,
                backlog_s=backlog_s,
                allow=demand.access.allow,
                deny=demand.access.deny,
            )
        )
    return records


def commitments(
    solution: Solution,
    sensitivity: Sensitivity | None = None,
    recommendations: Sequence[CommitmentRecommendation] = (),
) -> list[planfile.Commitment]:
    """Return the commitments bought and held, with their value and how to buy them."""
    values = {value.name: value for value in sensitivity.commitments} if sensitivity else {}
    recommended = {recommendation.name: recommendation for recommendation in recommendations}

    def record(purchase: CommitmentPurchase) -> planfile.Commitment:
        value, recommendation = values.get(purchase.name), recommended.get(purchase.name)
        return planfile.Commitment(
            name=purchase.name,
            pricing_model=purchase.pricing_model,
            term=purchase.term,
            payment=purchase.payment,
            amount=purchase.amount,
            have=purchase.held,
            usd_per_hour=purchase.usd_per_hour,
            usd=purchase.usd,
            used_share=purchase.used_share,
            starts=list(purchase.starts),
            break_even_use=recommendation.break_even_use if recommendation else None,
            saves_alone_usd=value.alone_usd if value else None,
            saves_together_usd=value.together_usd if value else None,
            ladder=[(rung.after_share, rung.machines) for rung in recommendation.ladder] if recommendation else [],
        )

    return [record(purchase) for purchase in solution.purchases]


def dispatch(solution: Solution) -> planfile.Dispatch:
    """Return the plan over time, in GPUs by slot: paid for, in use by each lane, and wanted by arrivals."""
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
