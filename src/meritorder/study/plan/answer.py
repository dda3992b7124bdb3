"""The answer of `plan`: the cheapest plan of a trace that keeps every promise when it is simulated."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from msgspec import structs

from meritorder import catalog as facts
from meritorder import planfile
from meritorder.catalog import Catalog
from meritorder.catalog.tokens import token_prices
from meritorder.errors import InfeasibleError
from meritorder.planner.commitments import backtest_commitments
from meritorder.planner.model.problem import CarbonPrice
from meritorder.planner.model.supply import Holdings
from meritorder.planner.sensitivity import analyze_sensitivity
from meritorder.planner.solve.highs import Effort
from meritorder.planner.solve.search import find_plan
from meritorder.planpolicy import Policy, PolicyFloor
from meritorder.planproof import Credit
from meritorder.study.fleet.options import Progress
from meritorder.study.fleet.workloads import assign_workloads, only_model, permitted_to_any
from meritorder.study.plan.arranged import (
    ArrangedPool,
    arranged_pools,
    executable_arrangement,
    explain_arrangements,
)
from meritorder.study.plan.arrangements import Arrangements, baseline_label, find_arrangements
from meritorder.study.plan.bounds import find_bounds
from meritorder.study.plan.capacity import ReducedBackfill
from meritorder.study.plan.carbon import price_carbon, read_carbon
from meritorder.study.plan.case import PlanningCase, build_case
from meritorder.study.plan.commitments import choose_commitments, read_holdings
from meritorder.study.plan.demand import measure_bursts, realtime_classes
from meritorder.study.plan.derating import (
    Attempt,
    Derating,
    apply,
    halfway,
    observed,
    tighten,
    with_more_headroom,
)
from meritorder.study.plan.explain import coarsened, tokens_usd
from meritorder.study.plan.options import PlanOptions
from meritorder.study.plan.record import Explanation, Judged, executable_plan, explain_solution, to_file
from meritorder.study.plan.simulate import ExecutablePlan, simulate_plan
from meritorder.traces import Trace
from meritorder.units import format_share, format_usd

_MAX_ROUNDS: Final = 20
# The last derating step is halved this often, once for large traces.
_HALVINGS: Final = 2
# Halving ends when a plan that held is cheaper by less than this share.
_MIN_GAIN: Final = 0.002
_LARGE_TRACE: Final = 5_000_000
# Attempts to restore lost headroom.
_HEADROOM_ATTEMPTS: Final = 2
# Share of the effort, and the gap, of each round until a plan holds.
_ROUGH_EFFORT: Final = 0.2
_ROUGH_GAP: Final = 0.02
# Solves with the full effort: a cheaper plan may break a promise that the rough one kept, and is derated then.
_FULL_EFFORTS: Final = 2
# Gaps between simulated cost and bound that end the search; the second for large traces.
_GOOD_GAP: Final = 0.01
_GOOD_GAP_LARGE: Final = 0.03
# Work is left over if machines spend more than this share of their time on it after the end of the plan.
_LEFT_OVER_SHARE: Final = 0.01


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
    catalog = facts.load(options.catalogs)
    intensities = read_carbon(options.carbon) if options.carbon is not None else None
    promised = assign_workloads(trace, options)
    options = replace(options, terms=options.terms_for(promised.span_s))
    names = [options.model] if options.model else list(trace.models) or [only_model(trace)]
    loads = {catalog.find_model(name): promised.load(options, None if options.model else name) for name in names}
    holdings = Holdings()
    if options.bills:
        catalog, holdings = _bill_terms(options.bills, catalog)
    if options.have:
        holdings = holdings.joined(read_holdings(options.have, catalog))
    catalog = permitted_to_any(catalog, [price for model in loads for price in token_prices(model)], promised)
    groups = find_arrangements(catalog, loads, options, progress)
    case = build_case(catalog, loads, options, progress, holdings)
    if intensities is not None:
        price = options.carbon_usd_per_tonne
        carbon = price_carbon(intensities, price, case.problem, trace.epoch_s, str(options.carbon))
        case = replace(case, problem=replace(case.problem, carbon=carbon))
    chosen = choose_commitments(case.problem, options.effort, options.seed, progress)
    committed = replace(
        case, problem=chosen.problem, commitments=chosen, assumptions=(*case.assumptions, *chosen.assumptions)
    )
    known = _known(groups, committed, options, progress)
    with ThreadPoolExecutor(max_workers=1) as background:
        bounding = background.submit(find_bounds, groups, case, options.tiers)
        try:
            attempt = plan_until_it_holds(committed, options, progress)
        except InfeasibleError:
            if not known.holds(options):
                raise
            attempt = None
        progress("waiting for the bound")
        bounds = bounding.result()
    progress("valuing each degree of freedom")
    judged, explanation = _cheapest(groups, known, attempt, case=committed, options=options, bounds=bounds)
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
        tokens_usd=tokens_usd(case.loads, case.all_tokens),
        backtest=tested,
        carbon_usd_per_tonne=None if case.problem.carbon is None else options.carbon_usd_per_tonne,
        notes=holdings.notes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """The known arrangements as a plan, and its outcome."""

    pools: list[ArrangedPool]
    plan: ExecutablePlan
    outcome: planfile.PlanOutcome

    def holds(self, options: PlanOptions) -> bool:
        """Return whether it keeps every promise with the machines that may be rented."""
        for arranged in self.pools:
            spot = arranged.machine.interruptions is not None
            limit = options.spot_machines if spot else options.machines
            if limit is not None and arranged.account.peak_instances > limit:
                return False
        return self.outcome.kept


def _known(groups: Sequence[Arrangements], case: PlanningCase, options: PlanOptions, progress: Progress) -> _Known:
    progress("simulating the cheapest known arrangement")
    pools = arranged_pools(groups, several_models=case.several_models)
    plan = executable_arrangement(pools, horizon=case.problem.horizon, several_models=case.several_models)
    if case.problem.carbon is not None:
        plan = replace(plan, pools=[_with_carbon(pool, case, case.problem.carbon) for pool in plan.pools])
    machines = {arranged.name: arranged.machine for arranged in pools}
    outcome, _ = simulate_plan(plan, case.loads, machines, case.tokens, seed=options.seed)
    return _Known(pools=pools, plan=plan, outcome=outcome)


def _policy_beside(plan: ExecutablePlan, known: ExecutablePlan) -> ExecutablePlan:
    """Return the policy of the known arrangements with the commitments of a plan, whose machines it always runs.

    Args:
        plan: The plan with hindsight; its schedule keeps its prices, and rows that only the policy has are added.
        known: The known arrangements.
    """
    rules = known.policy or Policy(slot_s=plan.slot_s)
    prepaid = [row for row in plan.schedule if row.pricing_model in planfile.PREPAID]
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
    )


def _with_carbon(pool: planfile.PlanPool, case: PlanningCase, carbon: CarbonPrice) -> planfile.PlanPool:
    """Return a pool with the carbon price of its machines, whose power is that of their hardware."""
    like = next(site.pool for site in case.sites.values() if site.pool.hardware == pool.hardware)
    power_w = like.power_w / like.gpus * pool.gpus
    usd_per_hour = carbon.usd_per_hour(replace(like, region=pool.region, gpus=pool.gpus, power_w=power_w))
    by_slot = np.broadcast_to(usd_per_hour, (case.problem.horizon.slots,))
    return structs.replace(pool, carbon_usd_per_hour=by_slot.tolist())


def _cheapest(
    groups: Sequence[Arrangements],
    known: _Known,
    attempt: Attempt | None,
    *,
    case: PlanningCase,
    options: PlanOptions,
    bounds: tuple[float, float],
) -> tuple[Judged, Explanation]:
    """Return the cheapest plan that keeps every promise, and what is said about it."""
    baseline_usd = sum(group.baseline.usd for group in groups)
    credited = [credit for group in groups for credit in group.found.credited]
    known_usd = known.outcome.total_usd + known.outcome.carbon_usd
    if attempt is None or (known.holds(options) and known_usd <= attempt.usd):
        plan, outcome = known.plan, known.outcome
        explanation = explain_arrangements(
            groups,
            known.pools,
            case.problem.horizon,
            options,
            total_usd=outcome.total_usd,
            several_models=case.several_models,
        )
    else:
        plan, outcome = attempt.plan, attempt.outcome
        sensitivity = analyze_sensitivity(attempt.solution, coarsened(attempt.solution.problem))
        explanation = explain_solution(
            attempt.solution,
            case,
            options,
            plan=plan,
            total_usd=outcome.total_usd,
            baseline_usd=baseline_usd,
            sensitivity=sensitivity,
        )
        arranged_usd = sum(group.cheapest.usd for group in groups)
        credited.append(Credit(cause="scheduling with hindsight", usd=arranged_usd - outcome.total_usd))
    policy, policy_outcome = known.plan, known.outcome
    if plan is not known.plan:
        policy = _policy_beside(plan, known.plan)
        machines = {**case.machines, **{arranged.name: arranged.machine for arranged in known.pools}}
        policy_outcome, _ = simulate_plan(policy, case.loads, machines, case.tokens, seed=options.seed)
    return (
        Judged(
            plan=plan,
            outcome=outcome,
            policy=policy,
            policy_outcome=policy_outcome,
            baseline_usd=baseline_usd,
            baseline=baseline_label(groups),
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
    return terms.in_catalog(catalog), held


def plan_until_it_holds(case: PlanningCase, options: PlanOptions, progress: Progress) -> Attempt:
    """Return the cheapest schedule found that keeps every promise when it is simulated.

    Args:
        case: The planning case.
        options: Effort and seed.
        progress: Receives one line per round.

    Raises:
        InfeasibleError: No plan held; names the broken promise, and what would help.
    """
    search = _PlanSearch(case, options, progress)
    before, attempt = _until_it_holds(search, _initial_derating(case, progress))
    attempt, derating = _shorten_last_step(search, before, attempt)
    attempt, derating = _restore_headroom(search, attempt, derating)
    return _with_full_effort(search, attempt, derating)


def _initial_derating(case: PlanningCase, progress: Progress) -> Derating:
    """Return a derating for the bursts of each real-time workload, measured on the replica with the cheapest work."""
    horizon, burst = case.problem.horizon, {}
    for model, load in case.loads.items():
        for group in realtime_classes(load, model if case.several_models else ""):
            requests = load.select(group.members)
            progress(f"measuring the bursts of {group.name}")
            sites = [site for site in case.sites.values() if site.pool.model == model and site.serving.realtime]
            permitted = [site for site in sites if group.may_use(site.pool)] or sites
            serving = min(
                (site.serving for site in permitted), key=lambda serving: serving.machine.price_work(requests)
            )
            burst[group.name] = measure_bursts(requests, serving, horizon.slot_s, horizon.slots)
    return Derating(burst=burst)


class _PlanSearch:
    """Solves and simulates a case under one derating after another.

    Args:
        case: The planning case.
        options: Effort and seed.
        progress: Receives one line per simulation.
    """

    def __init__(self, case: PlanningCase, options: PlanOptions, progress: Progress) -> None:
        self.case = case
        self.effort = options.effort
        self.rough = replace(options.effort, time_limit_s=options.effort.time_limit_s * _ROUGH_EFFORT, gap=_ROUGH_GAP)
        self.seed = options.seed
        self.progress = progress
        self.large = sum(len(load) for load in case.loads.values()) >= _LARGE_TRACE
        self.round = 0
        self._reduced = ReducedBackfill(case.loads)

    def run(self, derating: Derating, effort: Effort, last: Attempt | None = None) -> Attempt:
        """Solve and simulate at this derating; reuse the last simulation if the plan is unchanged."""
        case = self.case
        solution = find_plan(apply(derating, case, self._reduced), effort)
        bought_usd = case.commitments.usd if case.commitments else 0.0
        plan = executable_plan(solution, case, derating.backfill_shares)
        if last is not None and _same_plan(plan, last.plan):
            outcome, models = last.outcome, last.models
        else:
            self.progress(f"simulating the plan, round {self.round}: {format_usd(solution.usd)}")
            outcome, models = simulate_plan(plan, case.loads, case.machines, case.tokens, seed=self.seed)
        return Attempt(
            solution=solution,
            plan=plan,
            outcome=structs.replace(outcome, rounds=self.round),
            models=models,
            derating=derating,
            bound_usd=solution.bound_usd + bought_usd,
        )

    def tighten(self, derating: Derating, attempt: Attempt) -> Derating:
        """Return a stricter derating where an attempt broke a promise."""
        return tighten(derating, attempt, self.case, self.seed)


def _same_plan(first: ExecutablePlan, second: ExecutablePlan) -> bool:
    """Return whether two plans simulate alike: the same machines and payments, and the same routes to token APIs."""
    routes = not (first.buys_tokens or second.buys_tokens) or first.routes == second.routes
    return (
        routes
        and first.pools == second.pools
        and first.schedule == second.schedule
        and first.commitments == second.commitments
    )


def _until_it_holds(search: _PlanSearch, derating: Derating) -> tuple[Derating, Attempt]:
    """Return the first roughly solved plan that holds, and the derating before the last step to it.

    Raises:
        InfeasibleError: None holds.
    """
    before, held, last = derating, None, None
    for search.round in range(1, _MAX_ROUNDS + 1):
        search.progress(f"planning, round {search.round}")
        attempt = last = search.run(derating, search.rough, last)
        if attempt.held and (held or not _leaves_work(attempt)):
            return before, attempt
        if attempt.held:
            held, derating = attempt, observed(derating, attempt, search.case)
        else:
            before, derating = derating, search.tighten(derating, attempt)
    if held is None:
        raise _no_plan_holds(attempt.outcome)
    return held.derating, held


def _shorten_last_step(search: _PlanSearch, before: Derating, attempt: Attempt) -> tuple[Attempt, Derating]:
    """Undo part of the last backfill reduction if the plan still holds; return it with the last derating that held."""
    derating = attempt.derating
    halvings = 1 if search.large else _HALVINGS
    for _ in range(halvings if before.backfill_shares is not derating.backfill_shares else 0):
        search.progress("planning with half of the last derating step")
        nearer = halfway(before, derating)
        tried = search.run(nearer, search.rough)
        gains = not tried.held or tried.usd < attempt.usd * (1 - _MIN_GAIN)
        attempt = cheaper(attempt, tried)
        before, derating = (before, nearer) if tried.held else (nearer, derating)
        if not gains:
            break
    return attempt, derating


def _restore_headroom(search: _PlanSearch, attempt: Attempt, derating: Derating) -> tuple[Attempt, Derating]:
    """Restore half of the lost headroom if the plan still holds, perhaps with a stricter derating elsewhere.

    Headroom lost before backfill was reduced may have been more than was needed after it.
    """
    restored = with_more_headroom(derating)
    attempts = 1 if search.large else _HEADROOM_ATTEMPTS
    for _ in range(attempts if derating.headroom else 0):
        search.progress("planning with more headroom")
        tried = search.run(restored, search.rough)
        if tried.held and tried.usd < attempt.usd:
            return tried, restored
        if tried.held:
            break
        restored = search.tighten(restored, tried)
    return attempt, derating


def _with_full_effort(search: _PlanSearch, attempt: Attempt, derating: Derating) -> Attempt:
    """Return the plan solved with the full effort, if it is cheaper and holds."""
    for _ in range(1 if search.large else _FULL_EFFORTS):
        if attempt.gap <= (_GOOD_GAP_LARGE if search.large else _GOOD_GAP):
            break
        search.progress("planning with the full effort")
        tried = search.run(derating, search.effort)
        attempt = cheaper(attempt, tried)
        if tried.held:
            break
        derating = halfway(derating, search.tighten(derating, tried))
    return attempt


def cheaper(first: Attempt, second: Attempt) -> Attempt:
    """Return the cheaper of two attempts, the first of which held; bounds proven under one derating hold for both."""
    best = second if second.held and second.usd <= first.usd else first
    if first.derating is not second.derating:
        return best
    return replace(best, bound_usd=max(first.bound_usd, second.bound_usd))


def _leaves_work(attempt: Attempt) -> bool:
    """Return whether machines ran for more than a slot after the end of the plan to finish its work."""
    plan, after_s, paid_s = attempt.plan, 0.0, 0.0
    for result in (outcome.result for outcome in attempt.models.values() if outcome.result is not None):
        if result.end_s > plan.span_s + plan.slot_s:
            after_s += float(result.capacity_bins_s[:, math.ceil(plan.span_s / result.bin_s) :].sum())
        paid_s += float(result.capacity_bins_s.sum())
    return after_s > _LEFT_OVER_SHARE * paid_s


def _no_plan_holds(outcome: planfile.PlanOutcome) -> InfeasibleError:
    broken: list[str] = []
    if outcome.slo_attainment is not None:
        broken.append(f"the SLO is kept for {format_share(outcome.slo_attainment, 1)} of real-time requests")
    if outcome.deadlines_missed:
        broken.append(f"{outcome.deadlines_missed:,} deadlines are missed")
    return InfeasibleError(
        f"no plan held when it was simulated: after {_MAX_ROUNDS} rounds {' and '.join(broken)}",
        where="plan",
        fix="give more patience, shorter slots (--slot), a looser SLO, or faster hardware",
    )
