"""What the plan wants now, for operators and autoscalers: `/meritorder/status` and `/metrics`."""

from typing import Any, Final

from meritorder.gateway.state.metrics import Gauge
from meritorder.gateway.venues.plans.in_force import PlanInForce, PlannedPool, PlannedRow
from meritorder.gateway.venues.plans.machines import PlanMachines
from meritorder.records.evidence import age_days
from meritorder.units import utc

_LABELS: Final = ("pool", "payment")
_FIELDS: Final = (
    ("meritorder_plan_replicas", "Replicas wanted now, ahead by the start-up time.", "replicas"),
    ("meritorder_plan_replicas_next", "Replicas of the next slot; the fewest under a policy.", "replicas_next"),
    ("meritorder_plan_machines", "Machines wanted now, ahead by the start-up time.", "machines"),
)


def plan_status(plan: PlanInForce, machines: PlanMachines, now_s: float) -> dict[str, Any] | None:
    """Return the current slot and the machines wanted now and next; None without a plan."""
    if not plan.file:
        return None
    calendar = plan.calendar
    return {
        "file": plan.file,
        "slot": calendar.slot_at(now_s),
        "slots": calendar.active_slots,
        "next_slot_at": round(now_s + calendar.remaining_s(now_s), 3),
        "repeats_every_s": calendar.period_s,
        "pools": [_row_status(pool, row, machines, now_s) for pool in plan.pools for row in pool.rows],
    }


def _row_status(pool: PlannedPool, row: PlannedRow, machines: PlanMachines, now_s: float) -> dict[str, Any]:
    count = machines.count(pool, row, now_s)
    status = {
        "pool": pool.spec.name,
        "payment": row.schedule.payment,
        "venues": list(pool.venues),
        "machines": count.wanted,
        "machines_next": count.next_slot,
        "replicas": count.wanted * pool.spec.servers,
        "replicas_next": count.next_slot * pool.spec.servers,
    }
    if count.by_rule:
        status |= {"policy": dict(count.by_rule), "above_floor_usd": count.above_floor_usd}
    return status


def plan_gauges(plan: PlanInForce, machines: PlanMachines, now_s: float) -> list[Gauge]:
    """Return the replicas and machines that the plan wants, for an autoscaler to follow."""
    status = plan_status(plan, machines, now_s)
    if status is None:
        return []
    rows = [((row["pool"], row["payment"]), row) for row in status["pools"]]
    gauges: list[Gauge] = [
        (name, what, _LABELS, [(labels, float(row[field])) for labels, row in rows]) for name, what, field in _FIELDS
    ]
    if plan.policy_calendar is not None:
        by_rule: list[tuple[tuple[str, ...], float]] = [
            ((*labels, rule), float(wanted)) for labels, row in rows for rule, wanted in row["policy"].items()
        ]
        above_usd: list[tuple[tuple[str, ...], float]] = [
            (labels, float(row["above_floor_usd"])) for labels, row in rows
        ]
        gauges += [
            ("meritorder_policy_machines", "Machines that each rule asks for now.", (*_LABELS, "rule"), by_rule),
            ("meritorder_policy_above_floor_usd", "Cost of machines above the floor so far.", _LABELS, above_usd),
        ]
    today = utc(now_s).date()
    ages = [float(age) for date in plan.price_dates if (age := age_days(date, today)) is not None]
    if ages:
        gauges.append(("meritorder_plan_price_age_days", "Age of the plan's oldest price.", (), [((), max(ages))]))
    return gauges
