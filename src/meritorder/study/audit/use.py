"""What machines did with the hours that were paid for: from utilisation metrics, or from the requests themselves."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from meritorder import traces
from meritorder.bills.utilisation import Utilisation
from meritorder.domain import Tier
from meritorder.findings import Confidence
from meritorder.study.audit.pools import Fleet, Pool
from meritorder.units import HOURS_PER_DAY, SECONDS_PER_HOUR

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FULLEST: Final = 0.8
"""Share of what machines can do that an hour may be planned with. Assumed: the rest is for bursts within it."""

IDLE_BELOW: Final = 0.01
"""A machine that is used less than this in an hour did nothing but stand by."""

OUTPUT_WEIGHT: Final = 4.0
"""Work of an output token in input tokens. Assumed: token APIs charge three to five times as much for it, 2026."""

_PACE_QUANTILE: Final = 0.99
_NEARLY_ALL: Final = 0.95
_WHOLE: Final = 0.9
"""An hour is known of which a trace covers so much: it begins and ends with a request, which may come a little late."""

_UNEVEN: Final = 1.5
_LEAST_HOURS: Final = 7 * HOURS_PER_DAY
_SLACK: Final = 1e-6


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
        guessed: Whether it is of other work than that of the machines: it tells only of those that never scale.
    """

    known: Bools
    idle: Floats
    needed: Floats
    confidence: Confidence
    source: str
    everything: bool
    guessed: bool = False

    def covers(self, pool: Pool) -> bool:
        """Return whether it tells of these machines."""
        if self.guessed:
            return pool.served and never_scales(pool)
        return self.everything or pool.served


def never_scales(pool: Pool) -> bool:
    """Return whether the same number of machines, two or more, is paid for in nearly all hours."""
    usual = float(np.median(pool.machines))
    return usual >= 2 and float((np.abs(pool.machines - usual) < _SLACK).mean()) >= _NEARLY_ALL


def of_metrics(fleet: Fleet, metrics: Utilisation, *, everything: bool) -> Use | None:
    """Return what metrics tell of the hours of the bill; None if they are of other hours.

    needed = used / FULLEST, with used the mean utilisation of those that were not idle

    Args:
        fleet: The machines.
        metrics: The samples.
        everything: Whether they are of all machines, not only of those that served the trace.
    """
    hour = (pl.col("time") - fleet.start).dt.total_seconds() // int(SECONDS_PER_HOUR)
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
        everything=everything,
    )


def work_by_hour(fleet: Fleet, trace: traces.Trace) -> tuple[Floats, Floats]:
    """Return the part of each hour of the bill that the trace covers, and the work that arrived, in input tokens.

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
    covered = np.clip(np.minimum(last, hours + 1) - np.maximum(first, hours), 0.0, 1.0)
    return covered, np.where(covered > 0, amounts, 0.0)


def capacity_by_hour(fleet: Fleet) -> Floats:
    """Return what the machines that served the trace cost at list price: capacity of different kinds in one measure."""
    total = np.zeros(fleet.hours)
    for pool in fleet.pools:
        if pool.served:
            total += pool.machines * (fleet.rates.listed.get(pool.machine) or pool.usd_per_hour or 1.0)
    return total


def share_used(work: Floats, capacity: Floats) -> Floats:
    """Return the share of the machines that the work of each hour took, at the pace of the fleet's own busiest hours.

        share = work / (pace * capacity),  pace = 99th percentile of work / capacity over the hours

    The pace is what the fleet has shown that it can do; a real limit would make the share smaller.
    """
    open_hours = (capacity > 0) & (work > 0)
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
    covered, work = work_by_hour(fleet, trace)
    known = covered >= _WHOLE
    work, capacity = np.where(known, work, 0.0), capacity_by_hour(fleet)
    if not ((capacity > 0) & (work > 0)).any():
        return None
    share = share_used(work, capacity)
    return Use(
        known=known,
        idle=np.where(known & (work <= 0), 1.0, 0.0),
        needed=np.minimum(1.0, share / FULLEST),
        confidence="medium",
        source=f"{trace.requests.height:,} requests of the trace",
        everything=False,
    )


def of_shape(fleet: Fleet, by_hour: pl.DataFrame) -> Use | None:
    """Return what the bill's own real-time work tells of machines that never scale; None if too short or too even.

    The work is tokens that somebody waits for, or else real-time machines that do scale: what they cost in each hour,
    over their busiest hours. That the other machines' work has the same shape is a guess.

    Args:
        fleet: The machines.
        by_hour: The inference charges by the hour, as `bills.by_hour` makes them.
    """
    if fleet.step_h > 1 or fleet.hours < _LEAST_HOURS or not any(never_scales(pool) for pool in fleet.pools):
        return None
    hasty = ~pl.col("tier").is_in([str(Tier.BATCH), str(Tier.FLEX)]) & ~pl.col("may_wait")
    tokens = by_hour.filter((pl.col("kind") == "tokens") & hasty.fill_null(value=False))
    at = (pl.col("hour") - fleet.start).dt.total_hours()
    sums = (
        tokens.group_by(at=at)
        .agg(usd=pl.col("amortised_usd").sum())
        .filter(pl.col("at").is_between(0, fleet.hours - 1))
    )
    _, load = _columns(sums, fleet.hours, "usd")
    source = "real-time tokens"
    if not load.any():
        load = np.sum([p.machines for p in fleet.pools if p.served and not never_scales(p)] or [load], axis=0)
        source = "machines that do scale"
    peak = float(np.quantile(load, _PACE_QUANTILE))
    if peak <= 0 or peak < _UNEVEN * float(load.mean()):
        return None
    return Use(
        known=np.ones(fleet.hours, np.bool_),
        idle=np.zeros(fleet.hours),
        needed=np.minimum(1.0, np.maximum(load / peak, _SLACK) / FULLEST),
        confidence="low",
        source=f"the shape of the bill's {source}",
        everything=False,
        guessed=True,
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
