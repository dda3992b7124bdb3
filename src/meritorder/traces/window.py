"""Cut a window out of a trace: `--from` and `--to`."""

import datetime as dt
from dataclasses import replace
from typing import Final

import polars as pl

from meritorder.errors import TraceError
from meritorder.traces.trace import Trace
from meritorder.units import format_duration, parse_duration_s, utc

_WAYS: Final = "give a time since the start (2h, 1d) or ISO 8601 (2026-01-05T06:00)"

Bound = str | float | None


def cut(trace: Trace, start: Bound, end: Bound) -> Trace:
    """Return the requests that arrive in [start, end), their clock beginning at the first of them.

    Raises:
        TraceError: A bound cannot be read, needs absolute times that the trace lacks, or nothing is left.
    """
    if start is None and end is None:
        return trace
    from_s = 0.0 if start is None else _seconds(trace, start, "--from")
    to_s = float("inf") if end is None else _seconds(trace, end, "--to")
    if from_s >= to_s:
        raise TraceError(f"the window ends ({end}) before it starts ({start})", where="--from/--to", fix=_WAYS)
    arrived = trace.requests["arrived_s"]
    first, last = int(arrived.search_sorted(from_s)), int(arrived.search_sorted(to_s))
    if first == last:
        begin = "" if trace.epoch_s is None else f" and starts {utc(trace.epoch_s):%Y-%m-%dT%H:%M}"
        raise TraceError(
            f"no request arrives in it; the trace is {format_duration(trace.span_s)} long{begin}",
            where="--from/--to",
        )
    return rebased(replace(trace, requests=trace.requests.slice(first, last - first)))


def rebased(trace: Trace) -> Trace:
    """Return the trace with its clock beginning at its first arrival."""
    zero_s = float(trace.requests["arrived_s"][0])
    if zero_s == 0:
        return trace
    shifted = trace.requests.with_columns(pl.col("arrived_s", "deadline_s") - zero_s)
    return replace(trace, requests=shifted, epoch_s=None if trace.epoch_s is None else trace.epoch_s + zero_s)


def _seconds(trace: Trace, bound: str | float, option: str) -> float:
    """Read a bound as seconds on the trace's clock."""
    if isinstance(bound, (int, float)):
        return float(bound)
    offset = parse_duration_s(bound)
    if offset is not None:
        return offset
    try:
        instant = dt.datetime.fromisoformat(bound.strip())
    except ValueError:
        raise TraceError(f"{bound!r} is not a time", where=option, fix=_WAYS) from None
    if trace.epoch_s is None:
        raise TraceError(f"{bound} is a date, but this trace only tells times since its start", where=option, fix=_WAYS)
    zoned = instant if instant.tzinfo else instant.replace(tzinfo=dt.UTC)
    return zoned.timestamp() - trace.epoch_s
