"""Carries a plan out by the clock: when work goes where, and which engines run.

Urgency stays above the plan: work waits for its slot for as long as its deadline allows, and what nobody planned for
goes where there is room, as without a plan.
"""

import asyncio
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from meritorder.gateway.errors import UnavailableError
from meritorder.gateway.state.metrics import Gauge
from meritorder.gateway.state.request import Deferral
from meritorder.gateway.store.keys import Key
from meritorder.gateway.store.requests import QueuedRequests
from meritorder.gateway.venues.engines import Engine, EngineState
from meritorder.gateway.venues.plan import PlanInForce, PlannedPool, PlannedRoute, PlannedRule, PlannedWorkload
from meritorder.gateway.venues.venues import Venue, Venues
from meritorder.gateway.wire.calls import CallFields
from meritorder.planfile import PoolSchedule
from meritorder.policy.backfill import backfill_sequences
from meritorder.policy.schedule import pick_share, remaining_quota, scheduled_machines, spread_evenly
from meritorder.units import format_duration, utc

_LOOK_S: Final = 0.25
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DispatchTarget:
    """A venue whose turn it is, how many requests it may take, and whether the plan uses it now."""

    venue: Venue
    max_requests: float
    planned: bool


class PlanExecutor:
    """The plan at work. Without a plan everything is as it would be without this.

    Args:
        plan: What is to be carried out.
        venues: Where requests run.
        now_s: The clock: epoch seconds.
    """

    def __init__(self, plan: PlanInForce, venues: Venues, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._venues = {venue.name: venue for venue in venues.all}
        self._numbers: Counter[str] = Counter()
        self._acting: dict[str, asyncio.Task[None]] = {}
        self._take(plan)

    def _take(self, plan: PlanInForce) -> None:
        self._plan = plan
        self._calendar = plan.calendar
        self._pool_of = {name: pool for pool in plan.pools for name in pool.venues}
        self._slot = -1
        self._released: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._next: dict[str, tuple[int, float]] = {}

    def replace_plan(self, plan: PlanInForce) -> None:
        """Execute another plan from now on."""
        self._take(plan)
        self._say_what()

    def deferral(self, call: CallFields, key: Key, now_s: float) -> Deferral | None:
        """Return until when a call can wait, by the workloads that were declared to the planner."""
        model = call.model or ""
        for rule in self._plan.rules if model in self._plan.deferrable else ():
            if rule.takes(model, key.tenant):
                due_s = rule.due_s(now_s) if rule.deferrable else None
                return None if due_s is None else Deferral(deadline_s=due_s, workload=rule.name)
        return None

    def realtime_venues(self, model: str, tenant: str, venues: Sequence[Venue]) -> Sequence[Venue]:
        """Return the venues in the order in which a real-time request tries them.

        Tokens are bought for their share of the requests; the others go where a replica has the fewest, as in the
        simulator. What the plan does not use now comes last, so that nobody is turned away for the plan's sake; where
        a declared workload may not run, it never goes.
        """
        rule = self._plan.rule_of(model, tenant)
        venues = self._permitted(rule, venues)
        ways = self._plan.realtime.get(model, {}).get(rule.name if rule and rule.is_limited else "")
        if not ways:
            return venues
        slot = self._calendar.slot_at(self._now_s())
        used = [way for way in ways if way.shares[slot] > 0]
        bought = [way for way in used if way.pool is None]
        ours = sorted(self._those(way for way in used if way.pool), key=lambda venue: self._load(venue, slot))
        order = [*ours, *self._those(bought)]
        if bought:
            self._numbers[model] += 1
            shares = [way.shares[slot] for way in bought]
            chosen = pick_share(spread_evenly(self._numbers[model]), [*shares, 1 - sum(shares)])
            if chosen < len(bought):
                order = [*self._those(bought[chosen : chosen + 1]), *order]
        serving = {venue.name: venue for venue in venues}
        names = dict.fromkeys(each.name for each in (*order, *self._running_first(venues, slot)))
        return [serving[name] for name in names if name in serving]

    def deferrable_targets(
        self, work: QueuedRequests, venues: Sequence[Venue], until_s: float, now_s: float
    ) -> list[DispatchTarget]:
        """Return whose turn it is to take work that can wait, first machines of its own, then the gaps of real time.

        Args:
            work: The work.
            venues: Those that serve it, in merit order.
            until_s: Until when it may wait for the plan.
            now_s: Epoch seconds.
        """
        venues = self._permitted(self._plan.rule_of(work.model, work.tenant), venues)
        workload = self._workload_of(work)
        if workload is None:
            return [DispatchTarget(venue, math.inf, planned=False) for venue in venues]
        slot = self._calendar.slot_at(now_s)
        held = now_s < until_s
        used = [way for way in workload.ways if way.shares[slot] > 0]
        used.sort(key=lambda way: (way.pool is None, way.pool is not None and way.pool.realtime[slot]))
        turns = {}
        for way in used:
            for venue in self._those([way]):
                most = self._quota(workload, way, slot) if way.pool is None and held else math.inf
                # What a batch API takes goes there in chunks: see `outsource`.
                by_request = venue.batches is None or work.batch_seq is None
                turns[venue.name] = DispatchTarget(venue, most, planned=by_request)
        left = [] if held else self._running_first(venues, slot)
        others = [DispatchTarget(each, math.inf, planned=False) for each in left if each.name not in turns]
        serving = {venue.name for venue in venues}
        return [*(turn for name, turn in turns.items() if name in serving), *others]

    def next_slot_s(self, work: QueuedRequests, now_s: float) -> float:
        """Return when the next slot begins in which the plan has work go anywhere; infinite if none does."""
        workload = self._workload_of(work)
        if workload is None:
            return math.inf
        slot = self._calendar.slot_at(now_s)
        known_slot, begins_s = self._next.get(workload.name, (-1, math.inf))
        if known_slot != slot or begins_s <= now_s:
            used = [any(way.shares[each] > 0 for way in workload.ways) for each in range(self._calendar.active_slots)]
            begins_s = self._calendar.next_start_s(now_s, used)
            self._next[workload.name] = slot, begins_s
        return begins_s

    def permits(self, work: QueuedRequests, venue: Venue) -> bool:
        """Whether work may run at a venue."""
        rule = self._plan.rule_of(work.model, work.tenant)
        return rule is None or self._plan.permits(rule, venue.name)

    def provider_batch_quota(self, work: QueuedRequests, venue: Venue, now_s: float) -> int:
        """Return how many requests of a batch the plan sends to a batch API in this slot."""
        workload = self._workload_of(work)
        slot = self._calendar.slot_at(now_s)
        for way in workload.ways if workload else ():
            if venue.name in way.venues and way.shares[slot] > 0:
                self._count(slot)
                released = self._released[workload.name]  # type: ignore[union-attr]
                wanted = way.shares[slot] * (released.total() + work.count) - _taken(released, way)
                return max(0, min(work.count, round(wanted)))
        return 0

    def record_dispatch(self, work: QueuedRequests, venue: Venue, requests: int) -> None:
        """Note that requests were released to a venue."""
        workload = self._workload_of(work) if requests else None
        if workload is not None:
            self._count(self._calendar.slot_at(self._now_s()))
            self._released[workload.name][venue.name] += requests

    def max_backfill(self, venue: Venue) -> float:
        """Return how many deferrable requests may join a venue that serves real time, as far as the plan limits it."""
        pool = self._pool_of.get(venue.name)
        if pool is None or not pool.used.max_num_seqs:
            return math.inf
        slot = self._calendar.slot_at(self._now_s())
        if not pool.realtime[slot]:
            return math.inf
        share = pool.used.backfill_shares[slot] if pool.used.backfill_shares else 1.0
        limits = pool.used.backfill.scaled(share)
        if venue.load is not None and (venue.load.kv_cache_share or 0.0) > limits.kv_share:
            return 0
        cap = round(limits.sequences * self._replicas(pool, slot))
        return backfill_sequences(venue.realtime + len(venue.deferrable), 0, cap)

    def startup_s(self, venues: Sequence[Venue]) -> float:
        """Return how long it takes until one of some venues serves: nothing if one is ready."""
        if not self._plan.file or any(each.engine is None or each.engine.state is EngineState.READY for each in venues):
            return 0.0
        pools = (self._pool_of.get(each.name) for each in venues)
        return min((pool.used.startup_s for pool in pools if pool is not None), default=0.0)

    async def run(self) -> None:
        """Start and stop engines as scheduled, until cancelled."""
        if not self._plan.file:
            return
        self._say_what()
        try:
            while True:
                now_s = self._now_s()
                for pool in self._plan.pools:
                    self._drive(pool.venues, self._wanted(pool, pool.machines, now_s))
                # Such as those of a pool that the plan before had.
                self._drive([name for name in self._venues if name not in self._pool_of], 0)
                await asyncio.sleep(min(_LOOK_S, self._calendar.slot_s / 4))
        finally:
            for task in self._acting.values():
                task.cancel()

    def status(self) -> dict[str, Any] | None:
        """Return where the plan is, and what it wants now and next; None if there is none."""
        if not self._plan.file:
            return None
        now_s = self._now_s()
        return {
            "file": self._plan.file,
            "slot": self._calendar.slot_at(now_s),
            "slots": self._calendar.active_slots,
            "next_slot_at": round(now_s + self._calendar.remaining_s(now_s), 3),
            "repeats_every_s": self._calendar.period_s,
            "pools": [self._pool_status(pool, one, now_s) for pool in self._plan.pools for one in pool.schedules],
        }

    def gauges(self) -> list[Gauge]:
        """Return what an autoscaler follows."""
        now_s, labels = self._now_s(), ("pool", "payment")
        found = [
            (pool, one, self._pool_status(pool, one, now_s)) for pool in self._plan.pools for one in pool.schedules
        ]
        return [
            (name, what, labels, [((pool.used.name, one.payment), float(told[field])) for pool, one, told in found])
            for name, what, field in (
                ("meritorder_plan_replicas", "Replicas that the plan wants now, start-up ahead.", "replicas"),
                ("meritorder_plan_replicas_next", "Replicas that it wants in the next slot.", "replicas_next"),
                ("meritorder_plan_machines", "Machines that the plan wants now, start-up ahead.", "machines"),
            )
            if self._plan.file
        ]

    def _say_what(self) -> None:
        calendar = self._calendar
        now_s = self._now_s()
        _log.info(
            "carrying out %s: %d slots of %s, again every %s; the first of this round began at %s, now it is slot %d",
            self._plan.file,
            calendar.active_slots,
            format_duration(calendar.slot_s),
            format_duration(calendar.period_s),
            f"{utc(now_s - calendar.elapsed_s(now_s)):%Y-%m-%dT%H:%M:%SZ}",
            calendar.slot_at(now_s),
        )

    def _pool_status(self, pool: PlannedPool, one: PoolSchedule, now_s: float) -> dict[str, Any]:
        now, after = self._wanted(pool, one.machines, now_s), self._calendar.slot_at(now_s) + 1
        later = one.machines[after % self._calendar.active_slots]
        return {
            "pool": pool.used.name,
            "payment": one.payment,
            "venues": list(pool.venues),
            "machines": now,
            "machines_next": later,
            "replicas": now * pool.used.replicas,
            "replicas_next": later * pool.used.replicas,
        }

    def _wanted(self, pool: PlannedPool, machines: Sequence[int], now_s: float) -> int:
        """Return the machines that must be held now, so that those of each slot serve when it begins."""
        return scheduled_machines(
            machines[: self._calendar.active_slots], *self._calendar.slots_within(now_s, pool.used.startup_s)
        )

    def _drive(self, venues: Iterable[str], machines: int) -> None:
        """Start and stop the engines of a pool: the first is a machine, the second another."""
        engines = [engine for name in venues if (engine := self._venues[name].engine) is not None]
        for number, engine in enumerate(engines):
            if engine.name in self._acting:
                continue
            if number < machines:
                engine.keep = True
                if engine.state is EngineState.STOPPED:
                    self._act(engine, _start(engine))
            elif engine.keep and engine.in_flight == 0:
                # What runs may end; what somebody needs it for later, it is started for anew.
                engine.keep = False
                self._act(engine, engine.stop())

    def _act(self, engine: Engine, action: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(action)
        self._acting[engine.name] = task
        task.add_done_callback(lambda _: self._acting.pop(engine.name, None))

    def _permitted(self, rule: PlannedRule | None, venues: Sequence[Venue]) -> Sequence[Venue]:
        if rule is None or not rule.is_limited:
            return venues
        return [venue for venue in venues if self._plan.permits(rule, venue.name)]

    def _those(self, ways: Iterable[PlannedRoute]) -> list[Venue]:
        return [self._venues[name] for way in ways for name in way.venues]

    def _running_first(self, venues: Sequence[Venue], slot: int) -> list[Venue]:
        """Return venues in their order, but last those whose machines the plan has off."""

        def is_off(venue: Venue) -> bool:
            pool = self._pool_of.get(venue.name)
            return pool is not None and not pool.machines[slot]

        return sorted(venues, key=is_off)

    def _replicas(self, pool: PlannedPool, slot: int) -> float:
        """Return the replicas behind each of a pool's venues."""
        return pool.machines[slot] * pool.used.replicas / len(pool.venues)

    def _load(self, venue: Venue, slot: int) -> float:
        return (venue.realtime + len(venue.deferrable)) / max(1.0, self._replicas(self._pool_of[venue.name], slot))

    def _quota(self, workload: PlannedWorkload, way: PlannedRoute, slot: int) -> float:
        self._count(slot)
        released = self._released[workload.name]
        return remaining_quota(way.shares[slot], _taken(released, way), released.total())

    def _count(self, slot: int) -> None:
        """Begin to count anew in a new slot."""
        if slot != self._slot:
            self._slot = slot
            self._released.clear()

    def _workload_of(self, work: QueuedRequests) -> PlannedWorkload | None:
        """Return what the plan takes work for: by its name, else by its model and tenant, and by its patience."""
        known = self._plan.deferrable.get(work.model)
        if not known:
            return None
        rule = self._plan.rule_of(work.model, work.tenant)
        name = work.workload or (rule.name if rule else None)
        those = [each for each in known if each.declared == name] or known
        patience_s = work.deadline_s - work.arrived_s
        return max(those, key=lambda each: (each.patience_s <= patience_s, _closeness(each, patience_s)))


def _closeness(workload: PlannedWorkload, patience_s: float) -> float:
    return -abs(workload.patience_s - patience_s)


def _taken(released: Counter[str], way: PlannedRoute) -> int:
    return sum(released[name] for name in way.venues)


async def _start(engine: Engine) -> None:
    try:
        await engine.start()
    except UnavailableError as error:
        if error.retry_after_s is None:  # else it is only too soon to try again
            _log.warning("%s is wanted by the plan, and does not run: %s", engine.name, error)
        await asyncio.sleep(error.retry_after_s or _LOOK_S)
