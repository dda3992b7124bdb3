"""The difference between two plans in machines and in the money that it may cost, and a step from one to the other.

What the gateway obeys of a plan are lower and upper bounds on machines by slot, and the target of the reactive rule.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from meritorder.records.autopilot import Change
from meritorder.records.planfile import PREPAID, Plan
from meritorder.records.planpolicy import PolicyFloor, ReactiveRule
from meritorder.units import HOURS_PER_DAY, SECONDS_PER_DAY

Row = tuple[str, str]
"""A pool and a payment."""
Ints = NDArray[np.int64]
N = TypeVar("N", int, float)

_SLOT_S: Final = 900.0
_SLOTS_PER_DAY: Final = round(SECONDS_PER_DAY / _SLOT_S)
_DAYS: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What another plan changes.

    Args:
        changes: The changes, in words.
        machines: Most machines that it has more or fewer in any slot of a week.
        at_risk_usd_per_day: Most that its machines may add to the cost of a day.
    """

    changes: list[Change]
    machines: int
    at_risk_usd_per_day: float


def difference(before: Plan, after: Plan, running: Mapping[Row, float], then: Mapping[Row, float]) -> Difference:
    """Return what a plan changes against another.

    Of a row that both have, a lower target of the reactive rule runs more machines in proportion. Rows that replace
    others may cost more in two ways: at little load by what always runs, at the load that ran by what then runs.

    Args:
        before: The plan in force.
        after: The other plan.
        running: Mean machines of each row under the plan in force, without those of the backlog.
        then: Mean machines of each row under the other plan, on the same requests.
    """
    machines, usd_per_hour = np.zeros(_DAYS * _SLOTS_PER_DAY), np.zeros(_DAYS * _SLOTS_PER_DAY)
    for row in _rows(before) & _rows(after):
        by_target = _by_target(before, after, row, running.get(row, 0.0))
        more = fewest_machines(after, row) - fewest_machines(before, row) + by_target
        machines += np.abs(more)
        usd_per_hour += np.maximum(more, 0.0) * _price(after, row)
    old = _Rows(before, _rows(before) - _rows(after), running)
    new = _Rows(after, _rows(after) - _rows(before), then)
    machines += np.maximum(np.maximum(old.running, new.running), np.maximum(old.fewest, new.fewest))
    at_little_load, at_known_load = new.fewest_usd - old.fewest_usd, new.running_usd - old.running_usd
    usd_per_hour += np.maximum(np.maximum(at_little_load, at_known_load), 0.0)
    return Difference(
        changes=list(_changes(before, after)),
        machines=math.ceil(float(machines.max()) - 1e-9),
        at_risk_usd_per_day=float(usd_per_hour.mean()) * HOURS_PER_DAY,
    )


class _Rows:
    """Some rows of a plan together: what always runs and what ran, in machines and in dollars an hour."""

    def __init__(self, plan: Plan, rows: set[Row], running: Mapping[Row, float]) -> None:
        none = np.zeros(_DAYS * _SLOTS_PER_DAY)
        self.fewest = sum((fewest_machines(plan, row) for row in rows), start=none)
        self.fewest_usd = sum((fewest_machines(plan, row) * _price(plan, row) for row in rows), start=none)
        self.running = sum(running.get(row, 0.0) for row in rows)
        self.running_usd = sum(running.get(row, 0.0) * _price(plan, row) for row in rows)


def fewest_machines(plan: Plan, row: Row) -> Ints:
    """Return the machines of a row that run whatever the load, in quarter hours of a week from the plan's start."""
    begins_s = np.arange(_DAYS * _SLOTS_PER_DAY) * _SLOT_S
    if plan.policy is None:
        by_slot = next(
            (np.array(known.machines) for known in plan.schedule if (known.pool, known.payment) == row), None
        )
        return np.zeros(len(begins_s), np.int64) if by_slot is None else _at(by_slot, begins_s, plan.slot_s)
    rules = plan.policy.rules_of(*row)
    floor = _at(np.array(rules.floor or [0]), begins_s, plan.policy.slot_s)
    if rules.reactive is None:
        return floor
    return np.clip(floor, rules.reactive.minimum, rules.reactive.maximum)


def step_towards(before: Plan, after: Plan, machines: int) -> Plan | None:
    """Return a plan with the rules of the one in force, moved towards another by some machines at most.

    None if the plans have other pools, or no policy: machines of another kind are replaced as a whole or not at all.
    """
    if before.policy is None or after.policy is None or _rows(before) != _rows(after) or machines < 1:
        return None
    floors, reactive = [], []
    for floor in after.policy.floor:
        old = before.policy.rules_of(*floor.machines_of).floor or [0]
        moved = [_moved(old[slot % len(old)], wanted, machines) for slot, wanted in enumerate(floor.machines)]
        floors.append(PolicyFloor(pool=floor.pool, payment=floor.payment, machines=moved))
    for rule in after.policy.reactive:
        known = before.policy.rules_of(*rule.machines_of).reactive
        if known is None:
            return None
        reactive.append(_stepped(known, rule, machines))
    if before.policy.slot_s != after.policy.slot_s:
        return None
    return structs.replace(after, policy=structs.replace(after.policy, floor=floors, reactive=reactive))


def rotated(plan: Plan, from_s: float) -> Plan:
    """Return a plan whose first slot is that of an instant; unchanged if it has no date."""
    if plan.start_epoch_s is None:
        return plan
    elapsed_s = from_s - plan.start_epoch_s
    slot = round(elapsed_s / plan.slot_s) % plan.slots
    schedule = [structs.replace(row, machines=_turned(row.machines, slot)) for row in plan.schedule]
    routes = [structs.replace(route, flow=_turned(route.flow, slot)) for route in plan.routes]
    policy = plan.policy
    if policy is not None:
        first = round(elapsed_s / policy.slot_s)
        floors = [
            structs.replace(floor, machines=_turned(floor.machines, first % len(floor.machines)))
            for floor in policy.floor
        ]
        policy = structs.replace(policy, floor=floors)
    return structs.replace(plan, schedule=schedule, routes=routes, policy=policy, start_epoch_s=from_s)


def _turned(values: Sequence[N], slots: int) -> list[N]:
    return list(values[slots:]) + list(values[:slots])


def _rows(plan: Plan) -> set[Row]:
    """Return the rows that run machines."""
    if plan.policy is None:
        return {(row.pool, row.payment) for row in plan.schedule if any(row.machines)}
    rules: tuple[PolicyFloor | ReactiveRule, ...] = (*plan.policy.floor, *plan.policy.reactive)
    return {rule.machines_of for rule in (*rules, *plan.policy.backlog)}


def _price(plan: Plan, row: Row) -> float:
    """Return the hourly price of a machine; 0 where it is paid for in any case."""
    known = next(known for known in plan.schedule if (known.pool, known.payment) == row)
    return 0.0 if known.pricing_model in PREPAID else known.usd_per_hour


def _at(values: Ints, begins_s: NDArray[np.floating], slot_s: float) -> Ints:
    return values[(begins_s // slot_s).astype(np.int64) % len(values)]


def _by_target(before: Plan, after: Plan, row: Row, running: float) -> float:
    """Return the machines that another target of the reactive rule adds at the load that ran."""
    if before.policy is None or after.policy is None:
        return 0.0
    old, new = before.policy.rules_of(*row).reactive, after.policy.rules_of(*row).reactive
    if old is None or new is None:
        return 0.0
    return running * (old.target_in_flight / new.target_in_flight - 1)


def _moved(old: int, wanted: int, machines: int) -> int:
    return old + max(-machines, min(machines, wanted - old))


def _stepped(old: ReactiveRule, new: ReactiveRule, machines: int) -> ReactiveRule:
    """Return a rule between two: each bound moved by some machines, the target by as much of the larger bound."""
    share = machines / max(old.maximum, 1)
    target = min(max(new.target_in_flight, old.target_in_flight / (1 + share)), old.target_in_flight * (1 + share))
    minimum = _moved(old.minimum, new.minimum, machines)
    return structs.replace(
        new,
        target_in_flight=target,
        minimum=minimum,
        maximum=max(minimum, _moved(old.maximum, new.maximum, machines)),
    )


def _changes(before: Plan, after: Plan) -> Iterator[Change]:
    """Yield what differs, in words."""
    for row in sorted(_rows(before) | _rows(after)):
        what = ", ".join(row)
        if row not in _rows(before) or row not in _rows(after):
            yield Change(
                what=what, before="runs" if row in _rows(before) else "", after="runs" if row in _rows(after) else ""
            )
            continue
        old, new = fewest_machines(before, row), fewest_machines(after, row)
        if (old != new).any():
            yield Change(what=f"{what}: fewest machines", before=_range(old), after=_range(new))
        for name, first, second in _rule_values(before, after, row):
            if first != second:
                yield Change(what=f"{what}: {name}", before=first, after=second)
    if (before.policy is None) != (after.policy is None):
        kinds = ["a schedule" if plan.policy is None else "a policy" for plan in (before, after)]
        yield Change(what="decided by", before=kinds[0], after=kinds[1])
    elif before.policy and after.policy and before.policy.defer != after.policy.defer:
        yield Change(what="deferrable work waits", before=str(before.policy.defer), after=str(after.policy.defer))


def _rule_values(before: Plan, after: Plan, row: Row) -> Iterator[tuple[str, str, str]]:
    if before.policy is None or after.policy is None:
        return
    old, new = before.policy.rules_of(*row), after.policy.rules_of(*row)
    if old.reactive and new.reactive:
        yield (
            "requests in flight per replica",
            f"{old.reactive.target_in_flight:g}",
            f"{new.reactive.target_in_flight:g}",
        )
        yield "most machines", f"{old.reactive.maximum}", f"{new.reactive.maximum}"
        yield "stabilization", f"{old.reactive.stabilization_s:g} s", f"{new.reactive.stabilization_s:g} s"
    if old.backlog and new.backlog:
        yield "most machines for the backlog", f"{old.backlog.maximum}", f"{new.backlog.maximum}"


def _range(machines: Ints) -> str:
    low, high = int(machines.min()), int(machines.max())
    return f"{low}" if low == high else f"{low} to {high}"
