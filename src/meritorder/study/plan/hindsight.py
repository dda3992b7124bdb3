"""The cheapest plan with hindsight: of the known arrangements and schedules, the one that costs least in simulation."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from msgspec import structs

from meritorder.errors import InfeasibleError
from meritorder.offers import TokenPrice
from meritorder.planner.model.demand import Horizon
from meritorder.planner.model.problem import CarbonPrice, Problem
from meritorder.planner.model.supply import Holdings
from meritorder.planner.sensitivity import analyze_sensitivity
from meritorder.records import planfile
from meritorder.records.planproof import Credit
from meritorder.study.fleet.fleets import Trial
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.fleet.options import Progress
from meritorder.study.hindsight.search import search_schedule
from meritorder.study.hindsight.tokens import TokenPurchase, token_purchases
from meritorder.study.plan.arranged import ArrangedPool, Served, arranged_pools, executable_arrangement
from meritorder.study.plan.arranged_explained import explain_arrangements
from meritorder.study.plan.arrangements import Arrangements, KnownArrangements
from meritorder.study.plan.bounds import find_bounds
from meritorder.study.plan.explain import coarsened
from meritorder.study.plan.held import held_assumptions, is_held
from meritorder.study.plan.record import Explanation, explain_solution
from meritorder.study.schedule.case import PlanningCase
from meritorder.study.schedule.commitments import choose_commitments
from meritorder.study.schedule.demand import venue_name
from meritorder.study.schedule.derating import Attempt
from meritorder.study.schedule.executed import ExecutablePlan
from meritorder.study.schedule.options import PlanOptions
from meritorder.study.schedule.search import plan_until_it_holds
from meritorder.study.schedule.simulate import ModelOutcome, simulate_plan

# No schedule of the linear program is sought where one is known that is above the bound by no more than this share.
_ENOUGH_GAP: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What plans are made and simulated for.

    Args:
        loads: Requests by model.
        horizon: The slots of the plan.
        prices: Token prices by model.
        holdings: What is held already.
        several_models: Whether names of workloads and pools include their model.
        options: What was planned, and within which limits.
        problem: The problem whose carbon price applies; None without one.
    """

    loads: Mapping[str, TraceLoad]
    horizon: Horizon
    prices: Mapping[str, Sequence[TokenPrice]]
    holdings: Holdings
    several_models: bool
    options: PlanOptions
    problem: Problem | None = None

    @property
    def tokens(self) -> dict[str, TokenPrice]:
        """Token prices by venue."""
        return {venue_name(price): price for prices in self.prices.values() for price in prices}


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPlan:
    """How some groups are served, as a plan, simulated together."""

    served: Sequence[Served]
    pools: list[ArrangedPool]
    plan: ExecutablePlan
    outcome: planfile.PlanOutcome
    models: Mapping[str, ModelOutcome]

    @classmethod
    def of(cls, served: Sequence[Served], setting: Setting, *, reactive: bool = False) -> "KnownPlan":
        """Simulate how each group is served; `reactive` lets fleets that are always on grow with the load."""
        pools = arranged_pools(served, several_models=setting.several_models)
        plan = executable_arrangement(
            served,
            pools,
            horizon=setting.horizon,
            several_models=setting.several_models,
            holdings=setting.holdings,
            reactive=reactive,
        )
        if setting.problem is not None and setting.problem.carbon is not None:
            carbon = setting.problem.carbon
            plan = replace(plan, pools=[_with_carbon(pool, setting.problem, carbon) for pool in plan.pools])
        machines = {arranged.name: arranged.machine for arranged in pools}
        outcome, models = simulate_plan(plan, setting.loads, machines, setting.tokens, seed=setting.options.seed)
        return cls(served=served, pools=pools, plan=plan, outcome=outcome, models=models)

    @property
    def usd(self) -> float:
        """Simulated cost, a carbon price included."""
        return self.outcome.total_usd + self.outcome.carbon_usd

    @property
    def machines(self) -> dict[str, CandidateMachine]:
        """The replica of each pool."""
        return {arranged.name: arranged.machine for arranged in self.pools}

    def cheaper(self, other: "KnownPlan", options: PlanOptions) -> "KnownPlan":
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


def _with_carbon(pool: planfile.PlanPool, problem: Problem, carbon: CarbonPrice) -> planfile.PlanPool:
    """Return a pool with the carbon price of its machines, whose power is that of their hardware."""
    like = next(known for known in problem.pools if known.hardware == pool.hardware)
    power_w = like.power_w / like.gpus * pool.gpus
    usd_per_hour = carbon.usd_per_hour(replace(like, region=pool.region, gpus=pool.gpus, power_w=power_w))
    by_slot = np.broadcast_to(usd_per_hour, (problem.horizon.slots,))
    return structs.replace(pool, carbon_usd_per_hour=by_slot.tolist())


@dataclass(frozen=True, slots=True, kw_only=True)
class HindsightPlan:
    """The cheapest plan with hindsight of some models, and what is said about it.

    Args:
        plan: The plan.
        outcome: Its outcome.
        models: Its outcome by model.
        machines: The replica of each pool.
        explanation: What is said about it.
        credited: What each cause saves.
        bound_usd: Lower bound on the cost of any policy of the family.
        hard_bound_usd: Lower bound on the cost of anything.
        baseline_usd: Cost of the cheapest real time.
        bought: What it buys as tokens of the requests of each group.
    """

    plan: ExecutablePlan
    outcome: planfile.PlanOutcome
    models: Mapping[str, ModelOutcome]
    machines: Mapping[str, CandidateMachine]
    explanation: Explanation
    credited: list[Credit]
    bound_usd: float
    hard_bound_usd: float
    baseline_usd: float
    bought: Mapping[Arrangements, TokenPurchase] = field(default_factory=dict)


def plan_with_hindsight(
    arrangements: KnownArrangements, case: PlanningCase, setting: Setting, progress: Progress
) -> HindsightPlan:
    """Find the cheapest plan of requests that are known beforehand.

    Args:
        arrangements: The known arrangements.
        case: The planning case of the same requests; its slots are others where its clock is that of one model.
        setting: What the plan is made for.
        progress: Receives one line per step.

    Raises:
        InfeasibleError: No plan keeps every promise.
    """
    groups, options, holdings = arrangements.groups, setting.options, setting.holdings
    chosen = choose_commitments(case.problem, options.effort, options.seed, progress)
    committed = replace(
        case, problem=chosen.problem, commitments=chosen, assumptions=(*case.assumptions, *chosen.assumptions)
    )
    with ThreadPoolExecutor(max_workers=1) as background:
        bounding = background.submit(find_bounds, arrangements.everything, case, options)
        progress("simulating the cheapest known arrangement")
        known = KnownPlan.of([Served(group=group, trial=group.cheapest) for group in groups], setting)
        progress("searching for a schedule by the tick")
        on_machines = {part: Served(group=part, trial=_by_the_tick(part)) for part in arrangements.everything}
        known = _cheapest(arrangements, on_machines, known, setting)
        machines_usd = known.outcome.total_usd
        progress("weighing tokens for what can wait")
        bought = {part: _with_tokens(served, setting) for part, served in on_machines.items()}
        if any(served.bought for served in bought.values()):
            known = _cheapest(arrangements, bought, known, setting)
        progress("waiting for the bound")
        bound_usd, hard_bound_usd = bounding.result()
    attempt = None
    if not known.is_within(_ENOUGH_GAP, bound_usd, options):
        try:
            attempt = plan_until_it_holds(committed, options, progress)
        except InfeasibleError:
            if not known.holds(options):
                raise
    progress("valuing each degree of freedom")
    credited = arrangements.credited
    if attempt and not (known.holds(options) and known.usd <= attempt.usd):
        plan, outcome, models, machines = attempt.plan, attempt.outcome, attempt.models, case.machines
    else:
        attempt = None
        plan, outcome, models, machines = known.plan, known.outcome, known.models, known.machines
    scheduled_usd = machines_usd if attempt is None else outcome.total_usd
    causes = {
        "scheduling with hindsight": sum(group.cheapest.usd for group in groups) - scheduled_usd,
        "tokens": scheduled_usd - outcome.total_usd,
    }
    credited += [Credit(cause=cause, usd=usd) for cause, usd in causes.items() if usd]
    explanation = (
        explain_arrangements(
            known.served,
            known.pools,
            setting.horizon,
            options,
            total_usd=outcome.total_usd,
            credited=credited,
            several_models=setting.several_models,
            holdings=holdings,
        )
        if attempt is None
        else _explain_schedule(attempt, committed, holdings, options, arrangements.baseline_usd)
    )
    return HindsightPlan(
        plan=plan,
        outcome=outcome,
        models=models,
        machines=machines,
        explanation=explanation,
        credited=credited,
        bound_usd=bound_usd,
        hard_bound_usd=hard_bound_usd,
        baseline_usd=arrangements.baseline_usd,
        bought={} if attempt else {served.group: served.bought for served in known.served if served.bought},
    )


def _cheapest(
    arrangements: KnownArrangements, ways: Mapping[Arrangements, Served], known: KnownPlan, setting: Setting
) -> KnownPlan:
    """Return the cheapest plan of one way to serve each part; what is known if none is cheaper."""
    parted = arrangements.cheapest(lambda part: ways[part].usd)
    for parts in (arrangements.groups, parted) if parted != arrangements.groups else (parted,):
        known = known.cheaper(KnownPlan.of([ways[part] for part in parts], setting), setting.options)
    return known


def _with_tokens(served: Served, setting: Setting) -> Served:
    """Return how requests are served where what can wait may be bought as tokens, if that costs less."""
    group, best = served.group, served
    if setting.holdings.reserved or setting.holdings.savings_plans or not group.load.deferrable.any():
        return served
    prices, tiers = setting.prices[group.model], setting.options.deferrable_tiers
    for purchase in token_purchases(group.load, prices, tiers):
        rest = group.load.select(~purchase.members)
        least_usd = min((machine.price_work(rest) for machine in group.search.batch_machines), default=0.0)
        if purchase.usd + least_usd < best.usd:
            trial = _on_machines(group, rest) if len(rest) else None
            best = min(best, Served(group=group, trial=trial, bought=purchase), key=lambda way: way.usd)
    return best


def _on_machines(group: Arrangements, rest: TraceLoad) -> Trial:
    """Return the cheapest fleet of what is not bought."""
    search = replace(group.search, load=rest, tried=[], waiting_usd={})
    alone = group.found.realtime_alone
    if rest.deferrable.any() or alone is None or len(alone.load) != len(rest):
        alone = search.run().mix
    return search_schedule(search, alone)


def _by_the_tick(group: Arrangements) -> Trial:
    """Return a schedule by the tick; the cheapest known fleet where it has machines that are held."""
    if any(is_held(machine) for machine, _ in group.cheapest.pools):
        return group.cheapest
    return search_schedule(group.search, group.cheapest)


def _explain_schedule(
    attempt: Attempt, case: PlanningCase, holdings: Holdings, options: PlanOptions, baseline_usd: float
) -> Explanation:
    solution = attempt.solution
    return explain_solution(
        solution,
        replace(case, assumptions=(*case.assumptions, *held_assumptions(holdings))),
        options,
        plan=attempt.plan,
        total_usd=attempt.outcome.total_usd,
        baseline_usd=baseline_usd,
        sensitivity=analyze_sensitivity(solution, coarsened(solution.problem)),
    )
