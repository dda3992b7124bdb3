"""Bill files as frames: CSV, Parquet, JSON and JSON lines, plain or gzipped; truncated files are refused."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from meritorder.bills.accounts import pages
from meritorder.errors import BillError, input_errors_as
from meritorder.inputs import json_records, spreadsheets
from meritorder.inputs.csv_header import read_header
from meritorder.inputs.places import LocalFile, ScratchFolder, locate
from meritorder.inputs.unpacking import PARQUET, READ_ERRORS, PlainFile, unpack

SUFFIXES: Final = (
    ".csv",
    ".tsv",
    ".parquet",
    ".json",
    ".jsonl",
    ".ndjson",
    ".xlsx",
    *(f"{kind}.{packed}" for kind in (".csv", ".json", ".jsonl") for packed in ("gz", "zst")),
)
_TAIL_BYTES: Final = 1 << 20
_FIX: Final = pages.FIX


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file of a bill, of a format not known yet.

    Args:
        name: Its name.
        frame: Its rows; column `row` is the line or record number.
        columns: Names of its own columns.
        notes: What is unusual about the file.
        assumptions: What was assumed to open it, a sentence each.
        more_pages: Whether it is a page of an API that has further pages.
    """

    name: str
    frame: pl.LazyFrame
    columns: frozenset[str]
    notes: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    more_pages: bool = False


def find(sources: Sequence[str | Path], scratch: ScratchFolder) -> list[LocalFile]:
    """Return the named files and every bill file below the named folders; a URL is fetched.

    Args:
        sources: Paths, globs, folders, URLs, or `-` for standard input.
        scratch: Where copies of remote files are kept.

    Raises:
        BillError: A path does not exist or cannot be read, or there is no file at all.
    """
    with input_errors_as(BillError):
        located = [file for source in sources for file in locate(source, scratch, suffixes=SUFFIXES)]
    bills = [file for file in located if not file.name.lower().endswith("manifest.json")]
    unique = {file.path.resolve(): file for file in bills}
    if not unique:
        raise BillError("no bill to read", where=", ".join(map(str, sources)) or None, fix="name a file or a folder")
    return list(unique.values())


def load(file: LocalFile, scratch: ScratchFolder) -> SourceFile:
    """Open a file; its content decides how, not its name.

    Raises:
        BillError: It is empty, truncated, or neither CSV, Parquet, Excel nor JSON.
    """
    with input_errors_as(BillError):
        plain = unpack(LocalFile(name=Path(file.name).name, path=file.path), scratch)
        if plain.head.startswith(PARQUET):
            return _parquet(plain)
        if spreadsheets.is_zip(plain.head):
            frame, header_row = spreadsheets.read_workbook(plain)
            rows = frame.lazy().with_row_index("row", offset=header_row + 1)
            return SourceFile(name=plain.name, frame=rows, columns=frozenset(frame.columns))
    if json_records.is_json(plain.head):
        return _json(plain, scratch)
    return _csv(plain)


def _parquet(file: PlainFile) -> SourceFile:
    try:
        frame = pl.scan_parquet(file.path)
        columns = frozenset(frame.collect_schema())
    except READ_ERRORS as error:
        raise BillError("the Parquet file is truncated or damaged", where=file.name, fix=_FIX) from error
    return SourceFile(name=file.name, frame=frame.with_row_index("row", offset=1), columns=columns)


def _csv(file: PlainFile) -> SourceFile:
    with input_errors_as(BillError):
        header = read_header(file)
    if len(header.columns) < 2:
        raise BillError("not a bill: its first line is not a header of columns", where=file.name)
    notes = _check_last_line(file, len(header.columns), header.separator)
    try:
        frame = pl.scan_csv(
            file.path,
            infer_schema=False,
            separator=header.separator,
            skip_lines=header.line - 1,
            raise_if_empty=True,
        )
        names = list(frame.collect_schema())
    except READ_ERRORS as error:
        raise BillError(f"not a readable CSV: {_first_line(error)}", where=file.name) from error
    # Files that were joined have their header again and again.
    is_header = pl.all_horizontal([pl.col(name).eq_missing(pl.lit(name)) for name in names[:2]])
    return SourceFile(
        name=file.name,
        frame=frame.with_row_index("row", offset=header.line + 1).filter(~is_header),
        columns=frozenset(names),
        notes=notes,
        assumptions=file.assumptions,
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _check_last_line(file: PlainFile, columns: int, separator: str) -> tuple[str, ...]:
    """Refuse a CSV whose last line is incomplete, as after an interrupted download; return notes about its end."""
    with file.path.open("rb") as source:
        source.seek(max(0, file.path.stat().st_size - _TAIL_BYTES))
        tail = source.read()
    if tail.endswith(b"\n"):
        return ()
    line = tail.decode("utf-8", errors="replace").splitlines()[-1]
    try:
        fields = next(csv.reader([line], delimiter=separator, strict=True), [])
        if fields and fields[-1].startswith("{"):
            json.loads(fields[-1])
    except (csv.Error, json.JSONDecodeError, RecursionError):
        message = "the file is truncated: its last line ends within a text"
        raise BillError(message, where=file.name, fix=_FIX) from None
    if len(fields) < columns:
        message = f"the file is truncated: its last line has {len(fields)} of {columns} columns"
        raise BillError(message, where=file.name, fix=_FIX)
    return ("the last line has no line end, so the file may be truncated",)


def _json(file: PlainFile, scratch: ScratchFolder) -> SourceFile:
    with input_errors_as(BillError):
        lines = json_records.as_lines(file, scratch, lists=())
    found = pages.read(file.name, lines)
    records = found.records
    names = dict.fromkeys(name for record in records for name in record)
    frame = pl.LazyFrame(
        {name: [record.get(name) for record in records] for name in names},
        schema=dict.fromkeys(names, pl.String),
    )
    return SourceFile(
        name=file.name,
        frame=frame.with_row_index("row", offset=1),
        columns=frozenset(names),
        more_pages=found.has_more,
    )
