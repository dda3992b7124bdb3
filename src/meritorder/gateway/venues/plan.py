"""A plan, read against the configuration: whose pool is whose venue, whose calls are whose workload.

What the plan asks for and nobody here serves is an error at the start, not a surprise at night.
"""

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from meritorder import planfile
from meritorder.deadlines import parse_deadline
from meritorder.domain import Access
from meritorder.errors import ConfigError, WorkloadsError
from meritorder.gateway import config
from meritorder.gateway.config import Settings
from meritorder.planfile import OWN_DEADLINE, PlanPool, PoolSchedule
from meritorder.policy.schedule import Calendar, repeat_period_s
from meritorder.units import parse_duration_s

REALTIME: Final = "realtime"
DEFERRABLE: Final = "deferrable"
_TOLD: Final = frozenset({"model", "tenant"})  # what a call says of itself, of the columns of a trace
_AGAIN: Final = "write the plan again with `meritorder plan`"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPool:
    """Machines of the plan, and the venues that they are behind.

    Args:
        used: As the plan describes them.
        schedules: How many, by payment.
        machines: How many in each slot, of all payments.
        realtime: Whether they serve real time in each slot.
        venues: Names of the venues.
    """

    used: PlanPool
    schedules: tuple[PoolSchedule, ...]
    machines: tuple[int, ...]
    realtime: tuple[bool, ...]
    venues: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRoute:
    """Where work of a workload goes: its share of the slot's, by slot; `pool` is None where tokens are bought."""

    venues: tuple[str, ...]
    shares: tuple[float, ...]
    pool: PlannedPool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedWorkload:
    """Deferrable work that the plan treats as one: a declared workload, or those of it that can wait so long."""

    name: str
    declared: str
    patience_s: float
    ways: tuple[PlannedRoute, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRule:
    """A workload that was declared to the planner: the first whose globs all match takes a call."""

    name: str
    deadline: str
    deferrable: bool
    match: tuple[tuple[str, str], ...]
    access: Access = field(default_factory=Access)

    @property
    def is_limited(self) -> bool:
        """Whether its calls may not run anywhere."""
        return self.access != Access()

    def takes(self, model: str, tenant: str) -> bool:
        """Whether a call is of this workload."""
        said = {"model": model, "tenant": tenant}
        return all(fnmatch.fnmatchcase(said[column], pattern) for column, pattern in self.match)

    def due_s(self, now_s: float) -> float | None:
        """Return the deadline of a call that arrives now; None once it is past."""
        due_s = parse_deadline(self.deadline).due_s(now_s)
        return due_s if due_s > now_s else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanInForce:
    """What is to be carried out.

    Args:
        file: Where it was read; empty if there is no plan.
        calendar: Its slots.
        pools: Its machines.
        realtime: Where real time goes, by the name that clients use for the model and the workload that is declared;
            "" for calls that are of none that may not run anywhere.
        deferrable: What can wait, by the name that clients use for the model.
        rules: Which calls can wait or may not run anywhere, in the order in which they are tried.
        places: Provider, region and hardware of the plan's pools and APIs at each venue.
    """

    file: str
    calendar: Calendar
    pools: tuple[PlannedPool, ...]
    realtime: dict[str, dict[str, tuple[PlannedRoute, ...]]]
    deferrable: dict[str, tuple[PlannedWorkload, ...]]
    rules: tuple[PlannedRule, ...]
    places: dict[str, tuple[tuple[str, str, str], ...]] = field(default_factory=dict)

    def rule_of(self, model: str, tenant: str) -> PlannedRule | None:
        """Return the declared workload that takes a call."""
        return next((rule for rule in self.rules if rule.takes(model, tenant)), None)

    def permits(self, rule: PlannedRule, venue: str) -> bool:
        """Whether the calls of a workload may run at a venue: of one that the plan does not know nobody can tell."""
        places = self.places.get(venue, ())
        return not rule.is_limited or (bool(places) and all(rule.access.permits(*place) for place in places))


NOTHING: Final = PlanInForce(
    file="",
    calendar=Calendar(slot_s=1.0, slots=1, period_s=1.0, start_s=0.0),
    pools=(),
    realtime={},
    deferrable={},
    rules=(),
)


def read(settings: Settings) -> PlanInForce:
    """Read the plan that the settings name.

    Raises:
        ConfigError: It cannot be read; or a pool, an API or a workload of it is served by nobody; says by what to mend.
    """
    if not settings.plan:
        return NOTHING
    plan = planfile.read_plan(Path(settings.plan))
    return _Reader(plan, settings).planned()


class _Reader:
    def __init__(self, plan: planfile.Plan, settings: Settings) -> None:
        self._plan = plan
        self._settings = settings
        self._file = settings.plan
        self._venues = {venue.name: venue for venue in settings.venue}
        self._at: dict[str, list[str]] = {}
        for venue in settings.venue:
            for name in venue.pools():
                self._at.setdefault(name, []).append(venue.name)

    def planned(self) -> PlanInForce:
        self._check_names()
        pools = tuple(self._pool(pool) for pool in self._plan.pools if self._schedules(pool.name))
        realtime: dict[str, dict[str, tuple[PlannedRoute, ...]]] = {}
        deferrable: dict[str, tuple[PlannedWorkload, ...]] = {}
        for model in dict.fromkeys(each.model for each in self._plan.workloads):
            mine = [each for each in self._plan.workloads if each.model == model]
            live = self._live([each for each in mine if each.lane == REALTIME], pools)
            waits = tuple(self._workload(each, pools) for each in mine if each.lane == DEFERRABLE)
            ways = [*(way for each in live.values() for way in each), *(way for each in waits for way in each.ways)]
            for name in self._names_of(model, ways):
                if name in realtime:
                    raise self._error(
                        f"{name!r} is what clients call two models of the plan, {model} among them",
                        "serve each under a name of its own: models = [...] of the [[venue]]",
                    )
                realtime[name], deferrable[name] = live, waits
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
        known = {pool.name: (pool.provider, pool.region, pool.hardware) for pool in self._plan.pools}
        known |= {route.venue: (route.provider, "", "") for route in self._plan.routes if route.provider}
        return {
            venue.name: tuple(known[name] for name in venue.pools() if name in known) for venue in self._settings.venue
        }

    def _live(
        self, classes: Sequence[planfile.WorkloadPlan], pools: Sequence[PlannedPool]
    ) -> dict[str, tuple[PlannedRoute, ...]]:
        """Return where real time goes: each declared workload that may not run anywhere, and all others."""
        live: dict[str, tuple[PlannedRoute, ...]] = {}
        for one in classes:
            ways = self._ways([one.name], pools, REALTIME)
            names = one.name.removesuffix(f", {one.model}").split(" + ") if one.allow or one.deny else [""]
            live |= dict.fromkeys(names, ways)
        return live

    def _error(self, what: str, fix: str) -> ConfigError:
        return ConfigError(what, where=self._file, fix=fix)

    def _check_names(self) -> None:
        """A venue that names a pool which is not in the plan was meant for another."""
        known = {pool.name for pool in self._plan.pools} | {route.venue for route in self._plan.routes}
        for venue in self._settings.venue:
            strange = next((name for name in venue.pools() if venue.pool and name not in known), None)
            if strange is not None:
                raise self._error(
                    f"there is no pool {strange!r}, which the venue {venue.name} names",
                    f"the plan has {', '.join(sorted(map(repr, known)))}",
                )

    def _calendar(self) -> Calendar:
        plan = self._plan
        if self._settings.plan_start:
            start_s = config.epoch_s(self._settings.plan_start)
        elif plan.start_epoch_s is not None:
            start_s = plan.start_epoch_s
        else:
            raise self._error(
                "does not say when its first slot is: the trace told no dates",
                'write plan_start = "2026-11-30T00:00:00Z" at the top of the configuration',
            )
        return Calendar(
            slot_s=plan.slot_s, slots=plan.slots, period_s=repeat_period_s(plan.slots * plan.slot_s), start_s=start_s
        )

    def _schedules(self, pool: str) -> tuple[PoolSchedule, ...]:
        return tuple(each for each in self._plan.schedule if each.pool == pool and max(each.machines))

    def _pool(self, used: PlanPool) -> PlannedPool:
        schedules = self._schedules(used.name)
        by_slot = list(zip(*(each.machines for each in schedules), strict=True))
        return PlannedPool(
            used=used,
            schedules=schedules,
            machines=tuple(map(sum, by_slot)),
            realtime=tuple(
                any(count and each.realtime for count, each in zip(counts, schedules, strict=True))
                for counts in by_slot
            ),
            venues=self._serving(used.name, "no venue is the pool"),
        )

    def _serving(self, name: str, what: str) -> tuple[str, ...]:
        found = self._at.get(name)
        if not found:
            raise self._error(f"{what} {name!r}", f"write pool = {name!r} at the [[venue]] that it is")
        return tuple(found)

    def _ways(self, workloads: Sequence[str], pools: Sequence[PlannedPool], lane: str) -> tuple[PlannedRoute, ...]:
        """Return where some workloads go together, each way with its share of every slot's work."""
        flows: dict[str, list[float]] = {}
        for route in self._plan.routes:
            if route.workload in workloads and max(route.flow) > 0:
                before = flows.get(route.venue, [0.0] * self._plan.slots)
                flows[route.venue] = [a + b for a, b in zip(before, route.flow, strict=True)]
        totals = [sum(flow) for flow in zip(*flows.values(), strict=True)]
        by_name = {pool.used.name: pool for pool in pools}
        return tuple(
            PlannedRoute(
                venues=self._in_lane(name, lane),
                shares=tuple(part / total if total > 0 else 0.0 for part, total in zip(flow, totals, strict=True)),
                pool=by_name.get(name),
            )
            for name, flow in flows.items()
        )

    def _in_lane(self, name: str, lane: str) -> tuple[str, ...]:
        found = self._serving(name, "no venue is the pool or API")
        able = tuple(each for each in found if lane in self._venues[each].lanes)
        if not able:
            raise self._error(
                f"{lane} work is to go to {name!r}, and the venue {found[0]} does not take it",
                f"write lanes = [..., {lane!r}] there",
            )
        return able

    def _names_of(self, model: str, ways: Sequence[PlannedRoute]) -> list[str]:
        """Return what clients call a model: all that its pools' venues serve; where it has none, its own name first."""
        ours = self._served(way for way in ways if way.pool)
        others = {each.model for each in self._plan.workloads} - {model}
        bought = self._served(ways)
        return sorted((ours or {model} & bought or bought) - others)

    def _served(self, ways: Iterable[PlannedRoute]) -> set[str]:
        return {name for way in ways for venue in way.venues for name in self._venues[venue].served()}

    def _workload(self, one: planfile.WorkloadPlan, pools: Sequence[PlannedPool]) -> PlannedWorkload:
        declared = self._declared(one.name)
        if declared is None:
            raise self._error(
                f"nothing says which calls are the workload {one.name!r}",
                f'write a [[rule]] with workload = "{one.name.partition(", ")[0]}" and the model, tenant, key or '
                "endpoint of those that can wait, or with by_client = true if they say so themselves",
            )
        return PlannedWorkload(
            name=one.name,
            declared=declared,
            patience_s=_patience_s(one, declared),
            ways=self._ways([one.name], pools, DEFERRABLE),
        )

    def _declared(self, name: str) -> str | None:
        """Return what was declared of which this is a class: `nightly` of `nightly, 4 h or more, llama`."""
        promises = self._plan.promises
        known = {rule.workload for rule in self._settings.rule if rule.workload} | {OWN_DEADLINE}
        known |= {rule.name for rule in promises.workloads} if promises else set()
        fitting = [each for each in known if name == each or name.startswith(f"{each}, ")]
        return max(fitting, key=len, default=None)

    def _rules(self) -> tuple[PlannedRule, ...]:
        promises = self._plan.promises
        ours = {rule.workload for rule in self._settings.rule}
        rules = [
            PlannedRule(
                name=each.name,
                deadline=each.deadline,
                deferrable=each.lane == DEFERRABLE,
                match=tuple((column, pattern) for column, pattern in each.match),
                access=Access.of(each.allow, each.deny),
            )
            for each in (promises.workloads if promises else ())
            if each.name not in ours or each.allow or each.deny
        ]
        while rules and not (rules[-1].deferrable or rules[-1].is_limited):
            rules.pop()  # real time is what no rule takes
        for rule in rules:
            self._check_rule(rule)
        return tuple(rules)

    def _check_rule(self, rule: PlannedRule) -> None:
        untold = sorted({column for column, _ in rule.match} - _TOLD)
        if untold:
            fix = f'write a [[rule]] with workload = "{rule.name}" that says which calls it is'
            if rule.is_limited:
                fix = "tell by tenant or model whose calls may not run anywhere, and write the plan again"
            raise self._error(f"the workload {rule.name!r} is told by its {untold[0]}, which no call says", fix)
        try:
            if rule.deferrable:
                rule.due_s(0.0)
        except WorkloadsError as error:
            raise self._error(f"the workload {rule.name!r}: {error.what}", _AGAIN) from None


def _patience_s(one: planfile.WorkloadPlan, declared: str) -> float:
    """Return how long the work of a class can wait at least: its name says it, where a workload has several."""
    least, of_several, _ = one.name.removeprefix(f"{declared}, ").partition(" or more")
    told_s = parse_duration_s(least.replace(" min", "m")) if of_several else None
    return told_s or one.patience_s or 0.0
