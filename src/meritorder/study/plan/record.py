"""The record of a plan: first the part that is simulated, in the end the whole plan file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from meritorder import planfile
from meritorder.domain import Lane
from meritorder.evidence import Assumption, Interval, PriceUsed
from meritorder.planner.commitments import CommitmentRecommendation, commitment_regret, recommend_commitments
from meritorder.planner.dispatch import dispatch, merit_order
from meritorder.planner.model.demand import DeferrableDemand
from meritorder.planner.model.supply import MachinePool
from meritorder.planner.sensitivity import Sensitivity
from meritorder.planner.solve.solution import CommitmentPurchase, Solution
from meritorder.planproof import Credit, InHindsight
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a plan file says of the plan with hindsight beyond what was simulated.

    Args:
        planned_usd: Cost of the solver's solution; the simulated cost of a known arrangement.
        solve_s: Time that the solver took.
        workloads: The workloads as planned.
        commitments: Commitments bought and held.
        prices: Prices of what is rented and bought.
        performance: Speed of the replicas that are rented.
        dispatch: GPUs over time.
        merit_order: Venues by cost.
        waterfall: Parts of the difference to the baseline.
        assumptions: What was assumed about the supply.
        saving_interval: Range of the saving.
        spot_worth_usd_per_gpu: Shadow price of one more spot GPU.
        commitment_regret: What the commitments cost if demand falls.
    """

    planned_usd: float
    solve_s: float
    workloads: list[planfile.WorkloadPlan]
    commitments: list[planfile.Commitment]
    prices: list[PriceUsed]
    performance: list[str]
    dispatch: planfile.Dispatch
    merit_order: list[planfile.MeritStep]
    waterfall: list[planfile.CostChange]
    assumptions: list[Assumption]
    saving_interval: Interval | None = None
    spot_worth_usd_per_gpu: Mapping[str, float] = field(default_factory=dict)
    commitment_regret: planfile.CommitmentRegret | None = None


def explain_solution(
    solution: Solution,
    case: PlanningCase,
    options: PlanOptions,
    *,
    plan: ExecutablePlan,
    total_usd: float,
    baseline_usd: float,
    sensitivity: Sensitivity,
) -> Explanation:
    """Explain a plan of the linear program.

    Args:
        solution: The solution.
        case: The planning case.
        options: What was planned, and within which limits.
        plan: The plan that was simulated.
        total_usd: Its simulated cost.
        baseline_usd: Cost of the baseline.
        sensitivity: Value of each degree of freedom.
    """
    bought_usd = case.commitments.usd if case.commitments else 0.0
    # Commitments chosen over forecast seasons are explained by the solution that chose them.
    seasons = case.commitments.solution if case.commitments else None
    committing = seasons or solution
    recommended = {row.name: row for row in recommend_commitments(solution)}
    recommended |= {row.name: row for row in recommend_commitments(seasons)} if seasons else {}
    rented = {row.pool: case.sites[row.pool] for row in plan.schedule}
    commitments = [
        _commitment(purchase, case, sensitivity, recommended.get(purchase.name)) for purchase in solution.purchases
    ]
    return Explanation(
        planned_usd=solution.usd + bought_usd,
        solve_s=solution.solve_s,
        workloads=_workloads(solution, case, sensitivity),
        commitments=commitments,
        prices=explain.prices_used(plan.schedule, commitments, plan.routes, sites=case.sites, tokens=case.tokens),
        performance=explain.performance(site.serving.machine for site in rented.values()),
        dispatch=dispatch(solution),
        merit_order=merit_order(solution),
        waterfall=explain.waterfall(solution.problem, baseline_usd, total_usd, bought_usd),
        assumptions=[
            *case.assumptions,
            *explain.assumptions(solution, case.loads, options, chosen_before=seasons is not None),
        ],
        saving_interval=explain.saving_interval(
            solution.problem, rented.values(), baseline_usd=baseline_usd, total_usd=total_usd, seed=options.seed
        ),
        spot_worth_usd_per_gpu=sensitivity.spot_usd_per_gpu,
        commitment_regret=commitment_regret(committing) if committing.purchases else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The plan with hindsight, its bounds, and the policy that follows from it.

    Args:
        plan: The plan with hindsight.
        outcome: Its outcome.
        policy: The policy, with the pools and prices of its machines.
        policy_outcome: Its outcome on the same requests.
        baseline_usd: Cost of the cheapest real-time arrangement.
        baseline: Description of that arrangement.
        bound_usd: Lower bound on the cost of any policy of the family.
        hard_bound_usd: Lower bound on the cost of anything.
        credited: What each cause saved.
    """

    plan: ExecutablePlan
    outcome: planfile.PlanOutcome
    policy: ExecutablePlan
    policy_outcome: planfile.PlanOutcome
    baseline_usd: float
    baseline: str
    bound_usd: float
    hard_bound_usd: float
    credited: list[Credit]


def to_file(
    trace: Trace,
    promised: AssignedTrace,
    options: PlanOptions,
    *,
    judged: Judged,
    explanation: Explanation,
    tokens_usd: Mapping[str, float],
    backtest: Sequence[planfile.CommitmentBacktest],
    carbon_usd_per_tonne: float | None,
    notes: Sequence[str],
) -> planfile.Plan:
    """Return the plan file.

    Args:
        trace: The requests.
        promised: The promises made to them.
        options: What was planned, and within which limits.
        judged: The plan, its bounds, its policy.
        explanation: What is said about the plan.
        tokens_usd: Cost of all requests as tokens, by tier.
        backtest: Backtest of the commitments.
        carbon_usd_per_tonne: Price on carbon, if any.
        notes: Warnings about commitments already held.
    """
    plan, outcome = judged.plan, judged.outcome
    total_usd, baseline_usd = outcome.total_usd, judged.baseline_usd
    simulated_usd = total_usd + outcome.carbon_usd
    files = ", ".join(trace.report.files)
    gap = simulated_usd / judged.bound_usd - 1 if judged.bound_usd else 0.0
    hindsight = InHindsight(
        baseline_usd=baseline_usd,
        total_usd=total_usd,
        bound_usd=judged.bound_usd,
        hard_bound_usd=judged.hard_bound_usd,
        gap=gap,
        saving_usd=baseline_usd - total_usd,
        saving_share=1 - total_usd / baseline_usd,
        slo_attainment=outcome.slo_attainment,
        deadlines_missed=outcome.deadlines_missed,
        kept=outcome.kept,
    )
    return planfile.Plan(
        total_usd=total_usd,
        planned_usd=explanation.planned_usd,
        bound_usd=judged.bound_usd,
        hard_bound_usd=judged.hard_bound_usd,
        gap=gap,
        slot_s=plan.slot_s,
        slots=plan.slots,
        pools=judged.policy.pools,
        schedule=judged.policy.schedule,
        policy=judged.policy.policy,
        policy_outcome=structs.replace(judged.policy_outcome, trace=files),
        routes=plan.routes,
        workloads=explanation.workloads,
        commitments=explanation.commitments,
        by_pricing_model=explain.usd_by_pricing_model(plan.schedule, explanation.commitments, outcome),
        prices=explanation.prices,
        assumptions=[*promised.assumptions, *explanation.assumptions],
        solve_s=explanation.solve_s,
        promises=_promises(promised, options),
        start_epoch_s=trace.epoch_s,
        carbon_usd_per_tonne=carbon_usd_per_tonne,
        baseline=judged.baseline,
        baseline_usd=baseline_usd,
        saving_usd=baseline_usd - total_usd,
        saving_share=1 - total_usd / baseline_usd,
        saving_interval=explanation.saving_interval,
        simulated=structs.replace(outcome, trace=files),
        in_hindsight=hindsight,
        credited=judged.credited,
        spot_worth_usd_per_gpu=dict(explanation.spot_worth_usd_per_gpu),
        sentence=explain.sentence(
            trace.requests.height,
            hindsight,
            judged.policy_outcome,
            carbon_usd=outcome.carbon_usd,
            unpriced=trace.report.unpriced,
        ),
        performance=explanation.performance,
        waterfall=explanation.waterfall,
        dispatch=explanation.dispatch,
        merit_order=explanation.merit_order,
        backtest=list(backtest),
        commitment_regret=explanation.commitment_regret,
        tokens_usd=dict(tokens_usd),
        warnings=[
            *explain.warnings(
                trace, explanation.workloads, options, tokens_usd=tokens_usd, total_usd=total_usd, backtest=backtest
            ),
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
