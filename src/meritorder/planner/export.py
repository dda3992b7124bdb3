"""A solution as the file that the simulator, the gateway and the report read."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from meritorder import planfile
from meritorder.domain import Lane
from meritorder.errors import ConfigError
from meritorder.evidence import Assumption, PriceUsed
from meritorder.planner.commitments import CommitmentRecommendation
from meritorder.planner.model.demand import DeferrableDemand
from meritorder.planner.model.problem import Problem, VenueKind
from meritorder.planner.model.supply import MachinePool
from meritorder.planner.sensitivity import Sensitivity
from meritorder.planner.solve.solution import CommitmentPurchase, MachineSchedule, Solution
from meritorder.units import SECONDS_PER_HOUR, TOKENS_PER_MTOK


def to_file(
    solution: Solution,
    *,
    worth: Sensitivity | None = None,
    advice: Sequence[CommitmentRecommendation] = (),
    prices: Sequence[PriceUsed] = (),
    assumptions: Sequence[Assumption] = (),
) -> planfile.Plan:
    """Return a solution as a plan file; the baseline and the simulation's results are filled in by who has them.

    Args:
        solution: A plan of one scenario.
        worth: Shadow prices.
        advice: Ladders and break-even use of the commitments.
        prices: Prices that it rests on.
        assumptions: What was taken that the input does not say.

    Raises:
        ConfigError: It has several scenarios: those decide commitments, which a plan of one stretch of time then holds.
    """
    problem = solution.problem
    if problem.horizon.scenarios > 1:
        raise ConfigError(
            "a plan over scenarios has no one schedule", where="plan", fix="hold its commitments, and plan one stretch"
        )
    return planfile.Plan(
        total_usd=solution.usd,
        planned_usd=solution.usd,
        bound_usd=solution.bound_usd,
        hard_bound_usd=solution.hard_bound_usd,
        gap=solution.gap,
        slot_s=problem.horizon.slot_s,
        slots=problem.horizon.slots,
        pools=_pools(solution),
        schedule=_schedule(solution),
        routes=_routes(solution),
        workloads=_workloads(solution, worth),
        commitments=[_commitment(one, worth, advice) for one in solution.purchases],
        by_pricing_model=solution.by_pricing_model,
        prices=list(prices),
        assumptions=list(assumptions),
        solve_s=solution.solve_s,
        carbon_usd_per_tonne=problem.carbon.usd_per_tonne if problem.carbon else None,
        spot_worth_usd_per_gpu=worth.spot_usd_per_gpu if worth else {},
    )


def _pools(solution: Solution) -> list[planfile.PlanPool]:
    used = {one.pool for one in solution.schedules}
    fields = set(planfile.PlanPool.__struct_fields__) & {each.name for each in dataclasses.fields(MachinePool)}
    return [
        planfile.PlanPool(
            **{name: getattr(pool, name) for name in fields}, carbon_usd_per_hour=_carbon(solution.problem, pool)
        )
        for pool in solution.problem.pools
        if pool.name in used
    ]


def _carbon(problem: Problem, pool: MachinePool) -> list[float]:
    if problem.carbon is None:
        return []
    usd_per_hour: list[float] = np.broadcast_to(problem.carbon.usd_per_hour(pool), (problem.horizon.slots,)).tolist()
    return usd_per_hour


def _schedule(solution: Solution) -> list[planfile.PoolSchedule]:
    payments = {one.name: one for one in solution.problem.payments}
    return [
        planfile.PoolSchedule(
            pool=one.pool,
            payment=one.payment,
            pricing_model=one.pricing_model,
            usd_per_hour=payments[one.payment].usd_per_hour,
            minimum_billing_s=float(getattr(payments[one.payment], "minimum_billing_s", 0.0)),
            machines=one.machines.tolist(),
            realtime=one.realtime,
            deferrable=one.deferrable,
            usd=one.usd,
            saved_usd=one.saved_usd,
            interruptions_per_hour=float(getattr(payments[one.payment], "interruptions_per_hour", 0.0)),
        )
        for one in solution.schedules
    ]


def _routes(solution: Solution) -> list[planfile.PlanRoute]:
    lanes = {one.name: _lane(isinstance(one, DeferrableDemand)) for one in solution.problem.workloads}
    sellers = {one.name: one.provider for one in solution.problem.tiers}
    return [
        planfile.PlanRoute(
            workload=one.workload,
            lane=lanes[one.workload],
            venue=one.venue,
            kind=one.kind,
            flow=one.flow.tolist(),
            usd=one.usd,
            provider=sellers.get(one.venue, ""),
        )
        for one in solution.routing
    ]


def _lane(deferrable: bool) -> str:  # noqa: FBT001
    return str(Lane.DEFERRABLE if deferrable else Lane.REALTIME)


def _workloads(solution: Solution, worth: Sensitivity | None) -> list[planfile.WorkloadPlan]:
    plans = []
    for one in solution.problem.workloads:
        asynchronous = isinstance(one, DeferrableDemand)
        plans.append(
            planfile.WorkloadPlan(
                name=one.name,
                lane=_lane(asynchronous),
                model=one.model,
                patience_s=_patience_s(solution, one) if isinstance(one, DeferrableDemand) else None,
                patience_worth_usd_per_hour=worth.patience_usd_per_hour.get(one.name) if worth else None,
                deferral_saves_usd=worth.deferral_usd.get(one.name) if worth else None,
                backlog_s=solution.backlog_s[one.name].tolist() if asynchronous else [],
                allow=one.access.allow,
                deny=one.access.deny,
            )
        )
    return plans


def _patience_s(solution: Solution, workload: DeferrableDemand) -> float:
    return float(np.min(workload.due - np.arange(len(workload.due)) + 1)) * solution.problem.horizon.slot_s


def _commitment(
    one: CommitmentPurchase, worth: Sensitivity | None, advice: Sequence[CommitmentRecommendation]
) -> planfile.Commitment:
    saves = next((each for each in worth.commitments if each.name == one.name), None) if worth else None
    advised = next((each for each in advice if each.name == one.name), None)
    return planfile.Commitment(
        name=one.name,
        pricing_model=one.pricing_model,
        term=one.term,
        payment=one.payment,
        amount=one.amount,
        have=one.held,
        usd_per_hour=one.usd_per_hour,
        usd=one.usd,
        used_share=one.used_share,
        starts=list(one.starts),
        break_even_use=advised.break_even_use if advised else None,
        saves_alone_usd=saves.alone_usd if saves else None,
        saves_together_usd=saves.together_usd if saves else None,
        ladder=[(step.after_share, step.machines) for step in advised.ladder] if advised else [],
    )


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
    problem, x = solution.problem, solution.search.x
    total = np.zeros(problem.horizon.length)
    for r, route in enumerate(problem.routes):
        if route.workload in workloads and route.kind is VenueKind.POOL:
            pool = problem.pools[route.venue]
            flow = x[solution.search.formulation.x.flow[r]]
            total += route.work_s * flow / problem.horizon.slot_s * pool.gpus / pool.replicas
    return total


def _arrived(solution: Solution) -> Floats:
    """Return the GPUs that deferrable work would take as it arrives, where the plan runs it on average."""
    problem, x = solution.problem, solution.search.x
    total = np.zeros(problem.horizon.length)
    for w in problem.deferrable:
        demand = problem.workloads[w]
        if not isinstance(demand, DeferrableDemand):
            continue
        gpu_s = flowed = 0.0
        for r in problem.routes_of(w):
            route = problem.routes[r]
            flow = x[solution.search.formulation.x.flow[r]]
            flowed += float(flow.sum())
            if route.kind is VenueKind.POOL:
                pool = problem.pools[route.venue]
                gpu_s += float((route.work_s * flow).sum()) * pool.gpus / pool.replicas
        if flowed > 0:
            total += demand.volume_s * gpu_s / flowed / problem.horizon.slot_s
    return total


def merit_order(solution: Solution) -> list[planfile.MeritStep]:
    """Return what a unit of work costs at each venue that the plan uses, when full; cheapest first."""
    problem = solution.problem
    steps = [_machines(solution, one) for one in solution.schedules]
    steps += [
        planfile.MeritStep(
            venue=route.venue,
            pricing_model="tokens",
            usd_per_mtok=route.usd / mtok,
            capacity_mtok=mtok,
            used_share=1.0,
        )
        for route in solution.routing
        if route.kind == VenueKind.TIER and (mtok := _bought_mtok(problem, route.workload, route.venue, route.flow)) > 0
    ]
    return sorted(steps, key=lambda step: step.usd_per_mtok)


def _machines(solution: Solution, one: MachineSchedule) -> planfile.MeritStep:
    problem = solution.problem
    p = next(i for i, pool in enumerate(problem.pools) if pool.name == one.pool)
    pool = problem.pools[p]
    o = next(i for i, payment in enumerate(problem.payments) if payment.name == one.payment)
    hours = float(one.machines.sum()) * problem.horizon.slot_h
    mtok_per_hour = _mtok_per_replica_s(problem, p) * SECONDS_PER_HOUR * pool.replicas
    here = [each for each in solution.schedules if each.pool == one.pool]
    could_s = sum(float(each.machines.sum()) for each in here) * problem.horizon.slot_s * pool.replicas
    done_s = sum(
        float((problem.routes[r].work_s * solution.search.x[solution.search.formulation.x.flow[r]]).sum())
        for r in problem.routes_to(VenueKind.POOL, p)
    )
    return planfile.MeritStep(
        venue=one.pool,
        pricing_model=one.pricing_model,
        usd_per_mtok=problem.payments[o].usd_per_hour / mtok_per_hour,
        capacity_mtok=hours * mtok_per_hour,
        used_share=min(1.0, done_s / could_s) if could_s else 0.0,
    )


def _mtok_per_replica_s(problem: Problem, p: int) -> float:
    """Return the tokens that a full replica of a pool serves in a second, over the traffic that may go there."""
    tokens = work_s = 0.0
    for r in problem.routes_to(VenueKind.POOL, p):
        demand = problem.workloads[problem.routes[r].workload]
        if demand.tokens is not None:
            tokens += float(demand.tokens.sum())
            work_s += float(demand.work_s[problem.pools[p].replica].sum())
    return tokens / work_s / TOKENS_PER_MTOK if work_s else 0.0


def _bought_mtok(problem: Problem, workload: str, venue: str, flow: Floats) -> float:
    for route in problem.routes:
        mine = problem.workloads[route.workload].name == workload and route.kind is VenueKind.TIER
        if mine and problem.tiers[route.venue].name == venue:
            return float((route.tokens * flow).sum()) / TOKENS_PER_MTOK
    return 0.0
