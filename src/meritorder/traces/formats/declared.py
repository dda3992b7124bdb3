"""A format as a row of a table: what identifies it, what its columns mean, which of its rows are no request.

A field names the columns that hold it: `a + b` is a sum (Anthropic's input tokens leave out what was cached), `a | b`
the first of two that has a value in a row. Dotted paths reach into nested columns, and
`a[0]` is the first member of a list. `{at}` is any prefix under which a file has all that the format requires.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from textwrap import shorten
from typing import Final, Self

import polars as pl

from meritorder.errors import TraceError
from meritorder.traces.formats.documents import unnested
from meritorder.traces.formats.guess import holds_durations, only_dates
from meritorder.traces.formats.names import unit_by_name
from meritorder.traces.formats.shape import Shape, shape_of
from meritorder.traces.intake import AT_ONCE, RawTable
from meritorder.traces.sources import SourceKind
from meritorder.traces.trace import Kind

FIRST: Final = "[0]"
_AT: Final = "{at}"
_SHOWN: Final = 120
_TIMES: Final = ("ttft", "tpot", "e2e")
_REQUIRED: Final = ("arrival", "input", "output")
_OPTIONAL: Final = ("cached", "status", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class AsideRule:
    """Rows that are not one request, by the value of a column.

    Args:
        kind: Their kind.
        column: Column or path; `a | b` is the first of two with a value.
        pattern: Regular expression on its lower-case text.
        unless: Take the rows that do not match, those without a value included.
        counted: Take only rows with input tokens, or, if false, only those without; None takes either.
    """

    kind: Kind
    column: str
    pattern: str
    unless: bool = False
    counted: bool | None = None

    def applies(self, column: pl.Expr) -> pl.Expr:
        """Whether the rule applies to a row."""
        matches = column.cast(pl.String).str.to_lowercase().str.contains(self.pattern).fill_null(value=False)
        if self.counted is not None:
            has_input = (pl.col("input").cast(pl.Float64, strict=False) > 0).fill_null(value=False)
            matches &= has_input if self.counted else ~has_input
        return ~matches if self.unless else matches


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFormat:
    """One format.

    Args:
        name: Value of `--format`; variants of a format share it.
        title: Description for a person.
        requires: Paths that a file in this format has; `a | b` is either of two.
        fields: Field to its columns; without `arrival` its rows have no times, as those of a batch.
        json: Only JSON is in this format.
        aside: Which rows are no request; the first rule that applies counts.
        nest: Where the rows are, if they lie inside of documents.
        unit_s: Seconds in one unit of a number in `arrival`; None derives it from the name or the magnitude.
        units_s: The same for measured times.
        assumptions: What a reader of the format assumes, a sentence each.
        ids_unique: True if rows with one id are one request.
        ids_everywhere: True if that holds across files too.
        fill: Fields that a row has from the row before it.
        recognizes: Whether a file is in this format, where `requires` cannot say it.
        read: Reads one file, where `fields` cannot say it.
    """

    name: str
    title: str
    requires: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    json: bool = False
    aside: tuple[AsideRule, ...] = ()
    nest: str = ""
    unit_s: float | None = None
    units_s: Mapping[str, float] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ()
    ids_unique: bool = False
    ids_everywhere: bool = False
    fill: tuple[str, ...] = ()
    recognizes: Callable[[Shape], bool] | None = None
    read: Callable[[Shape], RawTable] | None = None

    def matches(self, shape: Shape) -> bool:
        """Whether a file is in this format."""
        if self.recognizes is not None:
            return self.recognizes(shape)
        if self.json and shape.source.kind is not SourceKind.JSONL:
            return False
        if any(_AT in either for either in self.requires):
            return self._located(shape) is not None
        return all(any(shape.has(path) for path in _alternatives(either)) for either in self.requires)

    def _located(self, shape: Shape) -> Self | None:
        """Return the format with the first prefix under which a file has all that it requires."""
        for place in shape.places():
            requires = tuple(either.replace(_AT, place) for either in self.requires)
            located = replace(self, requires=requires)
            if located.matches(shape):
                fields = {name: text.replace(_AT, place) for name, text in self.fields.items()}
                return replace(located, fields=fields | _without_durations(fields, shape.leaves()))
        return None

    def with_fields(self, mapping: Mapping[str, str]) -> Self:
        """Return the format with other columns for some fields; the unit of an arrival is that of its column."""
        unit_s = None if "arrival" in mapping else self.unit_s
        return replace(self, fields={**self.fields, **mapping}, unit_s=unit_s)

    def _later_only(self, name: str, columns: Mapping[str, str], shape: Shape) -> str:
        """Return the columns of a field that none of the first records has, and later ones may have."""
        if name in columns:
            return ""
        return " | ".join(part for part in _alternatives(self.fields.get(name, "")) if part and shape.may_have(part))

    def table(self, shape: Shape) -> RawTable:
        """Read one file.

        Raises:
            TraceError: A required column is missing.
        """
        if self.read is not None:
            return self.read(shape)
        if any(_AT in either for either in self.requires):
            return (self._located(shape) or replace(self, requires=())).table(shape)
        inner = shape_of(unnested(shape.source, self.nest)) if self.nest else shape
        columns = {name: column for name, text in self.fields.items() if (column := _present(text, inner))}
        if "arrival" in self.fields and "arrival" not in columns and (dated := only_dates(inner.leaves())):
            columns["arrival"] = dated
        later = {name: _present(self.fields[name], inner, later=True) or text for name, text in columns.items()}
        later |= {name: text for name in _OPTIONAL if (text := self._later_only(name, columns, inner))}
        timeless = "arrival" not in self.fields
        missing = [name for name in _REQUIRED if name not in columns and name in self.fields]
        if missing:
            named = ", ".join(f"{self.fields[name]} ({name})" for name in missing)
            fix = "name it: --columns " + ",".join(f"{name}=NAME" for name in missing)
            raise TraceError(f"no column {shorten(named, _SHOWN, placeholder=' …')}", where=shape.source.name, fix=fix)
        table = with_kinds(inner, later, self.aside)
        filled = table.with_columns(pl.col(name).forward_fill() for name in self.fill if name in columns)
        return RawTable(
            table=at_once(filled) if timeless else filled,
            unit_s=1.0 if timeless else self.unit_s or unit_by_name(columns["arrival"]),
            units_s={name: unit for name in _TIMES if (unit := self.units_s.get(name) or _unit(columns, name))},
            columns=columns,
            assumptions=(*self.assumptions, AT_ONCE) if timeless else self.assumptions,
            ids_unique=self.ids_unique,
            ids_everywhere=self.ids_everywhere,
        )


def at_once(table: pl.LazyFrame) -> pl.LazyFrame:
    """Return a table of requests without times, as arriving together."""
    return table.with_columns(arrival=pl.lit(0.0))


def with_kinds(shape: Shape, columns: Mapping[str, str], rules: Sequence[AsideRule]) -> pl.LazyFrame:
    """Return columns under their new names, and the kind of rows that are not one request as `aside`."""
    texts = [" | ".join(filter(shape.may_have, _alternatives(rule.column))) for rule in rules]
    names = {text: f"rule on {text}" for text in texts if text}
    table = fetched(shape, {**columns, **{name: text for text, name in names.items()}})
    kinds = [
        pl.when(rule.applies(pl.col(names[text]))).then(pl.lit(rule.kind.value))
        for rule, text in zip(rules, texts, strict=True)
        if text
    ]
    aside = pl.coalesce(kinds) if kinds else pl.lit(None, pl.String)
    return table.with_columns(aside.alias("aside")).drop(names.values())


def fetched(shape: Shape, columns: Mapping[str, str]) -> pl.LazyFrame:
    """Return columns under their new names.

    Args:
        shape: The file.
        columns: New name to a column, a sum, or several columns between "|", of which the first with a value counts.
            A path may lead into JSON that a JSON file holds as text.
    """
    names = (term.partition(".")[0] for text in columns.values() for term in terms_of(text))
    source = shape.source
    if source.kind is SourceKind.JSONL:
        source = replace(source, columns=tuple(dict.fromkeys((*source.columns, *names))))
    alternatives = {name: [text] if text in source.columns else _alternatives(text) for name, text in columns.items()}
    terms = {f"{name}|{place}": term for name, texts in alternatives.items() for place, term in enumerate(texts)}
    inside = {name: place for name, term in terms.items() if (place := _place_in_json(term, shape))}
    lists = [name for name, term in terms.items() if term.endswith(FIRST)]
    table = source.table(
        {name: inside[name][0] if name in inside else term.removesuffix(FIRST) for name, term in terms.items()}
    )
    table = table.with_columns(
        *(_in_json(pl.col(name), paths).alias(name) for name, (_, paths) in inside.items()),
        *(pl.col(name).cast(pl.String).str.json_path_match("$[0]").alias(name) for name in lists),
    )
    schema = table.collect_schema()
    others = [name for name in ("line", "broken") if name in schema]
    return table.select(
        *others,
        *(
            _first_value([f"{name}|{place}" for place in range(len(texts))], schema).alias(name)
            for name, texts in alternatives.items()
        ),
    )


def _place_in_json(term: str, shape: Shape) -> tuple[str, list[str]] | None:
    """Return the column of JSON text that holds a path, or all paths of a sum, and the paths in it."""
    parts = [part.partition(".") for part in terms_of(term)]
    column = parts[0][0]
    held = column in shape.texts and all(name == column and path for name, _, path in parts)
    return (column, [path for *_, path in parts]) if held else None


def _in_json(text: pl.Expr, paths: Sequence[str]) -> pl.Expr:
    """Return the value under a path in JSON text, or the parts of a sum under several."""
    parts = [text.str.json_path_match(f"$.{path}").alias(path) for path in paths]
    return parts[0] if len(parts) == 1 else pl.struct(parts)


def _first_value(names: list[str], schema: pl.Schema) -> pl.Expr:
    """Return the first of some columns or sums that is not null and not blank."""
    if len(names) == 1:
        return pl.col(names[0])
    same = len({schema[name] for name in names}) == 1 and not isinstance(schema[names[0]], pl.Struct)
    columns = [_whole(name, schema[name]) if same else _whole(name, schema[name]).cast(pl.String) for name in names]
    if not same or schema[names[0]] == pl.String:
        columns = [pl.when(column.str.strip_chars() != "").then(column) for column in columns]
    return pl.coalesce(columns)


def _whole(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return a column, or the sum of the parts that a row has."""
    if not isinstance(dtype, pl.Struct):
        return pl.col(name)
    parts = [pl.col(name).struct.field(part.name).cast(pl.Float64, strict=False) for part in dtype.fields]
    return pl.when(pl.any_horizontal(part.is_not_null() for part in parts)).then(pl.sum_horizontal(parts))


def _without_durations(fields: Mapping[str, str], values: Mapping[str, Sequence[object]]) -> dict[str, str]:
    """Return the columns of an arrival but those that hold durations."""
    times = [name for name in _alternatives(fields.get("arrival", "")) if not holds_durations(values.get(name, ()))]
    return {"arrival": " | ".join(times)} if times else {}


def _unit(columns: Mapping[str, str], name: str) -> float | None:
    return unit_by_name(columns[name]) if name in columns else None


def terms_of(text: str) -> list[str]:
    """Return the columns and paths in alternatives of sums."""
    return [term.strip() for term in re.split(r"[|+]", text)]


def _alternatives(text: str) -> list[str]:
    return [part.strip() for part in text.split("|")]


def _present(text: str, shape: Shape, *, later: bool = False) -> str:
    """Return the alternatives that a file has, a sum with those of its parts that the file has.

    Args:
        text: Alternatives.
        shape: The file.
        later: Take parts of sums that only later records may have, too.
    """
    if text in shape.source.columns:
        return text
    has = shape.may_have if later else shape.has
    present: list[str] = []
    for sum_text in _alternatives(text):
        first, *others = (part.strip() for part in sum_text.split(" + "))
        if not shape.has(first):
            continue
        present.append(" + ".join([first, *(part for part in others if has(part))]))
    return " | ".join(present)
