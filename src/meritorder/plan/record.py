"""A solution as the file that the simulator, the gateway and the report read."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from meritorder import planfile
from meritorder.domain import Lane
from meritorder.errors import ConfigError
from meritorder.evidence import Assumption, PriceUsed
from meritorder.plan.commitments import Advice
from meritorder.plan.demand import Deferrable
from meritorder.plan.problem import Problem
from meritorder.plan.solution import Purchase, Solution
from meritorder.plan.venues import Pool
from meritorder.plan.worth import Worth


def to_file(
    solution: Solution,
    *,
    worth: Worth | None = None,
    advice: Sequence[Advice] = (),
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


def _pools(solution: Solution) -> list[planfile.PoolUsed]:
    used = {one.pool for one in solution.schedules}
    fields = set(planfile.PoolUsed.__struct_fields__) & {each.name for each in dataclasses.fields(Pool)}
    return [
        planfile.PoolUsed(
            **{name: getattr(pool, name) for name in fields}, carbon_usd_per_hour=_carbon(solution.problem, pool)
        )
        for pool in solution.problem.pools
        if pool.name in used
    ]


def _carbon(problem: Problem, pool: Pool) -> list[float]:
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


def _routes(solution: Solution) -> list[planfile.Route]:
    lanes = {one.name: _lane(isinstance(one, Deferrable)) for one in solution.problem.workloads}
    sellers = {one.name: one.provider for one in solution.problem.tiers}
    sellers |= {one.name: one.provider for one in solution.problem.throughputs}
    return [
        planfile.Route(
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


def _workloads(solution: Solution, worth: Worth | None) -> list[planfile.WorkloadPlan]:
    plans = []
    for one in solution.problem.workloads:
        waits = isinstance(one, Deferrable)
        plans.append(
            planfile.WorkloadPlan(
                name=one.name,
                lane=_lane(waits),
                model=one.model,
                patience_s=_patience_s(solution, one) if isinstance(one, Deferrable) else None,
                patience_worth_usd_per_hour=worth.patience_usd_per_hour.get(one.name) if worth else None,
                deferral_saves_usd=worth.deferral_usd.get(one.name) if worth else None,
                backlog_s=solution.backlog_s[one.name].tolist() if waits else [],
                allow=one.access.allow,
                deny=one.access.deny,
            )
        )
    return plans


def _patience_s(solution: Solution, workload: Deferrable) -> float:
    return float(np.min(workload.due - np.arange(len(workload.due)) + 1)) * solution.problem.horizon.slot_s


def _commitment(one: Purchase, worth: Worth | None, advice: Sequence[Advice]) -> planfile.Commitment:
    saves = next((each for each in worth.commitments if each.name == one.name), None) if worth else None
    advised = next((each for each in advice if each.name == one.name), None)
    return planfile.Commitment(
        name=one.name,
        pricing_model=one.pricing_model,
        term=one.term,
        payment=one.payment,
        amount=one.amount,
        have=one.have,
        usd_per_hour=one.usd_per_hour,
        usd=one.usd,
        used_share=one.used_share,
        starts=list(one.starts),
        break_even_use=advised.break_even_use if advised else None,
        saves_alone_usd=saves.alone_usd if saves else None,
        saves_together_usd=saves.together_usd if saves else None,
        ladder=[(step.after_share, step.machines) for step in advised.ladder] if advised else [],
    )
