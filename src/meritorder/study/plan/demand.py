"""The load of a trace as demand by slot: what must run as it arrives, and what may wait until when."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meritorder.catalog.tokens import cost_usd
from meritorder.domain import Access, TokenPrice
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
from meritorder.planner.model.supply import UNLIMITED, MachinePool, TokenTier
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.plan.options import PlanOptions
from meritorder.study.plan.supply import Serving
from meritorder.units import SECONDS_PER_DAY, format_duration

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Turn-around that the batch tiers of OpenAI, Anthropic and Google promise (24 h), 2026.
_TURNAROUND_S = {"batch": SECONDS_PER_DAY}
_REALTIME_TIERS = ("standard", "priority")


@dataclass(frozen=True, slots=True, kw_only=True)
class Class:
    """Requests that the plan treats as one: a lane of a model and where it may run; where it may wait, a patience.

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
        """Whether its requests may run in a pool."""
        return self.access.permits(pool.provider, pool.region, pool.hardware)


def horizon_for(span_s: float, slot_s: float) -> Horizon:
    """Return the slots of a trace; all that arrives in it is to be done in it."""
    return Horizon(slot_s=slot_s, slots=max(1, math.ceil(span_s / slot_s - 1e-9)), ends=OpenEnd())


def classes_of(load: TraceLoad, slot_s: float, model: str) -> list[Class]:
    """Return the classes of a load, real time first."""
    suffix = f", {model}" if model else ""
    found = realtime_classes_of(load, model)
    for index, workload in enumerate(load.workloads):
        members = np.flatnonzero(load.deferrable & (load.workload == index))
        if not len(members):
            continue
        patience = patience_classes(load.arrived_s[members], load.deadline_s[members], slot_s)
        levels = np.unique(patience)
        for level in levels:
            least_s = slot_s * 2.0 ** int(level)
            name = workload.name if len(levels) == 1 else f"{workload.name}, {format_duration(least_s)} or more"
            mine = members[patience == level]
            found.append(Class(name=f"{name}{suffix}", members=mine, deferrable=True, access=workload.access))
    return found


def realtime_classes_of(load: TraceLoad, model: str) -> list[Class]:
    """Return the classes of the real-time lane: `realtime`, and the workloads that may not run anywhere by name."""
    suffix = f", {model}" if model else ""
    found = []
    for place, access in enumerate(load.accesses):
        members = np.flatnonzero(~load.deferrable & (load.access == place))
        if len(members):
            names = [load.workloads[index].name for index in np.unique(load.workload[members]).tolist()]
            name = "realtime" if access == Access() else " + ".join(names)
            found.append(Class(name=f"{name}{suffix}", members=members, deferrable=False, access=access))
    return found


def demand_of(
    classes: Sequence[Class], load: TraceLoad, servings: Sequence[Serving], model: str, horizon: Horizon
) -> list[Demand]:
    """Return each class as demand, in seconds of each kind of replica."""
    work_s = {serving.kind: serving.machine.work_s(load) for serving in servings}
    tokens = load.input_tokens.astype(np.float64) + load.output_tokens.astype(np.float64)
    demands: list[Demand] = []
    for each in classes:
        arrived = load.arrived_s[each.members]
        binned = {
            serving.kind: sum_by_slot(arrived, work_s[serving.kind][each.members], horizon)
            for serving in servings
            if (serving.deferrable if each.deferrable else serving.realtime)
        }
        total = sum_by_slot(arrived, tokens[each.members], horizon)
        if each.deferrable:
            due = _due(load, each.members, servings, horizon)
            demands.append(
                DeferrableDemand(name=each.name, model=model, work_s=binned, due=due, tokens=total, access=each.access)
            )
        else:
            demands.append(RealtimeDemand(name=each.name, model=model, work_s=binned, tokens=total, access=each.access))
    return demands


def _due(load: TraceLoad, members: Ints, servings: Sequence[Serving], horizon: Horizon) -> Slots:
    """Return the slots by whose end work must be done: its own time on the slowest replica is taken off."""
    mine = load.select(members)
    residence_s = np.max([serving.machine.residence_s(mine) for serving in servings], axis=0)
    due = due_slots(mine.arrived_s, mine.deadline_s - residence_s, horizon)
    return np.minimum(due, horizon.slots - 1)


def tiers_of(
    prices: Sequence[TokenPrice],
    classes: Sequence[Class],
    load: TraceLoad,
    *,
    model: str,
    horizon: Horizon,
    options: PlanOptions,
) -> list[TokenTier]:
    """Return the token APIs that work may be bought from, as the options allow."""
    tiers = []
    for price in prices:
        if price.tier not in options.tiers:
            continue
        usd = {
            each.name: sum_by_slot(load.arrived_s[each.members], usd_of(price, load, each.members), horizon)
            for each in classes
            if each.deferrable or price.tier in _REALTIME_TIERS
        }
        if usd:
            tiers.append(
                TokenTier(
                    name=f"{price.provider} {price.provider_model}, {price.tier}",
                    provider=price.provider,
                    model=model,
                    tier=price.tier,
                    usd=usd,
                    turnaround_s=_TURNAROUND_S.get(price.tier, 0.0),
                    tokens_per_s=UNLIMITED if options.tokens_per_s is None else options.tokens_per_s,
                )
            )
    return tiers


def usd_of(price: TokenPrice, load: TraceLoad, members: Ints) -> Floats:
    """Return what requests cost as tokens, shape (members,)."""
    return np.asarray(
        cost_usd(price, load.input_tokens[members], load.cached_tokens[members], load.output_tokens[members])
    )
