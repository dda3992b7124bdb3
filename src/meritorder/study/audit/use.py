"""What machines did with the hours that were paid for: from utilisation metrics, or from the requests themselves."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from meritorder import traces
from meritorder.bills.utilisation import Utilisation
from meritorder.findings import Confidence
from meritorder.study.audit.pools import Fleet, Pool
from meritorder.units import SECONDS_PER_HOUR

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FULLEST: Final = 0.8
"""Share of what machines can do that an hour may be planned with. Assumed: the rest is for bursts within it."""

IDLE_BELOW: Final = 0.01
"""A machine that is used less than this in an hour did nothing but stand by."""

OUTPUT_WEIGHT: Final = 4.0
"""Work of an output token in input tokens. Assumed: token APIs charge three to five times as much for it, 2026."""

_PACE_QUANTILE: Final = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What machines did, in shares of all of them, by hour.

    Args:
        known: Hours that are known, shape (hours,).
        idle: Share of the machines that did nothing at all, shape (hours,).
        needed: Share of the machines that would have been enough for the rest, shape (hours,).
        confidence: How sure that is.
        source: Where it comes from, for texts.
        everything: Whether it tells of all machines, not only of those that served the trace.
    """

    known: Bools
    idle: Floats
    needed: Floats
    confidence: Confidence
    source: str
    everything: bool

    def covers(self, pool: Pool) -> bool:
        """Return whether it tells of these machines."""
        return self.everything or pool.served


def of_metrics(fleet: Fleet, metrics: Utilisation) -> Use | None:
    """Return what metrics tell of the hours of the bill; None if they are of other hours.

    needed = used / FULLEST, with used the mean utilisation of those that were not idle
    """
    hour = (pl.col("time") - fleet.start).dt.total_hours()
    by_machine = (
        metrics.samples.with_columns(at=hour)
        .filter(pl.col("at").is_between(0, fleet.hours - 1))
        .group_by("at", "machine")
        .agg(mean=pl.col("utilisation").mean(), most=pl.col("utilisation").max())
    )
    if by_machine.is_empty():
        return None
    by_hour = by_machine.group_by("at").agg(
        idle=(pl.col("most") < IDLE_BELOW).mean(),
        used=pl.col("mean").filter(pl.col("most") >= IDLE_BELOW).sum() / pl.len(),
    )
    known, idle, used = _columns(by_hour, fleet.hours, "idle", "used")
    return Use(
        known=known,
        idle=idle,
        needed=np.minimum(used / FULLEST, 1 - idle),
        confidence="high" if metrics.machines > 1 else "medium",
        source=f"{metrics.name} of {metrics.machines} machine{'s' if metrics.machines != 1 else ''}",
        everything=not any(pool.served != (not pool.may_wait) for pool in fleet.pools),
    )


def work_by_hour(fleet: Fleet, trace: traces.Trace) -> tuple[Bools, Floats]:
    """Return the hours of the bill that the trace covers whole, and the work that arrived in each, in input tokens.

    work = input - cached + OUTPUT_WEIGHT * output
    """
    work = pl.col("input_tokens") - pl.col("cached_tokens") + OUTPUT_WEIGHT * pl.col("output_tokens")
    zero_s = trace.epoch_s or 0.0
    arrived = pl.col("arrived_s") + zero_s
    by_hour = trace.requests.group_by(at=_hour_of(arrived, fleet)).agg(work=work.sum().cast(pl.Float64))
    _, amounts = _columns(by_hour.filter(pl.col("at").is_between(0, fleet.hours - 1)), fleet.hours, "work")
    first = (zero_s - fleet.start.timestamp()) / SECONDS_PER_HOUR
    last = first + trace.span_s / SECONDS_PER_HOUR
    hours = np.arange(fleet.hours)
    # The trace begins at its first request, which may come a little after the hour.
    known = (hours >= np.floor(first)) & (hours < np.ceil(last - 1e-9))
    return known, amounts


def capacity_by_hour(fleet: Fleet) -> Floats:
    """Return what the machines that served the trace cost at list price: capacity of different kinds in one measure."""
    total = np.zeros(fleet.hours)
    for pool in fleet.pools:
        if pool.served:
            total += pool.machines * (fleet.rates.listed.get(pool.machine) or pool.usd_per_hour or 1.0)
    return total


def share_used(known: Bools, work: Floats, capacity: Floats) -> Floats:
    """Return the share of the machines that the work of each hour took, at the pace of the fleet's own busiest hours.

        share = work / (pace * capacity),  pace = 99th percentile of work / capacity over the hours

    The pace is what the fleet has shown that it can do; a real limit would make the share smaller.
    """
    open_hours = known & (capacity > 0) & (work > 0)
    share = np.zeros(len(work))
    if open_hours.any():
        paces = work[open_hours] / capacity[open_hours]
        pace = float(np.quantile(paces, _PACE_QUANTILE, method="inverted_cdf"))
        share[open_hours] = np.minimum(1.0, paces / pace)
    return share


def of_trace(fleet: Fleet, trace: traces.Trace) -> Use | None:
    """Return what the requests tell of the hours of the bill; None if they are of other hours or tell no dates."""
    if trace.epoch_s is None or trace.report.session_clock:
        return None
    known, work = work_by_hour(fleet, trace)
    capacity = capacity_by_hour(fleet)
    if not (known & (capacity > 0) & (work > 0)).any():
        return None
    share = share_used(known, work, capacity)
    return Use(
        known=known,
        idle=np.where(known & (work <= 0), 1.0, 0.0),
        needed=np.minimum(1.0, share / FULLEST),
        confidence="medium",
        source=f"{trace.requests.height:,} requests of the trace",
        everything=False,
    )


def _hour_of(epoch_s: pl.Expr, fleet: Fleet) -> pl.Expr:
    return ((epoch_s - fleet.start.timestamp()) / SECONDS_PER_HOUR).floor().cast(pl.Int64)


def _columns(by_hour: pl.DataFrame, hours: int, *names: str) -> tuple[NDArray, ...]:  # type: ignore[type-arg]
    at = by_hour["at"].to_numpy()
    known = np.zeros(hours, np.bool_)
    known[at] = True
    found: list[NDArray] = [known]  # type: ignore[type-arg]
    for name in names:
        column = np.zeros(hours)
        column[at] = by_hour[name].fill_null(0.0).to_numpy()
        found.append(column)
    return tuple(found)
