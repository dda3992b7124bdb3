"""The search for a schedule that keeps every promise: solve, simulate, derate what broke, and solve again."""

from dataclasses import replace
from typing import Final

from msgspec import structs

from meritorder.errors import InfeasibleError
from meritorder.planner.solve.highs import Effort
from meritorder.planner.solve.search import find_plan
from meritorder.records import planfile
from meritorder.study.fleet.options import Progress
from meritorder.study.schedule.capacity import ReducedBackfill
from meritorder.study.schedule.case import PlanningCase
from meritorder.study.schedule.demand import measure_bursts, realtime_classes
from meritorder.study.schedule.derating import (
    Attempt,
    Derating,
    apply,
    halfway,
    observed,
    tighten,
    with_more_headroom,
)
from meritorder.study.schedule.executable import executable_plan
from meritorder.study.schedule.executed import ExecutablePlan
from meritorder.study.schedule.options import PlanOptions
from meritorder.study.schedule.simulate import simulate_plan
from meritorder.units import format_count, format_share, format_usd

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
            if not permitted:
                raise InfeasibleError("no steady load keeps the SLO", where=group.name, fix="loosen it with --slo")
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
            after_s += float(result.capacity_bins_s[:, result.bin_starts_s >= plan.span_s].sum())
        paid_s += float(result.capacity_bins_s.sum())
    return after_s > _LEFT_OVER_SHARE * paid_s


def _no_plan_holds(outcome: planfile.PlanOutcome) -> InfeasibleError:
    broken: list[str] = []
    if outcome.slo_attainment is not None:
        broken.append(f"the SLO is kept for {format_share(outcome.slo_attainment, 1)} of real-time requests")
    if outcome.deadlines_missed:
        verb = "is" if outcome.deadlines_missed == 1 else "are"
        broken.append(f"{format_count(outcome.deadlines_missed, 'deadline')} {verb} missed")
    return InfeasibleError(
        f"no plan held when it was simulated: after {_MAX_ROUNDS} rounds {' and '.join(broken)}",
        where="plan",
        fix="give more patience, shorter slots (--slot), a looser SLO, or faster hardware",
    )
