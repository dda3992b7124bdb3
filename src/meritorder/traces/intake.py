"""From the raw columns of a format to REQUESTS: numbers, times, and an account of every row that is not a request."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import polars as pl

from meritorder.errors import TraceError
from meritorder.inputs.numbers import MISSING, NumberStyle, decide_styles, number
from meritorder.inputs.summaries import SAYS_STATISTIC
from meritorder.inputs.times import EARLIEST_S, EPOCH_FROM_S, LATEST_S, TimeStyle, decide_times, widen
from meritorder.inputs.unpacking import READ_ERRORS
from meritorder.traces.buckets import spread
from meritorder.traces.sources import Source
from meritorder.traces.trace import Kind
from meritorder.traces.verdicts import Judged, judge

_COUNTS: Final = ("input", "output", "cached", "reasoning", "calls", "total")
_NAMES: Final = ("model", "tenant", "session", "workload")
_IDS: Final = ("id", "parent")
_TEXTS: Final = ("status", "error")
_DURATIONS: Final = ("ttft", "tpot", "e2e")
_INSTANTS: Final = ("started", "first", "ended")
_DEPLOYMENT: Final = ("config", "hardware", "gpus", "replicas")


AT_ONCE: Final = "the file has no arrival times: all requests arrive at once"


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTable:
    """The columns of one source as its format has them.

    Args:
        table: Columns `line, arrival, input, output` and any of `cached, deadline, model, tenant, session,
            workload`, `aside` (the kind of a row that is not one request), `broken` (the row cannot be read at all),
            `id, parent, status, error`, `calls` (the requests that a row sums up), the measured times `ttft, tpot, e2e`
            and `started, first, ended` (instants), and the deployment `config, hardware, gpus, replicas`. Numbers may
            be text.
        unit_s: Seconds in one unit of a number in `arrival`, where the format states it; None derives it from the
            magnitude.
        units_s: The same for `ttft, tpot, e2e`; one that is missing is derived from the magnitude.
        columns: Field to the column that it was read from, for messages.
        assumptions: What the format's reader assumed, a sentence each.
        estimated_tokens: True if token counts are estimates.
        ids_unique: True if the format states that rows with one id are one request.
        ids_everywhere: True if that holds across files too.
        day_first: Whether dates that nothing decides have their day first, by the language of the columns.
    """

    table: pl.LazyFrame
    unit_s: float | None = None
    units_s: Mapping[str, float] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ()
    estimated_tokens: bool = False
    ids_unique: bool = False
    ids_everywhere: bool = False
    day_first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRequests:
    """The requests of one source on its own clock, unsorted, and an account of its other rows.

    Args:
        judged: Its rows: requests, bad, set aside.
        absolute: True if its times are UTC epoch seconds.
        assumptions: What was assumed to read it.
        ids_unique: True if rows with one id are one request.
        ids_everywhere: True if that holds across files too.
    """

    judged: Judged
    absolute: bool
    assumptions: tuple[str, ...]
    ids_unique: bool = False
    ids_everywhere: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """The columns of a raw table that are read, and how they are written.

    Args:
        schema: Names and types.
        times: How columns of instants are written.
        numbers: How columns of numbers are written, part by part if one is a sum; without an entry as Python does.
    """

    schema: pl.Schema
    times: Mapping[str, TimeStyle]
    numbers: Mapping[str, tuple[NumberStyle | None, ...]] = field(default_factory=dict)

    def present(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name in self.schema]


def to_requests(source: Source, raw: RawTable, *, aggregate: bool = False, timed: bool = False) -> SourceRequests:
    """Convert a raw table to REQUESTS.

    Args:
        source: Source of the table, for messages.
        raw: The raw table.
        aggregate: Spread a row that sums up several requests over its interval.
        timed: Read the measured times and the deployment too.

    Raises:
        TraceError: The table cannot be read, has no rows, or has no arrival times.
        InputError: A column writes its numbers or times in a way that leaves their value open.
    """
    unused = (
        set() if timed else {*_DURATIONS, "started", "first", *_DEPLOYMENT} | ({"ended"} if not aggregate else set())
    )
    try:
        table = _trimmed(_with_whole_times(raw.table.select(pl.exclude(unused))))
        columns = _columns(source, table, raw)
        frame = table.select(_typed(columns)).collect(engine="streaming")
        if _is_odd(frame, columns):
            table = _with_other_rows(_without_missing(table), header=raw.columns.get("arrival", ""))
            columns = _decided(source, table, columns)
            frame = table.select(_typed(columns)).collect(engine="streaming")
    except READ_ERRORS as error:
        reason = str(error).partition("\n")[0]
        raise TraceError(f"cannot be read as {source.kind} ({reason})", where=source.name) from error
    if frame.is_empty():
        raise TraceError("has no requests", where=source.name)
    arrival = columns.times["arrival"]
    assumptions = [*source.assumptions, *raw.assumptions, *arrival.assumptions]
    frame, notes = _within_range(frame, columns)
    assumptions += notes
    rows = frame.height
    if aggregate:
        frame, notes = spread(frame, where=source.name)
        assumptions += notes
    judged = judge(frame, where=source.name)
    assumptions += judged.notes
    return SourceRequests(
        judged=judged if judged.rows == rows else replace(judged, rows=rows),
        absolute=arrival.absolute,
        assumptions=tuple(dict.fromkeys(assumptions)),
        ids_unique=raw.ids_unique,
        ids_everywhere=raw.ids_everywhere,
    )


def _with_whole_times(table: pl.LazyFrame) -> pl.LazyFrame:
    """Join the parts of times that are in several columns, such as a day and a clock."""
    schema = table.collect_schema()
    parts = {
        name: [pl.col(name).struct.field(part.name).cast(pl.String).str.strip_chars() for part in dtype.fields]
        for name in ("arrival", "deadline", *_INSTANTS)
        if isinstance(dtype := schema.get(name), pl.Struct)
    }
    return table.with_columns(pl.concat_str(texts, separator=" ").alias(name) for name, texts in parts.items())


def _trimmed(table: pl.LazyFrame) -> pl.LazyFrame:
    """Strip white space off text; blank text and NaN become null."""
    schema = table.collect_schema()
    texts = [name for name, dtype in schema.items() if dtype == pl.String]
    floats = [name for name, dtype in schema.items() if dtype.is_float()]
    stripped = {name: pl.col(name).str.strip_chars() for name in texts}
    return table.with_columns(
        *(pl.when(text != "").then(text).alias(name) for name, text in stripped.items()),
        *(pl.col(name).fill_nan(None) for name in floats),
    )


def _without_missing(table: pl.LazyFrame) -> pl.LazyFrame:
    """Turn words such as "nan" or "N/A" into null."""
    texts = [name for name, dtype in table.collect_schema().items() if dtype == pl.String and name != "aside"]
    return table.with_columns(
        pl.when(~pl.col(name).str.to_lowercase().is_in(MISSING)).then(pl.col(name)) for name in texts
    )


def _with_other_rows(table: pl.LazyFrame, *, header: str) -> pl.LazyFrame:
    """Mark rows whose arrival says that they are figures of others, such as a total, or the names of the columns."""
    schema = table.collect_schema()
    if schema["arrival"] != pl.String:
        return table
    arrival = pl.col("arrival")
    says = (
        pl.when(arrival.str.contains(SAYS_STATISTIC))
        .then(pl.lit(Kind.SUMMARY.value))
        .when(arrival == header.strip())
        .then(pl.lit(Kind.HEADER.value))
    )
    return table.with_columns(aside=pl.coalesce("aside", says) if "aside" in schema else says)


def _columns(source: Source, table: pl.LazyFrame, raw: RawTable) -> _Columns:
    """Decide by their first values how times are written; numbers are taken as Python writes them."""
    schema = table.collect_schema()
    times: dict[str, TimeStyle] = {}
    # Spreadsheets separate columns by semicolons where the decimal sign is a comma, which is where the day comes first.
    day_first = raw.day_first or source.separator == ";"
    for name in ("arrival", "deadline", *_INSTANTS):
        if name in schema:
            where, usual = _where(source, name), times.get("arrival")
            times[name] = decide_times(table, name, where=where, unit_s=raw.unit_s, usual=usual, day_first=day_first)
    deadline = times.get("deadline")
    if deadline is not None and deadline.present and deadline.absolute != times["arrival"].absolute:
        what = "deadlines and arrivals are not on one clock"
        raise TraceError(what, where=source.name, fix="give both as ISO 8601")
    return _Columns(schema=schema, times=times)


def _is_odd(frame: pl.DataFrame, columns: _Columns) -> bool:
    """Return whether a value is not written as its column is taken to be."""
    counts = [
        pl.col(f"{name}_given") & ~(pl.col(name) == pl.col(name).floor()).fill_null(value=False)
        for name in columns.present(_COUNTS)
    ]
    times = [
        pl.col(f"{name}_given") & ~_in_range(pl.col(name), style).fill_null(value=False)
        for name, style in columns.times.items()
    ]
    return bool(frame.select(pl.any_horizontal(*counts, *times).any()).item())


def _decided(source: Source, table: pl.LazyFrame, columns: _Columns) -> _Columns:
    """Decide by all values how numbers and times are written, after some could not be read."""
    names = columns.present((*_COUNTS, *_DURATIONS))
    parts = {_part(name, place): part for name in names for place, part in _texts(columns.schema, name)}
    whole = {_part(name, place): name in _COUNTS for name in names for place, _ in _texts(columns.schema, name)}
    texts = table.select(part.alias(name) for name, part in parts.items())
    styles = decide_styles(texts, whole, where=source.name) if whole else {}
    numbers = {
        name: tuple(styles.get(_part(name, place)) for place, _ in enumerate(parts_of(columns.schema, name)))
        for name in names
    }
    times: dict[str, TimeStyle] = {}
    for name, style in columns.times.items():
        seconds = style.seconds(pl.col(name), columns.schema[name])
        unread = table.filter(~_in_range(seconds, style).fill_null(value=False))
        times[name] = widen(style, unread, name, where=_where(source, name))
    return replace(columns, numbers=numbers, times=times)


def _where(source: Source, column: str) -> str:
    return f"{source.name}, column {column}"


def _in_range(seconds: pl.Expr, style: TimeStyle) -> pl.Expr:
    """Return whether times can be those of requests; null where there is none."""
    if style.absolute:
        return seconds.is_between(EARLIEST_S, LATEST_S)
    return seconds.is_finite() & (seconds < EPOCH_FROM_S)


def _within_range(frame: pl.DataFrame, columns: _Columns) -> tuple[pl.DataFrame, list[str]]:
    """Drop times that cannot be those of requests, and deadlines that cannot be kept, which never cost a row."""
    notes: list[str] = []
    in_range = {
        name: pl.when(_in_range(pl.col(name), style)).then(pl.col(name)) for name, style in columns.times.items()
    }
    far = int(frame.select((pl.col("arrival").is_not_null() & in_range["arrival"].is_null()).sum()).item())
    if far:
        limit = (
            "before 2000 or after 2099" if columns.times["arrival"].absolute else "more than 31 years after the start"
        )
        notes.append(f"arrivals {limit}, taken as unreadable: {far:,}")
    if "deadline" in in_range:
        kept = pl.when(pl.col("deadline") > pl.col("arrival")).then(in_range["deadline"])
        lost = int(frame.select((pl.col("deadline_given") & kept.is_null()).sum()).item())
        if lost:
            notes.append(f"deadlines unreadable or before the arrival, whose requests are taken as real time: {lost:,}")
        in_range["deadline"] = kept
    return frame.with_columns(**in_range), notes


def _typed(columns: _Columns) -> list[pl.Expr]:
    """Give every column its type; an unreadable value is null, and `<name>_given` marks that there was one."""
    schema = columns.schema
    typed = [pl.col("line")]
    for name, style in columns.times.items():
        typed += [style.seconds(pl.col(name), schema[name]).alias(name), _given(columns, name)]
    for name in columns.present(_COUNTS):
        typed += [_number(columns, name).alias(name), _given(columns, name)]
    for name in _NAMES:
        text = pl.col(name).cast(pl.String) if name in schema else pl.lit(None, pl.String)
        typed.append(text.cast(pl.Categorical).alias(name))
    for name in columns.present(_IDS):
        text = pl.col(name).cast(pl.String)
        typed.append(pl.when(text.is_not_null()).then(text.hash()).alias(name))
    typed += [pl.col(name).cast(pl.String) for name in columns.present((*_TEXTS, *_DEPLOYMENT))]
    typed += [_number(columns, name).alias(name) for name in columns.present(_DURATIONS)]
    typed.append(pl.col("aside") if "aside" in schema else pl.lit(None, pl.String).alias("aside"))
    typed.append(pl.col("broken") if "broken" in schema else pl.lit(value=False).alias("broken"))
    return typed


def _given(columns: _Columns, name: str) -> pl.Expr:
    given = pl.any_horizontal(part.is_not_null() for part, _ in parts_of(columns.schema, name))
    return given.alias(f"{name}_given")


def parts_of(schema: pl.Schema, name: str) -> list[tuple[pl.Expr, pl.DataType]]:
    """Return the columns that a number is the sum of, with their types."""
    dtype = schema[name]
    if not isinstance(dtype, pl.Struct):
        return [(pl.col(name), dtype)]
    inner = pl.Schema({part.name: part.dtype for part in dtype.fields})
    return [(pl.col(name).struct.field(part), kind) for part, kind in inner.items()]


def _texts(schema: pl.Schema, name: str) -> list[tuple[int, pl.Expr]]:
    """Return the parts of a number that are text, each with its place."""
    return [(place, part) for place, (part, dtype) in enumerate(parts_of(schema, name)) if dtype == pl.String]


def _part(name: str, place: int) -> str:
    return name if not place else f"{name}, part {place + 1}"


def _number(columns: _Columns, name: str) -> pl.Expr:
    """Return a number, null if it or a part of it cannot be read; a part that is missing counts as 0."""
    parts = parts_of(columns.schema, name)
    styles = columns.numbers.get(name, (None,) * len(parts))
    values = [number(part, dtype, style) for (part, dtype), style in zip(parts, styles, strict=True)]
    if len(values) == 1:
        return values[0]
    unread = pl.any_horizontal(
        part.is_not_null() & value.is_null() for (part, _), value in zip(parts, values, strict=True)
    )
    some = pl.any_horizontal(value.is_not_null() for value in values)
    return pl.when(~unread & some).then(pl.sum_horizontal(values))
