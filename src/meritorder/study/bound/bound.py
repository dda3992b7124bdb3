"""A lower bound on the cost of any policy that serves given requests within their SLO and deadlines, with hindsight."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.domain import Replica
from meritorder.sim.pools import Fixed
from meritorder.study.bound.parts import independent, partitions
from meritorder.study.bound.path import PathCost, idle_until, is_short
from meritorder.study.bound.realtime import RealtimeBound
from meritorder.study.bound.supplies import WORK_MARGIN, Supply, cheapest_usd, hard_bound_usd, permitted, too_slow
from meritorder.study.bound.violations import WindowCurves, allowed_violations, latency_alone_s
from meritorder.study.bound.waiting import Cover, Waiting
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_SATURATION_REQUESTS: Final = 2000
# Windows tried: length in ticks, and windows before that each is simulated with.
_WINDOWS: Final = ((1, 0), (1, 1), (2, 2), (4, 2), (9, 0))
_WINDOWS_OF_MANY: Final = ((9, 0), (1, 0))
_MANY_REQUESTS: Final = 100_000
# Accesses whose parts are bounded at most, and requests.
_MOST_PARTED: Final = 4
_MOST_PARTED_REQUESTS: Final = 20_000
# Below this utilization the violations are those of single ticks, which the shortest windows find; above, they are not.
_SPARSE_UTILIZATION: Final = 0.3
# Shares of its time that a machine is charged beside its minimum bill, where that is longer than a start-up.
_TIME_SHARES: Final = (0.5, 0.2, 0.1, 0.02)
_ONE: Final = Fixed(instances=1)
_ROUNDING: Final = 1e-9


def lower_bound_usd(
    load: TraceLoad,
    supplies: Sequence[Supply],
    *,
    tokens_usd: Floats | None = None,
    realtime_tokens: bool = False,
    tick_s: float = 15.0,
) -> float:
    """Return a lower bound on the simulated cost of any policy of the family that keeps every promise.

    The family: machines start and stop at ticks of the clock, whole ones, as a fixed fleet, a schedule, an autoscaler
    or anything that knows the future decides. Real-time work of one access is served by one kind of replica, on
    machines of any size. Deferrable work runs on any machines, in gaps or on its own, interrupted or not, or is bought
    as tokens. A machine is paid for from the paid part of its start-up until it stops; those of time 0 need no start.

    It assumes of the simulator that fewer requests and more machines break no more promises, and that a replica does
    at most `WORK_MARGIN` more than a saturated one, with as many sequences as are fastest. It knows no cost of any
    arrangement.

    Args:
        load: The requests of one model.
        supplies: Machines that may be rented.
        tokens_usd: Cost of each request at its cheapest token API, infinite where there is none; None if no tokens are
            bought.
        realtime_tokens: Whether real-time requests may be bought as tokens.
        tick_s: Time between the ticks at which machines start and stop.

    Returns:
        The bound; infinity if no supply keeps the promises.
    """
    bought_usd = np.full(len(load), np.inf) if tokens_usd is None else tokens_usd
    bought_usd = np.where(load.deferrable | realtime_tokens, bought_usd, np.inf)
    sample = load.sample(_SATURATION_REQUESTS)
    supplies = [supply.measured(sample) for supply in supplies]
    total_usd = 0.0
    for accesses in independent(load.accesses, [supply.machine.offer for supply in supplies]):
        members = np.isin(load.access, accesses)
        if not members.any():
            continue
        allowed, weight = allowed_violations(load, members)
        part = _Component(
            load=load.select(members),
            supplies=[supply for supply in supplies if permitted(load, supply)[members].any()],
            tokens_usd=bought_usd[members],
            allowed=allowed,
            weight=weight[members],
            tick_s=tick_s,
        )
        total_usd += max(part.hard_usd, part.whole_usd())
    return total_usd * (1 - _ROUNDING)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Component:
    """Requests that share no machine with others.

    Args:
        load: The requests.
        supplies: Machines that some of them may use.
        tokens_usd: Cost of each request as tokens, infinite where it is not bought.
        allowed: Violations that keep the SLO.
        weight: As how many violations one of each request counts.
        tick_s: Time between ticks.
    """

    load: TraceLoad
    supplies: list[Supply]
    tokens_usd: Floats
    allowed: int
    weight: NDArray[np.int64]
    tick_s: float

    @property
    def hard_usd(self) -> float:
        """The least cost of the work alone."""
        return hard_bound_usd(self.load, self.supplies, self.tokens_usd)

    def whole_usd(self) -> float:
        """Return the bound that knows whole machines and the SLO.

        If the requests differ in access, each access is bounded as if it were alone, and the highest bound counts, or
        that of real time alone.
        """
        numbers = tuple(np.unique(self.load.access).tolist())
        if len(numbers) > 1:
            return max(self._parted_usd(numbers), *(self._only(self.load.access == n).whole_usd() for n in numbers))
        if self.load.deferrable.all():
            return self._deferrable_usd()
        if np.isfinite(self.tokens_usd[~self.load.deferrable]).any():
            return 0.0
        return self._realtime_usd()

    def _parted_usd(self, accesses: tuple[int, ...]) -> float:
        """Return the bound of real-time work alone: the least, over the ways to part the accesses, of the parts' sum.

        A part are the accesses that one kind of replica serves, wherever any of them may run; kinds share no machine.
        """
        realtime = ~self.load.deferrable
        buys = bool(np.isfinite(self.tokens_usd[realtime]).any())
        if buys or len(accesses) > _MOST_PARTED or not 0 < np.count_nonzero(realtime) <= _MOST_PARTED_REQUESTS:
            return 0.0
        usd: dict[tuple[int, ...], float] = {}
        for some in {part for parts in partitions(accesses) for part in parts}:
            members = realtime & np.isin(self.load.access, some)
            usd[some] = self._only(members)._realtime_usd() if members.any() else 0.0  # noqa: SLF001 - a part of itself
        return min(sum(usd[part] for part in parts) for parts in partitions(accesses))

    def _only(self, members: Bools) -> "_Component":
        usable = [supply for supply in self.supplies if permitted(self.load, supply)[members].any()]
        return replace(
            self,
            load=self.load.select(members),
            supplies=usable,
            tokens_usd=self.tokens_usd[members],
            weight=self.weight[members],
        )

    def _waiting(self, supplies: Sequence[Supply], kind: Supply | None = None) -> Waiting:
        """Return the requests that may wait, on machines of these supplies or beside real-time work on another."""
        load = self.load.select(self.load.deferrable)
        tokens_usd = self.tokens_usd[self.load.deferrable]
        serves = np.array([~too_slow(load, supply) for supply in supplies])
        pools = [supply.machine.pool(_ONE, realtime=False, backfill=None) for supply in supplies]
        shortest_s = np.min([latency_alone_s(load, pool) for pool in pools], axis=0) / (1 + WORK_MARGIN)
        return Waiting(
            arrived_s=load.arrived_s,
            latest_s=np.maximum(load.deadline_s - shortest_s, load.arrived_s),
            gap_s=kind.work_s(load) if kind else np.zeros(len(load)),
            elsewhere_usd=cheapest_usd(load, supplies, tokens_usd),
            work_usd=np.array([cheapest_usd(load, [supply], tokens_usd) for supply in supplies]),
            start_usd=np.array([supply.startup_paid_s * supply.machine_usd_per_s for supply in supplies]),
            usd_per_s=np.array([supply.machine_usd_per_s for supply in supplies]),
            tokens_usd=tokens_usd,
            alone_s=shortest_s,
            serves=serves | ~serves.any(axis=0),
            billed_s=np.array([supply.machine.offer.minimum_billing_s for supply in supplies]),
            horizon_s=load.span_s,
        )

    def _deferrable_usd(self) -> float:
        """Return the cost of work that may wait: as tokens, on one kind of machine, or on several."""
        choices = [float(self.tokens_usd.sum())]
        for supply in self.supplies:
            waiting = self._waiting([supply])
            if waiting.needs_machine and len(self.supplies) > 1 and too_slow(self.load, supply).any():
                continue  # it serves some of them too late
            choices.append(max(waiting.started_usd(), supply.billed_usd, waiting.alone_usd(self.tick_s)))
        if len(self.supplies) > 1:
            together = self._waiting(self.supplies)
            kinds = 2 if together.needs_machine else 1
            billed_usd = sum(sorted(supply.billed_usd for supply in self.supplies)[:kinds])
            choices.append(max(together.started_usd(), billed_usd, together.alone_usd(self.tick_s)))
        return min(choices)

    def _realtime_usd(self) -> float:
        """Return the bound of real-time work on the best kind of replica, with deferrable work in its gaps."""
        best_usd = math.inf
        kinds: dict[Replica, list[Supply]] = {}
        for supply in self.supplies:
            if supply.realtime:
                kinds.setdefault(supply.machine.profile.replica, []).append(supply)
        realtime = self.load.select(~self.load.deferrable)
        for kind in sorted(kinds.values(), key=lambda kind: kind[0].machine.price_work(realtime)):
            usd = self._any_size_usd(kind, realtime, enough_usd=best_usd)
            outside = too_slow(self.load, kind[0])
            if usd < best_usd and outside.any():
                usd = max(usd, self._apart_usd(kind, realtime, outside, enough_usd=best_usd))
            best_usd = min(best_usd, usd)
        return best_usd

    def _any_size_usd(self, kind: Sequence[Supply], realtime: TraceLoad, *, enough_usd: float) -> float:
        """Return the bound on one kind of replica, by the size with the highest minimum bill that a policy rents.

        It pays that bill at the least, and what it would cost if it might rent every size with no higher one.
        """
        sizes, best_usd = sorted(kind, key=lambda supply: supply.billed_usd), math.inf
        while sizes:
            billed_usd = sizes[-1].billed_usd
            within_usd = self._kind_usd(sizes, realtime, enough_usd=enough_usd)
            best_usd = min(best_usd, max(within_usd, billed_usd))
            if billed_usd <= within_usd:
                break
            sizes = [supply for supply in sizes if supply.billed_usd < billed_usd]
        return best_usd

    def _apart_usd(self, kind: list[Supply], realtime: TraceLoad, outside: Bools, *, enough_usd: float) -> float:
        """Return the bound of real-time work on a kind of replica, plus that of some requests on other kinds."""
        replica = kind[0].machine.profile.replica
        usd = self._only(~self.load.deferrable)._kind_usd(kind, realtime, enough_usd=enough_usd)  # noqa: SLF001 - a part of itself
        others = self._only(outside)
        others = replace(others, supplies=[s for s in others.supplies if s.machine.profile.replica != replica])
        return usd + others._deferrable_usd()  # noqa: SLF001 - likewise

    def _kind_usd(self, kind: list[Supply], realtime: TraceLoad, *, enough_usd: float) -> float:
        """Return the bound on one kind of replica; less is computed once it is enough."""
        work_s = float(kind[0].work_s(realtime).sum())
        usd_per_s = 0.0 if any(supply.held for supply in kind) else min(supply.usd_per_s for supply in kind)
        best_usd = max(min(supply.billed_usd for supply in kind), work_s * usd_per_s)
        many = len(realtime) > _MANY_REQUESTS
        startup_paid_s = min(supply.startup_paid_s for supply in kind)
        for ticks, before in _WINDOWS_OF_MANY if many else _WINDOWS:
            if best_usd >= enough_usd or not is_short(ticks * self.tick_s, before, self.tick_s, startup_paid_s):
                continue
            bound = self.windows(kind, realtime, ticks=ticks, before=before)
            best_usd = max(best_usd, bound.refine(enough_usd))
            sparse = bound.utilization < _SPARSE_UTILIZATION
            if sparse != many:
                break
        if min(supply.machine.offer.minimum_billing_s for supply in kind) > startup_paid_s and not many:
            for time_share in _TIME_SHARES:
                if best_usd < enough_usd:
                    bound = self.windows(kind, realtime, ticks=1, before=0, time_share=time_share)
                    best_usd = max(best_usd, bound.refine(enough_usd))
        return best_usd

    def windows(
        self, kind: list[Supply], realtime: TraceLoad, *, ticks: int, before: int, time_share: float = 1.0
    ) -> RealtimeBound:
        """Return the bound on one kind of replica with windows of some ticks.

        A machine costs at least this share of its time and the rest of its minimum bill:

            max(time, billed) >= time_share time + (1 - time_share) billed
        """
        first, window_s = kind[0], ticks * self.tick_s
        replicas = math.gcd(*(supply.machine.replicas for supply in kind))
        pool = replace(first.machine.pool(_ONE, realtime=True, backfill=None), replicas_per_instance=replicas)
        pool = replace(pool, startup_s=0.0, startup_paid_s=0.0, interruptions=None)
        work_s = first.work_s(realtime)
        waiting = self._waiting(self.supplies, first)
        curves = WindowCurves.of(
            realtime,
            pool,
            work_s,
            window_s=window_s,
            tick_s=self.tick_s,
            before=before,
            weight=self.weight[~self.load.deferrable],
        )
        # A request that finds no machine rents one, if none is starting already.
        served_by_s = realtime.arrived_s + max(supply.machine.startup_s for supply in kind) + self.tick_s
        windows = int(max(served_by_s[-1], waiting.windows_end_s) / window_s) + before + 2
        until = idle_until(realtime.arrived_s, served_by_s, window_s, windows)
        if any(supply.machine.interruptions for supply in kind):
            until = np.full(windows, windows, np.int64)  # the provider may have none to rent
        billed_s = min(supply.machine.offer.minimum_billing_s for supply in kind)
        return RealtimeBound(
            curves=curves,
            paid=PathCost.of(
                windows,
                window_s=window_s,
                before=before,
                tick_s=self.tick_s,
                horizon_s=self.load.span_s,
                startup_paid_s=min(supply.startup_paid_s for supply in kind),
                billed_s=billed_s,
            ).billed((1 - time_share) / time_share * billed_s),
            rest_s=curves.rest_s(windows, self.load.span_s),
            covers=[
                Cover(
                    idle_until=until,
                    elsewhere=np.full((2, windows), np.inf),
                    work_share=1.0,
                    work_usd=waiting.elsewhere_usd,
                ),
                *(cover.joined(until) for cover in waiting.covers(windows, window_s, self.tick_s)),
            ],
            usd_per_s=min(supply.usd_per_s for supply in kind) * replicas * time_share,
            held=sum(supply.held * supply.machine.replicas for supply in kind) // replicas,
            allowed=self.allowed,
            waiting=waiting,
            realtime_s=float(work_s.sum()),
        )


def realtime_bound(load: TraceLoad, machine: CandidateMachine, tick_s: float) -> RealtimeBound:
    """Return the bound of requests in real time on one kind of machine, with windows of a tick."""
    allowed, weight = allowed_violations(load, np.ones(len(load), np.bool_))
    supply = Supply(machine=machine)
    component = _Component(
        load=load,
        supplies=[supply],
        tokens_usd=np.full(len(load), np.inf),
        allowed=allowed,
        weight=weight,
        tick_s=tick_s,
    )
    return component.windows([supply], load, ticks=1, before=0)
