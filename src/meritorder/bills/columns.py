"""Columns of a bill file under any of their names, as text, money, numbers and times.

Text that is not written as Python writes numbers, or as ISO 8601, is read by the style of its whole column.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from meritorder.errors import BillError, InputError, input_errors_as
from meritorder.inputs.numbers import COMMA, NumberStyle, decide_style
from meritorder.inputs.times import EPOCH_FROM_S, TimeStyle, decide_times
from meritorder.tables import MONEY

_NULL_WORDS: Final = ("", "NULL", "null", "None")
_INSTANT: Final = pl.Datetime("us", "UTC")
# Larger amounts do not fit MONEY; no bill has them.
_MAX_USD: Final = 1e20
_SAMPLE_ROWS: Final = 1000
_PROVIDERS: Final = (
    (r"(?i)^(aws|amazon)", "aws"),
    (r"(?i)(microsoft|azure)", "azure"),
    (r"(?i)(google|gcp)", "gcp"),
    (r"(?i)oracle", "oracle"),
    (r"(?i)openai", "openai"),
    (r"(?i)anthropic", "anthropic"),
)
_WRITTEN_TIME: Final = r"\d[-/.:, ]|[A-Za-z]{3,9}[ -]\d"


@dataclass
class SourceColumns:
    """Finds columns of a file under the names that versions of a format give them, and records which were used.

    Args:
        schema: Columns of the file and their types.
        used: Columns found so far.
        missing: Columns that were needed and not found, under their first name.
        table: The file's rows, from which is decided how columns write numbers and times; None takes them as plain.
        where: Name of the file, for messages.
        whole: Whether all rows are looked at for numbers and times that are not plain, rather than the first.
        assumptions: What was assumed of how columns write times, a sentence each.
    """

    schema: pl.Schema
    used: set[str] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)
    table: pl.LazyFrame | None = None
    where: str = ""
    whole: bool = False
    assumptions: list[str] = field(default_factory=list)
    _number_styles: dict[str, NumberStyle | None] = field(default_factory=dict)
    _time_styles: dict[str, TimeStyle | None] = field(default_factory=dict)
    _looked_at: pl.LazyFrame | None = None

    def has(self, *names: str) -> bool:
        """Return whether any of these columns exists."""
        return any(name in self.schema for name in names)

    def _present(self, names: tuple[str, ...], *, needed: bool = True) -> list[str]:
        present = [name for name in names if name in self.schema]
        self.used.update(present)
        if needed and not present and names[0] not in self.missing:
            self.missing.append(names[0])
        return present

    def text(self, *names: str, needed: bool = True) -> pl.Expr:
        """Return the first of the columns that has a value, as text.

        Args:
            names: Names of the column, in order of preference.
            needed: Whether to record the column as missing if none of the names exists.
        """
        present = self._present(names, needed=needed)
        texts = [_text(pl.col(name), self.schema[name]) for name in present]
        return pl.coalesce(texts) if texts else pl.lit(None, dtype=pl.String)

    def money(self, *names: str) -> pl.Expr:
        """Return the first of the columns that exists, as exact dollars; null where it is not a number."""
        name = next(iter(self._present(names)), None)
        return pl.lit(None, dtype=MONEY) if name is None else _money(self._number(name), self.schema[name])

    def number(self, *names: str) -> pl.Expr:
        """Return the first of the columns that has a number, as a float."""
        numbers = [self._number(name).cast(pl.Float64, strict=False) for name in self._present(names)]
        return pl.coalesce(numbers) if numbers else pl.lit(None, dtype=pl.Float64)

    def time(self, *names: str) -> pl.Expr:
        """Return the first of the columns that has a time, in UTC."""
        times = [self._time(name) for name in self._present(names)]
        return pl.coalesce(times) if times else pl.lit(None, dtype=_INSTANT)

    def has_odd_number(self) -> pl.Expr:
        """Return whether a row has a comma in a column that was taken to write numbers plainly."""
        plain = [name for name, style in self._number_styles.items() if style is None]
        return pl.any_horizontal(pl.lit(value=False), *(pl.col(name).str.contains(",", literal=True) for name in plain))

    def count(self, name: str) -> pl.Expr:
        """Return a column of whole numbers, as floats."""
        return self._number(name, whole=True).cast(pl.Float64, strict=False)

    def _number(self, name: str, *, whole: bool = False) -> pl.Expr:
        """Return a column as text that a cast reads as a number, or as the numbers that it has."""
        if self.schema[name] != pl.String:
            return pl.col(name)
        plain = pl.col(name).str.strip_chars()
        if name not in self._number_styles:
            usual = next(filter(None, self._number_styles.values()), None)
            rows = self._unread(name, plain.cast(pl.Float64, strict=False), r"\d")
            if rows is None and usual is COMMA:
                rows = self.table  # "1.250" is plain too, and 1250 beside columns with decimal commas
            where = f"{self.where}, column {name}"
            with input_errors_as(BillError):
                self._number_styles[name] = (
                    None if rows is None else decide_style(rows, name, whole=whole, where=where, usual=usual)
                )
        style = self._number_styles[name]
        return plain if style is None else style.cleaned(pl.col(name))

    def _time(self, name: str) -> pl.Expr:
        """Return a column as times in UTC; all columns of a file are read by the same order of day and month."""
        dtype, column = self.schema[name], pl.col(name)
        plain = _time(column, dtype)
        if dtype != pl.String:
            return plain
        if name not in self._time_styles:
            rows = self._unread(name, plain, _WRITTEN_TIME)
            self._time_styles[name] = None if rows is None else self._time_style(rows, name)
        style = self._time_styles[name]
        return plain if style is None else pl.coalesce(plain, style.instants(column, dtype))

    def _time_style(self, rows: pl.LazyFrame, name: str) -> TimeStyle | None:
        """Return how a column writes times, as another column of the file if that reads it; None if it has none."""
        for style in filter(None, self._time_styles.values()):
            if self._unread(name, style.instants(pl.col(name), self.schema[name]), _WRITTEN_TIME) is None:
                return style
        try:
            style = decide_times(rows, name, where=self.where)
        except InputError:
            return None
        self.assumptions += style.assumptions
        return style

    def _unread(self, name: str, read: pl.Expr, pattern: str) -> pl.LazyFrame | None:
        """Return the file's rows if a text in it that matches the pattern is read as null, else None."""
        if self.table is None:
            return None
        if self._looked_at is None:
            first = self.table.head(_SAMPLE_ROWS)
            self._looked_at = self.table if self.whole else first.collect(engine="streaming").lazy()
        unread = self._looked_at.filter(pl.col(name).str.contains(pattern) & read.is_null())
        return None if unread.select(name).head(1).collect(engine="streaming").is_empty() else self.table

    def tags(self, name: str, *, prefixes: tuple[str, ...] = ()) -> pl.Expr:
        """Return tags as a JSON object, from one column or from one column a key.

        Args:
            name: A column of JSON text, or of a map.
            prefixes: Prefixes of columns that each hold one tag.
        """
        if name in self.schema:
            self.used.add(name)
            return _tags(pl.col(name), self.schema[name])
        keyed = [column for column in self.schema if column.startswith(prefixes)] if prefixes else []
        if not keyed:
            self.missing.append(name)
            return pl.lit(None, dtype=pl.String)
        self.used.update(keyed)
        values = [self.text(column).alias(_after(column, prefixes)) for column in keyed]
        return pl.struct(values).struct.json_encode()


def mapped(column: pl.Expr, words: Mapping[str, str], otherwise: pl.Expr | None = None) -> pl.Expr:
    """Map each value to its word, any other to `otherwise`, by default null.

    A chain of conditions, because polars holds the whole column in memory for `replace`.
    """
    value = pl.lit(None, dtype=pl.String) if otherwise is None else otherwise
    for name, word in words.items():
        value = pl.when(column == name).then(pl.lit(str(word))).otherwise(value)
    return value


def provider_by_name(name: pl.Expr) -> pl.Expr:
    """Return the short name of a provider, as every format has it: `aws` of "Amazon Web Services, Inc."."""
    provider = name.str.to_lowercase()
    for pattern, short in reversed(_PROVIDERS):
        provider = pl.when(name.str.contains(pattern)).then(pl.lit(short)).otherwise(provider)
    return provider


def _after(column: str, prefixes: tuple[str, ...]) -> str:
    return next(column.removeprefix(prefix) for prefix in prefixes if column.startswith(prefix))


def _text(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype != pl.String:
        return column.cast(pl.String)
    return pl.when(~column.is_in(_NULL_WORDS)).then(column)


def _money(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.String:
        return pl.coalesce(column.cast(MONEY, strict=False), to_money(column.cast(pl.Float64, strict=False)))
    return to_money(column) if dtype.is_float() else column.cast(MONEY, strict=False)


def to_money(column: pl.Expr) -> pl.Expr:
    """Return floats as exact dollars."""
    return pl.when(column.abs() < _MAX_USD).then(column).cast(MONEY)


def _time(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.Datetime):
        instant = column.cast(pl.Datetime("us", dtype.time_zone))
        return instant.dt.convert_time_zone("UTC") if dtype.time_zone else instant.dt.replace_time_zone("UTC")
    if dtype == pl.Date:
        return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if dtype.is_numeric():
        return pl.from_epoch(column.cast(pl.Int64), time_unit="s").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    words = column.cast(pl.String).str.strip_chars().str.replace(" ", "T", literal=True)
    offset = words.str.slice(16).str.extract_groups(r"([+-])(\d\d):?(\d\d)$")
    ahead = pl.duration(
        hours=offset.struct["2"].cast(pl.Int32).fill_null(0),
        minutes=offset.struct["3"].cast(pl.Int32).fill_null(0),
    )
    local = pl.coalesce(
        words.str.slice(0, 19).str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False),
        words.str.slice(0, 16).str.to_datetime("%Y-%m-%dT%H:%M", time_unit="us", strict=False),
        words.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")),
        pl.from_epoch(_epoch_s(words), time_unit="s").cast(pl.Datetime("us")),
    )
    instant = pl.when(offset.struct["1"] == "-").then(local + ahead).otherwise(local - ahead)
    return instant.dt.replace_time_zone("UTC")


def _epoch_s(words: pl.Expr) -> pl.Expr:
    """Return whole seconds since 1970; 20261001 is a date without separators, not a second of 1970."""
    seconds = words.cast(pl.Int64, strict=False)
    return pl.when(seconds >= EPOCH_FROM_S).then(seconds)


def _tags(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Write tags as JSON; they come as JSON, as a struct, or as a map, which Arrow stores as pairs."""
    if isinstance(dtype, pl.Struct):
        return column.struct.json_encode()
    if isinstance(dtype, pl.List):
        return pl.struct(pairs=column).struct.json_encode()
    return _text(column, dtype)
