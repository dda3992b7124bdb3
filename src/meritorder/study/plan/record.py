"""The record of a plan: first the part that is simulated, in the end the whole plan file."""

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from meritorder import planfile
from meritorder.domain import Lane
from meritorder.planner.commitments import CommitmentRecommendation, commitment_regret, recommend_commitments
from meritorder.planner.dispatch import dispatch, merit_order
from meritorder.planner.model.demand import DeferrableDemand
from meritorder.planner.model.supply import MachinePool
from meritorder.planner.sensitivity import Sensitivity
from meritorder.planner.solve.solution import CommitmentPurchase, Solution
from meritorder.study.fleet.fleets import Trial
from meritorder.study.fleet.workloads import AssignedTrace
from meritorder.study.plan import explain
from meritorder.study.plan.case import PlanningCase
from meritorder.study.plan.options import PlanOptions
from meritorder.study.plan.simulate import ExecutablePlan
from meritorder.study.plan.supply import Site
from meritorder.traces import Trace

Floats = NDArray[np.float64]


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
        commitments=[_commitment(purchase, case) for purchase in solution.purchases],
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
        precision=replica.precision,
        replica_gpus=replica.gpus,
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


def _commitment(
    purchase: CommitmentPurchase,
    case: PlanningCase,
    sensitivity: Sensitivity | None = None,
    recommendation: CommitmentRecommendation | None = None,
) -> planfile.Commitment:
    """Return a commitment; what was chosen beforehand is held by the problem but bought by the plan."""
    chosen = {bought.name: bought.amount for bought in case.commitments.purchases} if case.commitments else {}
    usd = {} if case.commitments is None else case.commitments.usd_by_name
    saves = next((row for row in sensitivity.commitments if row.name == purchase.name), None) if sensitivity else None
    return planfile.Commitment(
        name=purchase.name,
        pricing_model=purchase.pricing_model,
        term=purchase.term,
        payment=purchase.payment,
        amount=chosen.get(purchase.name, purchase.amount),
        have=purchase.held - chosen.get(purchase.name, 0.0),
        usd_per_hour=purchase.usd_per_hour,
        usd=usd.get(purchase.name, purchase.usd),
        used_share=purchase.used_share,
        starts=list(purchase.starts),
        break_even_use=recommendation.break_even_use if recommendation else None,
        saves_alone_usd=saves.alone_usd if saves else None,
        saves_together_usd=saves.together_usd if saves else None,
        ladder=[(step.after_share, step.machines) for step in recommendation.ladder] if recommendation else [],
    )


def to_file(
    trace: Trace,
    promised: AssignedTrace,
    case: PlanningCase,
    options: PlanOptions,
    *,
    solution: Solution,
    plan: ExecutablePlan,
    outcome: planfile.PlanOutcome,
    bound_usd: float,
    first_bound_usd: float,
    sensitivity: Sensitivity,
    backtest: Sequence[planfile.CommitmentBacktest],
    baselines: Mapping[str, Trial],
    notes: Sequence[str],
) -> planfile.Plan:
    """Return the plan file.

    Args:
        trace: The requests.
        promised: The promises made to them.
        case: The planning case.
        options: What was planned, and within which limits.
        solution: The solution of the linear program.
        plan: The plan that was simulated.
        outcome: Its outcome.
        bound_usd: Proven lower bound of the program that produced the plan.
        first_bound_usd: The bound before any derating.
        sensitivity: Value of each degree of freedom.
        backtest: Backtest of the commitments.
        baselines: The cheapest real-time arrangement of each model.
        notes: Warnings about commitments already held.
    """
    total_usd = outcome.total_usd
    simulated_usd = total_usd + outcome.carbon_usd
    bought_usd = case.commitments.usd if case.commitments else 0.0
    baseline_usd = sum(trial.usd for trial in baselines.values())
    # Commitments chosen over forecast seasons are explained by the solution that chose them.
    seasons = case.commitments.solution if case.commitments else None
    committing = seasons or solution
    recommended = {row.name: row for row in recommend_commitments(solution)}
    recommended |= {row.name: row for row in recommend_commitments(seasons)} if seasons else {}
    commitments = [
        _commitment(purchase, case, sensitivity, recommended.get(purchase.name)) for purchase in solution.purchases
    ]
    workloads = _workloads(solution, case, sensitivity)
    tokens_usd = explain.tokens_usd(case.loads, case.all_tokens)
    rented = {row.pool: case.sites[row.pool] for row in plan.schedule}
    return planfile.Plan(
        total_usd=total_usd,
        planned_usd=solution.usd + bought_usd,
        bound_usd=bound_usd,
        hard_bound_usd=solution.hard_bound_usd + bought_usd,
        gap=simulated_usd / bound_usd - 1 if bound_usd else 0.0,
        first_bound_usd=first_bound_usd,
        slot_s=plan.slot_s,
        slots=plan.slots,
        pools=plan.pools,
        schedule=plan.schedule,
        routes=plan.routes,
        workloads=workloads,
        commitments=commitments,
        by_pricing_model=explain.usd_by_pricing_model(plan.schedule, commitments, outcome),
        prices=explain.prices_used(plan.schedule, commitments, plan.routes, sites=case.sites, tokens=case.tokens),
        assumptions=[
            *promised.assumptions,
            *case.assumptions,
            *explain.assumptions(solution, case.loads, options, chosen_before=seasons is not None),
        ],
        solve_s=solution.solve_s,
        promises=_promises(promised, options),
        start_epoch_s=trace.epoch_s,
        carbon_usd_per_tonne=solution.problem.carbon.usd_per_tonne if solution.problem.carbon else None,
        baseline=explain.baseline_label(baselines),
        baseline_usd=baseline_usd,
        saving_usd=baseline_usd - total_usd,
        saving_share=1 - total_usd / baseline_usd,
        saving_interval=explain.saving_interval(
            solution.problem, rented.values(), baseline_usd=baseline_usd, total_usd=total_usd, seed=options.seed
        ),
        simulated=structs.replace(outcome, trace=", ".join(trace.report.files)),
        spot_worth_usd_per_gpu=sensitivity.spot_usd_per_gpu,
        sentence=explain.sentence(
            trace.requests.height, bound_usd, baseline_usd, outcome, unpriced=trace.report.unpriced
        ),
        performance=explain.performance(rented.values()),
        waterfall=explain.waterfall(solution.problem, baseline_usd, total_usd, bought_usd),
        dispatch=dispatch(solution),
        merit_order=merit_order(solution),
        backtest=list(backtest),
        commitment_regret=commitment_regret(committing) if committing.purchases else None,
        tokens_usd=tokens_usd,
        warnings=[
            *explain.warnings(trace, workloads, options, tokens_usd=tokens_usd, total_usd=total_usd, backtest=backtest),
            *notes,
        ],
    )


def _workloads(solution: Solution, case: PlanningCase, sensitivity: Sensitivity) -> list[planfile.WorkloadPlan]:
    return [
        planfile.WorkloadPlan(
            name=workload.name,
            lane=(Lane.DEFERRABLE if isinstance(workload, DeferrableDemand) else Lane.REALTIME).value,
            model=workload.model,
            patience_s=case.patience_s.get(workload.name),
            patience_worth_usd_per_hour=sensitivity.patience_usd_per_hour.get(workload.name),
            deferral_saves_usd=sensitivity.deferral_usd.get(workload.name),
            backlog_s=solution.backlog_s[workload.name].tolist() if isinstance(workload, DeferrableDemand) else [],
            allow=workload.access.allow,
            deny=workload.access.deny,
        )
        for workload in solution.problem.workloads
    ]


def _promises(promised: AssignedTrace, options: PlanOptions) -> planfile.Promises:
    return planfile.Promises(
        slo=options.default_slo,
        defer=list(options.defer),
        workloads=[planfile.DeclaredWorkload.from_workload(workload) for workload in promised.declared],
        model=options.model,
        seed=options.seed,
        scale=options.scale,
        start=options.start,
        end=options.end,
        profile="" if options.profile is None else str(options.profile.resolve()),
        roofline=options.roofline,
    )
