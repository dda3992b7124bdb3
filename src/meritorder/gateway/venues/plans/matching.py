"""Reads a plan and matches it with the configuration: its pools with venues, its workloads with calls.

A pool, API or workload of the plan that no venue or rule here covers is an error at startup.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

from meritorder.domain import OWN_DEADLINE, Access, Tier
from meritorder.errors import ConfigError, WorkloadsError
from meritorder.gateway import config, config_file
from meritorder.gateway.config import DEFERRABLE, REALTIME, Settings, VenueTable
from meritorder.gateway.venues.plans.in_force import (
    NO_PLAN,
    PlanInForce,
    PlannedPool,
    PlannedRoute,
    PlannedRow,
    PlannedRule,
    PlannedWorkload,
)
from meritorder.policy.schedule import Calendar, repeat_period_s, safe_completion_tokens_per_s
from meritorder.records import planfile
from meritorder.records.planfile import PlanPool
from meritorder.records.planpolicy import PaymentRules
from meritorder.records.tokenapi import venue_tables
from meritorder.units import parse_duration_s

_CALL_COLUMNS: Final = frozenset({"model", "tenant"})  # the columns of a trace that a call states
_WRITE_AGAIN: Final = "write the plan again with `meritorder plan`"


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
        self._names_of = {venue.name: self._plan_names(venue) for venue in settings.venue}
        self._venues_of: dict[str, list[str]] = {}
        for venue, names in self._names_of.items():
            for name in names:
                self._venues_of.setdefault(name, []).append(venue)

    def _plan_names(self, venue: VenueTable) -> list[str]:
        """Return the pools and API tiers that a venue is: those that it names, and those at its address."""
        own_names = venue.served().values()
        at_address = [api.venue for api in self._plan.apis if api.is_at(venue.name, venue.url, own_names)]
        return list(dict.fromkeys((*venue.pools(), *at_address)))

    def match(self) -> PlanInForce:
        self._check_names()
        self._check_apis()
        policy = self._plan.policy
        pools = tuple(self._pool(pool) for pool in self._plan.pools if self._rows(pool))
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
            calendar=self._calendar(self._plan.slot_s, self._plan.slots),
            policy_calendar=self._calendar(policy.slot_s, policy.slots) if policy else None,
            pools=pools,
            realtime=realtime,
            deferrable=deferrable,
            rules=self._rules(),
            places=self._places(),
            price_dates=tuple(price.as_of for price in self._plan.prices),
        )

    def _places(self) -> dict[str, tuple[tuple[str, str, str], ...]]:
        place_of = {pool.name: (pool.provider, pool.region, pool.hardware) for pool in self._plan.pools}
        place_of |= {route.venue: (route.provider, "", "") for route in self._plan.routes if route.provider}
        return {
            venue: tuple(place_of[name] for name in names if name in place_of)
            for venue, names in self._names_of.items()
        }

    def _realtime(
        self, workloads: Sequence[planfile.WorkloadPlan], pools: Sequence[PlannedPool]
    ) -> dict[str, tuple[PlannedRoute, ...]]:
        """Return the routes of real-time work: of each restricted workload by its name, of all others under ""."""
        by_workload: dict[str, tuple[PlannedRoute, ...]] = {}
        for workload in workloads:
            routes = self._routes(workload, pools, REALTIME)
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

    def _check_apis(self) -> None:
        """Check that there is a venue for every token API that the plan buys from, which sends batches as batches."""
        bought = [api for api in self._plan.apis if api.lanes]
        missing = {(api.price.provider, api.model) for api in bought if api.venue not in self._venues_of}
        if missing:
            venues = " and ".join(f"{provider} {model}" for provider, model in sorted(missing))
            tables = [api for api in self._plan.apis if (api.price.provider, api.model) in missing]
            raise ConfigError(
                f"no venue serves {venues}, whose tokens the plan buys",
                where=self._file,
                fix="add its [[venue]], or plan again with --config FILE, which buys only from the venues of that "
                "configuration, or with --tokens none",
                lines=venue_tables(tables, self._names_of_models()),
            )
        for api in bought:
            if api.price.tier is Tier.BATCH and not any(self._venues[n].batch for n in self._venues_of[api.venue]):
                raise self._error(
                    f"the plan buys {api.venue!r}, and the venue {self._venues_of[api.venue][0]} has no batch API",
                    "write batch = true there, or plan again with --config FILE",
                )

    def _names_of_models(self) -> dict[str, str]:
        """Return what clients call each model that a venue serves on machines of the plan."""
        return {
            pool.model: next(iter(self._venues[self._venues_of[pool.name][0]].served()))
            for pool in self._plan.pools
            if pool.name in self._venues_of
        }

    def _calendar(self, slot_s: float, slots: int) -> Calendar:
        plan = self._plan
        if self._settings.plan_start:
            start_s = config_file.epoch_s(self._settings.plan_start)
        elif plan.start_epoch_s is not None:
            start_s = plan.start_epoch_s
        else:
            raise self._error(
                "has no start time, because its trace has no dates",
                'write plan_start = "2026-11-30T00:00:00Z" at the top of the configuration',
            )
        return Calendar(slot_s=slot_s, slots=slots, period_s=repeat_period_s(slots * slot_s), start_s=start_s)

    def _rows(self, pool: PlanPool) -> tuple[PlannedRow, ...]:
        """Return the payments under which a pool may have machines."""
        policy, rows = self._plan.policy, [row for row in self._plan.schedule if row.pool == pool.name]
        if policy is None:
            found = [(row, PaymentRules()) for row in rows if max(row.machines)]
        else:
            found = [(row, policy.rules_of(row.pool, row.payment)) for row in rows]
            found = [(row, rules) for row, rules in found if not rules.is_empty]
        tpot_s = config.duration_s(self._settings.lanes.tpot)
        assumed = safe_completion_tokens_per_s(math.inf, pool.max_num_seqs or 1, tpot_s)
        return tuple(
            PlannedRow(
                schedule=row, rules=rules, tokens_per_s=(rules.backlog and rules.backlog.tokens_per_s) or assumed
            )
            for row, rules in found
        )

    def _pool(self, spec: PlanPool) -> PlannedPool:
        rows = self._rows(spec)
        by_slot = list(zip(*(row.schedule.machines for row in rows), strict=True))
        return PlannedPool(
            spec=spec,
            rows=rows,
            machines=tuple(map(sum, by_slot)),
            realtime=tuple(
                any(machines and row.realtime for machines, row in zip(slot, rows, strict=True)) for slot in by_slot
            ),
            backfill=tuple(spec.backfill.scaled(share) for share in spec.backfill_shares or [1.0] * len(by_slot)),
            venues=self._serving(spec.name, "no venue serves the pool"),
        )

    def _serving(self, name: str, what: str) -> tuple[str, ...]:
        venues = self._venues_of.get(name)
        if not venues:
            raise self._error(f"{what} {name!r}", f"write pool = {name!r} in the [[venue]] that serves it")
        return tuple(venues)

    def _routes(
        self, workload: planfile.WorkloadPlan, pools: Sequence[PlannedPool], lane: str
    ) -> tuple[PlannedRoute, ...]:
        """Return the routes of a workload, each with its share of the requests by slot."""
        routes = [route for route in self._plan.routes if route.workload == workload.name and max(route.flow) > 0]
        totals = [sum(flow) for flow in zip(*(route.flow for route in routes), strict=True)]
        by_name = {pool.spec.name: pool for pool in pools}
        planned = tuple(
            PlannedRoute(
                venues=self._in_lane(route.venue, lane),
                shares=tuple(
                    part / total if total > 0 else 0.0 for part, total in zip(route.flow, totals, strict=True)
                ),
                pool=by_name.get(route.venue),
            )
            for route in routes
            if route.kind == "tier" or self._plan.policy is None
        )
        return planned if self._plan.policy is None else (*planned, *self._policy_routes(workload, pools, lane))

    def _policy_routes(
        self, workload: planfile.WorkloadPlan, pools: Sequence[PlannedPool], lane: str
    ) -> Iterator[PlannedRoute]:
        """Yield a route to each pool that may serve a workload: a policy does not say which work runs in which slot."""
        access = Access.from_tables(workload.allow, workload.deny)
        for pool in pools:
            venues = tuple(name for name in pool.venues if lane in self._venues[name].lanes)
            serves_lane = lane == DEFERRABLE or any(row.realtime for row in pool.rows)
            is_permitted = access.permits(pool.spec.provider, pool.spec.region, pool.spec.hardware)
            if venues and serves_lane and is_permitted and pool.spec.model == workload.model:
                yield PlannedRoute(venues=venues, shares=(1.0,) * self._plan.slots, pool=pool)

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
            routes=self._routes(workload, pools, DEFERRABLE),
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
