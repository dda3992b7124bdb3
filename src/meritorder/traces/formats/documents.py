"""Rows that lie inside of documents: reports of benchmarks, pages of an API, exports of OpenTelemetry."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from meritorder.errors import TraceError
from meritorder.traces.formats.shape import json_in
from meritorder.traces.sources import Record, Source, SourceKind, untyped

GROUP: Final = "group"
"""Column with the key that "*" stood for."""

_DEPTH: Final = 8


def unnested(source: Source, nest: str) -> Source:
    """Return the rows inside of the documents of a source as a table.

    Args:
        source: JSON documents, one a line.
        nest: Path to the rows, such as `benchmarks[].requests.*[]`: `[]` goes through a list, `*` through all keys. A
            row may be JSON in text.

    Returns:
        A table with a column for each dotted path in a row; scalars of the objects around it are columns too.

    Raises:
        TraceError: No document has such rows.
    """
    steps = nest.replace("[]", ".[]").split(".")
    rows: list[Record] = []
    names: dict[str, None] = {}
    for _, record in source.records():
        for row in _rows(record or {}, steps, {}):
            flat = dict(_flat(row, "", 0))
            rows.append(flat)
            names |= dict.fromkeys(flat)
    if not rows:
        raise TraceError(f"has no {nest}", where=source.name)
    frame = untyped({name: [row.get(name) for row in rows] for name in names})
    return Source(
        name=source.name, path=Path(), kind=SourceKind.FRAME, columns=tuple(frame.columns), frame=frame.lazy()
    )


def _rows(value: Any, steps: list[str], around: Record) -> Iterator[Record]:  # noqa: ANN401  (any JSON)
    if not steps:
        if isinstance(value, str):
            value = json_in(value)
        if isinstance(value, dict):
            yield around | value
    elif steps[0] == "[]":
        for member in value if isinstance(value, list) else ():
            yield from _rows(member, steps[1:], around)
    elif isinstance(value, dict):
        scalars = {key: member for key, member in value.items() if not isinstance(member, dict | list)}
        within = around | scalars
        if steps[0] == "*":
            for key, member in value.items():
                yield from _rows(member, steps[1:], within | {GROUP: key})
        else:
            yield from _rows(value.get(steps[0]), steps[1:], within)


def _flat(value: Any, prefix: str, depth: int) -> Iterator[tuple[str, Any]]:  # noqa: ANN401  (any JSON)
    """Yield the dotted paths of an object and their values; a list of `key` and `value` is an object too."""
    if isinstance(value, list) and value and all(isinstance(pair, dict) and "key" in pair for pair in value):
        value = {str(pair["key"]): _attribute(pair.get("value")) for pair in value}
    if isinstance(value, dict) and depth < _DEPTH:
        for key, member in value.items():
            yield from _flat(member, f"{prefix}.{key}" if prefix else str(key), depth + 1)
    else:
        yield prefix, value


def _attribute(value: Any) -> Any:  # noqa: ANN401  (any JSON)
    """Return the value in the OTLP encoding of an attribute, `{"intValue": "5"}`; whole numbers are text there."""
    return next(iter(value.values())) if isinstance(value, dict) and len(value) == 1 else value
