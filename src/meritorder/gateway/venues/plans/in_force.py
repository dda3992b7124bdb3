"""A plan as the gateway executes it: its machines, routes and workloads, matched with venues."""

import fnmatch
from dataclasses import dataclass, field
from typing import Final

from meritorder.deadlines import parse_deadline
from meritorder.domain import Access, BackfillLimits
from meritorder.policy.schedule import Calendar
from meritorder.records.planfile import PlanPool, PoolSchedule
from meritorder.records.planpolicy import PaymentRules


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRow:
    """Machines of a pool under one payment.

    Args:
        schedule: Their price, and their number in each slot of the schedule.
        rules: What the policy says about them; empty without a policy.
        tokens_per_s: Deferrable tokens that one full replica completes.
    """

    schedule: PoolSchedule
    rules: PaymentRules
    tokens_per_s: float

    @property
    def name(self) -> tuple[str, str]:
        """The pool and the payment."""
        return self.schedule.pool, self.schedule.payment

    @property
    def realtime(self) -> bool:
        """Whether they serve real-time requests: those of a reactive rule do, those of a backlog rule do not."""
        return self.rules.reactive is not None or (self.schedule.realtime and self.rules.backlog is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPool:
    """A pool of machines in the plan, and the venues that it serves.

    Args:
        spec: The pool as the plan describes it.
        rows: Its machines, for each payment.
        machines: Its machines by slot of the schedule, over all payments.
        realtime: Whether it serves real-time work, by slot.
        backfill: Limits on deferrable work beside real-time work, by slot.
        venues: Names of the venues.
    """

    spec: PlanPool
    rows: tuple[PlannedRow, ...]
    machines: tuple[int, ...]
    realtime: tuple[bool, ...]
    backfill: tuple[BackfillLimits, ...]
    venues: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRoute:
    """A destination of a workload.

    Args:
        venues: Names of its venues.
        shares: Share of the workload's requests, by slot.
        pool: The pool behind the venues; None for a token API.
    """

    venues: tuple[str, ...]
    shares: tuple[float, ...]
    pool: PlannedPool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedWorkload:
    """A deferrable workload of the plan.

    Args:
        name: Its name in the plan.
        declared: The declared workload that it is part of.
        patience_s: How long its requests can wait at least.
        routes: Where its requests go.
    """

    name: str
    declared: str
    patience_s: float
    routes: tuple[PlannedRoute, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRule:
    """A workload that was declared to the planner; a call belongs to the first one whose globs all match it."""

    name: str
    deadline: str
    deferrable: bool
    match: tuple[tuple[str, str], ...]
    access: Access = field(default_factory=Access)

    @property
    def is_restricted(self) -> bool:
        """Whether `allow` or `deny` restricts where its calls may run."""
        return self.access != Access()

    def matches(self, model: str, tenant: str) -> bool:
        """Tell whether a call belongs to this workload."""
        values = {"model": model, "tenant": tenant}
        return all(fnmatch.fnmatchcase(values[column], pattern) for column, pattern in self.match)

    def due_s(self, now_s: float) -> float | None:
        """Return the deadline of a call that arrives now; None once it is past."""
        due_s = parse_deadline(self.deadline).due_s(now_s)
        return due_s if due_s > now_s else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanInForce:
    """The plan that the gateway executes.

    Args:
        file: The file that it was read from; empty without a plan.
        calendar: Its slots.
        pools: Its machines.
        realtime: Routes of real-time work, by the model name that clients use and by restricted workload; "" holds the
            calls of all other workloads.
        deferrable: Deferrable workloads, by the model name that clients use.
        rules: Declared workloads that are deferrable or restricted, in the order in which they are matched.
        places: Provider, region and hardware of the plan's pools and APIs at each venue.
        policy_calendar: The slots of the policy's floor; None if the schedule decides on the machines.
        price_dates: Dates of its prices, as their sources write them.
    """

    file: str
    calendar: Calendar
    pools: tuple[PlannedPool, ...]
    realtime: dict[str, dict[str, tuple[PlannedRoute, ...]]]
    deferrable: dict[str, tuple[PlannedWorkload, ...]]
    rules: tuple[PlannedRule, ...]
    places: dict[str, tuple[tuple[str, str, str], ...]] = field(default_factory=dict)
    policy_calendar: Calendar | None = None
    price_dates: tuple[str, ...] = ()

    def find_rule(self, model: str, tenant: str) -> PlannedRule | None:
        """Return the declared workload that a call belongs to."""
        return next((rule for rule in self.rules if rule.matches(model, tenant)), None)

    def permits(self, rule: PlannedRule, venue: str) -> bool:
        """Tell whether a workload may run at a venue; a restricted one may not run where the place is unknown."""
        places = self.places.get(venue, ())
        return not rule.is_restricted or (bool(places) and all(rule.access.permits(*place) for place in places))


NO_PLAN: Final = PlanInForce(
    file="",
    calendar=Calendar(slot_s=1.0, slots=1, period_s=1.0, start_s=0.0),
    pools=(),
    realtime={},
    deferrable={},
    rules=(),
)
