"""Dollars per request: the allocation of what the bill paid for machines, idle capacity included."""

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from meritorder import bills, traces
from meritorder.bills import COMMITMENTS, PurchaseOption
from meritorder.errors import BillError
from meritorder.records.accounting import OUTPUT_WEIGHT
from meritorder.records.findings import AllocatedCost, RequestCosts
from meritorder.study.audit.pools import BilledFleet, machine_hours
from meritorder.study.audit.usage import share_of_capacity, work_by_hour
from meritorder.units import SECONDS_PER_HOUR, format_usd, usd_per_mtok

Floats = NDArray[np.float64]

_MACHINE_PURCHASES: Final = (PurchaseOption.ON_DEMAND, PurchaseOption.SPOT, PurchaseOption.CAPACITY_BLOCK, *COMMITMENTS)
_MAX_TENANTS: Final = 20
_MIN_SPAN_H: Final = 1 / 60
_ALL: Final = "all requests"
_UNNAMED: Final = "(not named)"


def allocate(
    by_hour: pl.DataFrame, fleet: BilledFleet, trace: traces.Trace, serving: tuple[tuple[str, str], ...] = ()
) -> RequestCosts:
    """Allocate what was paid for machines to the requests that they served.

    What was paid in an hour is allocated to its requests by work; what was paid in hours without requests, to all
    requests by work. The idle part is what was paid beyond the share of capacity that the work took at the pace of the
    fleet's own busiest hours.

        usd of a request = paid[hour] * work / work[hour] + paid in hours without requests * work / work of all

    Args:
        by_hour: The inference charges of a bill by the hour, from `bills.hourly_groups`.
        fleet: Its machine hours.
        trace: The requests.
        serving: Charges that served them, as (column, glob); empty selects all machines and commitments for inference.

    Raises:
        BillError: The trace and the bill have no hour in common, or no charge is for machines.
    """
    paid, machine_h = _paid(by_hour, fleet, serving)
    dated = trace.epoch_s is not None and not trace.report.session_clock
    covered, work, at = _align(fleet, trace, dated=dated)
    if not dated:
        paid, machine_h = np.full(len(work), paid.mean()), np.full(len(work), machine_h.mean())
    paid, machine_h, known = paid * covered, machine_h * covered, covered > 0
    used = share_of_capacity(work, machine_h)
    total_usd, empty = float(paid.sum()), known & (work <= 0)
    busy_usd = float((paid * used).sum())
    inside = (at >= 0) & (at < len(work)) & known[np.clip(at, 0, len(work) - 1)]
    per_work = np.divide(paid, work, out=np.zeros_like(work), where=work > 0)
    empty_per_work = float(paid[empty].sum()) / float(work.sum())
    usd = np.where(inside, _work_of_requests(trace) * (per_work[np.clip(at, 0, len(work) - 1)] + empty_per_work), 0.0)
    requests = trace.requests.with_columns(usd=usd, inside=inside).filter("inside")
    idle = 1 - busy_usd / total_usd if total_usd else 0.0
    return RequestCosts(
        total=_allocated(_ALL, requests, idle),
        by_model=_by(requests, "model", idle),
        by_tenant=_by(requests, "tenant", idle)[:_MAX_TENANTS],
        machine_hours_paid=float(machine_h.sum()),
        machine_hours_used=float((machine_h * used).sum()),
        hours=int(known.sum()),
        hours_without_requests=int(empty.sum()),
        basis=_basis(serving, total_usd, dated=dated),
    )


def _paid(by_hour: pl.DataFrame, fleet: BilledFleet, serving: tuple[tuple[str, str], ...]) -> tuple[Floats, Floats]:
    """Return what was paid for machines in each hour, unused commitments included, and their machine hours."""
    of_machines = pl.col("kind").is_in([*bills.MACHINES, bills.THROUGHPUT, "commitment", "tagged", "selected"])
    shape = by_hour.filter(of_machines & pl.col("purchase").is_in([str(purchase) for purchase in _MACHINE_PURCHASES]))
    if serving:
        shape = shape.filter(bills.matches_selectors(shape, serving, option="--serving"))
    shape = shape.with_columns(counted=machine_hours())
    if not shape.height:
        what = "no charge for a machine matches" if serving else "it has no charges for machines"
        raise BillError(
            what, where="--serving" if serving else None, fix="--serving tag:KEY=VALUE names those that served it"
        )
    at = (shape["hour"] - fleet.start).dt.total_hours().to_numpy()
    inside = (at >= 0) & (at < fleet.hours)
    paid, hours = np.zeros(fleet.hours), np.zeros(fleet.hours)
    np.add.at(paid, at[inside], shape["amortised_usd"].fill_null(0.0).to_numpy()[inside])
    machine = inside & shape["counted"].to_numpy()
    np.add.at(hours, at[machine], shape["quantity"].fill_null(0.0).to_numpy()[machine])
    return paid, hours


def _align(fleet: BilledFleet, trace: traces.Trace, *, dated: bool) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return the part of each hour that bill and trace both cover, its work, and the hour of each request."""
    arrived = trace.requests["arrived_s"].to_numpy()
    if not dated:
        span_h = max(trace.span_s / SECONDS_PER_HOUR, _MIN_SPAN_H)
        hours = int(np.ceil(span_h - 1e-9))
        at = np.minimum((arrived // SECONDS_PER_HOUR).astype(np.int64), hours - 1)
        amounts = np.bincount(at, weights=_work_of_requests(trace), minlength=hours).astype(np.float64)
        return np.minimum(span_h - np.arange(hours), 1.0), amounts, np.asarray(at, np.int64)
    covered, work = work_by_hour(fleet, trace)
    if not (work > 0).any():
        raise BillError(
            f"the bill covers {fleet.hours} hours from {fleet.start:%Y-%m-%d}, the trace is of another period",
            where="--trace",
            fix="give a trace of the period of the bill, or one without dates",
        )
    since_s = (trace.epoch_s or 0.0) - fleet.start.timestamp() + arrived
    return covered, work, np.floor(since_s / SECONDS_PER_HOUR).astype(np.int64)


def _work_of_requests(trace: traces.Trace) -> Floats:
    """Return the work of each request in input tokens, as `usage.work_by_hour` counts it."""
    requests = trace.requests
    fresh = (requests["input_tokens"] - requests["cached_tokens"]).to_numpy().astype(float)
    return np.asarray(fresh + OUTPUT_WEIGHT * requests["output_tokens"].to_numpy())


def _allocated(name: str, requests: pl.DataFrame, idle: float) -> AllocatedCost:
    usd = float(requests["usd"].sum())
    tokens = sum(int(requests[name].cast(pl.Int64).sum()) for name in ("input_tokens", "output_tokens"))
    return AllocatedCost(
        name=name,
        requests=requests.height,
        tokens=tokens,
        usd=usd,
        idle_usd=usd * idle,
        usd_per_request=usd / max(1, requests.height),
        usd_per_mtok=usd_per_mtok(usd, max(1, tokens)),
    )


def _by(requests: pl.DataFrame, column: str, idle: float) -> list[AllocatedCost]:
    if not requests[column].is_not_null().any():
        return []
    named = requests.with_columns(pl.col(column).cast(pl.String).fill_null(_UNNAMED))
    parts = [_allocated(str(name), rows, idle) for (name,), rows in named.group_by(column)]
    return sorted(parts, key=lambda part: (-part.usd, part.name))


def _basis(serving: tuple[tuple[str, str], ...], usd: float, *, dated: bool) -> list[str]:
    which = ", ".join(f"{column}={glob}" for column, glob in serving) or "all machines and commitments for inference"
    basis = [
        f"{format_usd(usd)} of {which} is allocated; tokens bought from an API are not",
        f"a request's share is its work: input tokens that are not cached, and {OUTPUT_WEIGHT:g} for each output token",
        "idle is what was paid beyond the work, at the pace of the fleet's own busiest hours (99th percentile)",
    ]
    if not dated:
        basis.append("the trace has no dates: each of its hours is allocated the mean cost of an hour of the bill")
    return basis
