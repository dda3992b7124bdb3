"""Recorded fleets of spot instances: how many were up, over time.

Three formats, distinguished by the first line; the first two have no header:

    0,add,node1                 milliseconds since the start, `add` or `remove`, name of the instance
    2021-12-11, 11:11:30, 55    date, time, instances that are up
    {"metadata": {"gap_seconds": 600}, "data": [0, 0, 1]}    instances that are available in each step

Source: https://github.com/uclasystem/bamboo, traces, and https://github.com/skypilot-org/spot-traces, read 2026-11.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec

from meritorder.documents import read_file
from meritorder.errors import TraceError
from meritorder.units import MS_PER_S, SECONDS_PER_DAY

_FIELDS: Final = 3
_MAX_INSTANCES: Final = 1_000_000
_FIX: Final = "write `milliseconds,add|remove,instance` or `date, time, instances`"
_STEPS_FIX: Final = 'write {"metadata": {"gap_seconds": 600}, "data": [0, 1]}: instances available in each step'

Row = tuple[str, str, str]


class _Metadata(msgspec.Struct):
    gap_seconds: Annotated[float, msgspec.Meta(ge=1, le=SECONDS_PER_DAY)]


class _Steps(msgspec.Struct):
    """Instances that are available in each of equally long steps."""

    metadata: _Metadata
    data: Annotated[list[Annotated[int, msgspec.Meta(ge=0, le=_MAX_INSTANCES)]], msgspec.Meta(min_length=1)]


def read_spot(path: Path) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Read a recorded fleet: the times at which its size changes, in seconds from the first line, and its sizes.

    Times increase from 0; the last of several changes at the same time counts. The last time is the end of a record in
    steps, where the size may stay the same.

    Raises:
        TraceError: The file cannot be read, is empty or in neither format; its times go backward; or an instance is
            added while it is up, or removed while it is not.
    """
    text = _text(path)
    if text.lstrip().startswith("{"):
        return _steps(text, path)
    rows = _rows(text, path)
    if not rows:
        raise TraceError("the file has no lines", where=str(path), fix=_FIX)
    read = _changes if rows[0][1][1] in ("add", "remove") else _samples
    times_s: list[float] = []
    counts: list[int] = []
    start_s, last_s = None, -float("inf")
    for where, at_s, count in read(rows):
        start_s = at_s if start_s is None else start_s
        if at_s < last_s:
            raise TraceError("the time goes backward", where=where, fix="sort the lines by time")
        last_s = at_s
        if times_s and times_s[-1] == at_s - start_s:
            counts[-1] = count
        else:
            times_s.append(at_s - start_s)
            counts.append(count)
    changes = [n for n in range(len(counts)) if n == 0 or counts[n] != counts[n - 1]]
    return tuple(times_s[n] for n in changes), tuple(counts[n] for n in changes)


def _text(path: Path) -> str:
    try:
        return read_file(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"cannot be read as text ({error})", where=str(path)) from error


def _steps(text: str, path: Path) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Return the changes of a record in steps, and its end."""
    try:
        steps = msgspec.json.decode(text, type=_Steps)
    except (msgspec.DecodeError, RecursionError) as error:
        raise TraceError(f"not a record of spot machines: {error}", where=str(path), fix=_STEPS_FIX) from error
    step_s, counts = steps.metadata.gap_seconds, steps.data
    changes = [n for n in range(len(counts)) if n == 0 or counts[n] != counts[n - 1]]
    times_s = [n * step_s for n in (*changes, len(counts))]
    return tuple(times_s), (*(counts[n] for n in changes), counts[-1])


def _rows(text: str, path: Path) -> list[tuple[str, Row]]:
    """Return the fields of every non-empty line, with the line for messages."""
    rows: list[tuple[str, Row]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != _FIELDS:
            raise TraceError(f"{len(fields)} fields instead of {_FIELDS}", where=where, fix=_FIX)
        rows.append((where, (fields[0], fields[1], fields[2])))
    return rows


def _changes(rows: list[tuple[str, Row]]) -> Iterator[tuple[str, float, int]]:
    """Yield the number of instances after each addition or removal."""
    up: set[str] = set()
    for where, (at_ms, change, instance) in rows:
        if not (at_ms.isascii() and at_ms.isdigit()):
            raise TraceError(f"{at_ms!r} is not a number of milliseconds", where=where, fix=_FIX)
        if change not in ("add", "remove"):
            raise TraceError(f"{change!r} is neither add nor remove", where=where, fix=_FIX)
        if (change == "add") == (instance in up):
            was = "is already up" if change == "add" else "is not up"
            raise TraceError(f"{change} {instance}: it {was}", where=where)
        up ^= {instance}
        yield where, int(at_ms) / MS_PER_S, len(up)


def _samples(rows: list[tuple[str, Row]]) -> Iterator[tuple[str, float, int]]:
    """Yield the number of instances at each date and time."""
    first: datetime | None = None
    for where, (date, time, count) in rows:
        try:
            at = datetime.strptime(f"{date} {time}", "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - only differences count
        except ValueError as error:
            raise TraceError(f"'{date}, {time}' is not a date and a time", where=where, fix=_FIX) from error
        if not (count.isascii() and count.isdigit()):
            raise TraceError(f"{count!r} is not a number of instances", where=where, fix=_FIX)
        first = first or at
        yield where, (at - first).total_seconds(), int(count)
