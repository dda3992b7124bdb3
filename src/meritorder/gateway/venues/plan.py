"""Reads a plan and matches it with the configuration: its pools with venues, its workloads with calls.

A pool, API or workload of the plan that no venue or rule here covers is an error at startup.
"""

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Final

from meritorder import planfile
from meritorder.deadlines import parse_deadline
from meritorder.domain import OWN_DEADLINE, Access, BackfillLimits
from meritorder.errors import ConfigError, WorkloadsError
from meritorder.gateway import config
from meritorder.gateway.config import DEFERRABLE, REALTIME, Settings
from meritorder.planfile import PlanPool, PoolSchedule
from meritorder.policy.schedule import Calendar, repeat_period_s
from meritorder.units import parse_duration_s

_CALL_COLUMNS: Final = frozenset({"model", "tenant"})  # the columns of a trace that a call states
_WRITE_AGAIN: Final = "write the plan again with `meritorder plan`"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPool:
    """A pool of machines in the plan, and the venues that it serves.

    Args:
        spec: The pool as the plan describes it.
        schedules: Its machines by slot, for each payment.
        machines: Its machines by slot, over all payments.
        realtime: Whether it serves real-time work, by slot.
        backfill: Limits on deferrable work beside real-time work, by slot.
        venues: Names of the venues.
    """

    spec: PlanPool
    schedules: tuple[PoolSchedule, ...]
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
    """

    file: str
    calendar: Calendar
    pools: tuple[PlannedPool, ...]
    realtime: dict[str, dict[str, tuple[PlannedRoute, ...]]]
    deferrable: dict[str, tuple[PlannedWorkload, ...]]
    rules: tuple[PlannedRule, ...]
    places: dict[str, tuple[tuple[str, str, str], ...]] = field(default_factory=dict)

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


def read_plan(settings: Settings) -> PlanInForce:
    """Read the plan named in the settings.

    Raises:
        ConfigError: It cannot be read, or a pool, an API or a workload of it has no counterpart in the settings.
    """
    if not settings.plan:
        return NO_PLAN
    plan = planfile.read_plan(Path(settings.plan))
    return _PlanMatcher(plan, settings).match()


class _PlanMatcher:
    """Matches a plan with the settings."""

    def __init__(self, plan: planfile.Plan, settings: Settings) -> None:
        self._plan = plan
        self._settings = settings
        self._file = settings.plan
        self._venues = {venue.name: venue for venue in settings.venue}
        self._venues_of: dict[str, list[str]] = {}
        for venue in settings.venue:
            for name in venue.pools():
                self._venues_of.setdefault(name, []).append(venue.name)

    def match(self) -> PlanInForce:
        self._check_names()
        pools = tuple(self._pool(pool) for pool in self._plan.pools if self._schedules(pool.name))
        realtime: dict[str, dict[str, tuple[PlannedRoute, ...]]] = {}
        deferrable: dict[str, tuple[PlannedWorkload, ...]] = {}
        for model in dict.fromkeys(workload.model for workload in self._plan.workloads):
            workloads = [workload for workload in self._plan.workloads if workload.model == model]
            realtime_routes = self._realtime([workload for workload in workloads if workload.lane == REALTIME], pools)
            planned = tuple(self._workload(work, pools) for work in workloads if work.lane == DEFERRABLE)
            routes = chain(*realtime_routes.values(), *(workload.routes for workload in planned))
            for name in self._client_names(model, list(routes)):
                if name in realtime:
                    raise self._error(
                        f"{name!r} is what clients call two models of the plan, {model} among them",
                        "serve each under a name of its own: models = [...] of the [[venue]]",
                    )
                realtime[name], deferrable[name] = realtime_routes, planned
        return PlanInForce(
            file=self._file,
            calendar=self._calendar(),
            pools=pools,
            realtime=realtime,
            deferrable=deferrable,
            rules=self._rules(),
            places=self._places(),
        )

    def _places(self) -> dict[str, tuple[tuple[str, str, str], ...]]:
        place_of = {pool.name: (pool.provider, pool.region, pool.hardware) for pool in self._plan.pools}
        place_of |= {route.venue: (route.provider, "", "") for route in self._plan.routes if route.provider}
        return {
            venue.name: tuple(place_of[name] for name in venue.pools() if name in place_of)
            for venue in self._settings.venue
        }

    def _realtime(
        self, workloads: Sequence[planfile.WorkloadPlan], pools: Sequence[PlannedPool]
    ) -> dict[str, tuple[PlannedRoute, ...]]:
        """Return the routes of real-time work: of each restricted workload by its name, of all others under ""."""
        by_workload: dict[str, tuple[PlannedRoute, ...]] = {}
        for workload in workloads:
            routes = self._routes([workload.name], pools, REALTIME)
            is_restricted = workload.allow or workload.deny
            names = workload.name.removesuffix(f", {workload.model}").split(" + ") if is_restricted else [""]
            by_workload |= dict.fromkeys(names, routes)
        return by_workload

    def _error(self, what: str, fix: str) -> ConfigError:
        return ConfigError(what, where=self._file, fix=fix)

    def _check_names(self) -> None:
        """Check that the plan has every pool that a venue names."""
        plan_names = {pool.name for pool in self._plan.pools} | {route.venue for route in self._plan.routes}
        for venue in self._settings.venue:
            unknown = next((name for name in venue.pools() if venue.pool and name not in plan_names), None)
            if unknown is not None:
                raise self._error(
                    f"there is no pool {unknown!r}, which the venue {venue.name} names",
                    f"the plan has {', '.join(sorted(map(repr, plan_names)))}",
                )

    def _calendar(self) -> Calendar:
        plan = self._plan
        if self._settings.plan_start:
            start_s = config.epoch_s(self._settings.plan_start)
        elif plan.start_epoch_s is not None:
            start_s = plan.start_epoch_s
        else:
            raise self._error(
                "has no start time, because its trace has no dates",
                'write plan_start = "2026-11-30T00:00:00Z" at the top of the configuration',
            )
        return Calendar(
            slot_s=plan.slot_s, slots=plan.slots, period_s=repeat_period_s(plan.slots * plan.slot_s), start_s=start_s
        )

    def _schedules(self, pool: str) -> tuple[PoolSchedule, ...]:
        return tuple(entry for entry in self._plan.schedule if entry.pool == pool and max(entry.machines))

    def _pool(self, spec: PlanPool) -> PlannedPool:
        schedules = self._schedules(spec.name)
        by_slot = list(zip(*(schedule.machines for schedule in schedules), strict=True))
        return PlannedPool(
            spec=spec,
            schedules=schedules,
            machines=tuple(map(sum, by_slot)),
            realtime=tuple(
                any(machines and schedule.realtime for machines, schedule in zip(slot, schedules, strict=True))
                for slot in by_slot
            ),
            backfill=tuple(spec.backfill.scaled(share) for share in spec.backfill_shares or [1.0] * len(by_slot)),
            venues=self._serving(spec.name, "no venue serves the pool"),
        )

    def _serving(self, name: str, what: str) -> tuple[str, ...]:
        venues = self._venues_of.get(name)
        if not venues:
            raise self._error(f"{what} {name!r}", f"write pool = {name!r} in the [[venue]] that serves it")
        return tuple(venues)

    def _routes(self, workloads: Sequence[str], pools: Sequence[PlannedPool], lane: str) -> tuple[PlannedRoute, ...]:
        """Return the common routes of some workloads, each with its share of their requests by slot."""
        flows: dict[str, list[float]] = {}
        for route in self._plan.routes:
            if route.workload in workloads and max(route.flow) > 0:
                before = flows.get(route.venue, [0.0] * self._plan.slots)
                flows[route.venue] = [sum(pair) for pair in zip(before, route.flow, strict=True)]
        totals = [sum(flow) for flow in zip(*flows.values(), strict=True)]
        by_name = {pool.spec.name: pool for pool in pools}
        return tuple(
            PlannedRoute(
                venues=self._in_lane(name, lane),
                shares=tuple(part / total if total > 0 else 0.0 for part, total in zip(flow, totals, strict=True)),
                pool=by_name.get(name),
            )
            for name, flow in flows.items()
        )

    def _in_lane(self, name: str, lane: str) -> tuple[str, ...]:
        venues = self._serving(name, "no venue serves the pool or API")
        serving = tuple(venue for venue in venues if lane in self._venues[venue].lanes)
        if not serving:
            raise self._error(
                f"the plan sends {lane} work to {name!r}, and the venue {venues[0]} does not take it",
                f"write lanes = [..., {lane!r}] there",
            )
        return serving

    def _client_names(self, model: str, routes: Sequence[PlannedRoute]) -> list[str]:
        """Return the names of a model that clients use: those its pools' venues serve, else those of its APIs."""
        own = self._served(route for route in routes if route.pool)
        other_models = {workload.model for workload in self._plan.workloads} - {model}
        any_venue = self._served(routes)
        return sorted((own or {model} & any_venue or any_venue) - other_models)

    def _served(self, routes: Iterable[PlannedRoute]) -> set[str]:
        return {name for route in routes for venue in route.venues for name in self._venues[venue].served()}

    def _workload(self, workload: planfile.WorkloadPlan, pools: Sequence[PlannedPool]) -> PlannedWorkload:
        declared = self._declared(workload.name)
        if declared is None:
            raise self._error(
                f"no rule says which calls belong to the workload {workload.name!r}",
                f'write a [[rule]] with workload = "{workload.name.partition(", ")[0]}" and the model, tenant, key or '
                "endpoint of the deferrable calls, or with by_client = true if the clients set deadlines themselves",
            )
        return PlannedWorkload(
            name=workload.name,
            declared=declared,
            patience_s=_patience_s(workload, declared),
            routes=self._routes([workload.name], pools, DEFERRABLE),
        )

    def _declared(self, name: str) -> str | None:
        """Return the declared workload of a name in the plan: `nightly` of `nightly, 4 h or more, llama`."""
        promises = self._plan.promises
        declared_names = {rule.workload for rule in self._settings.rule if rule.workload} | {OWN_DEADLINE}
        declared_names |= {rule.name for rule in promises.workloads} if promises else set()
        matching = [declared for declared in declared_names if name == declared or name.startswith(f"{declared}, ")]
        return max(matching, key=len, default=None)

    def _rules(self) -> tuple[PlannedRule, ...]:
        promises = self._plan.promises
        configured = {rule.workload for rule in self._settings.rule}
        rules = [
            PlannedRule(
                name=workload.name,
                deadline=workload.deadline,
                deferrable=workload.lane == DEFERRABLE,
                match=tuple((column, pattern) for column, pattern in workload.match),
                access=Access.from_tables(workload.allow, workload.deny),
            )
            for workload in (promises.workloads if promises else ())
            if workload.name not in configured or workload.allow or workload.deny
        ]
        while rules and not (rules[-1].deferrable or rules[-1].is_restricted):
            rules.pop()  # calls that match no rule are real-time
        for rule in rules:
            self._check_rule(rule)
        return tuple(rules)

    def _check_rule(self, rule: PlannedRule) -> None:
        unstated = sorted({column for column, _ in rule.match} - _CALL_COLUMNS)
        if unstated:
            fix = f'write a [[rule]] with workload = "{rule.name}" that says which calls belong to it'
            if rule.is_restricted:
                fix = "declare a workload with allow or deny by tenant or model, and write the plan again"
            raise self._error(f"the workload {rule.name!r} is declared by its {unstated[0]}, which no call states", fix)
        try:
            if rule.deferrable:
                rule.due_s(0.0)
        except WorkloadsError as error:
            raise self._error(f"the workload {rule.name!r}: {error.what}", _WRITE_AGAIN) from None


def _patience_s(workload: planfile.WorkloadPlan, declared: str) -> float:
    """Return the least patience of a workload; its name has it if the planner split the declared one."""
    least, is_split, _ = workload.name.removeprefix(f"{declared}, ").partition(" or more")
    least_s = parse_duration_s(least) if is_split else None
    return least_s or workload.patience_s or 0.0
