"""A planning problem: demand and supply over a horizon, and the routes between them.

Indices: w workload, p pool, k token tier, o payment, i pair of a pool and a payment, r route, t slot.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.errors import ConfigError, InfeasibleError
from meritorder.planner.model.demand import DeferrableDemand, Demand, Horizon, OpenEnd, RealtimeDemand
from meritorder.planner.model.supply import MachinePayment, MachinePool, OnDemand, SavingsPlan, Spot, TokenTier
from meritorder.units import GRAMS_PER_TONNE, WATTS_PER_KILOWATT

Floats = NDArray[np.float64]

# Smallest real-time load, in saturated replicas, of a slot that has any: less would vanish in the solver's tolerance.
_MIN_LOAD: Final = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class CarbonPrice:
    """A price on the carbon dioxide emitted for the machines' power; token APIs are left out.

    Args:
        usd_per_tonne: Price.
        grams_per_kwh: Carbon intensity by region, shape (slots,) or ().
    """

    usd_per_tonne: float
    grams_per_kwh: Mapping[str, Floats]

    def usd_per_hour(self, pool: MachinePool) -> Floats:
        """Return the carbon cost of a machine-hour in a pool, shape (slots,) or ()."""
        grams = self.grams_per_kwh.get(pool.region)
        if grams is None:
            raise ConfigError(f"no carbon intensity for region {pool.region!r}", where="carbon")
        return np.asarray(grams) * (pool.power_w / WATTS_PER_KILOWATT * self.usd_per_tonne / GRAMS_PER_TONNE)


class RouteKind(StrEnum):
    """Kind of venue that a route leads to."""

    POOL = "pool"
    TIER = "tier"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A venue that may serve a workload.

    The flow on a route is a share of the slot's work (real time) or seconds of backlog (deferrable).

    Args:
        workload: Index of the workload.
        kind: Kind of venue.
        venue: Index of the pool or tier.
        work_s: Work of a unit of flow, in replica-seconds of the venue, shape (slots,).
        load_s: Work of a unit of flow that counts against the safe load, bursts included, shape (slots,).
        usd: Cost of a unit of flow, shape (slots,).
        tokens: Tokens of a unit of flow, shape (slots,).
        asynchronous: Whether work is submitted on arrival and answered within the turnaround of the tier.
    """

    workload: int
    kind: RouteKind
    venue: int
    work_s: Floats
    load_s: Floats
    usd: Floats
    tokens: Floats
    asynchronous: bool = False


@dataclass(frozen=True)
class Problem:
    """Everything that a plan is optimized over.

    Args:
        horizon: Planning period.
        workloads: Demand.
        pools: Pools of machines.
        payments: Payments for machines, those held already included.
        savings_plans: Discounts on on-demand use.
        tiers: Token APIs.
        carbon: Price on carbon, if any.
    """

    horizon: Horizon
    workloads: tuple[Demand, ...]
    pools: tuple[MachinePool, ...]
    payments: tuple[MachinePayment, ...]
    savings_plans: tuple[SavingsPlan, ...] = ()
    tiers: tuple[TokenTier, ...] = ()
    carbon: CarbonPrice | None = None

    def __post_init__(self) -> None:
        _check_names(self)
        _check_shapes(self)

    @cached_property
    def realtime(self) -> tuple[int, ...]:
        """Indices of the real-time workloads."""
        return tuple(w for w, demand in enumerate(self.workloads) if isinstance(demand, RealtimeDemand))

    @cached_property
    def deferrable(self) -> tuple[int, ...]:
        """Indices of the deferrable workloads."""
        return tuple(w for w, demand in enumerate(self.workloads) if isinstance(demand, DeferrableDemand))

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Indices (p, o) of each pool and each payment that provides machines for it."""
        return tuple(
            (p, o)
            for p, pool in enumerate(self.pools)
            for o, payment in enumerate(self.payments)
            if payment.machine == pool.machine
        )

    def payment_of(self, pair: int) -> MachinePayment:
        """Return the payment of a pair."""
        return self.payments[self.pairs[pair][1]]

    def deferrable_demand(self, workload: int) -> DeferrableDemand:
        """Return the demand of a deferrable workload."""
        demand = self.workloads[workload]
        if not isinstance(demand, DeferrableDemand):
            raise TypeError(f"{demand.name} is real time")
        return demand

    def pairs_of(self, *, pool: int | None = None, payment: int | None = None) -> tuple[int, ...]:
        """Return the indices of the pairs of a pool or of a payment."""
        return tuple(i for i, (p, o) in enumerate(self.pairs) if pool in {None, p} and payment in {None, o})

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        """The venues that may serve each workload."""
        return tuple(
            route
            for w in range(len(self.workloads))
            for route in (*_routes_to_pools(self, w), *_routes_to_tiers(self, w))
        )

    def routes_of(self, workload: int) -> tuple[int, ...]:
        """Return the indices of the routes of a workload."""
        return tuple(r for r, route in enumerate(self.routes) if route.workload == workload)

    def routes_to(self, kind: RouteKind, venue: int) -> tuple[int, ...]:
        """Return the indices of the routes to a venue."""
        return tuple(r for r, route in enumerate(self.routes) if route.kind is kind and route.venue == venue)

    def realtime_routes_to(self, pool: int) -> tuple[int, ...]:
        """Return the indices of the routes of real-time workloads to a pool."""
        return tuple(r for r in self.routes_to(RouteKind.POOL, pool) if self.routes[r].workload in self.realtime)

    def arrivals_s(self, workload: int) -> Floats:
        """Return a[w,t], the arrivals of a deferrable workload in seconds of backlog, shape (slots,)."""
        return self.deferrable_demand(workload).volume_s.astype(float)

    def max_backlog_s(self, workload: int) -> Floats:
        """Return the largest backlog of a deferrable workload at the end of each slot that leaves nothing late.

            sum_{v = first(t)..t} a[w,v]        first(t) = min {v: due(v) > t}

        Returns:
            Seconds of backlog, shape (slots,); 0 at an open end.
        """
        horizon = self.horizon
        arrivals = self.arrivals_s(workload).reshape(horizon.scenarios, horizon.slots)
        total = np.concatenate((np.zeros((horizon.scenarios, 1)), np.cumsum(arrivals, axis=1)), axis=1)
        scenario, slot = np.divmod(np.arange(horizon.length), horizon.slots)
        first = self.deferrable_demand(workload).first_open_slot(horizon)
        wraps = first < 0
        limit = total[scenario, slot + 1] - np.where(wraps, 0.0, total[scenario, np.maximum(first, 0)])
        limit += np.where(wraps, total[scenario, -1] - total[scenario, first % horizon.slots], 0.0)
        if isinstance(horizon.ends, OpenEnd):
            limit[horizon.slots - 1 :: horizon.slots] = 0.0
        return np.asarray(np.maximum(limit, 0.0))

    def max_realtime_load(self, pool: int) -> Floats:
        """Return the real-time load of a pool if it served all work that it may, in replicas, shape (slots,)."""
        total = np.zeros(self.horizon.length)
        for r in self.realtime_routes_to(pool):
            total += self.routes[r].load_s
        return total / self.horizon.slot_s

    def useful_share(self, pair: int) -> float:
        """Return the share of the paid time of a pair's machines that is left after interruptions."""
        p, o = self.pairs[pair]
        payment = self.payments[o]
        if isinstance(payment, Spot):
            return payment.useful_share(self.pools[p].startup_paid_s)
        return 1.0


def _routes_to_pools(problem: Problem, w: int) -> list[Route]:
    demand, length = problem.workloads[w], problem.horizon.length
    none, tokens = np.zeros(length), _tokens_per_flow(demand, length)
    routes = []
    for p, pool in enumerate(problem.pools):
        if pool.model != demand.model or pool.replica not in demand.work_s:
            continue
        if not demand.access.permits(pool.provider, pool.region, pool.hardware):
            continue
        work_s = _per_flow(demand, demand.work_s[pool.replica])
        if isinstance(demand, RealtimeDemand):
            if len(pool.safe_load) == 1:
                continue
            load_s = _burst_load_s(demand, demand.work_s[pool.replica], problem.horizon.slot_s)
        else:
            load_s = work_s
        routes.append(
            Route(workload=w, kind=RouteKind.POOL, venue=p, work_s=work_s, load_s=load_s, usd=none, tokens=tokens)
        )
    return routes


def _routes_to_tiers(problem: Problem, w: int) -> list[Route]:
    demand, length = problem.workloads[w], problem.horizon.length
    none, routes = np.zeros(length), []
    for k, tier in enumerate(problem.tiers):
        if tier.model != demand.model or demand.name not in tier.usd:
            continue
        asynchronous = tier.turnaround_s > 0
        if not demand.access.permits(tier.provider, "") or (asynchronous and not _can_wait(problem, demand, tier)):
            continue
        routes.append(
            Route(
                workload=w,
                kind=RouteKind.TIER,
                venue=k,
                work_s=none,
                load_s=none,
                usd=_per_flow(demand, tier.usd[demand.name]),
                tokens=_tokens_per_flow(demand, length),
                asynchronous=asynchronous,
            )
        )
    return routes


def _tokens_per_flow(demand: Demand, length: int) -> Floats:
    tokens = np.zeros(length) if demand.tokens is None else np.asarray(demand.tokens, float)
    return _per_flow(demand, tokens)


def _per_flow(demand: Demand, amounts: Floats) -> Floats:
    """Return the amount of a unit of flow: of all work of the slot (real time), or of a second of backlog."""
    if isinstance(demand, RealtimeDemand):
        return np.asarray(amounts, float)
    return np.full(len(amounts), demand.per_unit(amounts))


def _burst_load_s(demand: RealtimeDemand, work_s: Floats, slot_s: float) -> Floats:
    """Return the load under which the SLO must hold; a single request in a slot requires a machine, too."""
    burst_s = work_s * (1.0 if demand.burst is None else demand.burst)
    return np.asarray(np.where(work_s > 0, np.maximum(burst_s, _MIN_LOAD * slot_s), 0.0))


def _can_wait(problem: Problem, demand: Demand, tier: TokenTier) -> bool:
    """Whether all work of a workload has the patience for the turnaround of a tier."""
    if isinstance(demand, RealtimeDemand):
        return False
    patience = demand.due - np.arange(problem.horizon.length) + 1
    return bool(patience.min() * problem.horizon.slot_s >= tier.turnaround_s)


def _check_names(problem: Problem) -> None:
    for kind, named in (
        ("workload", problem.workloads),
        ("pool", problem.pools),
        ("payment", (*problem.payments, *problem.savings_plans)),
        ("venue", problem.tiers),
    ):
        names = [part.name for part in named]
        if len(set(names)) < len(names):
            duplicate = next(name for name in names if names.count(name) > 1)
            raise ConfigError(f"each {kind} needs a name of its own", where=duplicate)
    on_demand = [payment.machine for payment in problem.payments if isinstance(payment, OnDemand)]
    if len(set(on_demand)) < len(on_demand):
        duplicate = next(machine for machine in on_demand if on_demand.count(machine) > 1)
        raise ConfigError("a machine has two on-demand prices", where=duplicate, fix="keep the lower one")
    for payment in problem.payments:
        usd = payment.usd_per_hour
        if not (np.isfinite(usd) and usd >= 0):
            raise ConfigError(f"a price must be a number of dollars, not {usd}", where=payment.name)


def _check_shapes(problem: Problem) -> None:
    length = problem.horizon.length
    for pool in problem.pools:
        if pool.headroom.shape not in {(), (length,)}:
            raise ConfigError(f"its headroom must have {length:,} slots", where=pool.name)
    for demand in problem.workloads:
        columns = [*demand.work_s.values(), *([] if demand.tokens is None else [demand.tokens])]
        columns += [tier.usd[demand.name] for tier in problem.tiers if demand.name in tier.usd]
        columns += [demand.burst] if isinstance(demand, RealtimeDemand) and demand.burst is not None else []
        if any(column.shape != (length,) for column in columns):
            raise ConfigError(f"every time series must have {length:,} slots", where=demand.name)
        if any(not np.isfinite(column).all() or (column < 0).any() for column in columns):
            raise ConfigError("work and costs must be finite and never negative", where=demand.name)
        if isinstance(demand, DeferrableDemand):
            _check_due(demand, problem.horizon)


def _check_due(demand: DeferrableDemand, horizon: Horizon) -> None:
    due = demand.due.reshape(horizon.scenarios, horizon.slots)
    if (due < np.arange(horizon.length).reshape(due.shape)).any():
        raise InfeasibleError("work is due before it arrives", where=demand.name, fix="give it more patience")
    if (np.diff(due, axis=1) < 0).any():
        raise ConfigError("later arrivals must not be due earlier", where=demand.name, fix="split the workload")
    if not demand.work_s:
        raise ConfigError("a workload needs its work on at least one kind of replica", where=demand.name)
