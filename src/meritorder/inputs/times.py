"""How a column writes times: dates in text or numbers since an epoch, decided by the column as a whole.

A date such as 3/2/2026 has its month first or its day first: a cell with a number above 12 or with AM or PM tells
which, else the reading in which the column covers less time is taken, else that of the place where the file was
written. Either is stated.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from textwrap import shorten
from typing import Final

import polars as pl

from meritorder.errors import InputError
from meritorder.inputs import zones
from meritorder.inputs.numbers import NumberStyle, decide_style, number
from meritorder.units import MS_PER_S, SECONDS_PER_DAY, format_duration

EARLIEST_S: Final = 946_684_800.0
LATEST_S: Final = 4_102_444_800.0
"""Times are from 2000 on and before 2100; anything else is a mistake, such as a year 9999 for "never"."""

EPOCH_FROM_S: Final = 1e9
"""A number of seconds from here on (2001-09-09) is an epoch time; a smaller one counts from the start of the trace."""

_UNITS: Final = {
    "nanoseconds": MS_PER_S**-3,
    "microseconds": MS_PER_S**-2,
    "milliseconds": 1 / MS_PER_S,
    "seconds": 1.0,
}
_MICROSECONDS_PER_S: Final = MS_PER_S**2
# Spreadsheets count days since 1899-12-30; these numbers are the years 2000 to 2099.
_SERIAL_EPOCH_S: Final = -25_569 * SECONDS_PER_DAY
_SERIAL_FROM, _SERIAL_TO = 36_526, 73_050
_SERIAL_TOLERANCE_S: Final = 0.01
# A spreadsheet shows five digits of a day in a column of no format, and drops zeros at the end.
_SERIAL_SHOWN_DIGITS: Final = (4, 5)
_SERIAL_SPAN: Final = 1500
_MOST: Final = 0.95
SERIAL_ASSUMED: Final = "numbers are read as a spreadsheet's dates, in days since 1899-12-30"
_SAMPLE_ROWS: Final = 1000
_SHOWN: Final = 60
_FIX: Final = "times are seconds, epoch seconds or milliseconds, or ISO 8601"
_SCIENTIFIC: Final = re.compile(r"\d(?:[.,](?P<digits>\d+))?[eE]\+?(?P<exponent>\d{1,2})")
ZONE_ASSUMED: Final = "times without a zone are taken as UTC"

# How the parts of a date are written, and how chrono reads them; the first that matches is taken.
_DATES: Final = (
    (r"\d{4}-\d\d?-\d\d?", "%Y-%m-%d"),
    (r"\d{4}/\d\d?/\d\d?", "%Y/%m/%d"),
    (r"\d{8}(?=T)", "%Y%m%d"),
    (r"\d\d?\.\d\d?\.\d{4}", "%d.%m.%Y"),
    (r"\d\d?\.\d\d?\.\d\d", "%d.%m.%y"),
    (r"\d\d?/\d\d?/\d{4}", "{first}/{second}/%Y"),
    (r"\d\d?/\d\d?/\d\d", "{first}/{second}/%y"),
    (r"\d\d?-\d\d?-\d{4}", "{first}-{second}-%Y"),
    (r"\d\d?/[A-Z][a-z]{2}/\d{4}", "%d/%B/%Y"),
    (r"\d\d?-[A-Z][a-z]{2,8}-\d{4}", "%d-%B-%Y"),
    (r"\d\d? [A-Z][a-z]{2,8} \d{4}", "%d %B %Y"),
    (r"[A-Z][a-z]{2,8} \d\d?, \d{4}", "%B %d, %Y"),
    (r"[A-Z][a-z]{2,8} \d\d? \d{4}", "%B %d %Y"),
    (r"\d{4}-\d\d", "%Y-%m"),
    (r"[A-Z][a-z]{2,8} \d{4}", "%B %Y"),
    (r"[A-Z][a-z]{2}-\d\d", "%B-%y"),
)
_CLOCKS: Final = (
    (r"\d\d?:\d\d:\d\d(?:\.\d+)? [AaPp][Mm]", "%I:%M:%S%.f %p"),
    (r"\d\d?:\d\d:\d\d(?:\.\d+)?[AaPp][Mm]", "%I:%M:%S%.f%p"),
    (r"\d\d?:\d\d [AaPp][Mm]", "%I:%M %p"),
    (r"\d\d?:\d\d[AaPp][Mm]", "%I:%M%p"),
    (r"\d\d?:\d\d:\d\d,\d{3}", "%H:%M:%S,%3f"),
    (r"\d\d?:\d\d:\d\d,\d{6}", "%H:%M:%S,%6f"),
    (r"\d\d?:\d\d:\d\d(?:\.\d+)?", "%H:%M:%S%.f"),
    (r"\d\d?:\d\d", "%H:%M"),
    (r"\d{6}", "%H%M%S"),
)
_WRITTEN: Final = re.compile(
    r"(?P<open>\[?)(?:(?P<weekday>(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*), )?(?P<date>{dates})"
    r"(?:(?P<gap>T|, | at | @ |:| +)(?P<clock>{clocks})"
    r"(?P<zone>Z| ?[+-]\d\d(?::?\d\d)?)?(?P<name>(?: [A-Z]{{3,4}})?))?(?P<close>\]?)".format(
        dates="|".join(pattern for pattern, _ in _DATES), clocks="|".join(pattern for pattern, _ in _CLOCKS)
    )
)
_MONTH_FIRST: Final = {"first": "%m", "second": "%d"}
_DAY_FIRST: Final = {"first": "%d", "second": "%m"}
_LAST_MONTH: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeStyle:
    """How a column writes times.

    Args:
        absolute: True if times are UTC epoch seconds once read.
        unit_s: Seconds in one unit of a number; None if times are dates.
        since_s: Unix time of the number 0, where it is not the start of Unix time or of the trace.
        number_style: How numbers are written; None as Python writes them.
        formats: Formats of dates in text; empty if the column has a date type or numbers.
        assumptions: What was assumed, a sentence each.
        present: False if the column is empty.
        day_first: Whether the day comes before the month, where that had to be decided.
    """

    absolute: bool
    unit_s: float | None = None
    since_s: float = 0.0
    number_style: NumberStyle | None = None
    formats: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    present: bool = True
    day_first: bool | None = None

    def seconds(self, column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
        """Return the column in seconds, null where it cannot be read."""
        if self.unit_s is not None:
            return number(column, dtype, self.number_style) * self.unit_s + self.since_s
        return self.instants(column, dtype).dt.timestamp("us") / _MICROSECONDS_PER_S

    def instants(self, column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
        """Return the column as times in UTC, null where it cannot be read."""
        if self.unit_s is not None:
            since = number(column, dtype, self.number_style) * self.unit_s + self.since_s
            kept = pl.when(since.is_between(EARLIEST_S, LATEST_S)).then(since * _MICROSECONDS_PER_S)
            return kept.cast(pl.Int64, strict=False).cast(pl.Datetime("us", "UTC"))
        if not self.formats:
            return in_utc(column, dtype)
        parsed = [parse(column, form) for form in self.formats]
        return parsed[0] if len(parsed) == 1 else pl.coalesce(parsed)


def decide_times(
    table: pl.LazyFrame,
    column: str,
    *,
    where: str,
    unit_s: float | None = None,
    usual: TimeStyle | None = None,
    day_first: bool = False,
) -> TimeStyle:
    """Decide how a column writes times, from its first values; where they leave it open, from all.

    Args:
        table: A table with the column.
        column: Name of the column.
        where: File and column for messages.
        unit_s: Seconds in one unit of a number, where the format states it; else it follows from the magnitude.
        usual: Style of other columns of the file, for what this column leaves open.
        day_first: Whether dates that nothing decides have their day first, as where the file was written.

    Raises:
        InputError: No value is a time, or a spreadsheet rounded the numbers.
    """
    samples = table.select(pl.col(column).drop_nulls().head(_SAMPLE_ROWS)).collect(engine="streaming")[column]
    if samples.is_empty():
        return TimeStyle(absolute=False, unit_s=unit_s or 1.0, present=False)
    if samples.dtype == pl.Date:
        return TimeStyle(absolute=True)
    if isinstance(samples.dtype, pl.Datetime):
        return TimeStyle(absolute=True, assumptions=() if samples.dtype.time_zone else (ZONE_ASSUMED,))
    if not (samples.dtype.is_numeric() or samples.dtype == pl.String):
        raise InputError(f"a column of {samples.dtype} has no times", where=where)
    plain = samples.to_frame().select(number(pl.col(column), samples.dtype))[column].drop_nulls()
    if plain.len() * 2 > samples.len():
        return _of_numbers(samples, plain, unit_s, where=where)
    formats = _formats(samples)
    if formats:
        return _of_dates(table, column, formats, usual, where=where, day_first=day_first)
    if samples.str.contains(r"^\d[\d.,\s'eE+]*$").any():
        style = decide_style(table, column, whole=False, where=where)
        numbers = samples.to_frame().select(number(pl.col(column), samples.dtype, style))[column].drop_nulls()
        if numbers.len():
            return replace(_of_numbers(samples, numbers, unit_s, where=where), number_style=style)
    if ambiguity := zones.ambiguity(str(samples[0])):
        raise InputError(ambiguity, where=where, fix="write the offset instead of the name")
    raise InputError(f"no time in {shorten(str(samples[0]), _SHOWN)!r}", where=where, fix=_FIX)


def widen(style: TimeStyle, unread: pl.LazyFrame, column: str, *, where: str) -> TimeStyle:
    """Return a style that also reads the values that it could not; the style itself if there is no such.

    Args:
        style: The style that was decided by the first values.
        unread: A table of the rows that it cannot read.
        column: Name of the column.
        where: File and column for messages.

    Raises:
        InputError: The column mixes units, such as seconds and milliseconds.
    """
    samples = unread.select(pl.col(column).drop_nulls().head(_SAMPLE_ROWS)).collect(engine="streaming")[column]
    if samples.is_empty():
        return style
    if style.unit_s is not None:
        _refuse_mixed_units(style, samples, where=where)
        return style
    if samples.dtype != pl.String:
        return style
    order = _DAY_FIRST if style.day_first else _MONTH_FIRST
    found = [form for form in _formats(samples) if style.day_first is not None or "{first}" not in form]
    more = tuple(form for form in (form.format(**order) for form in found) if form not in style.formats)
    if not more:
        return style
    return replace(style, formats=_in_order((*style.formats, *more)), assumptions=_assumptions((*style.formats, *more)))


def _of_numbers(samples: pl.Series, numbers: pl.Series, unit_s: float | None, *, where: str) -> TimeStyle:
    middle = numbers.median()
    size = float(middle) if isinstance(middle, float | int) else 0.0
    if unit_s is None:
        _refuse_two_units(numbers, where=where)
        if _are_serial_dates(numbers):
            stated = (SERIAL_ASSUMED, ZONE_ASSUMED)
            return TimeStyle(absolute=True, unit_s=SECONDS_PER_DAY, since_s=_SERIAL_EPOCH_S, assumptions=stated)
    unit = unit_s if unit_s is not None else _unit_by_magnitude(size)
    absolute = size * unit >= EPOCH_FROM_S
    if absolute and samples.dtype == pl.String:
        _refuse_rounded(samples, unit, where=where)
    return TimeStyle(absolute=absolute, unit_s=unit)


def _are_serial_dates(numbers: pl.Series) -> bool:
    """Whether numbers are days at whole seconds, as spreadsheets write dates; whole days alone tell nothing.

    A spreadsheet may have rounded them: five digits of a day are no finer than a second, and no clock has as many.
    """
    days = numbers.cast(pl.Float64)
    if not bool(days.is_between(_SERIAL_FROM, _SERIAL_TO).all()) or _range(days) > _SERIAL_SPAN:
        return False
    digits = int(days.cast(pl.String).str.extract(r"\.(\d+)$").str.len_bytes().fill_null(0).max() or 0)  # type: ignore[arg-type]
    seconds = days * SECONDS_PER_DAY
    tolerance_s = max(_SERIAL_TOLERANCE_S, SECONDS_PER_DAY * 10.0**-digits if digits > max(_SERIAL_SHOWN_DIGITS) else 0)
    whole = (seconds - seconds.round()).abs() < tolerance_s
    if digits in _SERIAL_SHOWN_DIGITS:
        whole = days.is_finite()
    fractions = days != days.floor()
    return int((whole & fractions).sum()) >= _MOST * numbers.len()


def _range(numbers: pl.Series) -> float:
    return float(numbers.max() or 0) - float(numbers.min() or 0)  # type: ignore[arg-type]


def _refuse_two_units(numbers: pl.Series, *, where: str) -> None:
    """Refuse epoch times of which some are in one unit and some in another."""
    units = {
        name: numbers.filter((numbers * unit_s).is_between(EPOCH_FROM_S, LATEST_S)) for name, unit_s in _UNITS.items()
    }
    (first, some), *others = [(name, found) for name, found in units.items() if found.len()] or [("", numbers)]
    if others:
        second, more = others[0]
        raise InputError(
            f"some times are in {first}, such as {some[0]:.0f}, and some in {second}, such as {more[0]:.0f}",
            where=where,
            fix="write all in one unit",
        )


def _unit_by_magnitude(size: float) -> float:
    """Return the unit of an epoch time by its magnitude; anything smaller than an epoch in ms is in seconds."""
    return next((unit for unit in _UNITS.values() if size * unit >= EPOCH_FROM_S / 10), 1.0)


def _refuse_rounded(samples: pl.Series, unit_s: float, *, where: str) -> None:
    """Refuse epoch times that a spreadsheet cut to a few digits, such as 1.79E+12: they are hours or days apart."""
    rounded = [match for match in map(_SCIENTIFIC.fullmatch, samples) if match]
    if len(rounded) * 2 <= samples.len():
        return
    finest_s = min(10.0 ** (int(match["exponent"]) - len(match["digits"] or "")) for match in rounded) * unit_s
    if finest_s >= 1:
        raise InputError(
            f"a spreadsheet rounded the times, such as {rounded[0].group()!r}, to {format_duration(finest_s)}",
            where=where,
            fix="export them again, as text or as ISO 8601",
        )


def _refuse_mixed_units(style: TimeStyle, samples: pl.Series, *, where: str) -> None:
    """Refuse a column of numbers if those out of range are times in another unit."""
    numbers = samples.to_frame("t").select(number(pl.col("t"), samples.dtype, style.number_style))["t"].drop_nulls()
    for name, unit_s in _UNITS.items():
        strange = numbers.filter((numbers * unit_s).is_between(EPOCH_FROM_S, LATEST_S))
        if strange.len() and unit_s != style.unit_s:
            own = next((own for own, unit in _UNITS.items() if unit == style.unit_s), "another unit")
            since = "" if style.absolute else " since a start"
            raise InputError(
                f"most times are in {own}{since}, but {strange[0]:.0f} is in {name}",
                where=where,
                fix="write all in one unit",
            )


def _formats(samples: pl.Series) -> tuple[str, ...]:
    """Return the formats of the dates in text; where the order of day and month is open, with {first} and {second}."""
    return tuple(dict.fromkeys(form for form in map(_format, samples.unique(maintain_order=True)) if form))


def _format(text: str) -> str | None:
    """Return the chrono format of one date, None if it is none."""
    match = _WRITTEN.fullmatch(text.strip())
    if match is None or (match["name"] and not match["zone"] and not zones.is_zone(match["name"])):
        return None
    weekday = match["weekday"]
    prefix = "" if weekday is None else ("%a, " if len(weekday) == len("Mon") else "%A, ")
    date = next(form for pattern, form in _DATES if re.fullmatch(pattern.removesuffix("(?=T)"), match["date"]))
    if match["clock"] is None:
        return match["open"] + prefix + date + match["close"]
    clock = next(form for pattern, form in _CLOCKS if re.fullmatch(pattern, match["clock"]))
    zone = "" if match["zone"] is None else (" %#z" if match["zone"].startswith(" ") else "%#z")
    return match["open"] + prefix + date + match["gap"] + clock + zone + match["name"] + match["close"]


def _of_dates(
    table: pl.LazyFrame, column: str, formats: Sequence[str], usual: TimeStyle | None, *, where: str, day_first: bool
) -> TimeStyle:
    """Return the style of dates, with the order of day and month decided by the whole column."""
    if not any("{first}" in form for form in formats):
        return TimeStyle(absolute=True, formats=_in_order(formats), assumptions=_assumptions(formats))
    known = usual.day_first if usual else None
    decided_first = _has_day_first(table, column, formats, usual=known, where=where, likely=day_first)
    order = _DAY_FIRST if decided_first else _MONTH_FIRST
    decided = [form.format(**order) for form in formats]
    example = table.select(pl.col(column).drop_nulls().first()).collect(engine="streaming").item()
    written = "day/month/year" if decided_first else "month/day/year"
    stated = f"dates such as {example} are read as {written}"
    return TimeStyle(
        absolute=True,
        formats=_in_order(decided),
        assumptions=(stated, *_assumptions(decided)),
        day_first=decided_first,
    )


def _has_day_first(
    table: pl.LazyFrame, column: str, formats: Sequence[str], *, usual: bool | None, where: str, likely: bool
) -> bool:
    """Decide whether the day comes first rather than the month."""
    text = pl.col(column)
    parts = text.str.extract_groups(r"(\d{1,2})[/-](\d{1,2})[/-]\d")

    def span(order: dict[str, str]) -> pl.Expr:
        instants = pl.coalesce(parse(text, form.format(**order)) for form in formats)
        return instants.max() - instants.min()

    first, second, clocked, by_day, by_month = (
        table.select(
            parts.struct["1"].cast(pl.Int8).max().alias("first"),
            parts.struct["2"].cast(pl.Int8).max().alias("second"),
            text.str.contains(r"(?i)[ap]m$").any().alias("clocked"),
            span(_DAY_FIRST).alias("by_day"),
            span(_MONTH_FIRST).alias("by_month"),
        )
        .collect(engine="streaming")
        .row(0)
    )
    if min(first or 0, second or 0) > _LAST_MONTH:
        what = "some dates have the day first and others the month"
        raise InputError(what, where=where, fix="write them as 2026-11-02T09:00:00Z")
    if max(first or 0, second or 0) > _LAST_MONTH:
        return bool(first > second)
    if clocked:
        return False
    if usual is not None:
        return usual
    if by_day is None or by_month is None:
        return likely
    return bool(by_day < by_month) or (likely and by_day == by_month)


def _in_order(formats: Sequence[str]) -> tuple[str, ...]:
    """Put years of two digits first: read as a year of four digits, 26 would be the year 26."""
    return tuple(sorted(formats, key=lambda form: "%y" not in form))


def _assumptions(formats: Sequence[str]) -> tuple[str, ...]:
    zoned = all("%#z" in form or zones.offset_h(form) is not None for form in formats)
    return (*zones.assumptions(formats), *(() if zoned else (ZONE_ASSUMED,)))


def parse(column: pl.Expr, form: str) -> pl.Expr:
    """Return text as times in UTC, null where it is not in the format; a month is its first day."""
    if "%d" not in form:
        first = column.str.strip_chars_start("[").str.replace("^", "1 ")
        return first.str.to_datetime(f"%d {form}", time_unit="us", strict=False).dt.replace_time_zone("UTC")
    if "%#z" in form:
        return column.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False)
    instant = column.str.to_datetime(form, time_unit="us", strict=False).dt.replace_time_zone("UTC")
    return instant.dt.offset_by(f"{-ahead_h}h") if (ahead_h := zones.offset_h(form)) else instant


def in_utc(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return a column of dates or times as times in UTC."""
    if isinstance(dtype, pl.Datetime):
        instant = column.cast(pl.Datetime("us", dtype.time_zone))
        return instant.dt.convert_time_zone("UTC") if dtype.time_zone else instant.dt.replace_time_zone("UTC")
    return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
