"""Requests made from a few numbers: how many a day, how long, and how much busier the busiest hour is than the mean.

Arrivals are a Poisson process whose rate changes by the hour, a von Mises curve over the day:

    rate(h) ~ exp(k cos(2 pi (h - 14) / 24)),   k such that rate(14) / mean rate = peak to mean

Lengths are lognormal, cut at three standard deviations, with the stated means.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from meritorder.errors import TraceError
from meritorder.tables import REQUESTS
from meritorder.traces.trace import ReadReport, Trace
from meritorder.units import HOURS_PER_DAY, SECONDS_PER_DAY

EPOCH_S: Final = 1_767_571_200.0
"""Monday 2026-01-05T00:00Z; the date is invented."""

VARIATION: Final = 0.9
"""Standard deviation of lengths / their mean. In the Azure conversation trace of 2023-11-16 it is 0.96 for prompts and
0.77 for answers. Source: https://github.com/Azure/AzurePublicDataset, CC-BY-4.0."""

_PEAK_HOUR: Final = 14
_MAX_PEAK: Final = 20.0
_MAX_CONCENTRATION: Final = 1e4
_BISECTIONS: Final = 60
_STREAM: Final = 1
_CUT_DEVIATIONS: Final = 3.0
# A month of requests is drawn where they are few, so that chance matters less.
_FEW_REQUESTS: Final = 2_000
_MAX_DAYS: Final = 30
_MAX_TOKENS: Final = 1e7
_MAX_CACHED: Final = 0.99
_MAX_VARIATION: Final = 3.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Traffic in a few numbers.

    Args:
        requests_per_day: Requests on an average day.
        input_tokens: Mean prompt length.
        output_tokens: Mean length of the answers.
        cached_share: Share of each prompt that is read from a prefix cache.
        peak_to_mean: Requests in the busiest hour of the day / in a mean hour.
        variation: Standard deviation of the lengths / their mean.
    """

    requests_per_day: float
    input_tokens: float
    output_tokens: float
    cached_share: float = 0.0
    peak_to_mean: float = 3.0
    variation: float = VARIATION

    def __post_init__(self) -> None:
        checks = (
            ("--requests-per-day", self.requests_per_day, 1.0, math.inf),
            ("--input", self.input_tokens, 1.0, _MAX_TOKENS),
            ("--output", self.output_tokens, 1.0, _MAX_TOKENS),
            ("--cached", self.cached_share, 0.0, _MAX_CACHED),
            ("--peak", self.peak_to_mean, 1.0, _MAX_PEAK),
            ("--variation", self.variation, 0.0, _MAX_VARIATION),
        )
        for option, value, least, most in checks:
            if not (math.isfinite(value) and least <= value <= most):
                limits = f"give at least {least:g}" if most == math.inf else f"give a number from {least:g} to {most:g}"
                raise TraceError(f"{value:g} is out of range", where=option, fix=limits)

    @property
    def days(self) -> int:
        """Days that a trace of it has: one, or more where a day has few requests."""
        return min(_MAX_DAYS, max(1, math.ceil(_FEW_REQUESTS / self.requests_per_day)))


def generate(traffic: Traffic, *, seed: int = 0, pace: float = 1.0) -> Trace:
    """Generate a trace of the traffic; equal seeds give equal traces.

    The trace covers whole days exactly, so that its mean rate is the stated one.

    Args:
        traffic: The traffic.
        seed: Seed of the draw.
        pace: How many times as fast as in truth the day passes, at the same rate.
    """
    # A stream of its own: the draw of which requests can wait begins with the same seed.
    random = np.random.default_rng((seed, _STREAM))
    count = max(2, round(traffic.requests_per_day * traffic.days / pace))
    arrived_s = _arrivals(count, traffic, random) / pace
    inputs = _lengths(traffic.input_tokens, traffic.variation, count, random)
    cached = np.minimum(np.floor(inputs * traffic.cached_share), inputs - 1)
    drawn = pl.DataFrame(
        {
            "arrived_s": arrived_s,
            "input_tokens": inputs,
            "cached_tokens": cached,
            "output_tokens": _lengths(traffic.output_tokens, traffic.variation, count, random),
        }
    )
    others = (column for column in REQUESTS if column.name not in drawn.columns)
    filled = drawn.with_columns(pl.lit(None).alias(column.name) for column in others)
    requests = filled.select(pl.col(column.name).cast(column.dtype) for column in REQUESTS)
    report = ReadReport(
        files=("estimate",),
        format="synthetic",
        rows=count,
        requests=count,
        assumptions=_assumptions(traffic),
    )
    return Trace(requests=requests, epoch_s=EPOCH_S, report=report)


def _arrivals(count: int, traffic: Traffic, random: np.random.Generator) -> Floats:
    """Draw sorted arrivals, stretched so that they span whole days; shape (count,)."""
    hours = traffic.days * HOURS_PER_DAY
    rates = np.tile(hourly_rates(traffic.peak_to_mean), traffic.days)
    drawn = np.sort(random.choice(hours, size=count, p=rates / rates.sum()) + random.uniform(size=count))
    # Between n arrivals there are n - 1 gaps; see `Trace.span_s`.
    last_s = traffic.days * SECONDS_PER_DAY * (count - 1) / count
    return np.asarray((drawn - drawn[0]) / (drawn[-1] - drawn[0]) * last_s)


def hourly_rates(peak_to_mean: float) -> Floats:
    """Return the rate in each hour of a day / the mean rate, shape (24,)."""
    angles = np.cos((np.arange(HOURS_PER_DAY) - _PEAK_HOUR) * 2 * np.pi / HOURS_PER_DAY)
    low, high = 0.0, _MAX_CONCENTRATION
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 / np.exp(middle * (angles - 1)).mean() < peak_to_mean else (low, middle)
    rates = np.exp(low * (angles - 1))
    return np.asarray(rates / rates.mean())


def _lengths(mean: float, variation: float, count: int, random: np.random.Generator) -> Floats:
    """Draw whole lengths of at least 1 with this mean; shape (count,)."""
    deviations = np.clip(random.standard_normal(count), -_CUT_DEVIATIONS, _CUT_DEVIATIONS)
    drawn = np.exp(math.sqrt(math.log1p(variation**2)) * deviations)
    return np.asarray(np.maximum(1.0, np.rint(drawn * (mean / drawn.mean()))))


def _assumptions(traffic: Traffic) -> tuple[str, ...]:
    shape = (
        f"the hour from {_PEAK_HOUR}:00 has {traffic.peak_to_mean:g} times the requests of a "
        "mean hour; the rate follows a smooth curve, and every day is like the others"
    )
    lengths = f"lengths vary: their standard deviation is {traffic.variation:g} times their mean"
    return shape, lengths
