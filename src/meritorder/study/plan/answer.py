"""The answer of `plan`: the cheapest plan of a trace that keeps every promise when it is simulated."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from msgspec import structs

from meritorder import catalog as facts
from meritorder.catalog import Catalog
from meritorder.domain import Model
from meritorder.planner.commitments import backtest_commitments
from meritorder.planner.model.supply import Holdings
from meritorder.records import planfile
from meritorder.records.evidence import UnservableRequests
from meritorder.records.planpolicy import Policy, PolicyFloor
from meritorder.study.fleet import servable
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.options import Progress
from meritorder.study.fleet.workloads import AssignedTrace, assign_workloads, only_model, permitted_to_any
from meritorder.study.plan.arranged import Served
from meritorder.study.plan.arrangements import KnownArrangements, find_arrangements
from meritorder.study.plan.carbon import Intensity, price_carbon, read_carbon
from meritorder.study.plan.explain import coarsened, tokens_usd
from meritorder.study.plan.held import free_shares
from meritorder.study.plan.hindsight import HindsightPlan, KnownPlan, Setting, plan_with_hindsight
from meritorder.study.plan.record import JudgedPlan, to_file
from meritorder.study.plan.together import joined, on_trace_clock, share_anything
from meritorder.study.plan.tomorrow import judge_forward
from meritorder.study.schedule.capacity import ReducedBackfill
from meritorder.study.schedule.case import PlanningCase, build_case
from meritorder.study.schedule.commitments import read_holdings
from meritorder.study.schedule.demand import build_horizon
from meritorder.study.schedule.derating import Derating, apply
from meritorder.study.schedule.executed import ExecutablePlan
from meritorder.study.schedule.options import PlanOptions
from meritorder.study.schedule.simulate import simulate_plan
from meritorder.study.schedule.token_purchases import purchasable, token_apis
from meritorder.traces import Trace


def plan(trace: Trace, options: PlanOptions, progress: Progress = lambda _: None) -> planfile.Plan:
    """Find the cheapest plan of a trace, simulate it, and explain its cost and saving.

    The plan is the cheapest of the known arrangements and the schedules of the linear program that keep every promise
    when they are simulated. Models that share nothing are planned one by one.

    Args:
        trace: The requests.
        options: Models, machines, promises, limits.
        progress: Receives one line per step.

    Raises:
        MeritorderError: No plan was found; says why, and what would help.
    """
    promised = assign_workloads(trace, options)
    options = replace(options, terms=options.terms_for(promised.span_s))
    asked = _read(trace, promised, options)
    arrangements = find_arrangements(asked.catalog, asked.loads, options, progress, asked.holdings)
    parts = _parts(asked, arrangements, options, progress, span_s=promised.span_s)
    if asked.intensities is not None:
        parts = [_with_carbon(part, asked.intensities, options, trace.epoch_s) for part in parts]
    first = parts[0].case
    setting = Setting(
        loads={model.id: load for model, load in asked.loads.items()},
        horizon=build_horizon(promised.span_s, options.slot_for(promised.span_s)),
        prices={model: prices for part in parts for model, prices in part.case.all_tokens.items()},
        holdings=asked.holdings,
        several_models=first.several_models,
        options=options,
        problem=None if first.problem.carbon is None else first.problem,
    )
    made = joined([_planned(part, setting, progress) for part in parts])
    progress("judging the policy on days that it has not seen")
    groups, forward = arrangements.groups, None
    if not options.hindsight:
        forward = judge_forward(groups, made.bought, options, trace.epoch_s, progress, span_s=promised.span_s)
    ways = [Served(group=group, trial=group.cheapest) for group in groups] if forward is None else forward.served
    # A model of which hindsight buys everything as tokens has no machines.
    served = [way for way in ways if len(made.models[way.group.model].load)]
    policy, policy_outcome = _policy(made, KnownPlan.of(served, setting, reactive=True), setting)
    tested: Sequence[planfile.CommitmentBacktest] = ()
    if options.backtest is not None:
        progress("backtesting commitments")
        free = apply(Derating(), first, ReducedBackfill(first.loads))
        tested = backtest_commitments(coarsened(free), options.backtest)
    return to_file(
        trace,
        promised,
        options,
        judged=JudgedPlan(
            plan=made.plan,
            outcome=made.outcome,
            policy=policy,
            policy_outcome=policy_outcome,
            baseline_usd=arrangements.baseline_usd,
            baseline=arrangements.baseline,
            bound_usd=made.bound_usd,
            hard_bound_usd=made.hard_bound_usd,
            credited=made.credited,
        ),
        explanation=made.explanation,
        forward=None if forward is None else forward.record,
        coming=None if forward is None else forward.coming,
        tokens_usd=tokens_usd(setting.loads, setting.prices),
        apis=token_apis(policy.routes, setting.tokens),
        backtest=tested,
        carbon_usd_per_tonne=None if setting.problem is None else options.carbon_usd_per_tonne,
        notes=asked.holdings.notes,
        left_out=asked.left_out,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What is planned.

    Args:
        catalog: Machines that some requests may use.
        loads: The requests that can be served, by model.
        holdings: What is held already.
        intensities: Carbon intensity of power by region; None without a carbon price.
        left_out: Requests that no replica can serve in time.
    """

    catalog: Catalog
    loads: Mapping[Model, TraceLoad]
    holdings: Holdings
    intensities: Mapping[str, Intensity] | None
    left_out: UnservableRequests | None


def _read(trace: Trace, promised: AssignedTrace, options: PlanOptions) -> _Asked:
    catalog = facts.load(options.catalogs)
    intensities = read_carbon(options.carbon) if options.carbon is not None else None
    names = _models_served(trace, options, catalog)
    loads = {model: promised.load(options, asked) for model, asked in names.items()}
    holdings = Holdings()
    if options.bills:
        catalog, holdings = _bill_terms(options.bills, catalog)
    if options.have:
        holdings = holdings.joined(read_holdings(options.have, catalog))
    prices = [price for model in loads for price in purchasable(model, catalog, options.config)]
    catalog = permitted_to_any(catalog, prices, promised)
    loads, left_out = _servable(catalog, loads, promised, names, options)
    return _Asked(catalog=catalog, loads=loads, holdings=holdings, intensities=intensities, left_out=left_out)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Models that are planned together: all that share anything.

    Args:
        arrangements: Their known arrangements.
        case: Their planning case.
        begin_s: When its clock begins.
    """

    arrangements: KnownArrangements
    case: PlanningCase
    begin_s: float = 0.0


def _parts(
    asked: _Asked, arrangements: KnownArrangements, options: PlanOptions, progress: Progress, *, span_s: float
) -> list[_Part]:
    several_models = len(asked.loads) > 1
    build = partial(
        build_case,
        asked.catalog,
        options=options,
        progress=progress,
        holdings=asked.holdings,
        several_models=several_models,
    )
    if not several_models or share_anything(options):
        return [_Part(arrangements=arrangements, case=build(asked.loads, span_s=span_s))]
    return [
        _Part(
            arrangements=KnownArrangements(partitions=[partitions]),
            case=build({model: replace(load, begin_s=0.0)}, span_s=load.span_s),
            begin_s=load.begin_s,
        )
        for (model, load), partitions in zip(asked.loads.items(), arrangements.partitions, strict=True)
    ]


def _with_carbon(
    part: _Part, intensities: Mapping[str, Intensity], options: PlanOptions, epoch_s: float | None
) -> _Part:
    problem, price = part.case.problem, options.carbon_usd_per_tonne
    carbon = price_carbon(intensities, price, problem, epoch_s, str(options.carbon))
    return replace(part, case=replace(part.case, problem=replace(problem, carbon=carbon)))


def _planned(part: _Part, setting: Setting, progress: Progress) -> HindsightPlan:
    own = replace(setting, loads={model: setting.loads[model] for model in part.case.loads})
    made = plan_with_hindsight(part.arrangements, part.case, own, progress)
    return on_trace_clock(made, setting.horizon, part.begin_s)


def _policy(made: HindsightPlan, fitted: KnownPlan, setting: Setting) -> tuple[ExecutablePlan, planfile.PlanOutcome]:
    """Return the policy that follows from a plan with hindsight, and its outcome on the same requests."""
    if made.plan.buys_tokens and not any(any(row.machines) for row in made.plan.schedule):
        return made.plan, made.outcome  # it never rents a machine
    policy = _policy_beside(made.plan, fitted.plan, {reserved.name for reserved in setting.holdings.reserved})
    ways = [policy]
    if made.plan.buys_tokens and fitted.models.keys() == made.models.keys():
        ways.append(
            replace(policy, routes=fitted.plan.routes)
        )  # where hindsight buys tokens, machines may be on anyway
    machines = {**made.machines, **fitted.machines}
    outcomes = [
        simulate_plan(way, setting.loads, machines, setting.tokens, seed=setting.options.seed)[0] for way in ways
    ]
    best = min(range(len(ways)), key=lambda way: (not outcomes[way].kept, outcomes[way].total_usd))
    return ways[best], outcomes[best]


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
        servers = servable.candidate_servers(catalog, model, options)
        rest, left_out = servable.split_servable(load, servers, promised.rows(names[model]))
        parts += [left_out] if left_out else []
        if len(rest):
            kept[model] = rest
    if not kept and parts:
        raise servable.refuse_all(servable.joined(parts))
    return kept, servable.joined(parts) if parts else None


def _models_served(trace: Trace, options: PlanOptions, catalog: Catalog) -> dict[Model, list[str]]:
    """Return the models to serve, each with the names by which the trace asks for it; none means all requests."""
    if options.model:
        return {catalog.find_model(options.model): []}
    names: dict[Model, list[str]] = {}
    for name in trace.models or (only_model(trace),):
        names.setdefault(catalog.find_model(name), []).append(name)
    return names


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
