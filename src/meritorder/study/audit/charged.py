"""Dollars per request, from the bill that was really paid: idle capacity is charged to what it waited for."""

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from meritorder import bills, traces
from meritorder.bills import COMMITMENTS, Purchase
from meritorder.errors import BillError
from meritorder.findings import Charged, RequestCosts
from meritorder.study.audit.pools import Fleet, machine_hours
from meritorder.study.audit.use import OUTPUT_WEIGHT, share_used, work_by_hour
from meritorder.units import SECONDS_PER_HOUR, format_usd, usd_per_mtok

Floats = NDArray[np.float64]

_PAID: Final = (Purchase.ON_DEMAND, Purchase.SPOT, Purchase.CAPACITY_BLOCK, *COMMITMENTS)
_MOST_TENANTS: Final = 20
_SHORTEST_H: Final = 1 / 60
_ALL: Final = "all requests"
_UNNAMED: Final = "(not named)"


def charge(
    by_hour: pl.DataFrame, fleet: Fleet, trace: traces.Trace, serving: tuple[tuple[str, str], ...] = ()
) -> RequestCosts:
    """Charge the machine hours of a bill to the requests that they served.

    In each hour what was paid is shared out by work; hours without a request are shared out over all. The idle part is
    what was paid beyond the share of the machines that the work took at the pace of the fleet's own busiest hours.

        usd of a request = sum_hours paid[h] * work / work[h] + what was paid in empty hours * work / all work

    Args:
        by_hour: The inference charges of a bill by the hour, as `bills.by_hour` makes them.
        fleet: Its machine hours.
        trace: The requests.
        serving: Charges that served them, as (column, glob); empty takes all machines and commitments for inference.

    Raises:
        BillError: The trace and the bill have no hour in common, or no charge is of machines.
    """
    paid, hours_of = _paid(by_hour, fleet, serving)
    dated = trace.epoch_s is not None and not trace.report.session_clock
    covered, work, at = _aligned(fleet, trace, dated=dated)
    if not dated:
        paid, hours_of = np.full(len(work), paid.mean()), np.full(len(work), hours_of.mean())
    paid, hours_of, known = paid * covered, hours_of * covered, covered > 0
    used = share_used(work, hours_of)
    total_usd, empty = float(paid.sum()), known & (work <= 0)
    busy_usd = float((paid * used).sum())
    weight = _weights(trace)
    all_work = float(work.sum())
    inside = (at >= 0) & (at < len(work)) & known[np.clip(at, 0, len(work) - 1)]
    per_work = np.divide(paid, work, out=np.zeros_like(work), where=work > 0)
    spread = float(paid[empty].sum()) / all_work
    usd = np.where(inside, weight * (per_work[np.clip(at, 0, len(work) - 1)] + spread), 0.0)
    requests = trace.requests.with_columns(usd=usd, inside=inside).filter("inside")
    idle = 1 - busy_usd / total_usd if total_usd else 0.0
    return RequestCosts(
        total=_charged(_ALL, requests, idle),
        by_model=_by(requests, "model", idle),
        by_tenant=_by(requests, "tenant", idle)[:_MOST_TENANTS],
        machine_hours_paid=float(hours_of.sum()),
        machine_hours_used=float((hours_of * used).sum()),
        hours=int(known.sum()),
        hours_without_requests=int(empty.sum()),
        basis=_basis(serving, total_usd, dated=dated),
    )


def _paid(by_hour: pl.DataFrame, fleet: Fleet, serving: tuple[tuple[str, str], ...]) -> tuple[Floats, Floats]:
    """Return what was paid for machines in each hour, unused commitments included, and machine hours."""
    of_machines = pl.col("kind").is_in([*bills.MACHINES, "commitment", "tagged", "selected"])
    shape = by_hour.filter(of_machines & pl.col("purchase").is_in([str(purchase) for purchase in _PAID]))
    if serving:
        shape = shape.filter(bills.chosen(shape, serving, option="--serving"))
    shape = shape.with_columns(counted=machine_hours())
    if not shape.height:
        what = "no charge of a machine matches" if serving else "it has no charges of machines"
        raise BillError(
            what, where="--serving" if serving else None, fix="--serving tag:KEY=VALUE says which served it"
        )
    at = (shape["hour"] - fleet.start).dt.total_hours().to_numpy()
    inside = (at >= 0) & (at < fleet.hours)
    paid, hours = np.zeros(fleet.hours), np.zeros(fleet.hours)
    np.add.at(paid, at[inside], shape["amortised_usd"].fill_null(0.0).to_numpy()[inside])
    machine = inside & shape["counted"].to_numpy()
    np.add.at(hours, at[machine], shape["quantity"].fill_null(0.0).to_numpy()[machine])
    return paid, hours


def _aligned(fleet: Fleet, trace: traces.Trace, *, dated: bool) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return the part of each hour that bill and trace both cover, the work in it, and the hour of each request."""
    arrived = trace.requests["arrived_s"].to_numpy()
    if not dated:
        span_h = max(trace.span_s / SECONDS_PER_HOUR, _SHORTEST_H)
        hours = int(np.ceil(span_h - 1e-9))
        at = np.minimum((arrived // SECONDS_PER_HOUR).astype(np.int64), hours - 1)
        amounts = np.bincount(at, weights=_weights(trace), minlength=hours).astype(np.float64)
        return np.clip(span_h - np.arange(hours), 0.0, 1.0), amounts, np.asarray(at, np.int64)
    covered, work = work_by_hour(fleet, trace)
    if not (work > 0).any():
        raise BillError(
            f"the bill covers {fleet.hours} hours from {fleet.start:%Y-%m-%d}, the trace is of another time",
            where="--trace",
            fix="give a trace of the time of the bill, or one that tells no dates",
        )
    since_s = (trace.epoch_s or 0.0) - fleet.start.timestamp() + arrived
    return covered, work, np.floor(since_s / SECONDS_PER_HOUR).astype(np.int64)


def _weights(trace: traces.Trace) -> Floats:
    requests = trace.requests
    fresh = (requests["input_tokens"] - requests["cached_tokens"]).to_numpy().astype(float)
    return np.asarray(fresh + OUTPUT_WEIGHT * requests["output_tokens"].to_numpy())


def _charged(name: str, requests: pl.DataFrame, idle: float) -> Charged:
    usd = float(requests["usd"].sum())
    tokens = sum(int(requests[name].cast(pl.Int64).sum()) for name in ("input_tokens", "output_tokens"))
    return Charged(
        name=name,
        requests=requests.height,
        tokens=tokens,
        usd=usd,
        idle_usd=usd * idle,
        usd_per_request=usd / max(1, requests.height),
        usd_per_mtok=usd_per_mtok(usd, max(1, tokens)),
    )


def _by(requests: pl.DataFrame, column: str, idle: float) -> list[Charged]:
    if not requests[column].is_not_null().any():
        return []
    named = requests.with_columns(pl.col(column).cast(pl.String).fill_null(_UNNAMED))
    parts = [_charged(str(key[0]), rows, idle) for key, rows in named.group_by(column)]
    return sorted(parts, key=lambda part: (-part.usd, part.name))


def _basis(serving: tuple[tuple[str, str], ...], usd: float, *, dated: bool) -> list[str]:
    which = ", ".join(f"{column}={glob}" for column, glob in serving) or "all machines and commitments for inference"
    said = [
        f"{format_usd(usd)} of {which} is charged; tokens that were bought from an API are not",
        f"a request's share is its work: input tokens that are not cached, and {OUTPUT_WEIGHT:g} for each output token",
        "idle is what was paid beyond the work, at the pace of the fleet's own busiest hours (99th percentile)",
    ]
    if not dated:
        said.append("the trace tells no dates: the mean cost of an hour of the bill is charged to each of its hours")
    return said
