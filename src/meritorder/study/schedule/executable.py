"""The part of a solution that the simulator executes, as records of the plan file."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.domain import Lane
from meritorder.planner.commitments import CommitmentRecommendation
from meritorder.planner.model.demand import DeferrableDemand
from meritorder.planner.model.supply import MachinePool
from meritorder.planner.sensitivity import Sensitivity
from meritorder.planner.solve.solution import CommitmentPurchase, Solution
from meritorder.records import planfile
from meritorder.study.schedule.case import PlanningCase
from meritorder.study.schedule.executed import ExecutablePlan
from meritorder.study.schedule.options import TERM_YEARS
from meritorder.study.schedule.supply import Site

Floats = NDArray[np.float64]

_HOURS_PER_YEAR: Final = 8760.0


def executable_plan(solution: Solution, case: PlanningCase, backfill_shares: Mapping[str, Floats]) -> ExecutablePlan:
    """Return the part of a solution that the simulator executes.

    Args:
        solution: The solution.
        case: The planning case.
        backfill_shares: By model, share of the backfill limits in each slot, shape (slots,).
    """
    problem = solution.problem
    rented = {schedule.pool for schedule in solution.schedules}
    return ExecutablePlan(
        slot_s=problem.horizon.slot_s,
        slots=problem.horizon.slots,
        pools=[
            _pool(pool, case.sites[pool.name], backfill_shares.get(pool.model), _carbon_usd_per_hour(solution, pool))
            for pool in problem.pools
            if pool.name in rented
        ],
        schedule=_schedule(solution),
        routes=_routes(solution),
        commitments=[plan_commitment(purchase, case) for purchase in solution.purchases],
        several_models=case.several_models,
    )


def _pool(
    pool: MachinePool, site: Site, backfill_shares: Floats | None, carbon_usd_per_hour: list[float]
) -> planfile.PlanPool:
    machine, backfill = site.serving.machine, site.serving.backfill
    replica = machine.profile.replica
    return planfile.PlanPool(
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
        startup_paid_s=machine.startup_paid_s,  # the pool's own includes the tail of each stop
        engine=replica.engine,
        engine_version=machine.profile.engine_version,
        precision=replica.precision,
        replica_gpus=replica.gpus,
        attention_ranks=replica.attention_ranks,
        max_num_seqs=machine.limits.max_num_seqs,
        max_num_batched_tokens=machine.limits.max_num_batched_tokens,
        backfill_seats=backfill.sequences,
        backfill_tokens=backfill.prefill_tokens,
        backfill_kv_share=backfill.kv_share,
        backfill_shares=(
            [] if backfill_shares is None or not backfill.sequences else np.round(backfill_shares, 4).tolist()
        ),
        carbon_usd_per_hour=carbon_usd_per_hour,
    )


def _carbon_usd_per_hour(solution: Solution, pool: MachinePool) -> list[float]:
    problem = solution.problem
    if problem.carbon is None:
        return []
    usd_per_hour: list[float] = np.broadcast_to(problem.carbon.usd_per_hour(pool), (problem.horizon.slots,)).tolist()
    return usd_per_hour


def _schedule(solution: Solution) -> list[planfile.PoolSchedule]:
    payments = {payment.name: payment for payment in solution.problem.payments}
    return [
        planfile.PoolSchedule(
            pool=schedule.pool,
            payment=schedule.payment,
            pricing_model=schedule.pricing_model,
            usd_per_hour=payments[schedule.payment].usd_per_hour,
            minimum_billing_s=float(getattr(payments[schedule.payment], "minimum_billing_s", 0.0)),
            machines=schedule.machines.tolist(),
            realtime=schedule.realtime,
            deferrable=schedule.deferrable,
            usd=schedule.usd,
            saved_usd=schedule.saved_usd,
            interruptions_per_hour=float(getattr(payments[schedule.payment], "interruptions_per_hour", 0.0)),
        )
        for schedule in solution.schedules
    ]


def _routes(solution: Solution) -> list[planfile.PlanRoute]:
    deferrable = {workload.name: isinstance(workload, DeferrableDemand) for workload in solution.problem.workloads}
    sellers = {tier.name: tier.provider for tier in solution.problem.tiers}
    return [
        planfile.PlanRoute(
            workload=routing.workload,
            lane=(Lane.DEFERRABLE if deferrable[routing.workload] else Lane.REALTIME).value,
            venue=routing.venue,
            kind=routing.kind,
            flow=routing.flow.tolist(),
            usd=routing.usd,
            provider=sellers.get(routing.venue, ""),
        )
        for routing in solution.routing
    ]


def plan_commitment(
    purchase: CommitmentPurchase,
    case: PlanningCase,
    sensitivity: Sensitivity | None = None,
    recommendation: CommitmentRecommendation | None = None,
) -> planfile.Commitment:
    """Return a commitment; what was chosen beforehand is held by the problem but bought by the plan."""
    chosen = {bought.name: bought.amount for bought in case.commitments.purchases} if case.commitments else {}
    usd = {} if case.commitments is None else case.commitments.usd_by_name
    saves = next((row for row in sensitivity.commitments if row.name == purchase.name), None) if sensitivity else None
    amount = chosen.get(purchase.name, purchase.amount)
    return planfile.Commitment(
        name=purchase.name,
        pricing_model=purchase.pricing_model,
        term=purchase.term,
        payment=purchase.payment,
        amount=amount,
        have=purchase.held - chosen.get(purchase.name, 0.0),
        usd_per_hour=purchase.usd_per_hour,
        usd=usd.get(purchase.name, purchase.usd),
        used_share=purchase.used_share,
        starts=list(purchase.starts),
        break_even_use=recommendation.break_even_use if recommendation else None,
        saves_alone_usd=saves.alone_usd if saves else None,
        saves_together_usd=saves.together_usd if saves else None,
        ladder=[(step.after_share, step.machines) for step in recommendation.ladder] if recommendation else [],
        owed_usd=_owed_usd(purchase, amount),
    )


def _owed_usd(purchase: CommitmentPurchase, amount: float) -> float | None:
    """Return what an amount of a commitment costs over its whole term; None without a term in years."""
    years = TERM_YEARS.get(purchase.term)
    if not amount or years is None:
        return None
    unit_usd_per_hour = 1.0 if purchase.pricing_model == "savings_plan" else purchase.usd_per_hour
    return amount * unit_usd_per_hour * years * _HOURS_PER_YEAR
