"""The demand of a trace by slot: classes of requests, their work, and the bursts within slots."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.catalog.tokens import cost_usd, turnaround_s
from meritorder.domain import Access
from meritorder.latency import breaks_slo
from meritorder.offers import TokenPrice
from meritorder.planner.model.demand import (
    DeferrableDemand,
    Demand,
    Horizon,
    OpenEnd,
    RealtimeDemand,
    Slots,
    due_slots,
    patience_classes,
    sum_by_slot,
)
from meritorder.planner.model.safe_load import min_machines
from meritorder.planner.model.supply import UNLIMITED, MachinePool, TokenTier
from meritorder.sim.pools import Scheduled
from meritorder.sim.run import simulate
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.schedule.capacity import Serving
from meritorder.study.schedule.options import PlanOptions
from meritorder.units import format_duration

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_MAX_ROUNDS: Final = 24
# One step of machines added to a slot, as a share of its machines, if all of its requests break the SLO.
_MACHINES_STEP: Final = 0.3
# Smallest relative step of a burst.
_MIN_BURST_STEP: Final = 0.06

TARGET_SHARE: Final = 0.8
"""Share of the permitted SLO violations that one round aims for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestClass:
    """Requests that the plan treats alike: those of one model and lane with the same access, and similar patience.

    Args:
        name: Name in the plan.
        members: Indices of its requests in the load.
        deferrable: Whether they may wait.
        access: Where they may run.
    """

    name: str
    members: Ints
    deferrable: bool
    access: Access

    def may_use(self, pool: MachinePool) -> bool:
        """Return whether its requests may run in a pool."""
        return self.access.permits(pool.provider, pool.region, pool.hardware)


def build_horizon(span_s: float, slot_s: float) -> Horizon:
    """Return the slots that cover a trace."""
    return Horizon(slot_s=slot_s, slots=max(1, math.ceil(span_s / slot_s - 1e-9)), ends=OpenEnd())


def workload_names(load: TraceLoad, model: str) -> list[str]:
    """Return the names of workloads in the plan; with the model, "" for one model."""
    return [f"{workload.name}, {model}" if model else workload.name for workload in load.workloads]


def request_classes(load: TraceLoad, slot_s: float, model: str) -> list[RequestClass]:
    """Return the classes of a load, real time first.

    Args:
        load: The requests.
        slot_s: Length of a slot.
        model: Model name that distinguishes classes of several models; "" for one model.
    """
    suffix = f", {model}" if model else ""
    classes = realtime_classes(load, model)
    for index, workload in enumerate(load.workloads):
        members = np.flatnonzero(load.deferrable & (load.workload == index))
        if not len(members):
            continue
        patience = patience_classes(load.arrived_s[members], load.deadline_s[members], slot_s)
        levels = np.unique(patience)
        for level in levels:
            min_s = slot_s * 2.0 ** int(level)
            name = workload.name if len(levels) == 1 else f"{workload.name}, {format_duration(min_s)} or more"
            classes.append(
                RequestClass(
                    name=f"{name}{suffix}",
                    members=members[patience == level],
                    deferrable=True,
                    access=workload.access,
                )
            )
    return classes


def realtime_classes(load: TraceLoad, model: str) -> list[RequestClass]:
    """Return the classes of the real-time lane: `realtime`, and by name the workloads with restricted access."""
    suffix = f", {model}" if model else ""
    classes = []
    for index, access in enumerate(load.accesses):
        members = np.flatnonzero(~load.deferrable & (load.access == index))
        if len(members):
            names = [load.workloads[workload].name for workload in np.unique(load.workload[members]).tolist()]
            name = "realtime" if access == Access() else " + ".join(names)
            classes.append(RequestClass(name=f"{name}{suffix}", members=members, deferrable=False, access=access))
    return classes


def build_demand(
    classes: Sequence[RequestClass], load: TraceLoad, servings: Sequence[Serving], model: str, horizon: Horizon
) -> list[Demand]:
    """Return the demand of each class by slot, in seconds of each kind of replica."""
    work_s = {serving.kind: serving.machine.work_s(load) for serving in servings}
    tokens = load.input_tokens.astype(np.float64) + load.output_tokens.astype(np.float64)
    demands: list[Demand] = []
    for group in classes:
        arrived_s = load.arrived_s[group.members]
        binned = {
            serving.kind: sum_by_slot(arrived_s, work_s[serving.kind][group.members], horizon)
            for serving in servings
            if (serving.deferrable if group.deferrable else serving.realtime)
        }
        total = sum_by_slot(arrived_s, tokens[group.members], horizon)
        if group.deferrable:
            due = _due(load, group.members, servings, horizon)
            demands.append(
                DeferrableDemand(
                    name=group.name, model=model, work_s=binned, due=due, tokens=total, access=group.access
                )
            )
        else:
            demands.append(
                RealtimeDemand(name=group.name, model=model, work_s=binned, tokens=total, access=group.access)
            )
    return demands


def _due(load: TraceLoad, members: Ints, servings: Sequence[Serving], horizon: Horizon) -> Slots:
    """Return the slots by whose end work must be done: the deadline less the residence on the slowest replica."""
    requests = load.select(members)
    residence_s = np.max([serving.machine.residence_s(requests) for serving in servings], axis=0)
    due = due_slots(requests.arrived_s, requests.deadline_s - residence_s, horizon)
    return np.minimum(due, horizon.slots - 1)


def token_tiers(
    prices: Sequence[TokenPrice],
    classes: Sequence[RequestClass],
    load: TraceLoad,
    *,
    model: str,
    horizon: Horizon,
    options: PlanOptions,
) -> list[TokenTier]:
    """Return the tiers of token APIs that the options allow, without those that a cheaper one is as good as."""
    tiers: list[TokenTier] = []
    for price in prices:
        usd = {
            group.name: sum_by_slot(load.arrived_s[group.members], tokens_usd(price, load, group.members), horizon)
            for group in classes
            if price.tier in (options.deferrable_tiers if group.deferrable else options.realtime_tiers)
        }
        tier = TokenTier(
            name=venue_name(price),
            provider=price.provider,
            model=model,
            usd=usd,
            turnaround_s=turnaround_s(price),
            tokens_per_s=UNLIMITED if options.tokens_per_s is None else options.tokens_per_s,
        )
        if usd and not any(_as_good(other, tier, load.accesses) for other in tiers):
            tiers.append(tier)
    return tiers


def _as_good(first: TokenTier, second: TokenTier, accesses: Iterable[Access]) -> bool:
    """Whether a token API without a rate limit may be used wherever another may, answers as soon, and costs no more."""
    return (
        first.tokens_per_s == UNLIMITED
        and first.turnaround_s <= second.turnaround_s
        and all(access.permits(first.provider, "") or not access.permits(second.provider, "") for access in accesses)
        and all(name in first.usd and (first.usd[name] <= usd).all() for name, usd in second.usd.items())
    )


def venue_name(price: TokenPrice) -> str:
    """Return the name of a token API's tier in the plan."""
    return f"{price.provider} {price.provider_model}, {price.tier}"


def tokens_usd(price: TokenPrice, load: TraceLoad, members: Ints) -> Floats:
    """Return the cost of requests as tokens, shape (members,)."""
    return np.asarray(
        cost_usd(price, load.input_tokens[members], load.cached_tokens[members], load.output_tokens[members])
    )


def measure_bursts(load: TraceLoad, serving: Serving, slot_s: float, slots: int) -> Floats:
    """Return the steady load that needs as many machines as each slot's real traffic / its mean load, shape (slots,).

    Simulates the real-time lane alone on c(n) machines per slot. While the SLO breaks, the slots with most violations
    get machines. The ratio is a property of the traffic: it applies to any machines.

    Args:
        load: Real-time requests.
        serving: The replicas to measure on.
        slot_s: Length of a slot.
        slots: Slots of the horizon.
    """
    slot = slot_index(load.arrived_s, slot_s, slots)
    mean = np.bincount(slot, weights=serving.machine.work_s(load), minlength=slots) / slot_s
    burst = np.ones(slots)
    for _ in range(_MAX_ROUNDS):
        planned = mean * burst
        machines = np.array([_min_machines_for(serving, slot_load) for slot_load in planned.tolist()])
        violations = _violations(load, serving, machines, slot_s)
        if violations is None:
            break
        burst = raise_bursts(
            burst,
            mean=mean,
            planned=planned,
            machines=machines,
            safe=lambda _: serving.safe,
            slot=slot,
            violations=violations,
            attainment=strictest_attainment(load),
        )
    return burst


def _min_machines_for(serving: Serving, load: float) -> int:
    """Return the machines that a load needs; c(n) is extended linearly beyond its table."""
    safe = serving.safe
    if load <= safe[-1]:
        return min_machines(safe, load)
    last = len(safe) - 1
    return last + int(np.ceil((load - safe[-1]) / (safe[-1] / last)))


def _violations(load: TraceLoad, serving: Serving, machines: Ints, slot_s: float) -> Bools | None:
    """Return which requests break the SLO, None if few enough do."""
    machine = serving.machine
    scaling = Scheduled(instances=tuple(machines.tolist()), slot_s=slot_s, ahead_s=machine.startup_s)
    none = np.zeros(len(load))
    result = simulate(
        load.requests(none, none),
        (machine.pool(scaling, realtime=True, backfill=None),),
        horizon_s=len(machines) * slot_s,
    )
    ttft_s, tpot_s = load.latencies(result)
    if load.slo_attainment(ttft_s, tpot_s)[1]:
        return None
    return breaks_slo(ttft_s, tpot_s, load.ttft_limit_s, load.tpot_limit_s)


def raise_bursts(
    burst: Floats,
    *,
    mean: Floats,
    planned: Floats,
    machines: Ints,
    safe: Callable[[int], Floats],
    slot: Ints,
    violations: Bools,
    attainment: float,
) -> Floats:
    """Return higher bursts in the slots with most SLO violations, so that they get more machines.

    Raises as few slots as leave an acceptable number of violations in the others, each in proportion to the share of
    its requests that broke the SLO. The pool's whole increase is attributed to all arriving work, since only a part of
    that may go to the pool.

    Args:
        burst: Present bursts, shape (slots,).
        mean: Mean load of each slot in replicas of the pool, shape (slots,).
        planned: Load planned for the pool in each slot, bursts included, in the same unit, shape (slots,).
        machines: Machines of the pool, shape (slots,).
        safe: c(n) of the pool by slot.
        slot: Slot of each request, shape (requests,).
        violations: Which requests broke the SLO, shape (requests,).
        attainment: Share of requests that must keep it.
    """
    count = np.bincount(slot, minlength=len(burst))
    broken = np.bincount(slot, weights=violations, minlength=len(burst)).astype(np.float64)
    chosen = worst_slots(broken, TARGET_SHARE * (1 - attainment) * len(slot))
    share = _MACHINES_STEP * broken / np.maximum(count, 1)
    added = np.maximum(1, np.round(share * machines)).astype(np.int64)
    burst = burst.copy()
    for t in chosen[mean[chosen] > 0].tolist():
        # Slightly more than one machine less could serve; and always more than before, since work that is split
        # between machines and tokens can avoid an added machine.
        served = _safe_at(safe(t), int(machines[t] + added[t]) - 1)
        burst[t] = max(
            burst[t] * (1 + max(share[t], _MIN_BURST_STEP)), burst[t] + (served * 1.001 - planned[t]) / mean[t]
        )
    return burst


def worst_slots(counts: Floats, limit: float) -> Ints:
    """Return the fewest slots, at least one, without which the counts of the others add up to at most the limit.

    Args:
        counts: Requests to avoid in each slot, shape (slots,).
        limit: Acceptable number of them in the remaining slots.
    """
    worst = np.argsort(-counts, kind="stable")
    left = counts.sum() - np.cumsum(counts[worst])
    return worst[: int(np.count_nonzero(left > limit)) + 1]


def _safe_at(safe: Floats, machines: int) -> float:
    last = len(safe) - 1
    return float(safe[machines]) if machines <= last else float(safe[-1] * machines / last)


def strictest_attainment(load: TraceLoad) -> float:
    """Return the highest share of requests that the load or one of its workloads must serve within the SLO."""
    return max([load.attainment, *(workload.slo.attainment for workload in load.workloads if workload.slo)])


def slot_index(times_s: Floats, slot_s: float, slots: int) -> Ints:
    """Return the slot of each time; times after the horizon belong to its last slot."""
    return np.minimum((times_s / slot_s).astype(np.int64), slots - 1)
