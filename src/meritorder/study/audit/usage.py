"""How much of the paid machine hours was used: from utilization metrics, the requests, or the bill itself.

A provider charges an endpoint for its hours and, on separate lines, for the data that passes through it. An endpoint
without such lines, in a bill that has them for others, is not called.

Source: Amazon SageMaker AI, usage types Host:... (hours) and Hst:Data-Bytes-In and -Out, operation Invoke-Endpoint
(data), 2026-11.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from meritorder import bills, traces
from meritorder.bills import PurchaseOption
from meritorder.bills.metrics.utilization import UtilizationMetrics
from meritorder.domain import Tier
from meritorder.records.accounting import OUTPUT_WEIGHT
from meritorder.records.findings import Confidence
from meritorder.study.audit.pools import BilledFleet, BilledMachine, BilledPool, machine_hours
from meritorder.units import HOURS_PER_DAY, SECONDS_PER_HOUR

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MAX_UTILIZATION: Final = 0.8
"""Utilization at which an hour may be planned. Assumed: the rest is for bursts within the hour."""

IDLE_BELOW: Final = 0.01
"""Utilization below which a machine was idle for an hour."""

_CERTAINTY: Final = ("low", "medium", "high")
_PACE_QUANTILE: Final = 0.99
_NEARLY_ALL: Final = 0.95
_COVERED: Final = 0.9
"""Part of an hour that a trace or metrics must cover: the first and last of their records may fall within it."""

_UNEVEN: Final = 1.5
_MIN_HOURS: Final = 7 * HOURS_PER_DAY
_SLACK: Final = 1e-6

_TRAFFIC: Final = r"(?i)data-?bytes|invoke-?endpoint|invocations?|requests?"
_FORGOTTEN_AFTER_H: Final = 7 * HOURS_PER_DAY
"""Hours without a call after which an endpoint counts as no longer called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineUsage:
    """How much of the machines was used in each hour, as shares of all of them.

    Args:
        known: Whether the usage of the hour is known, shape (hours,).
        idle: Share of the machines that did no work, shape (hours,).
        needed: Share of the machines that the work needed, shape (hours,).
        confidence: How certain that is.
        source: Where it comes from, for texts.
        of_all_machines: Whether it covers all machines, not only those that served the trace.
        guessed: Whether it is derived from other work than that of the machines; it covers only those that never scale.
        measured: Whether metrics show it, which tell hours apart even if the bill does not.
        notes: What was decided about the input and what of it was left out, one line each.
    """

    known: Bools
    idle: Floats
    needed: Floats
    confidence: Confidence
    source: str
    of_all_machines: bool
    guessed: bool = False
    measured: bool = False
    notes: tuple[str, ...] = ()

    def covers(self, pool: BilledPool) -> bool:
        """Return whether it covers these machines."""
        if self.guessed:
            return pool.served and never_scales(pool)
        return self.of_all_machines or pool.served


def never_scales(pool: BilledPool) -> bool:
    """Return whether the same number of machines, at least two, is paid for in nearly all hours."""
    usual = float(np.median(pool.machines))
    return usual >= 2 and float((np.abs(pool.machines - usual) < _SLACK).mean()) >= _NEARLY_ALL


def usage_from_metrics(
    fleet: BilledFleet, metrics: UtilizationMetrics, *, of_all_machines: bool
) -> MachineUsage | None:
    """Return the usage that metrics show for the hours of the bill; None if they are of other hours.

        needed = used / MAX_UTILIZATION, with used the mean utilization of those that were not idle

    A machine is idle for an hour if all of its GPUs are, by samples of nearly the whole hour; an hour with gaps shows
    only that a machine worked.

    Args:
        fleet: The machines.
        metrics: The samples.
        of_all_machines: Whether they cover all machines, not only those that served the trace.
    """
    machine_hours = _machine_hours(fleet, metrics)
    if machine_hours.is_empty():
        return None
    known_hours = machine_hours.filter("busy" | pl.col("complete"))
    by_hour = known_hours.group_by("at").agg(
        idle=(~pl.col("busy")).mean(),
        used=pl.col("mean").filter("busy").sum() / pl.len(),
    )
    known, idle, used = _columns(by_hour, fleet.hours, "idle", "used")
    gaps = machine_hours.height - known_hours.height
    sampled: Confidence = "high" if metrics.machines >= _most_machines(fleet) else "medium"
    return MachineUsage(
        known=known,
        idle=idle,
        needed=np.minimum(used / MAX_UTILIZATION, 1 - idle),
        confidence=min(metrics.confidence, sampled, key=_CERTAINTY.index),
        source=_source(metrics),
        of_all_machines=of_all_machines,
        measured=True,
        notes=(*metrics.notes, *([f"{gaps:,} machine hours with gaps and no work tell nothing"] if gaps else [])),
    )


def _machine_hours(fleet: BilledFleet, metrics: UtilizationMetrics) -> pl.DataFrame:
    """Return the hours of each machine: `mean` utilization, whether `busy`, and whether sampled as a whole."""
    hour = (pl.col("time") - fleet.start).dt.total_seconds() // int(SECONDS_PER_HOUR)
    inside = metrics.samples.with_columns(at=hour).filter(pl.col("at").is_between(0, fleet.hours - 1))
    by_gpu = inside.group_by("at", "machine", "gpu").agg(
        mean=pl.col("utilization").mean(), highest=pl.col("busiest").max(), samples=pl.len()
    )
    usual = by_gpu.group_by("machine").agg(usual=pl.col("samples").median(), gpus=pl.col("gpu").n_unique())
    return (
        by_gpu.join(usual, on="machine")
        .group_by("at", "machine")
        .agg(
            mean=pl.col("mean").mean(),
            busy=pl.col("highest").max() >= IDLE_BELOW,
            complete=(pl.col("samples") >= _COVERED * pl.col("usual")).sum() == pl.col("gpus").first(),
        )
    )


def _most_machines(fleet: BilledFleet) -> float:
    """Return the most machines that were paid for at once."""
    return float(np.sum([pool.machines for pool in fleet.pools], axis=0).max())


def _source(metrics: UtilizationMetrics) -> str:
    machines = f"{metrics.machines} machine{'s' if metrics.machines != 1 else ''}"
    gpus = f" with {metrics.gpus} GPUs" if metrics.gpus > 1 else ""
    return f"{metrics.name} of {machines}{gpus}"


def work_by_hour(fleet: BilledFleet, trace: traces.Trace) -> tuple[Floats, Floats]:
    """Return the part of each hour of the bill that the trace covers, and the work that arrived in input tokens.

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


def capacity_by_hour(fleet: BilledFleet) -> Floats:
    """Return the list price of the machines that served the trace in each hour, a common measure of capacity."""
    total = np.zeros(fleet.hours)
    for pool in fleet.pools:
        if pool.served:
            total += pool.machines * (fleet.rates.listed.get(pool.machine) or pool.usd_per_hour or 1.0)
    return total


def share_of_capacity(work: Floats, capacity: Floats) -> Floats:
    """Return the share of capacity that the work of each hour took, at the pace of the fleet's own busiest hours.

        share = work / (pace * capacity),  pace = 99th percentile of work / capacity over the hours

    The pace is what the fleet is known to achieve; at its real limit the share would be smaller.
    """
    open_hours = (capacity > 0) & (work > 0)
    share = np.zeros(len(work))
    if open_hours.any():
        paces = work[open_hours] / capacity[open_hours]
        pace = float(np.quantile(paces, _PACE_QUANTILE, method="inverted_cdf"))
        share[open_hours] = np.minimum(1.0, paces / pace)
    return share


def usage_from_trace(fleet: BilledFleet, trace: traces.Trace) -> MachineUsage | None:
    """Return the usage that requests show for the hours of the bill; None if they are of other hours or undated."""
    if trace.epoch_s is None or trace.report.session_clock:
        return None
    covered, work = work_by_hour(fleet, trace)
    known = covered >= _COVERED
    work, capacity = np.where(known, work, 0.0), capacity_by_hour(fleet)
    if not ((capacity > 0) & (work > 0)).any():
        return None
    share = share_of_capacity(work, capacity)
    return MachineUsage(
        known=known,
        idle=np.where(known & (work <= 0), 1.0, 0.0),
        needed=np.minimum(1.0, share / MAX_UTILIZATION),
        confidence="medium",
        source=f"{trace.requests.height:,} requests of the trace",
        of_all_machines=False,
    )


def usage_from_shape(fleet: BilledFleet, by_hour: pl.DataFrame) -> MachineUsage | None:
    """Return a guess of the usage of machines that never scale; None if the bill is too short or its work too even.

    The guess is that their work has the shape of the bill's other real-time work: tokens at real-time tiers, or else
    machines that do scale, by their cost in each hour relative to their busiest hours.

    Args:
        fleet: The machines.
        by_hour: The inference charges by the hour, from `bills.hourly_groups`.
    """
    if fleet.step_h > 1 or fleet.hours < _MIN_HOURS or not any(never_scales(pool) for pool in fleet.pools):
        return None
    at_once = ~pl.col("tier").is_in([str(Tier.BATCH), str(Tier.FLEX)]) & ~pl.col("may_wait")
    tokens = by_hour.filter((pl.col("kind") == "tokens") & at_once.fill_null(value=False))
    at = (pl.col("hour") - fleet.start).dt.total_hours()
    sums = (
        tokens.group_by(at=at)
        .agg(usd=pl.col("amortised_usd").sum())
        .filter(pl.col("at").is_between(0, fleet.hours - 1))
    )
    _, load = _columns(sums, fleet.hours, "usd")
    source = "real-time tokens"
    if not load.any():
        load = np.sum(
            [pool.machines for pool in fleet.pools if pool.served and not never_scales(pool)] or [load], axis=0
        )
        source = "machines that scale"
    peak = float(np.quantile(load, _PACE_QUANTILE))
    if peak <= 0 or peak < _UNEVEN * float(load.mean()):
        return None
    return MachineUsage(
        known=np.ones(fleet.hours, np.bool_),
        idle=np.zeros(fleet.hours),
        needed=np.minimum(1.0, np.maximum(load / peak, _SLACK) / MAX_UTILIZATION),
        confidence="low",
        source=f"the shape of the bill's {source}",
        of_all_machines=False,
        guessed=True,
    )


def _hour_of(epoch_s: pl.Expr, fleet: BilledFleet) -> pl.Expr:
    return ((epoch_s - fleet.start.timestamp()) / SECONDS_PER_HOUR).floor().cast(pl.Int64)


def _columns(by_hour: pl.DataFrame, hours: int, *names: str) -> tuple[NDArray, ...]:  # type: ignore[type-arg]
    at = by_hour["at"].to_numpy()
    known = np.zeros(hours, np.bool_)
    known[at] = True
    columns: list[NDArray] = [known]  # type: ignore[type-arg]
    for name in names:
        column = np.zeros(hours)
        column[at] = by_hour[name].fill_null(0.0).to_numpy()
        columns.append(column)
    return tuple(columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class UncalledEndpoints:
    """Endpoints that are paid for and no longer called.

    Args:
        machines: By machine, on-demand machines of such endpoints in each hour, shape (hours,).
        names: By machine, the endpoints.
        called: Number of endpoints in the bill that are called.
    """

    machines: Mapping[BilledMachine, Floats] = field(default_factory=dict)
    names: Mapping[BilledMachine, tuple[str, ...]] = field(default_factory=dict)
    called: int = 0


def uncalled_endpoints(bill: bills.Bill, fleet: BilledFleet) -> UncalledEndpoints:
    """Return the endpoints of a bill that are no longer called; none if the bill has no lines of data at all."""
    traffic = (pl.col("kind") == "endpoint") & pl.col("sku").str.contains(_TRAFFIC) & ~machine_hours()
    if bill.groups.filter(traffic.fill_null(value=False)).is_empty():
        return UncalledEndpoints()
    named = bill.charges.filter(pl.col("resource").is_not_null())
    last_call = named.filter(traffic).group_by("resource").agg(called=pl.col("period_start").max())
    bought = (pl.col("kind") == "endpoint") & (pl.col("purchase") == PurchaseOption.ON_DEMAND) & machine_hours()
    keys = ("provider", "region", "instance_type", "resource")
    hours = bills.hourly_charges(named.filter(bought), *keys).join(
        last_call.collect(engine="streaming"), on="resource", how="left"
    )
    called = hours.filter(pl.col("called").is_not_null())["resource"].n_unique()
    if not called:
        return UncalledEndpoints()
    until = hours["hour"].max()
    long_ago = pl.col("called").is_null() | (until - pl.col("called") >= pl.duration(hours=_FORGOTTEN_AFTER_H))
    uncalled = hours.filter(long_ago & (pl.col("called").is_null() | (pl.col("hour") > pl.col("called"))))
    machines: dict[BilledMachine, Floats] = {}
    names: dict[BilledMachine, tuple[str, ...]] = {}
    for (provider, region, instance), rows in uncalled.group_by("provider", "region", "instance_type"):
        machine = BilledMachine(provider=str(provider or ""), region=str(region or ""), instance=str(instance))
        at = (rows["hour"] - fleet.start).dt.total_hours().to_numpy()
        inside = (at >= 0) & (at < fleet.hours)
        machines[machine] = np.zeros(fleet.hours)
        np.add.at(machines[machine], at[inside], rows["quantity"].to_numpy()[inside])
        names[machine] = tuple(rows["resource"].unique().sort())
    return UncalledEndpoints(machines=machines, names=names, called=called)
