"""Sources of a trace as tables: files from anywhere, in any container, and data frames."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import msgspec
import polars as pl

from meritorder.errors import InputError, TraceError, input_errors_as
from meritorder.inputs import json_records, paths, spreadsheets
from meritorder.inputs.csv_header import read_header
from meritorder.inputs.places import ScratchFolder, locate
from meritorder.inputs.unpacking import PARQUET, READ_ERRORS, PlainFile, unpack

Record = json_records.Record


_RECORDS_PER_PART: Final = 100_000
_SNIFFED_RECORDS: Final = 20
_COMPARED_ROWS: Final = 1000
# Polars names a column whose name is there already `name_duplicated_0`.
_AGAIN: Final = "_duplicated_"
# A column of the source may itself be named "line".
_LINE: Final = "\0line"
_MAX_ROWS: Final = 10_000_000
_MAX_ROWS_PER_BYTE: Final = 10


class SourceKind(StrEnum):
    """The form of a source's rows."""

    CSV = "CSV"
    JSONL = "JSON"
    PARQUET = "Parquet"
    EXCEL = "Excel"
    FRAME = "a data frame"


@runtime_checkable
class PandasFrame(Protocol):
    """A pandas DataFrame; the package itself is not needed."""

    columns: Any
    index: Any

    def __getitem__(self, name: Any, /) -> Any:  # noqa: ANN401  (pandas has no types here)
        """Return a column."""

    def reset_index(self) -> Any:  # noqa: ANN401  (likewise)
        """Return the frame with its index as columns."""


@runtime_checkable
class ArrowStream(Protocol):
    """A table of pyarrow, DuckDB or another library that exports Arrow data."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the data."""


Frame = pl.DataFrame | pl.LazyFrame | PandasFrame | ArrowStream
SourceLike = str | Path | Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One uncompressed file or data frame, its kind and its columns.

    Args:
        name: The file as the user named it.
        path: Where its uncompressed bytes are.
        kind: The form of its rows.
        columns: Header of a CSV, schema of a Parquet file or data frame, keys of the first records of JSON.
        separator: Between the fields of a CSV.
        header_line: Line of the header, 0 if there is none.
        record: First record of JSON, else empty.
        frame: The table of a data frame or a workbook, else None.
        assumptions: What was assumed when the file was opened, a sentence each.
    """

    name: str
    path: Path
    kind: SourceKind
    columns: tuple[str, ...]
    separator: str = ","
    header_line: int = 0
    record: Record = field(default_factory=dict)
    frame: pl.LazyFrame | None = None
    assumptions: tuple[str, ...] = ()

    def require(self, *columns: str) -> None:
        """Raise TraceError if a column, a path or a part of a sum is missing."""
        terms = [term for name in columns for term in paths.parse_sum(name, self.columns)]
        missing = [".".join(term) for term in terms if not self._has(term)]
        if missing:
            raise TraceError(f"no column {', '.join(missing)} among {_listed(self.columns)}", where=self.name)

    def ambiguous(self) -> list[str]:
        """Return the names that several columns of a CSV have, with different values in the first rows."""
        repeated = [name for name in dict.fromkeys(self.columns) if self.columns.count(name) > 1]
        if not repeated or self.kind is not SourceKind.CSV:
            return []
        head = self._rows().head(_COMPARED_ROWS).collect()
        return [
            name
            for name in repeated
            if any(not head[name].equals(head[other]) for other in head.columns if other.startswith(f"{name}{_AGAIN}"))
        ]

    def table(self, fields: Mapping[str, str]) -> pl.LazyFrame:
        """Return the line number and the requested columns under their new names, as the source has them.

        Args:
            fields: New name to a column, a path or a sum, as in `inputs.paths`; a sum is a struct of its parts.

        Returns:
            Columns `line`, the new names, and for JSON `broken`: the line is not a JSON object.
        """
        self.require(*fields.values())
        sums = {new: paths.parse_sum(old, self.columns) for new, old in fields.items()}
        if self.kind is SourceKind.JSONL:
            return self._json_table(sums)
        rows = self._rows()
        schema = rows.collect_schema()
        line = pl.col(_LINE) + 1 + self.header_line
        return rows.with_row_index(_LINE).select(
            line.alias("line"),
            *(_sum_of([paths.column_at(schema, term) for term in terms]).alias(new) for new, terms in sums.items()),
        )

    def records(self) -> Iterator[tuple[int, Record | None]]:
        """Yield line number and record of the rows; None where a line is not a JSON object."""
        if self.kind is SourceKind.JSONL:
            return json_records.records(self.path)
        rows = self._rows().collect().iter_rows(named=True)
        return enumerate(rows, self.header_line + 1)

    def _rows(self) -> pl.LazyFrame:
        if self.frame is not None:
            return self.frame
        if self.kind is SourceKind.PARQUET:
            return pl.scan_parquet(self.path)
        return pl.scan_csv(
            self.path,
            infer_schema=False,
            separator=self.separator,
            skip_lines=self.header_line - 1,
            truncate_ragged_lines=True,
            encoding="utf8-lossy",
        )

    def _has(self, path: paths.Path) -> bool:
        if self.kind is SourceKind.JSONL:
            return any(".".join(path[:end]) in self.columns for end in range(1, len(path) + 1))
        return paths.column_at(self._rows().collect_schema(), path) is not None

    def _json_table(self, sums: Mapping[str, tuple[paths.Path, ...]]) -> pl.LazyFrame:
        columns = {_part(new, place): term for new, terms in sums.items() for place, term in enumerate(terms)}
        parts: list[pl.DataFrame] = []
        records = self.records()
        while (chunk := list(islice(records, _RECORDS_PER_PART))) or not parts:
            values: dict[str, list[Any]] = {
                "line": [line for line, _ in chunk],
                "broken": [record is None for _, record in chunk],
            }
            for name, path in columns.items():
                values[name] = [paths.value_at(record, path) for _, record in chunk]
            parts.append(untyped(values))
        joined = pl.concat(_same_types(parts), how="vertical").lazy()
        return joined.select(
            "line",
            "broken",
            *(
                _sum_of([pl.col(_part(new, place)) for place in range(len(terms))]).alias(new)
                for new, terms in sums.items()
            ),
        )


@contextlib.contextmanager
def opened(named: Sequence[SourceLike]) -> Iterator[list[Source]]:
    """Open the sources behind paths, globs, URLs, `-` and data frames; local copies live as long as the context.

    Raises:
        TraceError: A source is missing, empty, damaged, or of an unknown kind.
    """
    if not named:
        raise TraceError("no trace was named", fix="name a file, a glob, or - for standard input")
    scratch = ScratchFolder()
    try:
        with input_errors_as(TraceError):
            yield [
                source
                for item in named
                for source in (_of_files(item, scratch) if isinstance(item, str | Path) else [_of_frame(item)])
            ]
    finally:
        scratch.remove()


def untyped(values: Mapping[str, Sequence[Any]]) -> pl.DataFrame:
    """Return columns of JSON values: numbers as Float64, anything else as its JSON text."""
    return pl.DataFrame([_series(name, column) for name, column in values.items()])


def _of_files(named: str | Path, scratch: ScratchFolder) -> Iterator[Source]:
    return (_sniffed(unpack(file, scratch), scratch) for file in locate(named, scratch))


def _of_frame(frame: object) -> Source:
    """Return a data frame as a source.

    Missing values of pandas become null, its zoned times UTC, and levels of its index that have names are columns.
    """
    if isinstance(frame, pl.DataFrame | pl.LazyFrame):
        lazy = frame.lazy()
    elif isinstance(frame, PandasFrame):
        pandas = frame.reset_index() if any(name is not None for name in frame.index.names) else frame
        lazy = pl.LazyFrame([_pandas_series(str(name), pandas[name]) for name in pandas.columns])
    elif isinstance(frame, ArrowStream):
        lazy = pl.DataFrame(frame).lazy()
    else:
        what = f"{type(frame).__name__} is not a trace"
        raise TraceError(what, fix="give a path, a glob, or a Polars, pandas or Arrow data frame")
    columns = tuple(lazy.collect_schema().names())
    return Source(name="data frame", path=Path(), kind=SourceKind.FRAME, columns=columns, frame=lazy)


def _pandas_series(name: str, column: Any) -> pl.Series:  # noqa: ANN401  (a pandas Series)
    if getattr(column.dtype, "tz", None) is not None:
        utc = column.dt.tz_convert("UTC").dt.tz_localize(None)
        return pl.Series(name, utc.to_numpy()).dt.replace_time_zone("UTC")
    if column.dtype.kind in "iufbM" and not column.isna().any():
        return pl.Series(name, column.to_numpy())
    values = column.astype(object).where(column.notna(), None).tolist()
    return pl.Series(name, values, strict=False)


def _sniffed(file: PlainFile, scratch: ScratchFolder) -> Source:
    if file.head.startswith(PARQUET):
        return _parquet(file)
    if spreadsheets.is_zip(file.head):
        sheet, header_row = spreadsheets.read_workbook(file)
        return Source(
            name=file.name,
            path=file.path,
            kind=SourceKind.EXCEL,
            columns=tuple(sheet.columns),
            header_line=header_row,
            frame=sheet.lazy(),
        )
    return _json(file, scratch) if json_records.is_json(file.head) else _csv(file)


def _parquet(file: PlainFile) -> Source:
    try:
        table = pl.scan_parquet(file.path)
        columns = tuple(table.collect_schema().names())
        rows = int(table.select(pl.len()).collect().item())
    except READ_ERRORS as error:
        what = "the Parquet file is damaged or truncated"
        raise InputError(what, where=file.name, fix="fetch it again") from error
    if rows > max(_MAX_ROWS, _MAX_ROWS_PER_BYTE * file.path.stat().st_size):
        raise InputError(f"claims {rows:,} rows, too many for its size", where=file.name)
    return Source(name=file.name, path=file.path, kind=SourceKind.PARQUET, columns=columns)


def _csv(file: PlainFile) -> Source:
    header = read_header(file)
    return Source(
        name=file.name,
        path=file.path,
        kind=SourceKind.CSV,
        columns=header.columns,
        separator=header.separator,
        header_line=header.line,
        assumptions=file.assumptions,
    )


def _json(file: PlainFile, scratch: ScratchFolder) -> Source:
    path = json_records.as_lines(file, scratch)
    first = [record for _, record in islice(json_records.records(path), _SNIFFED_RECORDS) if record is not None]
    if not first:
        what = f"none of the first {_SNIFFED_RECORDS} records is a JSON object"
        raise InputError(what, where=file.name, fix="write one a line, or an array of them")
    columns = tuple(dict.fromkeys(name for record in first for name in record))
    return Source(
        name=file.name,
        path=path,
        kind=SourceKind.JSONL,
        columns=columns,
        record=first[0],
        assumptions=file.assumptions,
    )


def _part(name: str, place: int) -> str:
    """Return the name of one part of a sum."""
    return name if not place else f"{name} +{place}"


def _sum_of(parts: Sequence[pl.Expr | None]) -> pl.Expr:
    """Return a column as it is, or the struct of the parts of a sum."""
    present = [part for part in parts if part is not None]
    return present[0] if len(present) == 1 else pl.struct(part.alias(str(place)) for place, part in enumerate(present))


def _series(name: str, values: Sequence[Any]) -> pl.Series:
    if name == "line":
        return pl.Series(name, values, dtype=pl.UInt32)
    if name == "broken":
        return pl.Series(name, values, dtype=pl.Boolean)
    types = set(map(type, values)) - {type(None)}
    if types and types <= {int, float}:
        return pl.Series(name, values, dtype=pl.Float64)
    texts = [
        value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode() for value in values
    ]
    return pl.Series(name, texts, dtype=pl.String)


def _same_types(parts: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """Cast a column that is text in one part to text in all."""
    mixed = [name for name in parts[0].columns if len({part.schema[name] for part in parts}) > 1]
    return [part.with_columns(pl.col(mixed).cast(pl.String)) for part in parts] if mixed else parts


def _listed(columns: Sequence[str], *, limit: int = 12) -> str:
    return ", ".join(columns[:limit]) + (", …" if len(columns) > limit else "") if columns else "none"
