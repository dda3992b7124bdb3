"""The trace formats, and the choice of the one that a file is in."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

import polars as pl

from meritorder.errors import TraceError
from meritorder.traces.formats import columns
from meritorder.traces.formats.benchmarks import BENCHMARKS
from meritorder.traces.formats.declared import TraceFormat, terms_of
from meritorder.traces.formats.gateways import GATEWAYS
from meritorder.traces.formats.guess import proposal, says_date
from meritorder.traces.formats.logs import LOGS
from meritorder.traces.formats.prompts.texts import BATCH, PROMPTS
from meritorder.traces.formats.providers import PROVIDERS
from meritorder.traces.formats.public_traces import PUBLIC
from meritorder.traces.formats.shape import Shape, shape_of
from meritorder.traces.formats.usage import USAGE
from meritorder.traces.intake import RawTable, parts_of
from meritorder.traces.sources import Source

BY_COLUMNS: Final = "columns"

FORMATS: Final = (
    *PUBLIC,
    BATCH,
    *GATEWAYS,
    *LOGS,
    *USAGE,
    *PROVIDERS,
    *BENCHMARKS,
    TraceFormat(
        name=BY_COLUMNS,
        title="any CSV, Parquet or JSON lines by column names",
        recognizes=columns.recognizes,
        read=columns.read,
    ),
    PROMPTS,
)
"""In the order in which they are tried: specific formats before the general one."""


_MIXED: Final = frozenset({"anthropic", "gemini", "converse", BY_COLUMNS})
"""What providers answer: one log may hold the answers of several."""
_KINDS: Final = ("type", "event", "kind", "object", "op")
"""Columns that say what a row is: rows that differ in it are no calls of two providers, but two kinds of rows."""


def read(source: Source, *, name: str | None, mapping: Mapping[str, str] | None) -> list[tuple[str, RawTable]]:
    """Read a file in the named format, or in the first that recognizes it.

    Args:
        source: The file.
        name: Name of the format; None detects it.
        mapping: Field of `columns.FIELDS` to column.

    Returns:
        Name of the format, and the raw table; several if the file mixes the answers of several providers.

    Raises:
        TraceError: The name is unknown, the file is in no known format, or a column is missing or ambiguous.
    """
    shape = shape_of(source)
    if mapping:
        parts = [_mapped(shape, name, mapping)]
    elif name is not None:
        parts = [(name, _named(shape, name).table(shape))]
    else:
        parts = _mixed(shape, _detected(shape, FORMATS))
    used = {term for _, raw in parts for text in raw.columns.values() for term in terms_of(text)}
    ambiguous = [column for column in source.ambiguous() if column in used]
    if ambiguous:
        what = f"two columns are named {ambiguous[0]}, and their values differ"
        raise TraceError(what, where=source.name, fix="rename one of them")
    return parts


def _mapped(shape: Shape, name: str | None, mapping: Mapping[str, str]) -> tuple[str, RawTable]:
    if name not in {None, BY_COLUMNS}:
        raise TraceError(f"--columns goes with --format {BY_COLUMNS}, not {name}", fix="drop one of the two")
    columns.check(shape, mapping)
    declared = next((row for row in FORMATS if row.fields and not row.nest and row.matches(shape)), None)
    if declared is not None and name is None:
        return declared.name, declared.with_fields(mapping).table(shape)
    return BY_COLUMNS, columns.read(shape, mapping)


def _named(shape: Shape, name: str) -> TraceFormat:
    named = [candidate for candidate in FORMATS if candidate.name == name]
    if not named:
        known = ", ".join(dict.fromkeys(candidate.name for candidate in FORMATS))
        raise TraceError(f"no format {name}", where="--format", fix=f"the formats are {known}")
    return next((variant for variant in named if variant.matches(shape)), named[0])


def _detected(shape: Shape, candidates: Iterable[TraceFormat]) -> TraceFormat:
    detected = next((candidate for candidate in candidates if candidate.matches(shape)), None)
    if detected is None and any(map(says_date, shape.source.columns)):
        raise TraceError(
            "its first line has a time instead of names of columns",
            where=shape.source.name,
            fix="add the names; if it is a log of plain text, log requests as JSON or CSV, with token counts",
        )
    if detected is None:
        raise TraceError(
            f"the columns {', '.join(shape.source.columns[:12]) or '(none)'} match no known format",
            where=shape.source.name,
            fix=proposal(shape),
        )
    return detected


def _mixed(shape: Shape, first: TraceFormat) -> list[tuple[str, RawTable]]:
    """Read a file in a format, and the rows without its counts in another one that has them."""
    parts = [(first.name, first.table(shape))]
    rest = shape.without(_counts(parts[0][1]), same=_KINDS) if first.name in _MIXED else None
    while rest is not None:
        second = next((row for row in FORMATS if row.name in _MIXED and row.matches(rest)), None)
        if second is None or (second.name == parts[-1][0] != BY_COLUMNS):
            break
        raw = second.table(rest)
        counted = pl.concat(_lines(part, _is_counted(part)) for _, part in parts)
        mine = _is_counted(raw) & ~pl.col("line").is_in(counted.implode())
        others = ~pl.col("line").is_in(_lines(raw, mine).implode())
        parts = [(name, _only(part, others)) for name, part in parts]
        parts.append((second.name, _only(raw, mine)))
        rest = rest.without(_counts(raw), same=_KINDS)
    return parts


def _only(raw: RawTable, rows: pl.Expr) -> RawTable:
    return replace(raw, table=raw.table.filter(rows))


def _lines(raw: RawTable, rows: pl.Expr) -> pl.Series:
    return raw.table.filter(rows).select("line").collect()["line"]


def _counts(raw: RawTable) -> set[str]:
    return {term for field in ("input", "output") for term in terms_of(raw.columns[field])}


def _is_counted(raw: RawTable) -> pl.Expr:
    """Return whether a row has a count of tokens; of a sum any part."""
    schema = raw.table.collect_schema()
    parts = [part.cast(pl.String) for name in ("input", "output") for part, _ in parts_of(schema, name)]
    return pl.any_horizontal((part.str.strip_chars() != "").fill_null(value=False) for part in parts)
