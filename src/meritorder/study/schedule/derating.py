"""Derating: how far a plan may use its machines, lowered wherever a simulated plan broke a promise."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.planner.model.demand import Demand, RealtimeDemand
from meritorder.planner.model.problem import Problem
from meritorder.planner.model.safe_load import extend_to_load
from meritorder.planner.solve.solution import Solution, realtime_load
from meritorder.records import planfile
from meritorder.study.schedule.capacity import ReducedBackfill
from meritorder.study.schedule.case import PlanningCase
from meritorder.study.schedule.demand import (
    TARGET_SHARE,
    raise_bursts,
    realtime_classes,
    slot_index,
    strictest_attainment,
    worst_slots,
)
from meritorder.study.schedule.executed import ExecutablePlan
from meritorder.study.schedule.headroom import observed_headroom
from meritorder.study.schedule.simulate import ModelOutcome, simulate_plan

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Factor on max_utilization if deadlines are missed and no slot can be blamed.
_UTILIZATION_STEP: Final = 0.97
# Real-time work alone has slack if it causes at most this share of the permitted SLO violations.
_SLACK_SHARE: Final = 0.8

# Backfill shares: limits of one step, the exponent of the permitted / observed harm, and the smallest share.
_SHARE_STEP: Final = 0.9
_MIN_SHARE_STEP: Final = 0.5
_HARM_EXPONENT: Final = 0.25
_MIN_SHARE: Final = 0.01
# Each earlier step of a slot lengthens its next one by this much.
_SHARE_PERSISTENCE: Final = 0.5
# Share of the permitted violations left to backfill where real time alone causes them all.
_BACKFILL_VIOLATIONS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Derating:
    """Factors on the capacity of machines; a broken promise lowers them.

    Args:
        backfill_shares: By model, share of the backfill limits in each slot, shape (slots,), where backfill breaks the
            SLO.
        utilization: Factor on the utilization that may be planned, where deadlines are missed.
        headroom: By kind of replica, share of that utilization in each slot, shape (slots,), where busy machines did
            less than planned and deadlines were missed.
        burst: By real-time workload, load / mean load of each slot, shape (slots,), where real time alone breaks the
            SLO.
    """

    backfill_shares: Mapping[str, Floats] = field(default_factory=dict)
    utilization: float = 1.0
    headroom: Mapping[str, Floats] = field(default_factory=dict)
    burst: Mapping[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A solved and simulated plan.

    Args:
        solution: The solution of the linear program.
        plan: The plan that was simulated.
        outcome: Its outcome.
        models: Its outcome by model.
        derating: The derating of its machines.
        bound_usd: Proven lower bound on the cost of any plan under this derating.
    """

    solution: Solution
    plan: ExecutablePlan
    outcome: planfile.PlanOutcome
    models: Mapping[str, ModelOutcome]
    derating: Derating
    bound_usd: float

    @property
    def held(self) -> bool:
        """Whether it kept every promise."""
        return self.outcome.kept

    @property
    def usd(self) -> float:
        """Simulated cost, the carbon price included."""
        return self.outcome.total_usd + self.outcome.carbon_usd

    @property
    def gap(self) -> float:
        """Relative distance from the bound."""
        return self.usd / self.bound_usd - 1 if self.bound_usd else 0.0


def apply(derating: Derating, case: PlanningCase, reduced: ReducedBackfill) -> Problem:
    """Return the problem of a case with its machines derated.

    Args:
        derating: The derating.
        case: The case.
        reduced: Measures the utilization under reduced backfill.
    """
    workloads = tuple(
        replace(workload, burst=derating.burst[workload.name])
        if isinstance(workload, RealtimeDemand) and workload.name in derating.burst
        else workload
        for workload in case.problem.workloads
    )
    pools = []
    for pool in case.problem.pools:
        max_utilization = pool.max_utilization * derating.utilization
        safe = np.minimum(pool.safe_load, max_utilization * pool.replicas * np.arange(len(pool.safe_load)))
        headroom = derating.headroom.get(pool.replica, pool.headroom)
        if len(safe) > 1:
            mean_s, peak_s = _realtime_work_s(workloads, pool.replica)
            safe = extend_to_load(safe, float(peak_s.max(initial=0.0)) / case.problem.horizon.slot_s)
            serving, shares = case.sites[pool.name].serving, derating.backfill_shares.get(pool.model)
            if shares is not None and serving.backfill.sequences > 0:
                safe_utilization = float((safe[1:] / (pool.replicas * np.arange(1, len(safe)))).max())
                alone = safe_utilization * np.divide(mean_s, peak_s, out=np.ones_like(mean_s), where=peak_s > 0)
                both = np.maximum(reduced.utilization(serving, shares), alone)
                headroom = np.minimum(headroom, both / serving.max_utilization)
        pools.append(replace(pool, max_utilization=max_utilization, headroom=headroom, safe_load=safe))
    return replace(case.problem, pools=tuple(pools), workloads=workloads)


def _realtime_work_s(workloads: Iterable[Demand], kind: str) -> tuple[Floats, Floats]:
    """Return the real-time work that a kind of replica may serve: its mean and with bursts, each of shape (slots,)."""
    served = [workload for workload in workloads if isinstance(workload, RealtimeDemand) and kind in workload.work_s]
    mean_s = [workload.work_s[kind] for workload in served]
    peak_s = [workload.work_s[kind] * (1.0 if workload.burst is None else workload.burst) for workload in served]
    return np.sum(mean_s, axis=0), np.sum(peak_s, axis=0)


def tighten(derating: Derating, attempt: Attempt, case: PlanningCase, seed: int) -> Derating:
    """Return a stricter derating where an attempt broke a promise.

    Simulates the attempt with real-time work alone. If only backfill breaks the SLO, its shares fall. If it still does
    after that, and real-time work alone has hardly any slack, or no share can fall, real time gets machines as well.

    Args:
        derating: The derating of the attempt.
        attempt: The attempt.
        case: The case.
        seed: Seed of the lifetimes of spot machines.
    """
    if attempt.outcome.deadlines_missed:
        seen = observed(derating, attempt, case)
        return replace(derating, utilization=derating.utilization * _UTILIZATION_STEP) if seen is derating else seen
    lanes = {model: load.select(~load.deferrable) for model, load in case.loads.items()}
    alone, alone_by_model = simulate_plan(attempt.plan, lanes, case.machines, case.tokens, seed=seed)
    if alone.kept:
        reduced = _with_less_backfill(derating, attempt, alone_by_model)
        permitted = min(1 - strictest_attainment(load) for load in case.loads.values())
        slack = 1 - (alone.slo_attainment or 0.0) <= _SLACK_SHARE * permitted
        if not derating.backfill_shares or (slack and not _same_backfill(derating, reduced)):
            return reduced
        derating = reduced
    burst = dict(derating.burst)
    for model, outcome in alone_by_model.items():
        if alone.kept or not outcome.attained:
            burst |= _raised_bursts(attempt, case, model, outcome=outcome, burst=burst)
    return replace(derating, burst=burst)


def _with_less_backfill(derating: Derating, attempt: Attempt, alone: Mapping[str, ModelOutcome]) -> Derating:
    """Return the derating with lower backfill shares for the models whose SLO broke."""
    all_slots, slot_s = np.ones(attempt.plan.slots), attempt.plan.slot_s
    lower = {
        model: lower_backfill_shares(derating.backfill_shares.get(model, all_slots), outcome, alone[model], slot_s)
        for model, outcome in attempt.models.items()
        if not outcome.attained
    }
    return replace(derating, backfill_shares={**derating.backfill_shares, **lower})


def _same_backfill(first: Derating, second: Derating) -> bool:
    before, after = first.backfill_shares, second.backfill_shares
    return before.keys() == after.keys() and all(np.array_equal(before[model], after[model]) for model in before)


def lower_backfill_shares(shares: Floats, outcome: ModelOutcome, alone: ModelOutcome, slot_s: float) -> Floats:
    """Return lower backfill shares for the slots in which backfill broke the SLO of real-time work.

    Harm is the number of violations beyond those of real-time work alone. As few slots are reduced, the worst first, as
    bring the harm of the others below what real-time work leaves of the permitted violations. A slot's step grows with
    its harm and with its earlier steps: during bursts a few sequences do nearly as much harm as many.

    Args:
        shares: Present shares, shape (slots,).
        outcome: Outcome of the plan.
        alone: Outcome of the plan with real-time work alone.
        slot_s: Length of a slot.
    """
    count = _arrivals_by_slot(outcome, ~outcome.load.deferrable, slot_s, len(shares))
    broken = _arrivals_by_slot(outcome, outcome.violations, slot_s, len(shares))
    broken_alone = _arrivals_by_slot(alone, alone.violations, slot_s, len(shares))
    added = np.maximum(broken - broken_alone, 0.0)
    permitted = 1 - strictest_attainment(outcome.load)
    harm = np.divide(added, count, out=np.zeros_like(added), where=count > 0)
    step = np.clip((permitted / np.maximum(harm, 1e-9)) ** _HARM_EXPONENT, _MIN_SHARE_STEP, _SHARE_STEP)
    step **= 1 + _SHARE_PERSISTENCE * np.log(shares) / np.log(_SHARE_STEP)
    budget = permitted * count.sum()
    chosen = worst_slots(added, TARGET_SHARE * max(budget - broken_alone.sum(), _BACKFILL_VIOLATIONS * budget))
    lower = shares.copy()
    lower[chosen] = np.maximum(shares[chosen] * step[chosen], _MIN_SHARE)
    return lower


def _arrivals_by_slot(outcome: ModelOutcome, chosen: Bools, slot_s: float, slots: int) -> Floats:
    """Count the chosen requests that arrive in each slot, shape (slots,)."""
    slot = slot_index(outcome.load.arrived_s[chosen], slot_s, slots)
    return np.bincount(slot, minlength=slots).astype(np.float64)


def _raised_bursts(
    attempt: Attempt, case: PlanningCase, model: str, *, outcome: ModelOutcome, burst: Mapping[str, Floats]
) -> dict[str, Floats]:
    """Return higher bursts, by workload, for the slots in which most requests broke the SLO."""
    plan, solution, load, violations = attempt.plan, attempt.solution, outcome.load, outcome.violations
    pools = {pool.name: pool for pool in solution.problem.pools if pool.model == model and len(pool.safe_load) > 1}
    rented = sorted({row.pool for row in plan.schedule if row.realtime} & set(pools))
    demands = {demand.name: demand for demand in solution.problem.workloads}
    raised: dict[str, Floats] = {}
    for group in realtime_classes(load, model if case.several_models else ""):
        names = [name for name in rented if group.may_use(pools[name])]
        if not names or not violations[group.members].any():
            continue
        # If several pools share a slot, the one with most of it grows.
        planned = np.array([realtime_load(solution, name) for name in names])
        largest = np.argmax(planned, axis=0)
        slots = np.arange(plan.slots)
        machines = np.array([_realtime_machines(plan, name) for name in names])
        work_s = np.array([demands[group.name].work_s[pools[name].replica] for name in names])
        raised[group.name] = raise_bursts(
            burst[group.name],
            mean=work_s[largest, slots] / plan.slot_s,
            planned=planned[largest, slots],
            machines=machines[largest, slots],
            safe=[pools[names[index]].safe_load for index in largest.tolist()].__getitem__,
            slot=slot_index(load.arrived_s[group.members], plan.slot_s, plan.slots),
            violations=violations[group.members],
            attainment=strictest_attainment(load),
        )
    return raised


def _realtime_machines(plan: ExecutablePlan, pool: str) -> Ints:
    """Return a pool's machines for real-time work under all payments, shape (slots,)."""
    return np.asarray(np.sum([row.machines for row in plan.schedule if row.pool == pool and row.realtime], axis=0))


def halfway(before: Derating, after: Derating) -> Derating:
    """Return the derating with backfill shares halfway between two, in case the last step was too long."""
    shares = {
        model: np.sqrt(before.backfill_shares.get(model, 1.0) * lower) for model, lower in after.backfill_shares.items()
    }
    return replace(after, backfill_shares=shares)


def with_more_headroom(derating: Derating) -> Derating:
    """Return the derating with half of the lost headroom restored."""
    return replace(derating, headroom={kind: (1 + share) / 2 for kind, share in derating.headroom.items()})


def observed(derating: Derating, attempt: Attempt, case: PlanningCase) -> Derating:
    """Return the derating with the headroom observed on busy machines, of late models only if any were late."""
    problem = attempt.solution.problem
    pools = {pool.name: pool for pool in problem.pools}
    late = [outcome for outcome in attempt.models.values() if outcome.missed_deadlines]
    headroom = observed_headroom(late or attempt.models.values(), pools, case.machines, problem.horizon)
    return replace(derating, headroom={**derating.headroom, **headroom}) if headroom else derating
