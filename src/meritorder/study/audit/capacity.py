"""Machines that were paid for and not needed: idle, over-provisioned, or on outside working hours.

Only on-demand hours are a saving: what a commitment covers is paid for until its term ends.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.findings import Finding, Kind
from meritorder.study.audit.context import Context
from meritorder.study.audit.ledger import Ledger, Step, worth_telling
from meritorder.study.audit.pools import Fleet, Pool
from meritorder.study.audit.use import FULLEST, Use
from meritorder.units import HOURS_PER_DAY, format_share

Floats = NDArray[np.float64]

_WORKDAY_HOURS: Final = 12
_WORKDAYS: Final = 5
_FIRST_HOUR: Final = 8
_ALWAYS_ON: Final = 0.5
_SLACK: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waste:
    """One way in which machines were not needed: what to say of the pool, and of its hours."""

    kind: Kind
    title: str
    hours: str


_IDLE: Final = _Waste(kind="idle_capacity", title="{} stands idle", hours="without any work")
_SPARE: Final = _Waste(
    kind="over_provisioned", title="More {} than the work needs", hours="more than the work of the hour needs"
)


def unneeded(ledger: Ledger, context: Context) -> Step:
    """Find on-demand machines that did nothing for a whole hour, and those beyond what the work of the hour needs.

    needed = the machines that the work takes at `FULLEST`, whole, and at least one where there was any
    """
    use, fleet = context.use, ledger.fleet
    if use is None or fleet is None or not fleet.hourly:
        return ledger, []
    pools, found = [], []
    for pool in fleet.pools:
        if not use.covers(pool):
            pools.append(pool)
            continue
        idle = np.minimum(pool.on_demand, np.where(use.known, use.idle * pool.machines, 0.0))
        spare = np.minimum(pool.on_demand - idle, _spare(pool, use))
        pools.append(replace(pool, on_demand=pool.on_demand - idle - spare))
        for waste, off in ((_IDLE, idle), (_SPARE, spare)):
            if worth_telling(float(off.sum()) * pool.usd_per_hour):
                found.append(_finding(ledger, context, pool, waste, float(off.sum())))
    return ledger.with_pools(pools), found


def _spare(pool: Pool, use: Use) -> Floats:
    """Return the whole machines beyond what the work of each hour needs, those without any work left out."""
    running = (1 - use.idle) * pool.machines
    needed = np.maximum(np.ceil(use.needed * pool.machines - _SLACK), 1.0)
    return np.where(use.known & (use.needed > 0), np.floor(np.maximum(running - needed, 0.0) + _SLACK), 0.0)


def _told(pool: Pool, use: Use, off_hours: float, hours: str) -> str:
    known, at = float(pool.on_demand[use.known].sum()), int(use.known.sum())
    peak = float(np.max((use.needed * pool.machines)[use.known], initial=0.0))
    sunk = float(pool.committed.sum())
    beside = f"; {sunk:,.0f} hours under commitments are paid for in any case" if sunk else ""
    return (
        f"{off_hours:,.0f} of {known:,.0f} on-demand hours{pool.serves} were {hours}, by {use.source} in {at:,} hours; "
        f"{pool.machines.max():.3g} machines at most were paid for, the work needed {math.ceil(peak)} at its peak, "
        f"at {format_share(FULLEST)} of what a machine can do{beside}"
    )


def _finding(ledger: Ledger, context: Context, pool: Pool, waste: _Waste, off_hours: float) -> Finding:
    use = context.use
    if use is None:
        raise AssertionError("what machines did is known where they were found not needed")
    return ledger.finding(
        waste.kind,
        usd=off_hours * pool.usd_per_hour,
        title=waste.title.format(pool.machine.label),
        confidence=use.confidence,
        evidence=_told(pool, use, off_hours, waste.hours),
        fix="scale with the load, or backfill the gaps with work that can wait: " + context.compare(pool.machine),
        where=pool.machine.label,
    )


def silent(ledger: Ledger, context: Context) -> Step:
    """Find endpoints that are paid for and that nobody calls."""
    left = {machine: hours.copy() for machine, hours in context.silence.machines.items()}
    pools, found = [], []
    for pool in ledger.pools:
        off = np.minimum(pool.on_demand, left.get(pool.machine, np.zeros(len(pool.on_demand))))
        usd = float(off.sum()) * pool.usd_per_hour
        if not worth_telling(usd):
            pools.append(pool)
            continue
        left[pool.machine] = left[pool.machine] - off
        pools.append(replace(pool, on_demand=pool.on_demand - off))
        names = context.silence.names[pool.machine]
        shown = ", ".join(name.rsplit("/", 1)[-1] for name in names[:3])
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        found.append(
            ledger.finding(
                "idle_capacity",
                usd=usd,
                title=f"Nobody calls {shown}{more}",
                confidence="medium",
                evidence=f"{off.sum():,.0f} on-demand hours of {pool.machine.label} without a line for data in or out, "
                f"which {context.silence.called} other endpoint{'s have' if context.silence.called != 1 else ' has'}",
                fix="delete it, or let requests start it; make sure with its metrics: "
                f"meritorder audit {context.bill_words} --metrics invocations.csv",
                where=pool.machine.label,
            )
        )
    return ledger.with_pools(pools), found


def non_production(ledger: Ledger, context: Context) -> Step:
    """Find machines that tags call no production, and that stay on at night and at the weekend."""
    fleet = ledger.fleet
    if fleet is None or not fleet.hourly:
        return ledger, []
    working = _working(fleet)
    pools, found = [], []
    for pool in fleet.pools:
        off = np.where(working, 0.0, pool.on_demand)
        if not (pool.non_production and not pool.may_wait and _always_on(pool, working)):
            pools.append(pool)
            continue
        kept = replace(pool, on_demand=pool.on_demand - off)
        usd = pool.usd - kept.usd
        pools.append(kept if worth_telling(usd) else pool)
        if not worth_telling(usd):
            continue
        found.append(
            ledger.finding(
                "non_production_hours",
                usd=usd,
                title=f"{pool.machine.label} of no production system stays on at night and at the weekend",
                confidence="medium",
                evidence=f"tags say that it is no production system{pool.serves}; {off.sum():,.0f} of "
                f"{pool.on_demand.sum():,.0f} on-demand hours are outside {_WORKDAYS} days of {_WORKDAY_HOURS} hours",
                fix="stop it outside working hours, or let requests start it; see when it is used: "
                f"meritorder audit {context.bill_words} --metrics gpu.csv",
                where=pool.machine.label,
            )
        )
    return ledger.with_pools(pools), found


def _working(fleet: Fleet) -> NDArray[np.bool_]:
    """Return which hours are twelve of a working day; which twelve hardly matters to what is always on."""
    day, hour = np.divmod(fleet.hour_of_week, HOURS_PER_DAY)
    return np.asarray((day < _WORKDAYS) & (hour >= _FIRST_HOUR) & (hour < _FIRST_HOUR + _WORKDAY_HOURS))


def _always_on(pool: Pool, working: NDArray[np.bool_]) -> bool:
    """Return whether it runs in most hours outside working hours."""
    return not working.all() and float((pool.machines[~working] > 0).mean()) >= _ALWAYS_ON
