"""A trace and a catalog as one planning problem, and what is needed to carry its answer out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from meritorder.catalog import Catalog
from meritorder.catalog.tokens import token_prices
from meritorder.domain import Model, TokenPrice
from meritorder.evidence import Assumption
from meritorder.planner.model.demand import Demand, OpenEnd, RealtimeDemand
from meritorder.planner.model.problem import Problem
from meritorder.planner.model.safe_load import extend_to_load
from meritorder.planner.model.supply import MachinePool
from meritorder.study.fleet.load import SATURATION_REQUESTS, TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.fleet.options import Progress
from meritorder.study.plan.commit import Committed
from meritorder.study.plan.demand import classes_of, demand_of, horizon_for, tiers_of
from meritorder.study.plan.have import Have
from meritorder.study.plan.options import PlanOptions
from meritorder.study.plan.seats import Filling
from meritorder.study.plan.supply import Serving, Site, payments_for, servings_for, sites_for, supply_assumptions

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A planning problem and where it comes from.

    Args:
        problem: The programme's problem.
        loads: Requests by model.
        servings: Kinds of replicas by model.
        sites: Pools by name.
        tokens: Token prices by name of the tier.
        all_tokens: Token prices by model.
        patience_s: Shortest time that requests may wait, by deferrable workload.
        assumptions: What was taken.
        committed: What was chosen to commit to before; the problem holds it.
        seats: As `Trust` has it.
    """

    problem: Problem
    loads: Mapping[str, TraceLoad]
    servings: Mapping[str, list[Serving]]
    sites: Mapping[str, Site]
    tokens: Mapping[str, TokenPrice]
    all_tokens: Mapping[str, list[TokenPrice]]
    patience_s: Mapping[str, float]
    assumptions: tuple[Assumption, ...]
    committed: Committed | None = None
    seats: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def several(self) -> bool:
        """Whether there are several models, and names of workloads say which."""
        return len(self.loads) > 1

    @property
    def machines(self) -> dict[str, CandidateMachine]:
        """The replica of each pool."""
        return {name: site.serving.machine for name, site in self.sites.items()}


def ask(
    catalog: Catalog, loads: Mapping[Model, TraceLoad], options: PlanOptions, progress: Progress, have: Have
) -> Asked:
    """Put a planning problem together.

    Args:
        catalog: Prices, hardware, models.
        loads: Requests by model.
        options: What may be rented and bought.
        progress: Told what is being measured.
        have: What is held already.

    Raises:
        MeritorderError: A model has no performance, no price or no replica that keeps the SLO.
    """
    span_s = max(load.span_s for load in loads.values())
    slot_s = options.slot_for(span_s)
    horizon = horizon_for(span_s, slot_s)
    # What is rented is rented to the end of the last slot, the baseline's machines too.
    loads = {model: replace(load, span_s=horizon.slots * slot_s) for model, load in loads.items()}
    several = len(loads) > 1
    servings: dict[str, list[Serving]] = {}
    sites: dict[str, Site] = {}
    demands, tiers = [], []
    tokens: dict[str, TokenPrice] = {}
    all_tokens: dict[str, list[TokenPrice]] = {}
    patience_s: dict[str, float] = {}
    for model, load in loads.items():
        named = model.id if several else ""
        servings[model.id] = servings_for(catalog, model, load, options=options, slot_s=slot_s, progress=progress)
        sites |= {
            site.pool.name: site
            for site in sites_for(
                catalog,
                model,
                servings[model.id],
                options=options,
                have=have,
                named=named,
                accesses=load.accesses,
            )
        }
        classes = classes_of(load, slot_s, named)
        demands += demand_of(classes, load, servings[model.id], model.id, horizon)
        patience_s |= {
            each.name: float((load.deadline_s[each.members] - load.arrived_s[each.members]).min())
            for each in classes
            if each.deferrable
        }
        prices = all_tokens[model.id] = list(token_prices(model))
        found = tiers_of(prices, classes, load, model=model.id, horizon=horizon, options=options)
        tiers += found
        tokens |= {f"{price.provider} {price.provider_model}, {price.tier}": price for price in prices}
    payments, plans = payments_for(sites.values(), horizon, options, have)
    problem = Problem(
        horizon=replace(horizon, ends=OpenEnd(warm=True)),
        workloads=tuple(demands),
        pools=tuple(_with_tail(site, loads) for site in sites.values()),
        payments=payments,
        savings_plans=plans,
        tiers=tuple(tiers),
    )
    return Asked(
        problem=problem,
        loads={model.id: load for model, load in loads.items()},
        servings=servings,
        sites=sites,
        tokens=tokens,
        all_tokens=all_tokens,
        patience_s=patience_s,
        assumptions=tuple(supply_assumptions(sites.values(), options)),
    )


def _with_tail(site: Site, loads: Mapping[Model, TraceLoad]) -> MachinePool:
    """Return a pool whose starts cost what they cost in the end: the start-up, and the tail of each stop.

    A machine that is given back serves what it holds to the end, emptier and emptier; half of that time is idle:

        tail = E[rest of a stay] = E[stay^2] / (2 E[stay])
    """
    machine = site.serving.machine
    load = next(load for model, load in loads.items() if model.id == machine.profile.model)
    stay_s = machine.residence_s(load.sample(SATURATION_REQUESTS))
    tail_s = float(np.mean(stay_s**2) / (2 * np.mean(stay_s)))
    return replace(site.pool, startup_paid_s=site.pool.startup_paid_s + tail_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """How far the machines are trusted: factors that a broken promise lowers.

    Args:
        seats: By model, on the seats and the memory of deferrable work beside real-time work in each slot, shape
            (slots,), where it is what breaks the SLO.
        full: On what machines may be planned for in all, when deadlines are missed.
        room: By kind of replica, on what may be planned for in each slot, shape (slots,), where machines that were
            full did less and deadlines were missed.
        burst: By real-time workload, load / mean load of each slot, shape (slots,), where it alone breaks the SLO.
    """

    seats: Mapping[str, Floats] = field(default_factory=dict)
    full: float = 1.0
    room: Mapping[str, Floats] = field(default_factory=dict)
    burst: Mapping[str, Floats] = field(default_factory=dict)


def trusting(asked: Asked, trust: Trust, filling: Filling) -> Asked:
    """Return what was asked with so much trust in the machines; `filling` tells how full fewer seats leave them."""
    workloads = tuple(
        replace(one, burst=trust.burst[one.name])
        if isinstance(one, RealtimeDemand) and one.name in trust.burst
        else one
        for one in asked.problem.workloads
    )
    pools = []
    for pool in asked.problem.pools:
        fullest = pool.max_utilization * trust.full
        most = fullest * pool.replicas * np.arange(len(pool.safe_load))
        safe = np.minimum(pool.safe_load, most)
        room = trust.room.get(pool.replica, pool.headroom)
        if len(safe) > 1:
            mean, bursts = _realtime_work(workloads, pool.replica)
            safe = extend_to_load(safe, float(bursts.max(initial=0.0)) / asked.problem.horizon.slot_s)
            serving, seats = asked.sites[pool.name].serving, trust.seats.get(pool.model)
            if seats is not None and serving.backfill.sequences > 0:
                carried = float((safe[1:] / (pool.replicas * np.arange(1, len(safe)))).max())
                alone = carried * np.divide(mean, bursts, out=np.ones_like(mean), where=bursts > 0)
                room = np.minimum(room, np.maximum(filling.utilization(serving, seats), alone) / serving.fullest)
        pools.append(replace(pool, max_utilization=fullest, headroom=room, safe_load=safe))
    problem = replace(asked.problem, pools=tuple(pools), workloads=workloads)
    return replace(asked, problem=problem, seats=trust.seats)


def _realtime_work(workloads: Iterable[Demand], kind: str) -> tuple[Floats, Floats]:
    """Return the work of all real time that replicas of a kind may serve, and with bursts in it, each (slots,)."""
    lean = [one for one in workloads if isinstance(one, RealtimeDemand) and kind in one.work_s]
    mean = [one.work_s[kind] for one in lean]
    bursts = [one.work_s[kind] * (1.0 if one.burst is None else one.burst) for one in lean]
    return np.sum(mean, axis=0), np.sum(bursts, axis=0)
