"""How a column tells the time: date and time, or a number since an epoch or since the start."""

from dataclasses import dataclass
from typing import Final

import polars as pl

from meritorder.errors import TraceError
from meritorder.units import MS_PER_S

_MICROSECONDS_PER_S: Final = MS_PER_S**2
_NANOSECONDS_PER_S: Final = MS_PER_S**3

EPOCH_FROM_S: Final = 1e9
"""From here on (2001-09-09) a number of seconds is an epoch time; below, it counts from a trace's start."""

_ZONED: Final = ("%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f%#z")
_NAIVE: Final = (
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y/%m/%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """One way of telling the time, found from the first values of a column.

    Args:
        absolute: True if times are UTC epoch seconds once read.
        unit_s: Seconds in one unit of a number, None where times are dates.
        formats: Formats of text dates seen, empty where the column has a date type or is a number.
        zone_assumed: True if dates carry no zone and are taken as UTC.
        told: False if the column is empty.
    """

    absolute: bool
    unit_s: float | None = None
    formats: tuple[str, ...] = ()
    zone_assumed: bool = False
    told: bool = True

    def seconds(self, column: pl.Expr) -> pl.Expr:
        """Return the column in seconds, null where it cannot be read."""
        if self.unit_s is not None:
            return number(column) * self.unit_s
        if not self.formats:
            return column.cast(pl.Datetime("us")).dt.timestamp("us") / _MICROSECONDS_PER_S
        parsed = (_parse(column, each).dt.timestamp("us") for each in self.formats)
        return pl.coalesce(parsed) / _MICROSECONDS_PER_S


def number(column: pl.Expr) -> pl.Expr:
    """Return the column as Float64, null where it is not a number."""
    return column.cast(pl.Float64, strict=False)


def find(samples: pl.Series, *, unit_s: float | None, where: str) -> Clock:
    """Find how a column tells the time.

    Args:
        samples: Its first values, nulls dropped.
        unit_s: Seconds in one unit of a number, where the format says; else it is told from the magnitude.
        where: File and column, for the message.

    Raises:
        TraceError: None of the values is a time.
    """
    if isinstance(samples.dtype, pl.Datetime):
        return Clock(absolute=True, zone_assumed=samples.dtype.time_zone is None)
    if not (samples.dtype.is_numeric() or samples.dtype == pl.String):
        raise TraceError(f"a column of {samples.dtype} does not tell the time", where=where)
    if samples.is_empty():
        return Clock(absolute=False, unit_s=unit_s or 1.0, told=False)
    numbers = samples.cast(pl.Float64, strict=False).drop_nulls()
    if numbers.len() * 2 > samples.len():
        unit = unit_s if unit_s is not None else _unit_by_magnitude(numbers)
        middle = numbers.median()
        return Clock(absolute=isinstance(middle, float) and middle * unit >= EPOCH_FROM_S, unit_s=unit)
    frame = samples.alias("time").to_frame()
    seen = tuple(
        each for each in (*_ZONED, *_NAIVE) if frame.select(_parse(pl.col("time"), each).is_not_null().any()).item()
    )
    if not seen:
        raise TraceError(
            f"no time in {samples[0]!r}",
            where=where,
            fix="times are seconds, epoch seconds or milliseconds, or ISO 8601",
        )
    return Clock(absolute=True, formats=seen, zone_assumed=any(each in _NAIVE for each in seen))


def _parse(column: pl.Expr, form: str) -> pl.Expr:
    zone = "UTC" if form in _ZONED else None
    return column.str.to_datetime(form, time_unit="us", time_zone=zone, strict=False)


def _unit_by_magnitude(numbers: pl.Series) -> float:
    """Tell the units of an epoch time apart; anything smaller than an epoch in ms is in seconds."""
    middle = numbers.median()
    size = middle if isinstance(middle, float) else 0.0
    for per_s in (_NANOSECONDS_PER_S, _MICROSECONDS_PER_S, MS_PER_S):
        if size >= EPOCH_FROM_S * per_s / 10:
            return 1 / per_s
    return 1.0
