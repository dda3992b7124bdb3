"""The record of a plan: what is said about it, and the whole plan file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from meritorder.domain import Lane
from meritorder.planner.commitments import commitment_regret, recommend_commitments
from meritorder.planner.dispatch import dispatch, merit_order
from meritorder.planner.model.demand import DeferrableDemand
from meritorder.planner.sensitivity import Sensitivity
from meritorder.planner.solve.solution import Solution
from meritorder.records import planfile
from meritorder.records.evidence import Assumption, Interval, PriceUsed, UnservableRequests, age_warnings
from meritorder.records.planproof import ComingDays, Credit, InHindsight, WalkForward
from meritorder.records.tokenapi import TokenApi
from meritorder.study.fleet.servable import describe
from meritorder.study.fleet.speeds import performance, speed_assumptions
from meritorder.study.fleet.workloads import AssignedTrace
from meritorder.study.plan import explain
from meritorder.study.prices.age import priced_today
from meritorder.study.schedule.case import PlanningCase
from meritorder.study.schedule.executable import plan_commitment
from meritorder.study.schedule.executed import ExecutablePlan
from meritorder.study.schedule.options import PlanOptions
from meritorder.traces import Trace

Floats = NDArray[np.float64]

_TOKENS_IN_TIME: Final = Assumption(
    text="answers bought as tokens come in time, though no provider promises their latency", option="--tokens"
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
    machines = [site.serving.machine for site in rented.values()]
    commitments = [
        plan_commitment(purchase, case, sensitivity, recommended.get(purchase.name)) for purchase in solution.purchases
    ]
    return Explanation(
        planned_usd=solution.usd + bought_usd,
        solve_s=solution.solve_s,
        workloads=_workloads(solution, case, sensitivity),
        commitments=commitments,
        prices=explain.prices_used(plan.schedule, commitments, plan.routes, sites=case.sites, tokens=case.tokens),
        performance=performance(machines),
        dispatch=dispatch(solution),
        merit_order=merit_order(solution),
        waterfall=explain.waterfall(solution.problem, baseline_usd, total_usd, bought_usd),
        assumptions=[
            *case.assumptions,
            *explain.assumptions(solution, case.loads, options, chosen_before=seasons is not None),
            *speed_assumptions(machines),
        ],
        saving_interval=explain.saving_interval(
            solution.problem, rented.values(), baseline_usd=baseline_usd, total_usd=total_usd, seed=options.seed
        ),
        spot_worth_usd_per_gpu=sensitivity.spot_usd_per_gpu,
        commitment_regret=(
            commitment_regret(committing, hours=solution.problem.horizon.hours) if committing.purchases else None
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPlan:
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
    judged: JudgedPlan,
    explanation: Explanation,
    forward: WalkForward | None,
    coming: ComingDays | None,
    tokens_usd: Mapping[str, float],
    apis: Sequence[TokenApi],
    backtest: Sequence[planfile.CommitmentBacktest],
    carbon_usd_per_tonne: float | None,
    notes: Sequence[str],
    left_out: UnservableRequests | None = None,
) -> planfile.Plan:
    """Return the plan file.

    Args:
        trace: The requests.
        promised: The promises made to them.
        options: What was planned, and within which limits.
        judged: The plan, its bounds, its policy.
        explanation: What is said about the plan.
        forward: How its policy does on days that it has not seen, if there are any.
        coming: The days to come, if any are asked for.
        tokens_usd: Cost of all requests as tokens, by tier.
        apis: Token APIs that the policy buys from.
        backtest: Backtest of the commitments.
        carbon_usd_per_tonne: Price on carbon, if any.
        notes: Warnings about commitments already held.
        left_out: Requests that no replica can serve in time.
    """
    plan, outcome = judged.plan, judged.outcome
    total_usd, baseline_usd = outcome.total_usd, judged.baseline_usd
    simulated_usd = total_usd + outcome.carbon_usd
    files = ", ".join(trace.report.files)
    unservable = left_out.requests if left_out else 0
    saving_share = 1 - total_usd / baseline_usd if baseline_usd > 0 else 0.0
    gap = simulated_usd / judged.bound_usd - 1 if judged.bound_usd else 0.0
    hindsight = InHindsight(
        baseline_usd=baseline_usd,
        total_usd=total_usd,
        bound_usd=judged.bound_usd,
        hard_bound_usd=judged.hard_bound_usd,
        gap=gap,
        saving_usd=baseline_usd - total_usd,
        saving_share=saving_share,
        slo_attainment=outcome.slo_attainment,
        deadlines_missed=outcome.deadlines_missed,
        kept=outcome.kept,
    )
    prices = priced_today(explanation.prices)
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
        policy_outcome=structs.replace(judged.policy_outcome, trace=files, unservable=unservable),
        routes=judged.policy.routes,
        workloads=explanation.workloads,
        commitments=explanation.commitments,
        by_pricing_model=explain.usd_by_pricing_model(plan.schedule, explanation.commitments, outcome),
        prices=prices,
        assumptions=[*promised.assumptions, *explanation.assumptions, *([_TOKENS_IN_TIME] if plan.buys_tokens else [])],
        solve_s=explanation.solve_s,
        promises=_promises(promised, options),
        start_epoch_s=trace.epoch_s,
        carbon_usd_per_tonne=carbon_usd_per_tonne,
        baseline=judged.baseline,
        baseline_usd=baseline_usd,
        saving_usd=baseline_usd - total_usd,
        saving_share=saving_share,
        saving_interval=explanation.saving_interval,
        simulated=structs.replace(outcome, trace=files, unservable=unservable),
        in_hindsight=hindsight,
        walk_forward=forward,
        coming=coming,
        credited=judged.credited,
        spot_worth_usd_per_gpu=dict(explanation.spot_worth_usd_per_gpu),
        sentence=explain.sentence(
            outcome.requests,
            hindsight,
            judged.policy_outcome,
            forward=forward,
            coming=coming,
            tokens_usd=tokens_usd,
            carbon_usd=outcome.carbon_usd,
            unpriced=" ".join(filter(None, (trace.report.unpriced, describe(left_out)))),
        ),
        performance=explanation.performance,
        waterfall=explanation.waterfall,
        dispatch=explanation.dispatch,
        merit_order=explanation.merit_order,
        backtest=list(backtest),
        commitment_regret=explanation.commitment_regret,
        tokens_usd=dict(tokens_usd),
        apis=list(apis),
        unservable=left_out,
        warnings=[
            *explain.commitment_warnings(trace.span_s, explanation.commitments),
            *explain.warnings(
                trace, explanation.workloads, options, tokens_usd=tokens_usd, total_usd=total_usd, backtest=backtest
            ),
            *notes,
            *age_warnings(prices),
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
        slower=options.slower,
        engine_version=options.served_by.version,
        memory_utilization=options.memory_utilization,
        kv_cache_dtype=options.kv_cache_dtype,
    )
