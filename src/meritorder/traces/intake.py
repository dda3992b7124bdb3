"""From the raw columns of a format to REQUESTS: numbers, times, and an account of every row that is not a request."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import polars as pl

from meritorder.errors import TraceError
from meritorder.traces.buckets import spread
from meritorder.traces.sources import Source
from meritorder.traces.verdicts import Judged, judge
from meritorder.units import MS_PER_S

_MICROSECONDS_PER_S: Final = MS_PER_S**2
_NANOSECONDS_PER_S: Final = MS_PER_S**3

EPOCH_FROM_S: Final = 1e9
"""A number of seconds from here on (2001-09-09) is an epoch time; a smaller one counts from the start of the trace."""

_ZONED: Final = ("%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f%#z")
_NAIVE: Final = (
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y/%m/%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
)

_NUMBERS: Final = ("input", "output", "cached", "calls")
_NAMES: Final = ("model", "tenant", "session", "workload")
_IDS: Final = ("id", "parent")
_TEXTS: Final = ("status", "error")
_DURATIONS: Final = ("ttft", "tpot", "e2e")
_INSTANTS: Final = ("first", "ended")
_DEPLOYMENT: Final = ("config", "hardware", "gpus", "replicas")
_SAMPLE_ROWS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTable:
    """The columns of one source as its format has them.

    Args:
        table: Columns `line, arrival, input, output` and any of `cached, deadline, model, tenant, session,
            workload`, `aside` (the kind of a row that is not one request), `broken` (the row cannot be read at all),
            `id, parent, status, error`, `calls` (the requests that a row sums up), the measured times `ttft, tpot, e2e`
            and `first, ended` (instants), and the deployment `config, hardware, gpus, replicas`. Numbers may be text.
        unit_s: Seconds in one unit of a number in `arrival`, where the format states it; None derives it from the
            magnitude.
        units_s: The same for `ttft, tpot, e2e`; one that is missing is derived from the magnitude.
        columns: Field to the column that it was read from, for messages.
        assumptions: What the format's reader assumed, a sentence each.
        estimated_tokens: True if token counts are estimates.
        ids_unique: True if the format states that rows with one id are one request.
    """

    table: pl.LazyFrame
    unit_s: float | None = None
    units_s: Mapping[str, float] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ()
    estimated_tokens: bool = False
    ids_unique: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRequests:
    """The requests of one source on its own clock, unsorted, and an account of its other rows.

    Args:
        judged: Its rows: requests, bad, set aside.
        absolute: True if its times are UTC epoch seconds.
        assumptions: What was assumed to read it.
        ids_unique: True if rows with one id are one request.
    """

    judged: Judged
    absolute: bool
    assumptions: tuple[str, ...]
    ids_unique: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeColumn:
    """How a column writes the time, detected from its first values.

    Args:
        absolute: True if times are UTC epoch seconds once read.
        unit_s: Seconds in one unit of a number; None if times are dates.
        formats: Formats of dates in text; empty if the column has a date type or numbers.
        zone_assumed: True if dates have no zone and are taken as UTC.
        present: False if the column is empty.
    """

    absolute: bool
    unit_s: float | None = None
    formats: tuple[str, ...] = ()
    zone_assumed: bool = False
    present: bool = True

    def seconds(self, column: pl.Expr) -> pl.Expr:
        """Return the column in seconds, null where it cannot be read."""
        if self.unit_s is not None:
            return _number(column) * self.unit_s
        if not self.formats:
            return column.cast(pl.Datetime("us")).dt.timestamp("us") / _MICROSECONDS_PER_S
        parsed = (_parse(column, form).dt.timestamp("us") for form in self.formats)
        return pl.coalesce(parsed) / _MICROSECONDS_PER_S


def to_requests(source: Source, raw: RawTable, *, aggregate: bool = False, timed: bool = False) -> SourceRequests:
    """Convert a raw table to REQUESTS.

    Args:
        source: Source of the table, for messages.
        raw: The raw table.
        aggregate: Spread a row that sums up several requests over its interval.
        timed: Read the measured times and the deployment too.

    Raises:
        TraceError: The table cannot be read, has no rows, or has no arrival times.
    """
    try:
        table = _trimmed(raw.table)
        columns = table.collect_schema().names()
        if not timed:
            unused = {*_DURATIONS, "first", *_DEPLOYMENT} | ({"ended"} if not aggregate else set())
            columns = [name for name in columns if name not in unused]
        arrival = _time_column(source, table, "arrival", raw.unit_s)
        instants: dict[str, TimeColumn] = {
            name: _time_column(source, table, name, raw.unit_s) for name in ("deadline", *_INSTANTS) if name in columns
        }
        deadline = instants.get("deadline")
        if deadline is not None and deadline.present and deadline.absolute != arrival.absolute:
            what = "deadlines and arrivals are not on one clock"
            raise TraceError(what, where=source.name, fix="give both as ISO 8601")
        frame = table.select(_typed(columns, arrival, instants)).collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise TraceError(f"cannot be read as {source.kind} ({reason})", where=source.name) from error
    if frame.is_empty():
        raise TraceError("has no requests", where=source.name)
    assumptions = list(raw.assumptions)
    if arrival.zone_assumed:
        assumptions.append("times without a zone are taken as UTC")
    rows = frame.height
    if aggregate:
        frame, notes = spread(frame, where=source.name)
        assumptions += notes
    judged = judge(frame, where=source.name)
    assumptions += judged.notes
    return SourceRequests(
        judged=judged if judged.rows == rows else replace(judged, rows=rows),
        absolute=arrival.absolute,
        assumptions=tuple(assumptions),
        ids_unique=raw.ids_unique,
    )


def _trimmed(table: pl.LazyFrame) -> pl.LazyFrame:
    """Strip white space off text; blank text becomes null."""
    texts = [name for name, dtype in table.collect_schema().items() if dtype == pl.String]
    stripped = {name: pl.col(name).str.strip_chars() for name in texts}
    return table.with_columns(**{name: pl.when(text != "").then(text) for name, text in stripped.items()})


def _typed(columns: list[str], arrival: TimeColumn, instants: Mapping[str, TimeColumn]) -> list[pl.Expr]:
    """Give every column its type; an unreadable value is null, and `<name>_given` marks that there was one."""
    typed = [pl.col("line"), arrival.seconds(pl.col("arrival")).alias("arrival"), _given("arrival")]
    for name in _NUMBERS:
        if name in columns:
            typed += [_number(pl.col(name)).alias(name), _given(name)]
    for name, instant in instants.items():
        typed += [instant.seconds(pl.col(name)).alias(name), _given(name)]
    for name in _NAMES:
        text = pl.col(name).cast(pl.String) if name in columns else pl.lit(None, pl.String)
        typed.append(text.cast(pl.Categorical).alias(name))
    for name in _IDS:
        if name in columns:
            text = pl.col(name).cast(pl.String)
            typed.append(pl.when(text.is_not_null()).then(text.hash()).alias(name))
    typed += [pl.col(name).cast(pl.String) for name in (*_TEXTS, *_DEPLOYMENT) if name in columns]
    typed += [_number(pl.col(name)).alias(name) for name in _DURATIONS if name in columns]
    typed.append(pl.col("aside") if "aside" in columns else pl.lit(None, pl.String).alias("aside"))
    typed.append(pl.col("broken") if "broken" in columns else pl.lit(value=False).alias("broken"))
    return typed


def _given(name: str) -> pl.Expr:
    return pl.col(name).is_not_null().alias(f"{name}_given")


def _number(column: pl.Expr) -> pl.Expr:
    """Return the column as Float64, null where it is not a number."""
    return column.cast(pl.Float64, strict=False)


def _time_column(source: Source, table: pl.LazyFrame, column: str, unit_s: float | None) -> TimeColumn:
    """Detect how a column writes the time, from its first values.

    Args:
        source: Source of the table, for messages.
        table: The raw table.
        column: Name of the column.
        unit_s: Seconds in one unit of a number, where the format states it; else it follows from the magnitude.

    Raises:
        TraceError: No value is a time.
    """
    where = f"{source.name}, column {column}"
    samples = table.select(pl.col(column).drop_nulls().head(_SAMPLE_ROWS)).collect(engine="streaming")[column]
    if isinstance(samples.dtype, pl.Datetime):
        return TimeColumn(absolute=True, zone_assumed=samples.dtype.time_zone is None)
    if not (samples.dtype.is_numeric() or samples.dtype == pl.String):
        raise TraceError(f"a column of {samples.dtype} has no times", where=where)
    if samples.is_empty():
        return TimeColumn(absolute=False, unit_s=unit_s or 1.0, present=False)
    numbers = samples.cast(pl.Float64, strict=False).drop_nulls()
    if numbers.len() * 2 > samples.len():
        unit = unit_s if unit_s is not None else _unit_by_magnitude(numbers)
        middle = numbers.median()
        return TimeColumn(absolute=isinstance(middle, float) and middle * unit >= EPOCH_FROM_S, unit_s=unit)
    frame = samples.alias("time").to_frame()
    seen = tuple(
        form for form in (*_ZONED, *_NAIVE) if frame.select(_parse(pl.col("time"), form).is_not_null().any()).item()
    )
    if not seen:
        raise TraceError(
            f"no time in {samples[0]!r}",
            where=where,
            fix="times are seconds, epoch seconds or milliseconds, or ISO 8601",
        )
    return TimeColumn(absolute=True, formats=seen, zone_assumed=any(form in _NAIVE for form in seen))


def _parse(column: pl.Expr, form: str) -> pl.Expr:
    zone = "UTC" if form in _ZONED else None
    return column.str.to_datetime(form, time_unit="us", time_zone=zone, strict=False)


def _unit_by_magnitude(numbers: pl.Series) -> float:
    """Return the unit of an epoch time by its magnitude; anything smaller than an epoch in ms is in seconds."""
    middle = numbers.median()
    size = middle if isinstance(middle, float) else 0.0
    for per_s in (_NANOSECONDS_PER_S, _MICROSECONDS_PER_S, MS_PER_S):
        if size >= EPOCH_FROM_S * per_s / 10:
            return 1 / per_s
    return 1.0
