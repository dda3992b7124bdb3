"""Sources of a trace as tables: paths, globs, standard input, gzip and zstd, and data frames."""

import contextlib
import csv
import glob
import itertools
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from gzip import BadGzipFile, GzipFile
from pathlib import Path
from typing import IO, Any, Final, Protocol

import msgspec
import polars as pl
import zstandard

from meritorder.errors import TraceError

STDIN: Final = "-"
_BLOCK_BYTES: Final = 1 << 20
_SNIFF_BYTES: Final = 1 << 16
# One result of `vllm bench serve` holds all its requests on one line.
_MAX_LINE_BYTES: Final = 1 << 28
_RECORDS_PER_PART: Final = 100_000
_SNIFFED_RECORDS: Final = 20
_SEPARATORS: Final = (",", ";", "\t")

# msgspec does not wrap Python's own error for text that is not UTF-8.
_NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError)

Record = dict[str, Any]


class SourceKind(StrEnum):
    """The form of a source's rows."""

    CSV = "CSV"
    JSONL = "JSON lines"
    PARQUET = "Parquet"
    FRAME = "a data frame"


class PandasFrame(Protocol):
    """A pandas DataFrame; the package itself is not needed."""

    columns: Any

    def __getitem__(self, name: Any, /) -> Any:  # noqa: ANN401  (pandas has no types here)
        """Return a column."""


Frame = pl.DataFrame | pl.LazyFrame | PandasFrame
SourceLike = str | Path | Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One uncompressed file or data frame, its kind and its columns.

    Args:
        name: The file as the user named it.
        path: Where its uncompressed bytes are.
        kind: The form of its rows.
        columns: Header of a CSV, schema of a Parquet file or data frame, keys of the first record of JSON lines.
        separator: Between the fields of a CSV.
        record: First record of JSON lines, else empty.
        frame: The data frame, else None.
    """

    name: str
    path: Path
    kind: SourceKind
    columns: tuple[str, ...]
    separator: str = ","
    record: Record = field(default_factory=dict)
    frame: pl.LazyFrame | None = None

    def require(self, *columns: str) -> None:
        """Raise TraceError if a column is missing."""
        missing = [name for name in columns if name not in self.columns]
        if missing:
            raise TraceError(f"no column {', '.join(missing)} among {_listed(self.columns)}", where=self.name)

    def table(self, fields: Mapping[str, str]) -> pl.LazyFrame:
        """Return the line number and the requested columns under their new names, as the source has them.

        Args:
            fields: New name to column; in JSON lines a dotted path reaches into nested objects.

        Returns:
            Columns `line`, the new names, and for JSON lines `broken`: the line is not a JSON object.
        """
        if self.kind is SourceKind.JSONL:
            return self._jsonl_table(fields)
        header = 0
        if self.frame is not None:
            rows = self.frame.with_row_index("line")
        elif self.kind is SourceKind.PARQUET:
            rows = pl.scan_parquet(self.path, row_index_name="line")
        else:
            rows = pl.scan_csv(
                self.path,
                infer_schema=False,
                separator=self.separator,
                row_index_name="line",
                truncate_ragged_lines=True,
                encoding="utf8-lossy",
            )
            header = 1
        return rows.select(pl.col("line") + 1 + header, *(pl.col(old).alias(new) for new, old in fields.items()))

    def records(self) -> Iterator[tuple[int, Record | None]]:
        """Yield line number and record of the non-blank JSON lines; None where a line is not a JSON object."""
        decode = msgspec.json.Decoder().decode
        with self.path.open("rb") as lines:
            for line, text in enumerate(lines, start=1):
                if not text.strip():
                    continue
                try:
                    record = decode(text)
                except _NOT_JSON:
                    record = None
                yield line, record if isinstance(record, dict) else None

    def _jsonl_table(self, fields: Mapping[str, str]) -> pl.LazyFrame:
        paths = [(new, old.split(".") if old not in self.columns else [old]) for new, old in fields.items()]
        parts: list[pl.DataFrame] = []
        values: dict[str, list[Any]] = {name: [] for name in ("line", "broken", *fields)}
        for line, record in self.records():
            values["line"].append(line)
            values["broken"].append(record is None)
            for name, path in paths:
                values[name].append(_value_at(record, path))
            if len(values["line"]) == _RECORDS_PER_PART:
                parts.append(untyped(values))
                values = {name: [] for name in values}
        if values["line"] or not parts:
            parts.append(untyped(values))
        return pl.concat(_same_types(parts), how="vertical").lazy()


@contextlib.contextmanager
def opened(named: Sequence[SourceLike]) -> Iterator[list[Source]]:
    """Open the sources behind paths, globs, `-` and data frames; decompressed copies live as long as the context.

    Raises:
        TraceError: A source is missing, empty, damaged, or of an unknown kind.
    """
    if not named:
        raise TraceError("no trace was named", fix="name a file, a glob, or - for standard input")
    with tempfile.TemporaryDirectory(prefix="meritorder-") as folder:
        copies = (Path(folder) / str(number) for number in itertools.count())
        yield [
            source
            for item in named
            for source in (_of_paths(item, copies) if isinstance(item, str | Path) else [_of_frame(item)])
        ]


def untyped(values: Mapping[str, Sequence[Any]]) -> pl.DataFrame:
    """Return columns of JSON values: numbers as Float64, anything else as its JSON text."""
    return pl.DataFrame([_series(name, column) for name, column in values.items()])


def _of_paths(named: str | Path, copies: Iterator[Path]) -> Iterator[Source]:
    return (_sniffed(name, _decompressed(name, path, next(copies))) for name, path in _matches(named))


def _matches(named: str | Path) -> Iterator[tuple[str, Path | None]]:
    """Yield name and path of the files behind a path, a glob or `-`; standard input has no path."""
    name = str(named)
    if name == STDIN:
        yield "stdin", None
        return
    matches = [name] if Path(named).exists() else sorted(glob.glob(name))  # noqa: PTH207  (patterns may be absolute)
    if not matches:
        raise TraceError("no such file", where=name, fix="name a file, a glob, or - for standard input")
    for match in matches:
        if Path(match).is_dir():
            raise TraceError("is a folder", where=match, fix=f"name its files, for example '{match}/*.csv'")
        yield match, Path(match)


def _of_frame(frame: Frame) -> Source:
    """Return a data frame as a source; missing values of pandas become null, its zoned times UTC."""
    if isinstance(frame, pl.DataFrame | pl.LazyFrame):
        lazy = frame.lazy()
    elif hasattr(frame, "columns"):
        lazy = pl.LazyFrame([_pandas_series(str(name), frame[name]) for name in frame.columns])
    else:
        what = f"{type(frame).__name__} is not a trace"
        raise TraceError(what, fix="give a path, a glob, or a Polars or pandas data frame")
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


def _decompressed(name: str, path: Path | None, copy: Path) -> Path:
    """Return a path to the uncompressed bytes, which is `copy` if they had to be decompressed."""
    try:
        if path is None:
            with copy.open("wb") as target:
                shutil.copyfileobj(sys.stdin.buffer, target, _BLOCK_BYTES)
            path, copy = copy, copy.with_name(f"{copy.name}-decompressed")
        with path.open("rb") as source:
            magic = source.read(4)
            source.seek(0)
            if magic[:2] == b"\x1f\x8b":
                with GzipFile(fileobj=source) as decompressed, copy.open("wb") as target:
                    shutil.copyfileobj(decompressed, target, _BLOCK_BYTES)
                return copy
            if magic == b"\x28\xb5\x2f\xfd":
                with copy.open("wb") as target:
                    _decompress_zstd(source, target)
                return copy
    except (EOFError, BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise TraceError("the compressed file is damaged or truncated", where=name, fix="fetch it again") from error
    except OSError as error:
        raise TraceError(f"cannot be read ({error.strerror or error})", where=name) from error
    return path


def _decompress_zstd(source: IO[bytes], target: IO[bytes]) -> None:
    """Decompress frame after frame; the reader of zstandard itself takes a truncated frame for the end of the file."""
    decompressor = None
    while block := source.read(_BLOCK_BYTES):
        while block:
            decompressor = decompressor or zstandard.ZstdDecompressor().decompressobj()
            target.write(decompressor.decompress(block))
            block = b""
            if decompressor.eof:
                block, decompressor = decompressor.unused_data, None
    if decompressor is not None:
        raise EOFError


def _sniffed(name: str, path: Path) -> Source:
    with path.open("rb") as source:
        head = source.read(_SNIFF_BYTES)
    if not head.strip():
        raise TraceError("the file is empty", where=name)
    if head[:4] == b"PAR1":
        return _parquet(name, path)
    if b"\0" in head:
        raise TraceError("is not text and not Parquet", where=name, fix="give CSV, JSON lines or Parquet, UTF-8")
    first = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if first == b"[":
        raise TraceError("is one JSON array", where=name, fix="write one JSON object per line (jq -c '.[]')")
    return _jsonl(name, path) if first == b"{" else _csv(name, path)


def _parquet(name: str, path: Path) -> Source:
    try:
        columns = tuple(pl.scan_parquet(path).collect_schema().names())
    except pl.exceptions.PolarsError as error:
        raise TraceError("the Parquet file is damaged or truncated", where=name, fix="fetch it again") from error
    return Source(name=name, path=path, kind=SourceKind.PARQUET, columns=columns)


def _csv(name: str, path: Path) -> Source:
    with path.open("rb") as source:
        raw = source.readline(_SNIFF_BYTES)
    try:
        header = raw.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise TraceError("is not UTF-8 text", where=name, fix="give CSV, JSON lines or Parquet, UTF-8") from error
    if "\r" in header:
        raise TraceError("ends its lines with CR alone", where=name, fix="end them with LF (tr '\\r' '\\n')")
    separator = max(_SEPARATORS, key=header.count)
    columns = tuple(next(csv.reader([header], delimiter=separator), ()))
    return Source(name=name, path=path, kind=SourceKind.CSV, columns=columns, separator=separator)


def _jsonl(name: str, path: Path) -> Source:
    decode = msgspec.json.Decoder().decode
    with path.open("rb") as source:
        for _ in range(_SNIFFED_RECORDS):
            try:
                record = decode(source.readline(_MAX_LINE_BYTES))
            except _NOT_JSON:
                continue
            if isinstance(record, dict):
                return Source(name=name, path=path, kind=SourceKind.JSONL, columns=tuple(record), record=record)
    raise TraceError(
        f"none of the first {_SNIFFED_RECORDS} lines is a JSON object", where=name, fix="write one per line"
    )


def _value_at(record: Record | None, path: Sequence[str]) -> object:
    value: object = record
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


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
