"""From the raw columns of a format to REQUESTS: numbers, times, and an account of every row that is not a request."""

from dataclasses import dataclass
from typing import Final

import polars as pl

from meritorder.errors import TraceError
from meritorder.tables import REQUESTS
from meritorder.traces.sources import Source
from meritorder.traces.trace import FAILED, SHOWN_BAD_ROWS, BadRow
from meritorder.units import MS_PER_S

MAX_TOKENS: Final = 10_000_000
"""More tokens in one request are a mistake: ten times the longest context on the market in 2026."""

RESPONSE_CACHE: Final = "answered from a response cache"
NO_GENERATION: Final = "calls that generate no text"
ASIDE: Final = (FAILED, RESPONSE_CACHE, NO_GENERATION)
"""Reasons why a well-formed row is not a request; the values of the column `aside` of a raw table, besides null."""

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

_REQUIRED: Final = ("arrival", "input", "output")
_NAMES: Final = ("model", "tenant", "session", "workload")
_SAMPLE_ROWS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTable:
    """The columns of one source as its format has them.

    Args:
        table: Columns `line, arrival, input, output` and any of `cached, deadline, model, tenant, session,
            workload`, `aside` (why the row is not a request) and `broken` (the row cannot be read at all).
            Numbers may be text.
        unit_s: Seconds in one unit of a number in `arrival`, where the format states it; None derives it from the
            magnitude.
        assumptions: What the format's reader assumed, a sentence each.
        estimated_tokens: True if token counts are estimates.
    """

    table: pl.LazyFrame
    unit_s: float | None = None
    assumptions: tuple[str, ...] = ()
    estimated_tokens: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRequests:
    """The requests of one source on its own clock, unsorted, and an account of its other rows."""

    requests: pl.DataFrame
    absolute: bool
    rows: int
    bad: dict[str, int]
    first_bad: tuple[BadRow, ...]
    set_aside: dict[str, int]
    assumptions: tuple[str, ...]


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


def to_requests(source: Source, raw: RawTable) -> SourceRequests:
    """Convert a raw table to REQUESTS.

    Raises:
        TraceError: The table cannot be read, has no rows, or has no arrival times.
    """
    try:
        table = _trimmed(raw.table)
        columns = table.collect_schema().names()
        arrival = _time_column(source, table, "arrival", raw.unit_s)
        deadline = _time_column(source, table, "deadline", raw.unit_s) if "deadline" in columns else None
        if deadline is not None and deadline.present and deadline.absolute != arrival.absolute:
            what = "deadlines and arrivals are not on one clock"
            raise TraceError(what, where=source.name, fix="give both as ISO 8601")
        typed = table.select(_typed(columns, arrival, deadline))
        frame = typed.select(_with_verdict(columns)).collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise TraceError(f"cannot be read as {source.kind} ({reason})", where=source.name) from error
    if frame.is_empty():
        raise TraceError("has no requests", where=source.name)
    assumptions = list(raw.assumptions)
    if arrival.zone_assumed:
        assumptions.append("times without a zone are taken as UTC")
    return _separated(source, frame, absolute=arrival.absolute, assumptions=tuple(assumptions))


def _trimmed(table: pl.LazyFrame) -> pl.LazyFrame:
    """Strip white space off text; blank text becomes null."""
    texts = [name for name, dtype in table.collect_schema().items() if dtype == pl.String]
    stripped = {name: pl.col(name).str.strip_chars() for name in texts}
    return table.with_columns(**{name: pl.when(text != "").then(text) for name, text in stripped.items()})


def _typed(columns: list[str], arrival: TimeColumn, deadline: TimeColumn | None) -> list[pl.Expr]:
    """Give every column its type; an unreadable value is null, and `<name>_given` marks that there was one."""
    typed = [pl.col("line"), arrival.seconds(pl.col("arrival")).alias("arrival"), _given("arrival")]
    for name in ("input", "output", "cached"):
        if name in columns:
            typed += [_number(pl.col(name)).alias(name), _given(name)]
    if deadline is not None:
        typed += [deadline.seconds(pl.col("deadline")).alias("deadline"), _given("deadline")]
    for name in _NAMES:
        text = pl.col(name).cast(pl.String) if name in columns else pl.lit(None, pl.String)
        typed.append(text.cast(pl.Categorical).alias(name))
    typed.append(pl.col("aside") if "aside" in columns else pl.lit(None, pl.String).alias("aside"))
    typed.append(pl.col("broken") if "broken" in columns else pl.lit(value=False).alias("broken"))
    return typed


def _given(name: str) -> pl.Expr:
    return pl.col(name).is_not_null().alias(f"{name}_given")


def _with_verdict(columns: list[str]) -> list[pl.Expr]:
    """Give each row a verdict, the first fault that it has, and REQUESTS their types."""
    faults = _faults(columns)
    aside = pl.when(pl.col("aside").is_not_null()).then(pl.col("aside"))
    fault: pl.Expr = pl.coalesce(pl.when(wrong).then(pl.lit(reason)) for reason, wrong in faults)
    failed = pl.when(pl.col("output") == 0).then(pl.lit(FAILED))
    verdict = pl.Enum([*dict.fromkeys((*(reason for reason, _ in faults), *ASIDE))])
    cached = pl.col("cached").fill_null(0) if "cached" in columns else pl.lit(0.0)
    broken = pl.when(pl.col("broken")).then(pl.lit(faults[0][0]))
    return [
        pl.col("line"),
        pl.coalesce(broken, aside, fault, failed).cast(verdict).alias("verdict"),
        pl.col("arrival").alias("arrived_s"),
        _tokens(pl.col("input")).alias("input_tokens"),
        _tokens(pl.min_horizontal(cached, pl.col("input") - 1)).alias("cached_tokens"),
        _tokens(pl.col("output")).alias("output_tokens"),
        *(pl.col(name) for name in _NAMES),
        (pl.col("deadline") if "deadline" in columns else pl.lit(None, pl.Float64)).alias("deadline_s"),
    ]


def _tokens(column: pl.Expr) -> pl.Expr:
    return column.cast(pl.Int32, strict=False)


def _faults(columns: list[str]) -> list[tuple[str, pl.Expr]]:
    """Return the faults that a row can have, in the order in which they are reported."""
    faults = [
        ("not a JSON object", pl.col("broken")),
        ("empty row", ~pl.any_horizontal(f"{name}_given" for name in _REQUIRED)),
        ("no arrival time", ~pl.col("arrival_given")),
        ("unreadable arrival time", ~pl.col("arrival").is_finite().fill_null(value=False)),
        ("negative arrival time", pl.col("arrival") < 0),
    ]
    for name in ("input", "output", "cached"):
        if name not in columns:
            continue
        value = pl.col(name)
        if name != "cached":
            faults.append((f"no {name} tokens", ~pl.col(f"{name}_given")))
        unreadable = pl.col(f"{name}_given") & ~(value == value.floor()).fill_null(value=False)
        faults += [
            (f"unreadable {name} tokens", unreadable | value.is_nan()),
            (f"negative {name} tokens", value < 0),
            (f"more than {MAX_TOKENS:,} {name} tokens", value > MAX_TOKENS),
        ]
    faults.append(("zero input tokens", pl.col("input") == 0))
    if "deadline" in columns:
        late = pl.col("deadline") <= pl.col("arrival")
        unread = pl.col("deadline_given") & pl.col("deadline").is_null()
        faults += [("unreadable deadline", unread), ("deadline before arrival", late)]
    return faults


def _separated(source: Source, frame: pl.DataFrame, *, absolute: bool, assumptions: tuple[str, ...]) -> SourceRequests:
    names = [column.name for column in REQUESTS]
    rows = frame.height
    if not frame["verdict"].is_not_null().any():
        return SourceRequests(
            requests=frame.select(names),
            absolute=absolute,
            rows=rows,
            bad={},
            first_bad=(),
            set_aside={},
            assumptions=assumptions,
        )
    verdicts = (
        frame.filter(pl.col("verdict").is_not_null()).select("line", pl.col("verdict").cast(pl.String)).sort("line")
    )
    counts = dict(verdicts.group_by("verdict", maintain_order=True).len().iter_rows())
    shown = verdicts.filter(~pl.col("verdict").is_in(ASIDE)).head(SHOWN_BAD_ROWS)
    return SourceRequests(
        requests=frame.filter(pl.col("verdict").is_null()).select(names),
        absolute=absolute,
        rows=rows,
        bad={reason: count for reason, count in counts.items() if reason not in ASIDE},
        first_bad=tuple(BadRow(file=source.name, line=line, reason=reason) for line, reason in shown.iter_rows()),
        set_aside={reason: count for reason, count in counts.items() if reason in ASIDE},
        assumptions=assumptions,
    )


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
