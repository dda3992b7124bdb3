"""The records of a JSON file, whatever holds them: lines, one array, indented documents, pages of an API."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from meritorder.errors import InputError
from meritorder.inputs.places import ScratchFolder
from meritorder.inputs.unpacking import PlainFile
from meritorder.units import BYTES_PER_GIB

MAX_DOCUMENT_BYTES: Final = BYTES_PER_GIB
"""An array or an indented document is read at once, so it may not be larger."""

MAX_LINE_BYTES: Final = 1 << 28
"""One result of `vllm bench serve` holds all its requests on one line."""

LISTS: Final = (
    "data",
    "results",
    "records",
    "requests",
    "items",
    "rows",
    "logs",
    "entries",
    "observations",
    "traces",
    "runs",
    "spans",
    "hits",
)
"""Names under which an API or an export keeps its list of records."""

Record = dict[str, Any]

# msgspec does not wrap Python's own errors for text that is not UTF-8, or that is nested deeply.
NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_SNIFFED_LINES: Final = 20
_MARK: Final = b"\xef\xbb\xbf"
_DECODE: Final = msgspec.json.Decoder().decode
_MIN_COLUMNS: Final = 3
_RAW_ROWS: Final = msgspec.json.Decoder(list[list[msgspec.Raw]])
_RAW_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_RAW_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_BETWEEN_DOCUMENTS: Final = re.compile(rb"(?<=\n)\}\s*(?=\{)\{")
_TOUCHING: Final = re.compile(rb"\}\s*\{")
_LISTS: Final = re.compile(rb"\[\s*\[")
# A line of a log may begin with a bracket, too: `[GIN] 2026/11/02`, `[4711] INFO`.
_BEGINNING: Final = re.compile(rb"""\s*(\{|\[\s*([{\["\]]|-?[\d.]+\s*,|$))""")
_BREAKS: Final = bytes.maketrans(b"\r\n", b"  ")


def is_json(head: bytes) -> bool:
    """Return whether the first bytes of a text are JSON."""
    return _BEGINNING.match(head) is not None


def as_lines(file: PlainFile, scratch: ScratchFolder, *, lists: tuple[str, ...] = LISTS) -> Path:
    """Return a file with one record a line: the file itself if it is that, else a copy.

    Args:
        file: The file.
        scratch: Where copies are kept.
        lists: Names of lists of records, which are taken out of the documents that hold them.

    Raises:
        InputError: The file is no JSON, or one document that is too large or nested too deeply.
    """
    first = _first_line(file.path)
    if first is not None and not _list_in(first, lists):
        return file.path
    copy = scratch.new_path()
    try:
        with copy.open("wb") as target:
            for record in _records(file, lists) if first is None else _records_of_pages(file.path, lists):
                target.write(bytes(record).translate(_BREAKS) + b"\n")
    except msgspec.DecodeError as error:
        raise InputError(
            f"its JSON is damaged or truncated ({error})", where=file.name, fix="fetch it again"
        ) from error
    except RecursionError as error:
        fix = "write one flat object a line"
        raise InputError("its JSON is nested too deeply", where=file.name, fix=fix) from error
    return copy


def records(path: Path) -> Iterator[tuple[int, Record | None]]:
    """Yield line number and record of the non-blank lines; None where a line is not a JSON object."""
    with path.open("rb") as source:
        for line, text in enumerate(iter(lambda: source.readline(MAX_LINE_BYTES), b""), start=1):
            if not text.isspace():
                yield line, decoded(text)


def decoded(text: bytes) -> Record | None:
    """Return a JSON object, None if the text is none; NaN counts as null, as Python and pandas write it."""
    try:
        record = _DECODE(text)
    except NOT_JSON:
        record = _decoded_with_nan(text)
    return record if isinstance(record, dict) else None


def _decoded_with_nan(text: bytes) -> object:
    if b"NaN" not in text and not text.startswith(_MARK):
        return None
    try:
        return json.loads(text.removeprefix(_MARK), parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


def _first_line(path: Path) -> bytes | None:
    """Return the first line that is a JSON object by itself; None if there is none among the first lines."""
    with path.open("rb") as source:
        for _ in range(_SNIFFED_LINES):
            line = source.readline(MAX_LINE_BYTES)
            if line.lstrip().startswith(b"["):
                return None
            if decoded(line) is not None:
                return line
    return None


def _records(file: PlainFile, lists: tuple[str, ...]) -> Iterator[msgspec.Raw]:
    """Yield the records of an array, of an indented document, or of several that follow each other."""
    if file.path.stat().st_size > MAX_DOCUMENT_BYTES:
        what = f"is a JSON document of more than {MAX_DOCUMENT_BYTES >> 20:,} MiB"
        raise InputError(what, where=file.name, fix="write one JSON object a line (jq -c '.[]')")
    content = file.path.read_bytes().removeprefix(_MARK).strip()
    if content.startswith(b"["):
        yield from _RAW_LIST.decode(content)
        return
    # Objects that follow each other end at a brace in the first column, as every tool indents them.
    try:
        documents = _RAW_LIST.decode(b"[%b]" % _BETWEEN_DOCUMENTS.sub(b"},{", content))
    except msgspec.DecodeError:
        # Or they follow each other on one line, as streams to a bucket write them.
        documents = _RAW_LIST.decode(b"[%b]" % _TOUCHING.sub(b"},{", content))
    for document in documents:
        yield from _list_in(document, lists) or [document]


def _records_of_pages(path: Path, lists: tuple[str, ...]) -> Iterator[msgspec.Raw]:
    """Yield the records of the pages of an API, one page a line."""
    with path.open("rb") as source:
        for page in iter(lambda: source.readline(MAX_LINE_BYTES), b""):
            yield from _list_in(page, lists) or [msgspec.Raw(page.strip())]


def _list_in(document: bytes | msgspec.Raw, lists: tuple[str, ...]) -> list[msgspec.Raw]:
    """Return the list of records that a document holds, empty if it holds none."""
    try:
        fields = _RAW_FIELDS.decode(document)
        for name in lists:
            if bytes(fields.get(name, b"")).startswith(b"["):
                members = _RAW_LIST.decode(fields[name])
                if members and bytes(members[0]).startswith(b"{"):
                    return members
        # Answers of GraphQL and of Elasticsearch hold their list in objects around it.
        around = [name for name in fields if name in lists or len(fields) == 1]
        inner = (_list_in(fields[name], lists) for name in around if bytes(fields[name]).startswith(b"{"))
        return next(filter(None, inner), []) or list(_rows_of_columns(fields))
    except msgspec.DecodeError:
        return []


def _rows_of_columns(fields: dict[str, msgspec.Raw]) -> Iterator[msgspec.Raw]:
    """Yield the records of a table that is stored by columns, as pandas writes it; none if it is no such table.

    Source: pandas, "DataFrame.to_json", orient columns and split; pandas.pydata.org, read 2026-11.
    """
    if {"columns", "data"} <= set(fields) and _LISTS.match(fields["data"]):
        names = _DECODE(fields["columns"])
        for row in _RAW_ROWS.decode(fields["data"]):
            yield _raw(dict(zip(names, row, strict=False)))
        return
    if len(fields) < _MIN_COLUMNS or not all(bytes(column).startswith(b"{") for column in fields.values()):
        return
    columns = [_RAW_FIELDS.decode(column) for column in fields.values()]
    first, *others = columns
    nested = any(bytes(value)[:1] in {b"{", b"["} for value in first.values())
    if all(map(str.isdecimal, first)) and not nested and all(first.keys() == other.keys() for other in others):
        for key in first:
            yield _raw(dict(zip(fields, (column[key] for column in columns), strict=True)))


def _raw(record: dict[str, msgspec.Raw]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(record))
