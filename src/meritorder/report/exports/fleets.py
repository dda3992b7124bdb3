"""What of a plan others can run: replicas of one engine on one kind of machine, by the minute of a day or week."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from meritorder.errors import ConfigError
from meritorder.policy.schedule import Calendar, repeat_period_s, scheduled_machines
from meritorder.records.planfile import Plan, PlanPool, PoolSchedule
from meritorder.records.planpolicy import PaymentRules
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_MINUTE, SECONDS_PER_WEEK

_SPOT: Final = "spot"
_STABILIZATION_S: Final = 300.0
_MAX_NAME: Final = 45  # of a label's 63 characters; suffixes follow
_MINUTES_PER_HOUR: Final = 60
_MINUTES_PER_DAY: Final = 24 * _MINUTES_PER_HOUR
_MONDAY_S: Final = 4 * SECONDS_PER_DAY  # 5 January 1970


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The replicas of a pool, those on spot machines apart.

    Args:
        name: Name that Kubernetes and SkyPilot accept, unique in the plan.
        pool: The pool.
        is_spot: Whether its machines may be interrupted.
        replicas: Fewest replicas in each minute of a day, or of a week from Monday 00:00 UTC; one number if constant.
        maximum: Most replicas.
        target_in_flight: Requests in flight a replica, above which real time adds replicas; None without such a rule.
        stabilization_s: How long fewer replicas must do before some are stopped.
    """

    name: str
    pool: PlanPool
    is_spot: bool
    replicas: tuple[int, ...]
    maximum: int
    target_in_flight: float | None = None
    stabilization_s: float = _STABILIZATION_S

    @property
    def minimum(self) -> int:
        """Fewest replicas at any time."""
        return min(self.replicas)


class _Rule(NamedTuple):
    """Fewest machines of a pool by slot, the most, and how real time adds to them."""

    machines: list[int]
    slot_s: float
    maximum: int
    target_in_flight: float | None = None
    stabilization_s: float = _STABILIZATION_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Times at which the number of replicas is the same.

    Args:
        days: Days of the week on which they begin, Monday is 1; empty for every day.
        start: Minute of the day.
        end: Minute of the day, maybe of a later one.
        later_days: Days from start to end.
        replicas: Replicas in these times.
    """

    days: tuple[int, ...]
    start: int
    end: int
    later_days: int
    replicas: int

    @property
    def start_cron(self) -> str:
        """Their starts as a cron expression."""
        return _cron(self.start, self.days)

    @property
    def end_cron(self) -> str:
        """Their ends as a cron expression."""
        return _cron(self.end, tuple(sorted((day - 1 + self.later_days) % 7 + 1 for day in self.days)))


def fleets(plan: Plan, start_s: float | None) -> list[Fleet]:
    """Return the fleets of a plan that ever have a replica.

    Raises:
        ConfigError: Replicas change by the time, and the plan has no start.
    """
    rows: defaultdict[tuple[str, bool], list[PoolSchedule]] = defaultdict(list)
    for row in plan.schedule:
        rows[row.pool, row.pricing_model == _SPOT].append(row)
    pools = {pool.name: pool for pool in plan.pools}
    names: set[str] = set()
    found = (
        _fleet(plan, pools[pool], schedules, start_s, is_spot=is_spot) for (pool, is_spot), schedules in rows.items()
    )
    return [_named(fleet, names) for fleet in found if fleet.maximum]


def windows(fleet: Fleet) -> list[Window]:
    """Return the times of each number of replicas, in order; none if it is constant."""
    minutes = fleet.replicas
    changes = [at for at, replicas in enumerate(minutes) if replicas != minutes[at - 1]]
    spans = list(pairwise([*changes, changes[0] + len(minutes)])) if changes else []
    starts: defaultdict[tuple[int, int, int, int], list[int]] = defaultdict(list)
    for start, end in spans:
        day, minute = divmod(start, _MINUTES_PER_DAY)
        later_days, until = divmod(end - day * _MINUTES_PER_DAY, _MINUTES_PER_DAY)
        starts[minute, until, later_days, minutes[start]].append(day + 1)
    is_weekly = len(minutes) > _MINUTES_PER_DAY
    return [
        Window(days=tuple(days) if is_weekly else (), start=minute, end=until, later_days=later, replicas=replicas)
        for (minute, until, later, replicas), days in starts.items()
    ]


def repeats_by_cron(plan: Plan) -> bool:
    """Tell whether a plan repeats each day or each week."""
    return _period_s(plan) in {SECONDS_PER_DAY, SECONDS_PER_WEEK}


def _fleet(plan: Plan, pool: PlanPool, rows: Sequence[PoolSchedule], start_s: float | None, *, is_spot: bool) -> Fleet:
    rule = _rule(plan, rows)
    replicas = [count * pool.servers for count in rule.machines]
    minutes: tuple[int, ...] = (max(replicas),)
    if repeats_by_cron(plan) and len(set(replicas)) > 1:
        begins_s = plan.start_epoch_s if start_s is None else start_s
        if begins_s is None:
            raise ConfigError(
                "the plan has no start time, because its trace has no dates", fix="give --start 2026-11-30T00:00:00Z"
            )
        period_s = _period_s(plan)
        calendar = Calendar(slot_s=rule.slot_s, slots=len(replicas), period_s=period_s, start_s=begins_s)
        within = replicas[: calendar.active_slots]
        times_s = (_MONDAY_S + minute * SECONDS_PER_MINUTE for minute in range(int(period_s / SECONDS_PER_MINUTE)))
        minutes = tuple(
            scheduled_machines(within, *calendar.slots_within(time_s, pool.startup_s)) for time_s in times_s
        )
    return Fleet(
        name=_slug(pool.name) + ("-spot" if is_spot else ""),
        pool=pool,
        is_spot=is_spot,
        replicas=minutes,
        maximum=max(*minutes, rule.maximum * pool.servers),
        target_in_flight=None if rule.target_in_flight is None else rule.target_in_flight * pool.attention_ranks,
        stabilization_s=rule.stabilization_s,
    )


def _rule(plan: Plan, rows: Sequence[PoolSchedule]) -> _Rule:
    """Return what a plan says about a pool, by its policy, or by its schedule if it has none."""
    if plan.policy is None:
        machines = [sum(slot) for slot in zip(*(row.machines for row in rows), strict=True)]
        return _Rule(machines, plan.slot_s, max(machines))
    rules = [plan.policy.rules_of(row.pool, row.payment) for row in rows]
    slots = max(len(rule.floor) for rule in rules) or 1
    fewest = [_fewest(rule, slots) for rule in rules]
    reactive = [rule.reactive for rule in rules if rule.reactive]
    return _Rule(
        [sum(slot) for slot in zip(*fewest, strict=True)],
        plan.policy.slot_s,
        sum(_most(rule) for rule in rules),
        min((rule.target_in_flight for rule in reactive), default=None),
        max((rule.stabilization_s for rule in reactive), default=_STABILIZATION_S),
    )


def _fewest(rule: PaymentRules, slots: int) -> list[int]:
    """Return the fewest machines under one payment, by slot."""
    least = rule.reactive.minimum if rule.reactive else 0
    return [max(least, machines) for machines in rule.floor or [0] * slots]


def _most(rule: PaymentRules) -> int:
    """Return the most machines under one payment."""
    return max(*rule.floor, *(part.maximum for part in (rule.reactive, rule.backlog) if part), 0, 0)


def _period_s(plan: Plan) -> float:
    policy = plan.policy
    if policy is not None and policy.slots > 1:
        return repeat_period_s(policy.slots * policy.slot_s)
    return repeat_period_s(plan.slots * plan.slot_s)


def _named(fleet: Fleet, names: set[str]) -> Fleet:
    """Return a fleet with a name that no other has."""
    name, number = fleet.name, 2
    while name in names:
        name, number = f"{fleet.name}-{number}", number + 1
    names.add(name)
    return Fleet(**{field: getattr(fleet, field) for field in Fleet.__slots__} | {"name": name})


def _slug(text: str) -> str:
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return re.sub(r"-+$", "", ("p-" + plain if not plain[:1].isalpha() else plain)[:_MAX_NAME])


def _cron(minute: int, days: tuple[int, ...]) -> str:
    week = ",".join(str(day % 7) for day in days) or "*"
    hour, minute_of_hour = divmod(minute, _MINUTES_PER_HOUR)
    return f"{minute_of_hour} {hour} * * {week}"
