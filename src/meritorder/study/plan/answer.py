"""The answer of `plan`: the cheapest plan of a trace that keeps every promise when it is simulated."""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from msgspec import structs

from meritorder import catalog as facts
from meritorder.catalog import Catalog
from meritorder.catalog.tokens import token_prices
from meritorder.domain import Model
from meritorder.errors import InfeasibleError
from meritorder.planner.commitments import backtest_commitments
from meritorder.planner.model.problem import CarbonPrice
from meritorder.planner.model.supply import Holdings
from meritorder.planner.sensitivity import analyze_sensitivity
from meritorder.records import planfile
from meritorder.records.evidence import UnservableRequests
from meritorder.records.planpolicy import Policy, PolicyFloor
from meritorder.records.planproof import Credit
from meritorder.study.fleet.fleets import Trial
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.options import Progress
from meritorder.study.fleet.servable import candidate_servers, joined, refuse_all, split_servable
from meritorder.study.fleet.workloads import AssignedTrace, assign_workloads, only_model, permitted_to_any
from meritorder.study.hindsight.search import search_schedule
from meritorder.study.plan.arranged import (
    ArrangedPool,
    arranged_pools,
    executable_arrangement,
)
from meritorder.study.plan.arranged_explained import explain_arrangements
from meritorder.study.plan.arrangements import Arrangements, KnownArrangements, find_arrangements, kept_usd
from meritorder.study.plan.bounds import find_bounds
from meritorder.study.plan.carbon import price_carbon, read_carbon
from meritorder.study.plan.explain import coarsened, tokens_usd
from meritorder.study.plan.held import free_shares, held_assumptions, is_held
from meritorder.study.plan.record import Explanation, JudgedPlan, explain_solution, to_file
from meritorder.study.plan.tomorrow import judge_forward
from meritorder.study.schedule.capacity import ReducedBackfill
from meritorder.study.schedule.case import PlanningCase, build_case
from meritorder.study.schedule.commitments import choose_commitments, read_holdings
from meritorder.study.schedule.derating import (
    Attempt,
    Derating,
    apply,
)
from meritorder.study.schedule.options import PlanOptions
from meritorder.study.schedule.search import plan_until_it_holds
from meritorder.study.schedule.simulate import ExecutablePlan, simulate_plan
from meritorder.traces import Trace

# No schedule of the linear program is sought where one is known that is above the bound by no more than this share.
_ENOUGH_GAP: Final = 0.01


def plan(trace: Trace, options: PlanOptions, progress: Progress = lambda _: None) -> planfile.Plan:
    """Find the cheapest plan of a trace, simulate it, and explain its cost and saving.

    The plan is the cheapest of the known arrangements and the schedules of the linear program that keep every promise
    when they are simulated.

    Args:
        trace: The requests.
        options: Models, machines, promises, limits.
        progress: Receives one line per step.

    Raises:
        MeritorderError: No plan was found; says why, and what would help.
    """
    promised = assign_workloads(trace, options)
    options = replace(options, terms=options.terms_for(promised.span_s))
    arrangements, case, holdings, left_out = _read_case(trace, promised, options, progress)
    groups = arrangements.groups
    chosen = choose_commitments(case.problem, options.effort, options.seed, progress)
    committed = replace(
        case, problem=chosen.problem, commitments=chosen, assumptions=(*case.assumptions, *chosen.assumptions)
    )
    with ThreadPoolExecutor(max_workers=1) as background:
        bounding = background.submit(find_bounds, arrangements.everything, case, options.tiers)
        progress("simulating the cheapest known arrangement")
        known = _known(groups, [group.cheapest for group in groups], committed, options, holdings)
        progress("searching for a schedule by the tick")
        scheduled = {part: _by_the_tick(part) for part in arrangements.everything}
        parted = arrangements.cheapest(lambda part: kept_usd(scheduled[part]))
        for parts in (groups, parted) if parted != groups else (groups,):
            trials = [scheduled[part] for part in parts]
            known = known.cheaper(_known(parts, trials, committed, options, holdings), options)
        progress("waiting for the bound")
        bounds = bounding.result()
    attempt = None
    if not known.is_within(_ENOUGH_GAP, bounds[0], options):
        try:
            attempt = plan_until_it_holds(committed, options, progress)
        except InfeasibleError:
            if not known.holds(options):
                raise
    progress("judging the policy on days that it has not seen")
    forward = None if options.hindsight else judge_forward(groups, options, trace.epoch_s, progress)
    trials = [group.cheapest for group in groups] if forward is None else forward.trials
    fitted = _known(groups, trials, committed, options, holdings, reactive=True)
    progress("valuing each degree of freedom")
    judged, explanation = _cheapest(
        arrangements, known, attempt, fitted=fitted, case=committed, holdings=holdings, options=options, bounds=bounds
    )
    tested: Sequence[planfile.CommitmentBacktest] = ()
    if options.backtest is not None:
        progress("backtesting commitments")
        free = apply(Derating(), case, ReducedBackfill(case.loads))
        tested = backtest_commitments(coarsened(free), options.backtest)
    return to_file(
        trace,
        promised,
        options,
        judged=judged,
        explanation=explanation,
        forward=None if forward is None else forward.record,
        coming=None if forward is None else forward.coming,
        tokens_usd=tokens_usd(case.loads, case.all_tokens),
        backtest=tested,
        carbon_usd_per_tonne=None if case.problem.carbon is None else options.carbon_usd_per_tonne,
        notes=holdings.notes,
        left_out=left_out,
    )


def _read_case(
    trace: Trace, promised: AssignedTrace, options: PlanOptions, progress: Progress
) -> tuple[KnownArrangements, PlanningCase, Holdings, UnservableRequests | None]:
    """Return the known arrangements of a trace, its planning case, what is held already, and what is left out."""
    catalog = facts.load(options.catalogs)
    intensities = read_carbon(options.carbon) if options.carbon is not None else None
    names = _models_served(trace, options, catalog)
    loads = {model: promised.load(options, asked) for model, asked in names.items()}
    holdings = Holdings()
    if options.bills:
        catalog, holdings = _bill_terms(options.bills, catalog)
    if options.have:
        holdings = holdings.joined(read_holdings(options.have, catalog))
    prices = [price for model in loads for price in token_prices(model, own=catalog.tokens)]
    catalog = permitted_to_any(catalog, prices, promised)
    loads, left_out = _servable(catalog, loads, promised, names, options)
    arrangements = find_arrangements(catalog, loads, options, progress, holdings)
    case = build_case(catalog, loads, options, progress, holdings)
    if intensities is not None:
        price = options.carbon_usd_per_tonne
        carbon = price_carbon(intensities, price, case.problem, trace.epoch_s, str(options.carbon))
        case = replace(case, problem=replace(case.problem, carbon=carbon))
    return arrangements, case, holdings, left_out


def _by_the_tick(group: Arrangements) -> Trial:
    """Return a schedule by the tick; the cheapest known fleet where it has machines that are held."""
    if any(is_held(machine) for machine, _ in group.cheapest.pools):
        return group.cheapest
    return search_schedule(group.search, group.cheapest)


def _servable(
    catalog: Catalog,
    loads: Mapping[Model, TraceLoad],
    promised: AssignedTrace,
    names: Mapping[Model, list[str]],
    options: PlanOptions,
) -> tuple[dict[Model, TraceLoad], UnservableRequests | None]:
    """Return the requests that can be served in time, by model, and what is left out.

    Args:
        catalog: Machines that may be rented.
        loads: Requests by model.
        promised: The trace that they come from.
        names: Names by which the trace asks for each model.
        options: What may be rented.

    Raises:
        InfeasibleError: No request can be served in time.
    """
    kept: dict[Model, TraceLoad] = {}
    parts: list[UnservableRequests] = []
    for model, load in loads.items():
        rest, left_out = split_servable(load, candidate_servers(catalog, model, options), promised.rows(names[model]))
        parts += [left_out] if left_out else []
        if len(rest):
            kept[model] = rest
    if not kept and parts:
        raise refuse_all(joined(parts))
    return kept, joined(parts) if parts else None


def _models_served(trace: Trace, options: PlanOptions, catalog: Catalog) -> dict[Model, list[str]]:
    """Return the models to serve, each with the names by which the trace asks for it; none means all requests."""
    if options.model:
        return {catalog.find_model(options.model): []}
    names: dict[Model, list[str]] = {}
    for name in trace.models or (only_model(trace),):
        names.setdefault(catalog.find_model(name), []).append(name)
    return names


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """The known arrangements of some groups as a plan, and its outcome."""

    groups: Sequence[Arrangements]
    pools: list[ArrangedPool]
    plan: ExecutablePlan
    outcome: planfile.PlanOutcome

    @property
    def usd(self) -> float:
        """Simulated cost, a carbon price included."""
        return self.outcome.total_usd + self.outcome.carbon_usd

    def cheaper(self, other: "_Known", options: PlanOptions) -> "_Known":
        """Return the other arrangements if they hold and are cheaper, or hold alone; else these."""
        return other if other.holds(options) and (other.usd < self.usd or not self.holds(options)) else self

    def is_within(self, gap: float, bound_usd: float, options: PlanOptions) -> bool:
        """Return whether they hold and cost more than a bound by a share at most."""
        return self.holds(options) and self.usd <= (1 + gap) * bound_usd

    def holds(self, options: PlanOptions) -> bool:
        """Return whether it keeps every promise with the machines that may be rented."""
        for arranged in self.pools:
            spot = arranged.machine.interruptions is not None
            limit = options.spot_machines if spot else options.machines
            if limit is not None and arranged.account.peak_instances > limit:
                return False
        return self.outcome.kept


def _known(
    groups: Sequence[Arrangements],
    trials: Sequence[Trial],
    case: PlanningCase,
    options: PlanOptions,
    holdings: Holdings,
    *,
    reactive: bool = False,
) -> _Known:
    """Return fleets of the groups as a plan, simulated together."""
    pools = arranged_pools(groups, trials, several_models=case.several_models)
    plan = executable_arrangement(
        pools,
        horizon=case.problem.horizon,
        several_models=case.several_models,
        holdings=holdings,
        reactive=reactive,
    )
    if case.problem.carbon is not None:
        plan = replace(plan, pools=[_with_carbon(pool, case, case.problem.carbon) for pool in plan.pools])
    machines = {arranged.name: arranged.machine for arranged in pools}
    outcome, _ = simulate_plan(plan, case.loads, machines, case.tokens, seed=options.seed)
    return _Known(groups=groups, pools=pools, plan=plan, outcome=outcome)


def _policy_beside(plan: ExecutablePlan, known: ExecutablePlan, held: Collection[str]) -> ExecutablePlan:
    """Return the policy of the known arrangements with the commitments of a plan, whose machines it always runs.

    Args:
        plan: The plan with hindsight; its schedule keeps its prices, and rows that only the policy has are added.
        known: The known arrangements; where they have machines that are held, those of the plan are the same ones.
        held: Names of the payments of machines that are held.
    """
    rules = known.policy or Policy(slot_s=plan.slot_s)
    prepaid = [row for row in plan.schedule if row.pricing_model in planfile.PREPAID]
    own = {row.payment for row in known.schedule if row.pricing_model in planfile.PREPAID}
    if own:
        prepaid = [row for row in prepaid if row.payment not in own | set(held)]
    floor = [structs.replace(row, machines=row.machines * plan.slots) for row in rules.floor]
    floor += [PolicyFloor(pool=row.pool, payment=row.payment, machines=row.machines) for row in prepaid]
    planned = {(row.pool, row.payment) for row in plan.schedule}
    beyond = [row for row in known.schedule if (row.pool, row.payment) not in planned]
    # A pool that both have runs with the limits on backfill of the policy.
    pools = {pool.name: pool for pool in (*plan.pools, *known.pools)}
    return replace(
        plan,
        pools=list(pools.values()),
        schedule=[*plan.schedule, *(structs.replace(row, machines=[0] * plan.slots, usd=0.0) for row in beyond)],
        policy=structs.replace(rules, floor=floor) if prepaid else rules,
        scalings={},
    )


def _with_carbon(pool: planfile.PlanPool, case: PlanningCase, carbon: CarbonPrice) -> planfile.PlanPool:
    """Return a pool with the carbon price of its machines, whose power is that of their hardware."""
    like = next(site.pool for site in case.sites.values() if site.pool.hardware == pool.hardware)
    power_w = like.power_w / like.gpus * pool.gpus
    usd_per_hour = carbon.usd_per_hour(replace(like, region=pool.region, gpus=pool.gpus, power_w=power_w))
    by_slot = np.broadcast_to(usd_per_hour, (case.problem.horizon.slots,))
    return structs.replace(pool, carbon_usd_per_hour=by_slot.tolist())


def _cheapest(
    arrangements: KnownArrangements,
    known: _Known,
    attempt: Attempt | None,
    *,
    fitted: _Known,
    case: PlanningCase,
    holdings: Holdings,
    options: PlanOptions,
    bounds: tuple[float, float],
) -> tuple[JudgedPlan, Explanation]:
    """Return the cheapest plan that keeps every promise, and what is said about it.

    Args:
        arrangements: The known arrangements.
        known: The cheapest of them as a plan.
        attempt: The schedule of the linear program, if one holds.
        fitted: The policy that is carried out.
        case: The planning case.
        holdings: What is held already.
        options: What was planned, and within which limits.
        bounds: Lower bounds on any policy, and on anything.
    """
    baseline_usd, credited = arrangements.baseline_usd, arrangements.credited
    scheduled = attempt if attempt and not (known.holds(options) and known.usd <= attempt.usd) else None
    plan, outcome = (known.plan, known.outcome) if scheduled is None else (scheduled.plan, scheduled.outcome)
    if plan.policy is None or plan.scalings:
        arranged_usd = sum(group.cheapest.usd for group in arrangements.groups)
        credited.append(Credit(cause="scheduling with hindsight", usd=arranged_usd - outcome.total_usd))
    if scheduled is None:
        explanation = explain_arrangements(
            known.groups,
            known.pools,
            case.problem.horizon,
            options,
            total_usd=outcome.total_usd,
            credited=credited,
            several_models=case.several_models,
            holdings=holdings,
        )
    else:
        solution = scheduled.solution
        sensitivity = analyze_sensitivity(solution, coarsened(solution.problem))
        explanation = explain_solution(
            solution,
            replace(case, assumptions=(*case.assumptions, *held_assumptions(holdings))),
            options,
            plan=plan,
            total_usd=outcome.total_usd,
            baseline_usd=baseline_usd,
            sensitivity=sensitivity,
        )
    policy, policy_outcome = fitted.plan, fitted.outcome
    if plan.buys_tokens and not any(any(row.machines) for row in plan.schedule):
        policy, policy_outcome = plan, outcome  # it never rents a machine
    elif plan is not fitted.plan:
        policy = _policy_beside(plan, fitted.plan, {reserved.name for reserved in holdings.reserved})
        machines = {arranged.name: arranged.machine for arranged in (*known.pools, *fitted.pools)}
        machines = {**case.machines, **machines}
        policy_outcome, _ = simulate_plan(policy, case.loads, machines, case.tokens, seed=options.seed)
    return (
        JudgedPlan(
            plan=plan,
            outcome=outcome,
            policy=policy,
            policy_outcome=policy_outcome,
            baseline_usd=baseline_usd,
            baseline=arrangements.baseline,
            bound_usd=bounds[0],
            hard_bound_usd=bounds[1],
            credited=credited,
        ),
        explanation,
    )


def _bill_terms(paths: tuple[str, ...], catalog: Catalog) -> tuple[Catalog, Holdings]:
    """Return the catalog with the prices of bills in place of list prices, and the commitments on the bills.

    Args:
        paths: Bills.
        catalog: List prices.

    Raises:
        MeritorderError: A bill cannot be read.
    """
    from meritorder import bills  # noqa: PLC0415 - plans without a bill need no readers of bills
    from meritorder.study.audit.terms import read_terms  # noqa: PLC0415 - likewise

    terms = read_terms(bills.read(paths), catalog)
    held = Holdings(reserved=terms.reserved, savings_plans=terms.savings_plans, notes=terms.notes)
    return terms.in_catalog(catalog), free_shares(held, terms.used_shares)
