"""Executes a plan by the clock: which venue takes which work now, and which engines run.

Urgency outranks the plan: deferrable work waits for its slot only as long as its deadline allows. Work that the plan
does not know goes wherever there is capacity, as it would without a plan.
"""

import asyncio
import contextlib
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from meritorder.gateway.errors import StoreUnavailableError, UnavailableError
from meritorder.gateway.state.metrics import Gauge
from meritorder.gateway.state.request import Deferral
from meritorder.gateway.store.keys import Key
from meritorder.gateway.store.queue.backlog import QueuedRequests
from meritorder.gateway.venues.engines import Engine, EngineState
from meritorder.gateway.venues.plans.in_force import (
    PlanInForce,
    PlannedPool,
    PlannedRoute,
    PlannedRule,
    PlannedWorkload,
)
from meritorder.gateway.venues.plans.machines import PolicyMachines, machines_of
from meritorder.gateway.venues.plans.status import plan_gauges, plan_status
from meritorder.gateway.venues.venues import Venue, Venues
from meritorder.gateway.wire.calls import CallFields
from meritorder.policy.backfill import backfill_sequences
from meritorder.policy.schedule import pick_share, remaining_quota, spread_evenly
from meritorder.units import format_duration, utc

_ROUND_S: Final = 0.25
_BACKLOG_S: Final = 2.0
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DispatchTarget:
    """A venue that may take deferrable work now.

    Args:
        venue: The venue.
        max_requests: Most requests that it may take; infinite for no limit.
        planned: Whether the plan uses it in this slot.
    """

    venue: Venue
    max_requests: float
    planned: bool


class PlanExecutor:
    """Answers what the plan calls for now, and starts and stops engines accordingly.

    Args:
        plan: The plan; `NO_PLAN` leaves everything to capacity and urgency.
        venues: Where requests run.
        now_s: The clock: epoch seconds.
        queue: Reads the queued work, for which a policy may start machines.
    """

    def __init__(
        self,
        plan: PlanInForce,
        venues: Venues,
        now_s: Callable[[], float],
        queue: Callable[[], Awaitable[Sequence[QueuedRequests]]],
    ) -> None:
        self._now_s = now_s
        self._queue = queue
        self._venues = {venue.name: venue for venue in venues.all}
        self._request_numbers: Counter[str] = Counter()
        self._engine_tasks: dict[str, asyncio.Task[None]] = {}
        self._machines = machines_of(plan, self._venues)
        self._set_plan(plan)

    def _set_plan(self, plan: PlanInForce) -> None:
        self._plan = plan
        self._calendar = plan.calendar
        self._machines = machines_of(plan, self._venues, self._machines)
        self._pool_of = {name: pool for pool in plan.pools for name in pool.venues}
        self._slot = -1
        self._dispatched: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._next_slots: dict[str, tuple[int, float]] = {}

    def replace_plan(self, plan: PlanInForce) -> None:
        """Execute another plan from now on."""
        self._set_plan(plan)
        self._log_plan()

    def deferral(self, call: CallFields, key: Key, now_s: float) -> Deferral | None:
        """Return the deadline of a call that belongs to a deferrable workload of the plan; None if it does not."""
        model = call.model or ""
        for rule in self._plan.rules if model in self._plan.deferrable else ():
            if rule.matches(model, key.tenant):
                due_s = rule.due_s(now_s) if rule.deferrable else None
                return None if due_s is None else Deferral(deadline_s=due_s, workload=rule.name)
        return None

    def realtime_venues(self, model: str, tenant: str, venues: Sequence[Venue]) -> Sequence[Venue]:
        """Return the venues in the order in which a real-time request tries them.

        Token APIs get their planned share of the requests; the rest goes to the replica with the fewest requests, as in
        the simulator. Venues that the plan does not use now come last, so that no request fails because of the plan. A
        restricted workload never goes where it may not run.
        """
        rule = self._plan.find_rule(model, tenant)
        venues = self._permitted(rule, venues)
        routes = self._plan.realtime.get(model, {}).get(rule.name if rule and rule.is_restricted else "")
        if not routes:
            return venues
        now_s = self._now_s()
        slot = self._calendar.slot_at(now_s)
        active = self._active(routes, now_s)
        apis = [route for route in active if route.pool is None]
        own = self._venues_of(route for route in active if route.pool)
        own.sort(key=lambda venue: (_readiness(venue), self._load(venue, now_s)))
        order = [*own, *self._venues_of(apis)]
        if apis:
            self._request_numbers[model] += 1
            shares = [route.shares[slot] for route in apis]
            index = pick_share(spread_evenly(self._request_numbers[model]), [*shares, 1 - sum(shares)])
            if index < len(apis):
                order = [*self._venues_of([apis[index]]), *order]
        serving = {venue.name: venue for venue in venues}
        names = dict.fromkeys(venue.name for venue in (*order, *self._running_first(venues, now_s)))
        return [serving[name] for name in names if name in serving]

    def deferrable_targets(
        self, work: QueuedRequests, venues: Sequence[Venue], plan_wait_s: float, now_s: float
    ) -> list[DispatchTarget]:
        """Return the venues that may take deferrable work now: pools of its own first, then backfill, then APIs.

        Args:
            work: The work.
            venues: The venues that serve it, in merit order.
            plan_wait_s: Until when it may wait for its slot of the plan, epoch seconds.
            now_s: Epoch seconds.
        """
        venues = self._permitted(self._plan.find_rule(work.model, work.tenant), venues)
        workload = self._workload_of(work)
        if workload is None:
            return [DispatchTarget(venue, math.inf, planned=False) for venue in venues]
        slot = self._calendar.slot_at(now_s)
        may_wait = now_s < plan_wait_s
        active = self._active(workload.routes, now_s)
        active.sort(key=lambda route: (route.pool is None, self._serves_realtime(route.pool, now_s)))
        targets = {}
        for route in active:
            for venue in filter(_runs, self._venues_of([route])):
                quota = self._quota(workload, route, slot) if route.pool is None and may_wait else math.inf
                # Requests of a batch go to a batch API as provider batches, not one by one.
                one_by_one = venue.batches is None or work.batch_seq is None
                targets[venue.name] = DispatchTarget(venue, quota, planned=one_by_one)
        others = [] if may_wait else self._running_first(venues, now_s)
        unplanned = [DispatchTarget(venue, math.inf, planned=False) for venue in others if venue.name not in targets]
        serving = {venue.name for venue in venues}
        return [*(target for name, target in targets.items() if name in serving), *unplanned]

    def next_slot_s(self, work: QueuedRequests, now_s: float) -> float:
        """Return when the next slot starts in which the plan runs this work; infinite if there is none."""
        workload = self._workload_of(work)
        if workload is None:
            return math.inf
        slot = self._calendar.slot_at(now_s)
        cached_slot, start_s = self._next_slots.get(workload.name, (-1, math.inf))
        if cached_slot != slot or start_s <= now_s:
            active = [
                any(route.shares[index] > 0 for route in workload.routes)
                for index in range(self._calendar.active_slots)
            ]
            start_s = self._calendar.next_start_s(now_s, active)
            self._next_slots[workload.name] = slot, start_s
        return start_s

    def permits(self, work: QueuedRequests, venue: Venue) -> bool:
        """Tell whether work may run at a venue."""
        rule = self._plan.find_rule(work.model, work.tenant)
        return rule is None or self._plan.permits(rule, venue.name)

    def provider_batch_quota(self, work: QueuedRequests, venue: Venue, now_s: float) -> int:
        """Return how many requests of a batch the plan sends to a venue's batch API in this slot."""
        workload = self._workload_of(work)
        if workload is None:
            return 0
        slot = self._calendar.slot_at(now_s)
        for route in workload.routes:
            if venue.name in route.venues and route.shares[slot] > 0:
                self._reset_counts(slot)
                dispatched = self._dispatched[workload.name]
                missing = route.shares[slot] * (dispatched.total() + work.count) - _dispatched_on(dispatched, route)
                return max(0, min(work.count, round(missing)))
        return 0

    def record_dispatch(self, work: QueuedRequests, venue: Venue, requests: int) -> None:
        """Count requests that were dispatched to a venue."""
        workload = self._workload_of(work) if requests else None
        if workload is not None:
            self._reset_counts(self._calendar.slot_at(self._now_s()))
            self._dispatched[workload.name][venue.name] += requests

    def max_backfill(self, venue: Venue) -> float:
        """Return how many deferrable requests may join real-time work at a venue, as the plan limits it."""
        pool = self._pool_of.get(venue.name)
        if pool is None or not pool.spec.max_num_seqs:
            return math.inf
        now_s = self._now_s()
        if not self._machines.serves_realtime(pool, now_s):
            return math.inf
        limits = self._machines.backfill(pool, now_s)
        if venue.load is not None and (venue.load.kv_cache_share or 0.0) > limits.kv_share:
            return 0
        cap = round(self._machines.sequences(pool, now_s) / len(pool.venues))
        return backfill_sequences(venue.realtime + len(venue.deferrable), 0, cap)

    def startup_s(self, venues: Sequence[Venue]) -> float:
        """Return the time until the first of some venues is ready; zero if one is."""
        if not self._plan.file or any(
            venue.engine is None or venue.engine.state is EngineState.READY for venue in venues
        ):
            return 0.0
        pools = (self._pool_of.get(venue.name) for venue in venues)
        return min((pool.spec.startup_s for pool in pools if pool is not None), default=0.0)

    async def run(self) -> None:
        """Start and stop engines as the plan has it, until cancelled."""
        if not self._plan.file:
            return
        self._log_plan()
        reading = asyncio.create_task(self._keep_reading())
        try:
            while True:
                self.observe()
                now_s = self._now_s()
                for pool in self._plan.pools:
                    self._scale(pool.venues, self._machines.wanted(pool, now_s))
                # Engines outside the plan, such as those of a pool in the previous plan.
                self._scale([name for name in self._venues if name not in self._pool_of], 0)
                await asyncio.sleep(min(_ROUND_S, self._calendar.slot_s / 4))
        finally:
            for task in (reading, *self._engine_tasks.values()):
                task.cancel()

    def observe(self) -> None:
        """Let a policy see the load of now, and decide on its machines."""
        self._machines.observe(self._now_s())

    async def read_backlog(self) -> None:
        """Read the queued work, if a policy needs it."""
        if isinstance(self._machines, PolicyMachines) and self._machines.needs_backlog:
            with contextlib.suppress(StoreUnavailableError):  # `meritorder_store_up` reports it
                self._machines.backlog = await self._queue()

    async def _keep_reading(self) -> None:
        while True:
            await self.read_backlog()
            await asyncio.sleep(_BACKLOG_S)

    def status(self) -> dict[str, Any] | None:
        """Return the current slot and the machines wanted now and next; None without a plan."""
        return plan_status(self._plan, self._machines, self._now_s())

    def gauges(self) -> list[Gauge]:
        """Return the replicas and machines that the plan wants, for an autoscaler to follow."""
        return plan_gauges(self._plan, self._machines, self._now_s())

    def _log_plan(self) -> None:
        calendar = self._calendar
        now_s = self._now_s()
        _log.info(
            "executing the plan %s: %d slots of %s, repeated every %s; this period began at %s, now it is slot %d",
            self._plan.file,
            calendar.active_slots,
            format_duration(calendar.slot_s),
            format_duration(calendar.period_s),
            f"{utc(now_s - calendar.elapsed_s(now_s)):%Y-%m-%dT%H:%M:%SZ}",
            calendar.slot_at(now_s),
        )

    def _scale(self, venues: Iterable[str], machines: int) -> None:
        """Start and stop the engines of a pool, each of which counts as one machine."""
        engines = [engine for name in venues if (engine := self._venues[name].engine) is not None]
        for number, engine in enumerate(engines):
            if engine.name in self._engine_tasks:
                continue
            if number < machines:
                engine.keep_running = True
                if engine.state is EngineState.STOPPED:
                    self._run_task(engine, _start(engine))
            elif engine.keep_running and engine.in_flight == 0:
                # A request that needs it later starts it again.
                engine.keep_running = False
                self._run_task(engine, engine.stop())

    def _run_task(self, engine: Engine, action: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(action)
        self._engine_tasks[engine.name] = task
        task.add_done_callback(lambda _: self._engine_tasks.pop(engine.name, None))

    def _permitted(self, rule: PlannedRule | None, venues: Sequence[Venue]) -> Sequence[Venue]:
        if rule is None or not rule.is_restricted:
            return venues
        return [venue for venue in venues if self._plan.permits(rule, venue.name)]

    def _venues_of(self, routes: Iterable[PlannedRoute]) -> list[Venue]:
        return [self._venues[name] for route in routes for name in route.venues]

    def _active(self, routes: Iterable[PlannedRoute], now_s: float) -> list[PlannedRoute]:
        """Return the routes that the plan uses in this slot and whose machines run."""
        slot = self._calendar.slot_at(now_s)
        return [
            route
            for route in routes
            if route.shares[slot] > 0 and (route.pool is None or self._machines.serving(route.pool, now_s))
        ]

    def _serves_realtime(self, pool: PlannedPool | None, now_s: float) -> bool:
        return pool is not None and self._machines.serves_realtime(pool, now_s)

    def _running_first(self, venues: Sequence[Venue], now_s: float) -> list[Venue]:
        """Return venues in their order, but those last whose machines are off by the plan."""

        def is_off(venue: Venue) -> bool:
            pool = self._pool_of.get(venue.name)
            return pool is not None and not (self._machines.serving(pool, now_s) and _runs(venue))

        return sorted(venues, key=is_off)

    def _load(self, venue: Venue, now_s: float) -> float:
        """Return the requests at a venue, for each of the replicas behind it."""
        pool = self._pool_of[venue.name]
        replicas = self._machines.serving(pool, now_s) * pool.spec.replicas / len(pool.venues)
        return (venue.realtime + len(venue.deferrable)) / max(1.0, replicas)

    def _quota(self, workload: PlannedWorkload, route: PlannedRoute, slot: int) -> float:
        self._reset_counts(slot)
        dispatched = self._dispatched[workload.name]
        return remaining_quota(route.shares[slot], _dispatched_on(dispatched, route), dispatched.total())

    def _reset_counts(self, slot: int) -> None:
        """Start the counts of dispatched requests anew in each slot."""
        if slot != self._slot:
            self._slot = slot
            self._dispatched.clear()

    def _workload_of(self, work: QueuedRequests) -> PlannedWorkload | None:
        """Return the workload of the plan that work belongs to, by name, else by model and tenant, and by patience."""
        workloads = self._plan.deferrable.get(work.model)
        if not workloads:
            return None
        rule = self._plan.find_rule(work.model, work.tenant)
        name = work.workload or (rule.name if rule else None)
        candidates = [workload for workload in workloads if workload.declared == name] or workloads
        patience_s = work.deadline_s - work.arrived_s
        return max(
            candidates,
            key=lambda workload: (workload.patience_s <= patience_s, -abs(workload.patience_s - patience_s)),
        )


def _readiness(venue: Venue) -> int:
    """Return how far a venue is from serving: an engine that is ready comes before one that starts."""
    if venue.engine is None or venue.engine.state is EngineState.READY:
        return 0
    return 1 if venue.engine.state is EngineState.STARTING else 2


def _runs(venue: Venue) -> bool:
    """Tell whether a venue serves now or is one of the machines that the plan wants now."""
    return _readiness(venue) == 0 or (venue.engine is not None and venue.engine.keep_running)


def _dispatched_on(dispatched: Counter[str], route: PlannedRoute) -> int:
    return sum(dispatched[name] for name in route.venues)


async def _start(engine: Engine) -> None:
    try:
        await engine.start()
    except UnavailableError as error:
        if error.retry_after_s is None:  # else it is only too early to try again
            _log.warning("%s is scheduled by the plan but does not start: %s", engine.name, error)
        await asyncio.sleep(error.retry_after_s or _ROUND_S)
