"""A planning problem: demand, venues and payments, and the routes between them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.errors import ConfigError, InfeasibleError
from meritorder.planner.model.demand import DeferrableDemand, Demand, Horizon, RealtimeDemand
from meritorder.planner.model.supply import MachinePayment, MachinePool, OnDemand, SavingsPlan, Spot, TokenTier
from meritorder.units import GRAMS_PER_TONNE, SECONDS_PER_HOUR, WATTS_PER_KILOWATT

Floats = NDArray[np.float64]

# Replicas' worth that real-time work counts as in a slot at least, if there is any: less would be lost in what solvers
# tolerate.
_LEAST_LOAD: Final = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class CarbonPrice:
    """A price on the carbon dioxide of the machines' power; token APIs do not state theirs and are left out.

    Args:
        usd_per_tonne: Price.
        grams_per_kwh: By region, carbon intensity of its power, shape (slots,) or ().
    """

    usd_per_tonne: float
    grams_per_kwh: Mapping[str, Floats]

    def usd_per_hour(self, pool: MachinePool) -> Floats:
        """Return what an hour of one machine adds, shape (slots,) or ()."""
        grams = self.grams_per_kwh.get(pool.region)
        if grams is None:
            raise ConfigError(f"no carbon intensity for region {pool.region!r}", where="carbon")
        return np.asarray(grams) * (pool.power_w / WATTS_PER_KILOWATT * self.usd_per_tonne / GRAMS_PER_TONNE)


class VenueKind(StrEnum):
    """What a route leads to."""

    POOL = "pool"
    TIER = "tier"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A venue that may serve a workload.

    What flows along it is a share of the slot's work (real time), or seconds of the workload's backlog (deferrable).

    Args:
        workload: Index of the workload.
        kind: What it leads to.
        venue: Index of the pool or tier.
        work_s: What one unit of flow takes there, shape (slots,): replica-seconds.
        usd: What one unit of flow costs there, shape (slots,).
        leans: The same as the safe load counts it, bursts within the slot in it; real-time work in pools only.
        tokens: Tokens of one unit of flow, shape (slots,).
        asynchronous: The work is handed over when it arrives, and the tier's turn-around is its patience.
    """

    workload: int
    kind: VenueKind
    venue: int
    work_s: Floats
    usd: Floats
    tokens: Floats
    leans: Floats | None = None
    asynchronous: bool = False

    @property
    def load_s(self) -> Floats:
        """What one unit of flow comes to for the safe load, shape (slots,)."""
        return self.work_s if self.leans is None else self.leans


@dataclass(frozen=True)
class Problem:
    """All that a plan is made from.

    Args:
        horizon: The time.
        workloads: The demand.
        pools: Where it can run.
        payments: How machines can be had; existing ones among them.
        savings_plans: Discounts on on-demand use.
        tiers: Token APIs.
        carbon: A price on carbon.
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
        return tuple(i for i, one in enumerate(self.workloads) if isinstance(one, RealtimeDemand))

    @cached_property
    def deferrable(self) -> tuple[int, ...]:
        """Indices of the deferrable workloads."""
        return tuple(i for i, one in enumerate(self.workloads) if isinstance(one, DeferrableDemand))

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Pools with the payments that put machines into them, as indices."""
        return tuple(
            (p, o)
            for p, pool in enumerate(self.pools)
            for o, payment in enumerate(self.payments)
            if payment.machine == pool.machine
        )

    def deferrable_demand(self, workload: int) -> DeferrableDemand:
        """Return a deferrable workload by its index."""
        demand = self.workloads[workload]
        if not isinstance(demand, DeferrableDemand):
            raise TypeError(f"{demand.name} is real time")
        return demand

    def pairs_of(self, *, pool: int | None = None, payment: int | None = None) -> tuple[int, ...]:
        """Indices of the pairs with this pool or this payment."""
        return tuple(i for i, (p, o) in enumerate(self.pairs) if pool in {None, p} and payment in {None, o})

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        """Every venue that may serve each workload."""
        return tuple(route for w in range(len(self.workloads)) for route in (*_to_pools(self, w), *_to_tiers(self, w)))

    def routes_of(self, workload: int) -> tuple[int, ...]:
        """Indices of the routes of a workload."""
        return tuple(i for i, route in enumerate(self.routes) if route.workload == workload)

    def routes_to(self, kind: VenueKind, venue: int) -> tuple[int, ...]:
        """Indices of the routes to a venue."""
        return tuple(i for i, route in enumerate(self.routes) if route.kind is kind and route.venue == venue)

    def arrivals_s(self, workload: int) -> Floats:
        """What arrives of a deferrable workload, shape (slots,)."""
        return self.deferrable_demand(workload).volume_s.astype(float)

    def realtime_load(self, pool: int) -> Floats:
        """Return all the real-time work that could come to a pool, in replicas' worth, shape (slots,)."""
        total = np.zeros(self.horizon.length)
        for r in self.routes_to(VenueKind.POOL, pool):
            if self.routes[r].workload in self.realtime:
                total += self.routes[r].load_s
        return total / self.horizon.slot_s

    def useful_share(self, pair: int) -> float:
        """Share of the paid time of a pair's machines that does work which lasts."""
        p, o = self.pairs[pair]
        payment = self.payments[o]
        if isinstance(payment, Spot):
            return payment.useful_share(self.pools[p].startup_paid_s, SECONDS_PER_HOUR)
        return 1.0


def _tokens(demand: Demand, length: int) -> Floats:
    tokens = np.zeros(length) if demand.tokens is None else np.asarray(demand.tokens, float)
    return _per_flow(demand, tokens)


def _per_flow(demand: Demand, amounts: Floats) -> Floats:
    """Return an amount for each unit of flow: a share of the slot's work, or a second of backlog."""
    if isinstance(demand, RealtimeDemand):
        return np.asarray(amounts, float)
    return np.full(len(amounts), demand.per_unit(amounts))


def _burst_load(demand: Demand, work_s: Floats, slot_s: float) -> Floats | None:
    """Return what the safe load has to hold under: a request that is alone in its slot asks for a machine, too."""
    if not isinstance(demand, RealtimeDemand):
        return None
    leans = work_s * (1.0 if demand.burst is None else demand.burst)
    return np.asarray(np.where(work_s > 0, np.maximum(leans, _LEAST_LOAD * slot_s), 0.0))


def _to_pools(problem: Problem, w: int) -> list[Route]:
    demand, length = problem.workloads[w], problem.horizon.length
    none, tokens = np.zeros(length), _tokens(demand, length)
    return [
        Route(
            workload=w,
            kind=VenueKind.POOL,
            venue=p,
            work_s=_per_flow(demand, demand.work_s[pool.replica]),
            usd=none,
            tokens=tokens,
            leans=_burst_load(demand, demand.work_s[pool.replica], problem.horizon.slot_s),
        )
        for p, pool in enumerate(problem.pools)
        if pool.model == demand.model
        and pool.replica in demand.work_s
        and demand.access.permits(pool.provider, pool.region, pool.hardware)
        and (isinstance(demand, DeferrableDemand) or len(pool.safe_load) > 1)
    ]


def _to_tiers(problem: Problem, w: int) -> list[Route]:
    demand, length = problem.workloads[w], problem.horizon.length
    routes = []
    for k, tier in enumerate(problem.tiers):
        if tier.model != demand.model or demand.name not in tier.usd:
            continue
        asynchronous = tier.turnaround_s > 0
        if not demand.access.permits(tier.provider, "") or (asynchronous and not _can_wait(problem, demand, tier)):
            continue
        routes.append(
            Route(
                workload=w,
                kind=VenueKind.TIER,
                venue=k,
                work_s=np.zeros(length),
                usd=_per_flow(demand, tier.usd[demand.name]),
                tokens=_tokens(demand, length),
                asynchronous=asynchronous,
            )
        )
    return routes


def _can_wait(problem: Problem, demand: Demand, tier: TokenTier) -> bool:
    """Whether all of a workload may wait as long as a tier takes."""
    if isinstance(demand, RealtimeDemand):
        return False
    patience = demand.due - np.arange(problem.horizon.length) + 1
    return bool(patience.min() * problem.horizon.slot_s >= tier.turnaround_s)


def _check_names(problem: Problem) -> None:
    for what, names in (
        ("workload", [one.name for one in problem.workloads]),
        ("pool", [one.name for one in problem.pools]),
        ("payment", [one.name for one in problem.payments] + [one.name for one in problem.savings_plans]),
        ("venue", [one.name for one in problem.tiers]),
    ):
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(f"two have this name; each {what} needs its own", where=twice)
    on_demand = [one.machine for one in problem.payments if isinstance(one, OnDemand)]
    if len(set(on_demand)) < len(on_demand):
        twice = next(machine for machine in on_demand if on_demand.count(machine) > 1)
        raise ConfigError("a machine has two prices on demand", where=twice, fix="keep the lower one")
    prices = [(one.name, one.usd_per_hour) for one in problem.payments]
    for name, usd in prices:
        if not (np.isfinite(usd) and usd >= 0):
            raise ConfigError(f"a price must be a number of dollars, not {usd}", where=name)


def _check_shapes(problem: Problem) -> None:
    length = problem.horizon.length
    for pool in problem.pools:
        if pool.headroom.shape not in {(), (length,)}:
            raise ConfigError(f"its room must have {length:,} slots", where=pool.name)
    for demand in problem.workloads:
        columns = [*demand.work_s.values(), *([] if demand.tokens is None else [demand.tokens])]
        columns += [tier.usd[demand.name] for tier in problem.tiers if demand.name in tier.usd]
        columns += [demand.burst] if isinstance(demand, RealtimeDemand) and demand.burst is not None else []
        if any(column.shape != (length,) for column in columns):
            raise ConfigError(f"every column must have {length:,} slots", where=demand.name)
        if any(not np.isfinite(column).all() or (column < 0).any() for column in columns):
            raise ConfigError("work is a number of seconds, never negative", where=demand.name)
        if isinstance(demand, DeferrableDemand):
            _check_due(demand, problem.horizon)


def _check_due(demand: DeferrableDemand, horizon: Horizon) -> None:
    due = demand.due.reshape(horizon.scenarios, horizon.slots)
    if (due < np.arange(horizon.length).reshape(due.shape)).any():
        raise InfeasibleError("work is due before it arrives", where=demand.name, fix="give it more patience")
    if (np.diff(due, axis=1) < 0).any():
        raise ConfigError("what arrives later must not be due earlier", where=demand.name, fix="split the workload")
    if not demand.work_s:
        raise ConfigError("a workload needs its work on at least one kind of replica", where=demand.name)
