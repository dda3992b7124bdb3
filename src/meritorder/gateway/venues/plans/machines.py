"""How many machines of each pool run now: as the plan's schedule has them, or as its policy decides."""

import math
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from msgspec import structs

from meritorder.domain import BackfillLimits
from meritorder.gateway.config import DEFERRABLE
from meritorder.gateway.store.queue.backlog import QueuedRequests
from meritorder.gateway.venues.plans.in_force import PlanInForce, PlannedPool, PlannedRow
from meritorder.gateway.venues.venues import Venue
from meritorder.policy.replicas import (
    DECISION_S,
    first_replica_is_due,
    machines_above_floor,
    machines_for_concurrency,
    recommendations_kept,
    replicas_for_deadline,
)
from meritorder.policy.schedule import Calendar, scheduled_machines
from meritorder.records.planfile import PREPAID
from meritorder.records.planpolicy import ReactiveRule
from meritorder.units import SECONDS_PER_HOUR

_Row = tuple[str, str]
"""A pool and a payment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineCount:
    """Machines of a pool under one payment.

    Args:
        wanted: Machines that run or start now, those for a later slot included.
        next_slot: Machines of the next slot; under a policy the fewest.
        by_rule: Machines that each rule of the policy asks for; empty without a policy.
        above_floor_usd: Cost of the machines above the floor since the plan took effect; None without a policy.
    """

    wanted: int
    next_slot: int
    by_rule: Mapping[str, int] = field(default_factory=dict)
    above_floor_usd: float | None = None


class ScheduledMachines:
    """Machines by the schedule of the plan.

    Args:
        plan: The plan.
    """

    def __init__(self, plan: PlanInForce) -> None:
        self._calendar = plan.calendar

    def observe(self, now_s: float) -> None:
        """Do nothing: a schedule knows no load."""

    def count(self, pool: PlannedPool, row: PlannedRow, now_s: float) -> MachineCount:
        """Return the machines of a pool under one payment."""
        machines, calendar = row.schedule.machines, self._calendar
        return MachineCount(
            wanted=scheduled_machines(
                machines[: calendar.active_slots], *calendar.slots_within(now_s, pool.spec.startup_s)
            ),
            next_slot=machines[(calendar.slot_at(now_s) + 1) % calendar.active_slots],
        )

    def wanted(self, pool: PlannedPool, now_s: float) -> int:
        """Return the machines that must run now, so that those of each slot are ready when it starts."""
        slots = self._calendar.slots_within(now_s, pool.spec.startup_s)
        return scheduled_machines(pool.machines[: self._calendar.active_slots], *slots)

    def serving(self, pool: PlannedPool, now_s: float) -> int:
        """Return the machines of the current slot."""
        return pool.machines[self._calendar.slot_at(now_s)]

    def serves_realtime(self, pool: PlannedPool, now_s: float) -> bool:
        """Tell whether some of them serve real-time requests."""
        return pool.realtime[self._calendar.slot_at(now_s)]

    def backfill(self, pool: PlannedPool, now_s: float) -> BackfillLimits:
        """Return the limits on deferrable work beside real-time work."""
        return pool.backfill[self._calendar.slot_at(now_s)]

    def sequences(self, pool: PlannedPool, now_s: float) -> float:
        """Return up to how many sequences of a pool deferrable work may join."""
        return self.backfill(pool, now_s).sequences * self.serving(pool, now_s) * pool.spec.replicas


@dataclass(frozen=True, slots=True)
class PolicyMemory:
    """What a policy has decided, by pool and payment; it is kept when the plan is replaced.

    Args:
        recommended: Machines that the real-time load asked for, at the last decisions.
        ready_s: When each machine that runs for the backlog is ready, epoch seconds.
    """

    recommended: dict[_Row, deque[int]] = field(default_factory=dict)
    ready_s: dict[_Row, list[float]] = field(default_factory=dict)


class PolicyMachines:
    """Machines by the policy of the plan: a floor by slot, more for real-time load, and more for deadlines.

    Args:
        plan: The plan.
        calendar: The slots of the policy's floor.
        venues: The venues by name.
        memory: What the policy in force until now has decided.
    """

    def __init__(
        self, plan: PlanInForce, calendar: Calendar, venues: Mapping[str, Venue], memory: PolicyMemory | None = None
    ) -> None:
        self._plan = plan
        self._calendar = calendar
        self._venues = venues
        self.memory = memory or PolicyMemory()
        self.backlog: Sequence[QueuedRequests] = ()
        self._seen_s: float | None = None
        self._decided_s = -math.inf
        self._in_flight_s: defaultdict[str, float] = defaultdict(float)  # by pool, since the last decision
        self._above_floor_usd: defaultdict[_Row, float] = defaultdict(float)

    @property
    def needs_backlog(self) -> bool:
        """Whether the backlog starts machines."""
        return any(row.rules.backlog for pool in self._plan.pools for row in pool.rows)

    def observe(self, now_s: float) -> None:
        """Count the requests in flight, and decide anew once in a while."""
        elapsed_s = 0.0 if self._seen_s is None else max(0.0, now_s - self._seen_s)
        self._seen_s = now_s
        for pool in self._plan.pools:
            venues = [self._venues[name] for name in pool.venues]
            in_flight = sum(venue.realtime + venue.realtime_elsewhere for venue in venues)
            self._in_flight_s[pool.spec.name] += in_flight * elapsed_s
            for row in pool.rows:
                self._above_floor_usd[row.name] += self._usd_above_floor(pool, row, now_s) * elapsed_s
        since_s = now_s - self._decided_s
        if 0 <= since_s < DECISION_S:
            return
        for pool in self._plan.pools:
            for row in pool.rows:
                if row.rules.reactive is not None and math.isfinite(since_s) and since_s > 0:
                    self._recommend(pool, row, self._in_flight_s[pool.spec.name] / since_s, now_s)
                if row.rules.backlog is not None:
                    self._start_for_deadlines(pool, row, now_s)
        self._in_flight_s.clear()
        self._decided_s = now_s

    def _recommend(self, pool: PlannedPool, row: PlannedRow, in_flight: float, now_s: float) -> None:
        """Remember how many machines the real-time load asks for."""
        rule = row.rules.reactive
        assert rule is not None  # noqa: S101 - the caller checks it
        beside = sum(self._by_floor(pool, other, now_s) for other in pool.rows if other is not row and other.realtime)
        machines = machines_for_concurrency(
            in_flight, rule.target_in_flight, beside * pool.spec.replicas, pool.spec.replicas
        )
        kept = recommendations_kept(rule.stabilization_s, DECISION_S)
        self.memory.recommended[row.name] = deque([*self.memory.recommended.get(row.name, ()), machines], maxlen=kept)

    def _start_for_deadlines(self, pool: PlannedPool, row: PlannedRow, now_s: float) -> None:
        """Start machines if deferrable work would otherwise be late; stop them when none of it is left."""
        rule = row.rules.backlog
        assert rule is not None  # noqa: S101 - the caller checks it
        ready_s, replicas = self.memory.ready_s.setdefault(row.name, []), pool.spec.replicas
        due_s = needed = 0.0
        works = [work for work in self.backlog if self._may_run(work, pool)]
        for work in sorted(works, key=lambda queued: queued.deadline_s):
            due_s += work.tokens / row.tokens_per_s
            due_by_s = work.deadline_s - rule.margin_s
            time_left_s = due_by_s - now_s - pool.spec.startup_s
            rented_s = sum(max(0.0, due_by_s - max(now_s, ready)) for ready in ready_s) * replicas
            if first_replica_is_due(len(ready_s), time_left_s, DECISION_S):
                needed = max(needed, replicas)
            needed = max(needed, replicas_for_deadline(due_s, rented_s, time_left_s))
        if not works:
            ready_s.clear()
        started = min(int(needed / replicas), rule.maximum - len(ready_s))
        ready_s += [now_s + pool.spec.startup_s] * started

    def _may_run(self, work: QueuedRequests, pool: PlannedPool) -> bool:
        rule = self._plan.find_rule(work.model, work.tenant)
        venues = (self._venues[name] for name in pool.venues)
        return any(
            work.model in venue.served
            and DEFERRABLE in venue.table.lanes
            and (rule is None or self._plan.permits(rule, venue.name))
            for venue in venues
        )

    def _has_begun(self, pool: PlannedPool, now_s: float) -> bool:
        """Tell whether machines of the pool that start now are ready when they may first exist."""
        begin_s = pool.spec.begin_s
        return not begin_s or now_s + pool.spec.startup_s >= self._calendar.start_s + begin_s

    def _reactive(self, pool: PlannedPool, row: PlannedRow, now_s: float) -> ReactiveRule | None:
        """Return the reactive rule; until the pool begins, it adds machines only for load."""
        rule = row.rules.reactive
        if rule is None or self._has_begun(pool, now_s):
            return rule
        return structs.replace(rule, minimum=0, initial=0)

    def _by_floor(self, pool: PlannedPool, row: PlannedRow, now_s: float, ahead_s: float | None = None) -> int:
        """Return the machines of the floor, those for slots that begin within a start-up included."""
        if not row.rules.floor or not self._has_begun(pool, now_s):
            return 0
        ahead_s = pool.spec.startup_s if ahead_s is None else ahead_s
        slots = self._calendar.slots_within(now_s, ahead_s)
        return scheduled_machines(row.rules.floor[: self._calendar.active_slots], *slots)

    def _above(self, pool: PlannedPool, row: PlannedRow, floor: int, now_s: float) -> int:
        """Return the machines that all rules together ask for, given the floor."""
        if row.rules.backlog is not None:
            return len(self.memory.ready_s.get(row.name, ()))
        rule = self._reactive(pool, row, now_s)
        if rule is None:
            return floor
        return machines_above_floor(self._by_load(pool, row, now_s), rule.minimum, floor, rule.maximum)

    def _by_load(self, pool: PlannedPool, row: PlannedRow, now_s: float) -> int:
        rule = self._reactive(pool, row, now_s)
        return 0 if rule is None else max(self.memory.recommended.get(row.name, ()), default=rule.initial)

    def _usd_above_floor(self, pool: PlannedPool, row: PlannedRow, now_s: float) -> float:
        """Return the cost per second of what the reactive rule adds to the floor."""
        rule = self._reactive(pool, row, now_s)
        if rule is None or row.schedule.pricing_model in PREPAID:
            return 0.0
        floor = self._by_floor(pool, row, now_s)
        added = self._above(pool, row, floor, now_s) - min(max(floor, rule.minimum), rule.maximum)
        return added * row.schedule.usd_per_hour / SECONDS_PER_HOUR

    def count(self, pool: PlannedPool, row: PlannedRow, now_s: float) -> MachineCount:
        """Return the machines of a pool under one payment, and what each rule asks for."""
        floor, calendar = self._by_floor(pool, row, now_s), self._calendar
        by_slot = row.rules.floor
        return MachineCount(
            wanted=self._above(pool, row, floor, now_s),
            next_slot=by_slot[(calendar.slot_at(now_s) + 1) % calendar.active_slots] if by_slot else 0,
            by_rule={
                "floor": floor,
                "reactive": self._by_load(pool, row, now_s),
                "backlog": len(self.memory.ready_s.get(row.name, ())),
            },
            above_floor_usd=round(self._above_floor_usd[row.name], 6),
        )

    def wanted(self, pool: PlannedPool, now_s: float) -> int:
        """Return the machines that must run now."""
        return sum(self._above(pool, row, self._by_floor(pool, row, now_s), now_s) for row in pool.rows)

    def serving(self, pool: PlannedPool, now_s: float) -> int:
        """Return the machines of now, without those for a later slot."""
        return sum(self._above(pool, row, self._by_floor(pool, row, now_s, 0.0), now_s) for row in pool.rows)

    def serves_realtime(self, pool: PlannedPool, now_s: float) -> bool:
        """Tell whether some of them serve real-time requests."""
        return any(
            row.realtime and self._above(pool, row, self._by_floor(pool, row, now_s, 0.0), now_s) for row in pool.rows
        )

    def backfill(self, pool: PlannedPool, now_s: float) -> BackfillLimits:  # noqa: ARG002 - as by schedule
        """Return the limits on deferrable work beside real-time work."""
        return pool.spec.backfill

    def sequences(self, pool: PlannedPool, now_s: float) -> float:
        """Return up to how many sequences of a pool deferrable work may join; all of machines that run for it."""
        return pool.spec.replicas * sum(
            self._above(pool, row, self._by_floor(pool, row, now_s, 0.0), now_s)
            * (pool.spec.backfill.sequences if row.realtime else pool.spec.max_num_seqs)
            for row in pool.rows
        )


PlanMachines = ScheduledMachines | PolicyMachines


def machines_of(plan: PlanInForce, venues: Mapping[str, Venue], before: PlanMachines | None = None) -> PlanMachines:
    """Return what decides on the machines of a plan: its policy if it has one, else its schedule."""
    if plan.policy_calendar is None:
        return ScheduledMachines(plan)
    memory = before.memory if isinstance(before, PolicyMachines) else None
    return PolicyMachines(plan, plan.policy_calendar, venues, memory)
