"""From what the user names to plain files: globs, stdin, gzip and zstd, and the kind that each one is."""

import contextlib
import csv
import glob
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from gzip import BadGzipFile, GzipFile
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import polars as pl
import zstandard

from meritorder.errors import TraceError

STDIN: Final = "-"
_BLOCK_BYTES: Final = 1 << 20
_SNIFF_BYTES: Final = 1 << 16
# One result of `vllm bench serve` holds all its requests on one line.
_LONGEST_LINE_BYTES: Final = 1 << 28
_RECORDS_A_CHUNK: Final = 100_000
_SNIFFED_RECORDS: Final = 20
_SEPARATORS: Final = (",", ";", "\t")

# msgspec lets text that is not UTF-8 through to Python's own error.
_NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError)

Record = dict[str, Any]


class Kind(StrEnum):
    """How a file holds its rows."""

    CSV = "CSV"
    JSONL = "JSON lines"
    PARQUET = "Parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One plain file on disk, its kind and its columns.

    Args:
        name: The file as the user named it.
        path: Where its plain bytes are.
        kind: How it holds its rows.
        columns: Header of a CSV, schema of a Parquet file, keys of the first record of JSON lines.
        separator: Between the fields of a CSV.
        record: First record of JSON lines, else empty.
    """

    name: str
    path: Path
    kind: Kind
    columns: tuple[str, ...]
    separator: str = ","
    record: Record = field(default_factory=dict)

    def require(self, *columns: str) -> None:
        """Raise TraceError if a column is missing."""
        missing = [each for each in columns if each not in self.columns]
        if missing:
            raise TraceError(f"no column {', '.join(missing)} among {_listed(self.columns)}", where=self.name)

    def table(self, fields: Mapping[str, str]) -> pl.LazyFrame:
        """Return the line and the wanted columns under new names, untyped.

        Args:
            fields: New name to column; in JSON lines a dotted path reaches into nested objects.

        Returns:
            Columns `line`, the new names, and in JSON lines `broken`: the line is not a JSON object.
        """
        if self.kind is Kind.JSONL:
            return self._jsonl_table(fields)
        if self.kind is Kind.PARQUET:
            rows = pl.scan_parquet(self.path, row_index_name="line")
            header = 0
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
        """Yield line and record of JSON lines that are not blank; None where a line is no JSON object."""
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
        chunks: list[pl.DataFrame] = []
        values: dict[str, list[Any]] = {name: [] for name in ("line", "broken", *fields)}
        for line, record in self.records():
            values["line"].append(line)
            values["broken"].append(record is None)
            for name, path in paths:
                values[name].append(_reach(record, path))
            if len(values["line"]) == _RECORDS_A_CHUNK:
                chunks.append(untyped(values))
                values = {name: [] for name in values}
        if values["line"] or not chunks:
            chunks.append(untyped(values))
        return pl.concat(_alike(chunks), how="vertical").lazy()


@contextlib.contextmanager
def opened(sources: Sequence[str | Path]) -> Iterator[list[File]]:
    """Give the plain files behind paths, globs and `-`; unpacked copies live as long as the context.

    Raises:
        TraceError: A source is missing, empty, damaged, or of no kind that can be read.
    """
    with tempfile.TemporaryDirectory(prefix="meritorder-") as folder:
        yield [
            _sniffed(name, _plain(name, path, Path(folder) / str(number)))
            for number, (name, path) in enumerate(_named(sources))
        ]


def untyped(values: Mapping[str, Sequence[Any]]) -> pl.DataFrame:
    """Return columns of JSON values: numbers as Float64, anything else as the text that it is in JSON."""
    return pl.DataFrame([_series(name, each) for name, each in values.items()])


def _named(sources: Sequence[str | Path]) -> Iterator[tuple[str, Path | None]]:
    if not sources:
        raise TraceError("no trace was named", fix="name a file, a glob, or - for standard input")
    for source in sources:
        name = str(source)
        if name == STDIN:
            yield "stdin", None
            continue
        path = Path(source)
        matches = sorted(glob.glob(name)) if not path.exists() else [name]  # noqa: PTH207  (patterns may be absolute)
        if not matches:
            raise TraceError("no such file", where=name, fix="name a file, a glob, or - for standard input")
        for match in matches:
            if Path(match).is_dir():
                raise TraceError("is a folder", where=match, fix=f"name its files, for example '{match}/*.csv'")
            yield match, Path(match)


def _plain(name: str, path: Path | None, copy: Path) -> Path:
    """Return a path to the plain bytes, unpacked to `copy` where they are not."""
    try:
        if path is None:
            with copy.open("wb") as target:
                shutil.copyfileobj(sys.stdin.buffer, target, _BLOCK_BYTES)
            path, copy = copy, copy.with_name(f"{copy.name}-plain")
        with path.open("rb") as source:
            magic = source.read(4)
            source.seek(0)
            if magic[:2] == b"\x1f\x8b":
                with GzipFile(fileobj=source) as unpacked, copy.open("wb") as target:
                    shutil.copyfileobj(unpacked, target, _BLOCK_BYTES)
                return copy
            if magic == b"\x28\xb5\x2f\xfd":
                with copy.open("wb") as target:
                    _unpack_zstd(source, target)
                return copy
    except (EOFError, BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise TraceError("the compressed file is damaged or cut short", where=name, fix="fetch it again") from error
    except OSError as error:
        raise TraceError(f"cannot be read ({error.strerror or error})", where=name) from error
    return path


def _unpack_zstd(source: IO[bytes], target: IO[bytes]) -> None:
    """Unpack frame after frame; zstandard's own reader takes a cut-off frame for the end of the file."""
    unpacker = None
    while block := source.read(_BLOCK_BYTES):
        while block:
            unpacker = unpacker or zstandard.ZstdDecompressor().decompressobj()
            target.write(unpacker.decompress(block))
            block = b""
            if unpacker.eof:
                block, unpacker = unpacker.unused_data, None
    if unpacker is not None:
        raise EOFError


def _sniffed(name: str, path: Path) -> File:
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
        raise TraceError("is one JSON array", where=name, fix="give one JSON object a line (jq -c '.[]')")
    return _jsonl(name, path) if first == b"{" else _csv(name, path)


def _parquet(name: str, path: Path) -> File:
    try:
        columns = tuple(pl.scan_parquet(path).collect_schema().names())
    except pl.exceptions.PolarsError as error:
        raise TraceError("the Parquet file is damaged or cut short", where=name, fix="fetch it again") from error
    return File(name=name, path=path, kind=Kind.PARQUET, columns=columns)


def _csv(name: str, path: Path) -> File:
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
    return File(name=name, path=path, kind=Kind.CSV, columns=columns, separator=separator)


def _jsonl(name: str, path: Path) -> File:
    decode = msgspec.json.Decoder().decode
    with path.open("rb") as source:
        for _ in range(_SNIFFED_RECORDS):
            try:
                record = decode(source.readline(_LONGEST_LINE_BYTES))
            except _NOT_JSON:
                continue
            if isinstance(record, dict):
                return File(name=name, path=path, kind=Kind.JSONL, columns=tuple(record), record=record)
    raise TraceError(f"none of the first {_SNIFFED_RECORDS} lines is a JSON object", where=name, fix="give one a line")


def _reach(record: Record | None, path: Sequence[str]) -> object:
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
    kinds = set(map(type, values)) - {type(None)}
    if kinds and kinds <= {int, float}:
        return pl.Series(name, values, dtype=pl.Float64)
    texts = [v if v is None or isinstance(v, str) else msgspec.json.encode(v).decode() for v in values]
    return pl.Series(name, texts, dtype=pl.String)


def _alike(chunks: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """Cast a column that is text in one chunk to text in all."""
    mixed = [name for name in chunks[0].columns if len({chunk.schema[name] for chunk in chunks}) > 1]
    return [chunk.with_columns(pl.col(mixed).cast(pl.String)) for chunk in chunks] if mixed else chunks


def _listed(columns: Sequence[str], *, most: int = 12) -> str:
    return ", ".join(columns[:most]) + (", …" if len(columns) > most else "") if columns else "none"
