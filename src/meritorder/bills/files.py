"""Bill files as frames: CSV, Parquet, JSON and JSON lines, plain or gzipped; truncated files are refused."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import polars as pl

from meritorder.errors import BillError

SUFFIXES: Final = (
    ".csv",
    ".tsv",
    ".parquet",
    ".json",
    ".jsonl",
    ".ndjson",
    ".csv.gz",
    ".json.gz",
    ".jsonl.gz",
)
_SEPARATORS: Final = ",;\t"
_TAIL_BYTES: Final = 1 << 20
_FIX: Final = "download or export it again"
# Objects inside a result of a cost or usage API, whose members are columns of the CSV export.
_NESTED: Final = ("amount", "cache_creation", "server_tool_use", "properties")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file of a bill, of a format not known yet.

    Args:
        path: Where it is.
        frame: Its rows; column `row` is the line or record number.
        columns: Names of its own columns.
        notes: What is unusual about the file.
        more_pages: Whether it is a page of an API that has further pages.
    """

    path: Path
    frame: pl.LazyFrame
    columns: frozenset[str]
    notes: tuple[str, ...] = ()
    more_pages: bool = False


def find(sources: Sequence[str | Path]) -> list[Path]:
    """Return the named files and every bill file below the named folders.

    Raises:
        BillError: A path does not exist, or there is no file at all.
    """
    paths: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            inside = sorted(path for path in source.rglob("*") if path.name.lower().endswith(SUFFIXES))
            paths += [path for path in inside if not path.name.lower().endswith("manifest.json")]
        elif source.exists():
            paths.append(source)
        else:
            raise BillError("there is no such file", where=str(source))
    unique = list(dict.fromkeys(path.resolve() for path in paths))
    if not unique:
        raise BillError("no bill to read", where=", ".join(map(str, sources)) or None, fix="name a file or a folder")
    return unique


def load(path: Path) -> SourceFile:
    """Open a file; its content decides how, not its name.

    Raises:
        BillError: It is empty, truncated, or neither CSV, Parquet nor JSON.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        raise BillError("the file is empty", where=path.name, fix=_FIX)
    if head[:4] == b"PAR1":
        return _parquet(path)
    if head[:2] == b"PK":
        raise BillError("this is a zip archive", where=path.name, fix="unpack it first")
    content = _unzipped(path) if head[:2] == b"\x1f\x8b" else None
    head = head if content is None else content[:4096]
    if b"\x00" in head:
        raise BillError("not a bill: neither CSV, Parquet nor JSON", where=path.name)
    if head.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] in (b"{", b"["):
        return _json(path, path.read_bytes() if content is None else content)
    return _csv(path, content)


def _unzipped(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            return file.read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BillError("the gzip file is truncated or damaged", where=path.name, fix=_FIX) from error


def _parquet(path: Path) -> SourceFile:
    try:
        frame = pl.scan_parquet(path)
        columns = frozenset(frame.collect_schema())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BillError("the Parquet file is truncated or damaged", where=path.name, fix=_FIX) from error
    return SourceFile(path=path, frame=frame.with_row_index("row", offset=1), columns=columns)


def _csv(path: Path, content: bytes | None) -> SourceFile:
    header, tail = _ends(path, content)
    separator = max(_SEPARATORS, key=header.count)
    names = next(csv.reader([header], delimiter=separator), [])
    if len(names) < 2:
        raise BillError("not a bill: its first line is not a header of columns", where=path.name)
    notes = _check_last_line(path, tail, len(names), separator)
    try:
        frame = pl.scan_csv(
            path if content is None else io.BytesIO(content),
            infer_schema=False,
            separator=separator,
            raise_if_empty=True,
        )
        columns = frozenset(frame.collect_schema())
    except pl.exceptions.PolarsError as error:
        raise BillError(f"not a readable CSV: {_first_line(error)}", where=path.name) from error
    return SourceFile(path=path, frame=frame.with_row_index("row", offset=2), columns=columns, notes=notes)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _ends(path: Path, content: bytes | None) -> tuple[str, bytes]:
    """Return the first line and the last mebibyte of a text file."""
    if content is not None:
        header, tail = content.split(b"\n", 1)[0], content[-_TAIL_BYTES:]
    else:
        with path.open("rb") as file:
            header = file.readline()
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            tail = file.read()
    try:
        return header.decode("utf-8-sig").strip("\r\n"), tail
    except UnicodeDecodeError as error:
        raise BillError("not a bill: its first line is not UTF-8 text", where=path.name) from error


def _check_last_line(path: Path, tail: bytes, columns: int, separator: str) -> tuple[str, ...]:
    """Refuse a CSV whose last line is incomplete, as after an interrupted download; return notes about its end."""
    if tail.endswith(b"\n"):
        return ()
    line = tail.decode("utf-8", errors="replace").splitlines()[-1]
    try:
        fields = next(csv.reader([line], delimiter=separator, strict=True), [])
        if fields and fields[-1].startswith("{"):
            json.loads(fields[-1])
    except (csv.Error, json.JSONDecodeError):
        message = "the file is truncated: its last line ends within a text"
        raise BillError(message, where=path.name, fix=_FIX) from None
    if len(fields) < columns:
        message = f"the file is truncated: its last line has {len(fields)} of {columns} columns"
        raise BillError(message, where=path.name, fix=_FIX)
    return ("the last line has no line end, so the file may be truncated",)


def _json(path: Path, content: bytes) -> SourceFile:
    try:
        documents = _documents(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, ValueError) as error:
        raise BillError("the JSON is truncated or damaged", where=path.name, fix=_FIX) from error
    pages = [page for document in documents for page in (document if isinstance(document, list) else [document])]
    if not all(isinstance(page, dict) for page in pages):
        raise BillError("not a bill: its JSON has no records", where=path.name)
    records = [_flat(record) for page in pages for record in _records(page)]
    names = dict.fromkeys(name for record in records for name in record)
    frame = pl.LazyFrame(
        {name: [record.get(name) for record in records] for name in names},
        schema=dict.fromkeys(names, pl.String),
    )
    return SourceFile(
        path=path,
        frame=frame.with_row_index("row", offset=1),
        columns=frozenset(names),
        more_pages=bool(pages and pages[-1].get("has_more")),
    )


def _documents(text: str) -> list[Any]:
    """Parse JSON or JSON lines; numbers stay text, so that no digit of an amount is lost."""
    try:
        return [json.loads(text, parse_float=str, parse_int=str)]
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Extra data"):
            raise
    return [json.loads(line, parse_float=str, parse_int=str) for line in text.splitlines() if line.strip()]


def _records(page: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the records of a page: the results of time buckets (OpenAI, Anthropic), its `data`, or the page itself."""
    entries = page.get("data", page)
    for entry in entries if isinstance(entries, list) else [entries]:
        if isinstance(entry, dict) and isinstance(entry.get("results"), list):
            bucket = {name: value for name, value in entry.items() if name not in ("results", "object")}
            yield from (bucket | result for result in entry["results"])
        elif isinstance(entry, dict) and entry and all(map(_is_allocation, entry.values())):
            yield from entry.values()
        elif isinstance(entry, dict):
            yield entry


def _is_allocation(value: object) -> bool:
    """Return whether this is a cost by name, as in the sets of OpenCost's allocation API."""
    return isinstance(value, dict) and "totalCost" in value


def _flat(record: dict[str, Any]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in record.items():
        if isinstance(value, dict) and name in _NESTED:
            flat |= {f"{name}_{inner}": _text(member) for inner, member in value.items() if member is not None}
        elif value is not None:
            flat[name] = _text(value)
    if "cost_type" in flat and "amount" in flat:
        # Anthropic's cost report counts in cents: "123.45" is $1.2345.
        flat["amount_usd"] = str(Decimal(flat.pop("amount")).scaleb(-2))
    return flat


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
