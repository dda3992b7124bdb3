"""Machines that were paid for and not needed: idle, over-provisioned, or running outside working hours.

Only on-demand hours can be saved: hours under a commitment are paid for until its term ends.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.records.findings import FindingKind
from meritorder.study.audit.context import AuditContext
from meritorder.study.audit.ledger import Ledger, StepResult, worth_reporting
from meritorder.study.audit.market import lowest
from meritorder.study.audit.pools import BilledFleet, BilledPool
from meritorder.study.audit.usage import MAX_UTILIZATION, MachineUsage
from meritorder.units import HOURS_PER_DAY, format_share

Floats = NDArray[np.float64]

_WORKDAY_HOURS: Final = 12
_WORKDAYS: Final = 5
_WORKDAY_START_HOUR: Final = 8
_ALWAYS_ON: Final = 0.5
_SLACK: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waste:
    """A reason why machines were not needed, as texts about the pool and its hours."""

    kind: FindingKind
    title: str
    hours: str


_IDLE: Final = _Waste(kind="idle_capacity", title="{} is idle", hours="without any work")
_SPARE: Final = _Waste(
    kind="over_provisioned", title="More {} than the work needs", hours="more than the work of the hour needs"
)


def find_unneeded_machines(ledger: Ledger, context: AuditContext) -> StepResult:
    """Find on-demand machines that were idle for a whole hour, and those beyond what the work of the hour needed.

    A bill by the day spreads the hours of a machine evenly over it; with metrics, hours without work are then a lower
    bound.

    needed = whole machines that the work takes at `MAX_UTILIZATION`, at least one if there was any work
    """
    usage, fleet = context.usage, ledger.fleet
    if usage is None or fleet is None or not (fleet.hourly or (usage.measured and fleet.step_h <= HOURS_PER_DAY)):
        return ledger, []
    confidence = usage.confidence if fleet.hourly else lowest(usage.confidence, "medium")
    pools, findings = [], []
    for pool in fleet.pools:
        if not usage.covers(pool):
            pools.append(pool)
            continue
        idle = np.minimum(pool.on_demand, np.where(usage.known, usage.idle * pool.machines, 0.0))
        spare = np.minimum(pool.on_demand - idle, _spare(pool, usage))
        pools.append(replace(pool, on_demand=pool.on_demand - idle - spare))
        for waste, unneeded in ((_IDLE, idle), (_SPARE, spare)):
            hours = float(unneeded.sum())
            if not worth_reporting(hours * pool.usd_per_hour):
                continue
            findings.append(
                ledger.finding(
                    waste.kind,
                    usd=hours * pool.usd_per_hour,
                    title=waste.title.format(pool.machine.label),
                    confidence=confidence,
                    evidence=_evidence(pool, usage, waste, hours),
                    fix="scale with the load, or backfill the gaps with work that may wait; "
                    + context.compare_advice(pool.machine),
                    where=pool.machine.label,
                )
            )
    return ledger.with_pools(pools), findings


def _spare(pool: BilledPool, usage: MachineUsage) -> Floats:
    """Return the whole machines beyond what the work of each hour needed, without those that were idle."""
    running = (1 - usage.idle) * pool.machines
    needed = np.maximum(np.ceil(usage.needed * pool.machines - _SLACK), 1.0)
    return np.where(usage.known & (usage.needed > 0), np.floor(np.maximum(running - needed, 0.0) + _SLACK), 0.0)


def _evidence(pool: BilledPool, usage: MachineUsage, waste: _Waste, hours: float) -> str:
    known, at = float(pool.on_demand[usage.known].sum()), int(usage.known.sum())
    peak = float((usage.needed * pool.machines)[usage.known].max())
    sunk = float(pool.committed.sum())
    beside = f"; {sunk:,.0f} hours under commitments are paid for in any case" if sunk else ""
    return (
        f"{hours:,.0f} of {known:,.0f} on-demand hours{pool.serves} were {waste.hours}, by {usage.source} in {at:,} "
        f"hours; at most {pool.machines.max():.3g} machines were paid for, the work needed {math.ceil(peak)} at its "
        f"peak, at {format_share(MAX_UTILIZATION)} of what a machine can do{beside}"
    )


def find_uncalled_endpoints(ledger: Ledger, context: AuditContext) -> StepResult:
    """Find endpoints that are paid for and no longer called."""
    left = {machine: hours.copy() for machine, hours in context.uncalled.machines.items()}
    pools, findings = [], []
    for pool in ledger.pools:
        uncalled = np.minimum(pool.on_demand, left.get(pool.machine, np.zeros(len(pool.on_demand))))
        usd = float(uncalled.sum()) * pool.usd_per_hour
        if not worth_reporting(usd):
            pools.append(pool)
            continue
        left[pool.machine] = left[pool.machine] - uncalled
        pools.append(replace(pool, on_demand=pool.on_demand - uncalled))
        called, names = context.uncalled.called, context.uncalled.names[pool.machine]
        shown = ", ".join(name.rsplit("/", 1)[-1] for name in names[:3])
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        findings.append(
            ledger.finding(
                "idle_capacity",
                usd=usd,
                title=f"{shown}{more} {'is' if len(names) == 1 else 'are'} no longer called",
                confidence="medium",
                evidence=f"{uncalled.sum():,.0f} on-demand hours of {pool.machine.label} without a line for data in or "
                f"out, which {called} other endpoint{'s have' if called != 1 else ' has'}",
                fix="delete it, or start it on request, once its metrics confirm that; see what each endpoint costs: "
                f"meritorder audit {context.bill_arguments} --by resource",
                where=pool.machine.label,
            )
        )
    return ledger.with_pools(pools), findings


def find_non_production_hours(ledger: Ledger, context: AuditContext) -> StepResult:
    """Find non-production machines, by their tags, that keep running at night and on weekends."""
    fleet = ledger.fleet
    if fleet is None or not fleet.hourly:
        return ledger, []
    working = _working(fleet)
    pools, findings = [], []
    for pool in fleet.pools:
        outside = np.where(working, 0.0, pool.on_demand)
        if not (pool.non_production and not pool.may_wait and _always_on(pool, working)):
            pools.append(pool)
            continue
        stopped = replace(pool, on_demand=pool.on_demand - outside)
        usd = pool.usd - stopped.usd
        if not worth_reporting(usd):
            pools.append(pool)
            continue
        pools.append(stopped)
        findings.append(
            ledger.finding(
                "non_production_hours",
                usd=usd,
                title=f"{pool.machine.label} of a non-production system runs at night and on weekends",
                confidence="medium",
                evidence=f"tags mark it as non-production{pool.serves}; {outside.sum():,.0f} of "
                f"{pool.on_demand.sum():,.0f} on-demand hours are outside {_WORKDAYS} days of {_WORKDAY_HOURS} hours",
                fix="stop it outside working hours, or start it on request; see what else is not production: "
                f"meritorder audit {context.bill_arguments} --by tag:environment --by tag:env",
                where=pool.machine.label,
            )
        )
    return ledger.with_pools(pools), findings


def _working(fleet: BilledFleet) -> NDArray[np.bool_]:
    """Return which hours are working hours; for machines that always run, which twelve of a day hardly matters."""
    day, hour = np.divmod(fleet.hour_of_week, HOURS_PER_DAY)
    return np.asarray((day < _WORKDAYS) & (hour >= _WORKDAY_START_HOUR) & (hour < _WORKDAY_START_HOUR + _WORKDAY_HOURS))


def _always_on(pool: BilledPool, working: NDArray[np.bool_]) -> bool:
    """Return whether the pool runs in most hours outside working hours."""
    return not working.all() and float((pool.machines[~working] > 0).mean()) >= _ALWAYS_ON
