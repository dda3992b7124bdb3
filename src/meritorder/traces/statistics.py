"""Statistics of a trace: rates, burstiness, lengths, shares."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from meritorder.traces.trace import Trace
from meritorder.units import HOURS_PER_DAY, SECONDS_PER_DAY, SECONDS_PER_HOUR, SECONDS_PER_MINUTE

_QUANTILES: Final = (0.5, 0.9, 0.99)
_LISTED: Final = 12
_ROUND_WIDTHS_S: Final = (
    1.0,
    10.0,
    SECONDS_PER_MINUTE,
    5 * SECONDS_PER_MINUTE,
    15 * SECONDS_PER_MINUTE,
    SECONDS_PER_HOUR,
    2 * SECONDS_PER_HOUR,
    4 * SECONDS_PER_HOUR,
    SECONDS_PER_DAY,
)

Counts = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Distribution of a token count over requests; quantiles are the nearest observed value at or above."""

    total: int
    mean: float
    p50: float
    p90: float
    p99: float
    max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The requests of one model or tenant; `name` is None for requests without one."""

    name: str | None
    requests: int
    share_of_requests: float
    share_of_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceStatistics:
    """Statistics of a trace; a figure that is not defined for it is None.

    Args:
        requests: Number of requests.
        span_s: `Trace.span_s`.
        mean_rate_per_s: Requests / span.
        peak_to_mean_hour: Rate of the busiest whole hour / mean rate over whole hours; needs 2 of them.
        trough_to_mean_hour: Rate of the quietest whole hour / mean rate over whole hours.
        interarrival_cv: Standard deviation / mean of the gaps between arrivals; 1 for a Poisson process.
        dispersion_minute: Variance / mean of arrivals a minute; 1 for a Poisson process, higher is burstier.
        input_tokens: Prompt lengths.
        output_tokens: Generated lengths.
        cached_share: Cached tokens / input tokens.
        sessions: Number of sessions; None if the trace has none.
        models: The models with the most requests.
        tenants: The tenants with the most requests.
        tenant_count: Number of tenants.
        per_hour: Arrivals in each hour since the start, the last one partial; shape (hours,).
        by_hour_of_day: Mean rate per s in each hour of the day UTC, shape (24,); None without dates or for
            less than a day.
    """

    requests: int
    span_s: float
    mean_rate_per_s: float | None
    peak_to_mean_hour: float | None
    trough_to_mean_hour: float | None
    interarrival_cv: float | None
    dispersion_minute: float | None
    input_tokens: Lengths
    output_tokens: Lengths
    cached_share: float
    sessions: int | None
    models: tuple[Group, ...]
    tenants: tuple[Group, ...]
    tenant_count: int
    per_hour: tuple[int, ...]
    by_hour_of_day: tuple[float, ...] | None


def describe(trace: Trace) -> TraceStatistics:
    """Compute the statistics of a trace."""
    requests = trace.requests
    arrived = requests["arrived_s"].to_numpy()
    hours = _whole_bins(arrived, SECONDS_PER_HOUR, trace.span_s)
    minutes = _whole_bins(arrived, SECONDS_PER_MINUTE, trace.span_s)
    gaps = np.diff(arrived)
    named = requests["session"].drop_nulls()
    input_total = int(requests["input_tokens"].cast(pl.Int64).sum())
    return TraceStatistics(
        requests=requests.height,
        span_s=trace.span_s,
        mean_rate_per_s=requests.height / trace.span_s if trace.span_s else None,
        peak_to_mean_hour=float(hours.max() / hours.mean()) if hours.size > 1 else None,
        trough_to_mean_hour=float(hours.min() / hours.mean()) if hours.size > 1 else None,
        interarrival_cv=float(gaps.std() / gaps.mean()) if gaps.size and gaps.mean() else None,
        dispersion_minute=float(minutes.var() / minutes.mean()) if minutes.size > 1 else None,
        input_tokens=_lengths(requests["input_tokens"]),
        output_tokens=_lengths(requests["output_tokens"]),
        cached_share=int(requests["cached_tokens"].cast(pl.Int64).sum()) / input_total,
        sessions=named.n_unique() if named.len() else None,
        models=_groups(requests, "model"),
        tenants=_groups(requests, "tenant"),
        tenant_count=requests["tenant"].drop_nulls().n_unique(),
        per_hour=tuple(np.bincount((arrived // SECONDS_PER_HOUR).astype(np.int64)).tolist()),
        by_hour_of_day=_by_hour_of_day(hours, trace.epoch_s),
    )


def arrivals(trace: Trace, *, max_bins: int) -> tuple[float, Counts]:
    """Count arrivals in equal bins of a round width.

    Returns:
        Width of a bin in s, and arrivals in each, shape (bins,).
    """
    arrived = trace.requests["arrived_s"].to_numpy()
    last_s = float(arrived[-1])
    width_s = next((width for width in _ROUND_WIDTHS_S if last_s < max_bins * width), last_s / (max_bins - 1))
    return width_s, np.bincount((arrived // width_s).astype(np.int64))


def _whole_bins(arrived: np.ndarray[Any, np.dtype[np.float64]], width_s: float, span_s: float) -> Counts:
    """Count arrivals in the whole bins of the span, shape (bins,)."""
    whole = int(span_s // width_s)
    bins = (arrived // width_s).astype(np.int64)
    return np.bincount(bins[bins < whole], minlength=whole)[:whole] if whole else np.empty(0, np.int64)


def _by_hour_of_day(hours: Counts, epoch_s: float | None) -> tuple[float, ...] | None:
    """Average whole hours by the hour of the day that they overlap most, shape (24,)."""
    if epoch_s is None or hours.size < HOURS_PER_DAY:
        return None
    first = round(epoch_s / SECONDS_PER_HOUR)
    of_day = (first + np.arange(hours.size)) % HOURS_PER_DAY
    totals = np.bincount(of_day, weights=hours, minlength=HOURS_PER_DAY)
    rates = totals / np.bincount(of_day, minlength=HOURS_PER_DAY) / SECONDS_PER_HOUR
    return tuple(rates.tolist())


def _lengths(tokens: pl.Series) -> Lengths:
    p50, p90, p99 = (float(tokens.quantile(share, "higher") or 0.0) for share in _QUANTILES)
    total = int(tokens.cast(pl.Int64).sum())
    longest = int(tokens.to_numpy().max())
    return Lengths(total=total, mean=total / tokens.len(), p50=p50, p90=p90, p99=p99, max=longest)


def _groups(requests: pl.DataFrame, column: str) -> tuple[Group, ...]:
    tokens = pl.col("input_tokens").cast(pl.Int64) + pl.col("output_tokens")
    sums = requests.group_by(column).agg(pl.len(), tokens.sum().alias("tokens")).sort("len", "tokens", descending=True)
    whole = int(sums["tokens"].sum())
    return tuple(
        Group(
            name=name,
            requests=count,
            share_of_requests=count / requests.height,
            share_of_tokens=total / whole,
        )
        for name, count, total in sums.head(_LISTED).with_columns(pl.col(column).cast(pl.String)).iter_rows()
    )
