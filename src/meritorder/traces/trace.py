"""A trace: its requests, a report of how they were read, its window (`--from`, `--to`) and its rate (`--scale`)."""

import datetime as dt
import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

import numpy as np
import polars as pl

from meritorder.errors import TraceError
from meritorder.units import SECONDS_PER_MINUTE, format_count, format_duration, parse_duration_s, utc

SHOWN_BAD_ROWS: Final = 5
"""Number of bad rows that a report quotes; all are counted."""

_GRAMMAR: Final = "give a time since the start (2h, 1d) or ISO 8601 (2026-01-05T06:00)"

_MAX_SHIFT_S: Final = 10 * SECONDS_PER_MINUTE
_MAX_SHIFT_SHARE: Final = 0.02

Bound = str | float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """One row that cannot be a request.

    Args:
        file: The file as the user named it.
        line: Line in the file, counted from 1 (a row number in Parquet). In a CSV it is the row's number plus
            the line of its header, so it is too low after a quoted field that spans lines.
        reason: What is wrong with it.
    """

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


class Kind(StrEnum):
    """Kinds of rows that are read and are not one request."""

    FAILED = "failed (no output tokens)"
    ERROR = "failed (error status)"
    UNCOUNTED = "answered without token counts"
    RESPONSE_CACHE = "answered from a response cache"
    NO_GENERATION = "calls that generate no text (embeddings, moderation, reranking)"
    BATCH_CALL = "polls and file calls of a batch API"
    BATCH_TOTAL = "totals of a batch"
    BUCKET = "sums of several requests"
    PARENT = "steps around model calls, which repeat their tokens"
    EVENT = "events that are no model call"
    SUMMARY = "sums and other figures of the rows"
    HEADER = "the names of the columns again"
    SAME_ROW = "the same row again"
    REPEATED = "the same request again (retries and updates)"


FAILED: Final = (Kind.FAILED, Kind.ERROR)
_MIN_UNPRICED_SHARE: Final = 0.001
UNPRICED: Final = (Kind.UNCOUNTED, Kind.BATCH_TOTAL, Kind.BUCKET, Kind.NO_GENERATION)
"""Kinds of real traffic that no answer prices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """Rows of one kind that are set aside.

    Args:
        rows: Their number.
        input_tokens: Sum of their input tokens.
        output_tokens: Sum of their output tokens.
        calls: Calls that they stand for, if a row stands for several.
    """

    rows: int
    input_tokens: int = 0
    output_tokens: int = 0
    calls: int = 0

    def __add__(self, other: "Aside") -> "Aside":
        return Aside(
            rows=self.rows + other.rows,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            calls=self.calls + other.calls,
        )

    def __sub__(self, other: "Aside") -> "Aside":
        return self + replace(
            other,
            rows=-other.rows,
            input_tokens=-other.input_tokens,
            output_tokens=-other.output_tokens,
            calls=-other.calls,
        )

    def __str__(self) -> str:
        parts = [format_count(self.rows, "row")]
        if self.calls:
            parts.append(format_count(self.calls, "call"))
        if self.input_tokens or self.output_tokens:
            parts.append(f"{self.input_tokens:,} input and {self.output_tokens:,} output tokens")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadReport:
    """How a trace was read: every row is a request, bad, or set aside.

    Args:
        files: Files as the user named them, globs resolved.
        format: Names of the formats, joined with "+" where files differ.
        rows: Rows read, before any window or scale.
        bad: Reason to number of bad rows.
        first_bad: The first few of them.
        aside: Kind to the well-formed rows that are not one request.
        requests: Number of requests, before any window or scale.
        columns: Fields and the columns that they were read from, a text for each format.
        estimated_tokens: True if token counts were estimated from text.
        gap: A time without any request in traffic around the clock, as a sentence; empty if there is none.
        session_clock: True if times are relative to the start of each session, so that rates are meaningless.
        assumptions: What was assumed because the input does not state it, a sentence each.
    """

    files: tuple[str, ...]
    format: str
    rows: int
    bad: dict[str, int] = field(default_factory=dict)
    first_bad: tuple[BadRow, ...] = ()
    aside: dict[Kind, Aside] = field(default_factory=dict)
    requests: int = 0
    columns: tuple[str, ...] = ()
    estimated_tokens: bool = False
    gap: str = ""
    session_clock: bool = False
    assumptions: tuple[str, ...] = ()

    @property
    def bad_rows(self) -> int:
        """Number of bad rows."""
        return sum(self.bad.values())

    @property
    def set_aside(self) -> dict[str, int]:
        """Kind to the number of well-formed rows that are not one request."""
        return {kind.value: aside.rows for kind, aside in self.aside.items()}

    @property
    def aside_lines(self) -> list[str]:
        """What is set aside: number, tokens, share of the rows and kind, a line for each kind."""
        return [
            f"set aside: {aside} ({aside.rows / self.rows:.1%} of the rows): {kind.value}"
            for kind, aside in self.aside.items()
        ]

    @property
    def failed_rows(self) -> int:
        """Number of requests that failed upstream: no output tokens, or logged as a failure."""
        return sum(self.aside[kind].rows for kind in FAILED if kind in self.aside)

    @property
    def unpriced(self) -> str:
        """The part of the traffic that no answer prices, as sentences; empty if there is none."""
        return " ".join(filter(None, (self._unpriced_calls, self.gap)))

    @property
    def _unpriced_calls(self) -> str:
        parts = {kind.value: self.aside[kind].calls or self.aside[kind].rows for kind in UNPRICED if kind in self.aside}
        if self.bad_rows:
            parts["invalid"] = self.bad_rows
        missing = sum(parts.values())
        calls = missing + self.requests
        if not missing or missing < _MIN_UNPRICED_SHARE * calls:
            return ""
        listed = ", ".join(f"{count:,} {kind}" for kind, count in parts.items())
        return f"{missing / calls:.1%} of the traffic is not priced: {missing:,} of {calls:,} calls ({listed})."


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Requests with their arrival times.

    Args:
        requests: REQUESTS schema, sorted by `arrived_s`; the first arrival is at 0.
        epoch_s: UTC epoch of the clock's zero; None if the source has no dates.
        report: How the trace was read.
    """

    requests: pl.DataFrame
    epoch_s: float | None
    report: ReadReport

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that the requests ask for, sorted; empty if the source has none."""
        return tuple(sorted(self.requests["model"].drop_nulls().unique().cast(pl.String).to_list()))

    @property
    def span_s(self) -> float:
        """Time that the trace covers."""
        return covered_s(self.requests["arrived_s"])


def covered_s(arrived_s: pl.Series) -> float:
    """Return the time that requests cover: span = (last - first arrival) · n / (n - 1).

    There are only n - 1 gaps between n arrivals; with this span, requests / span_s is the mean rate. Zero if all arrive
    at once.
    """
    count = len(arrived_s)
    return float(arrived_s[-1] - arrived_s[0]) * count / (count - 1) if count > 1 else 0.0


def cut(trace: Trace, start: Bound, end: Bound) -> Trace:
    """Return the requests that arrive in [start, end), their clock beginning at the first of them.

    Raises:
        TraceError: A bound cannot be read, is a date while the trace has none, or the window has no requests.
    """
    if start is None and end is None:
        return trace
    from_s = 0.0 if start is None else _seconds(trace, start, "--from")
    to_s = float("inf") if end is None else _seconds(trace, end, "--to")
    if from_s >= to_s:
        raise TraceError(f"the window ends ({end}) before it starts ({start})", where="--from/--to", fix=_GRAMMAR)
    arrived = trace.requests["arrived_s"]
    begin, stop = int(arrived.search_sorted(from_s)), int(arrived.search_sorted(to_s))
    if begin == stop:
        starts = "" if trace.epoch_s is None else f" and starts {utc(trace.epoch_s):%Y-%m-%dT%H:%M}"
        raise TraceError(
            f"no request arrives in this window; the trace is {format_duration(trace.span_s)} long{starts}",
            where="--from/--to",
        )
    return rebased(replace(trace, requests=trace.requests.slice(begin, stop - begin)))


def scaled(trace: Trace, factor: float, *, seed: int) -> Trace:
    """Return a trace with `factor` times the requests in the same span.

    Each whole copy is shifted in time by a random offset within ±min(10 min, 2 % of the span) and wraps around the
    span: copies do not arrive in step, and every request keeps its hour of the day. The first copy stays in place. A
    fraction is a sample without replacement. Sessions of different copies are different sessions.

    Args:
        trace: The trace to scale.
        factor: Rate of the result / rate of the trace.
        seed: Seed of the shifts and the sample.

    Raises:
        TraceError: The factor is not a positive number, or so small that no request is left.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise TraceError(f"the rate cannot be multiplied by {factor}", where="--scale", fix="give a positive number")
    if factor == 1:
        return trace
    random = np.random.default_rng(seed)
    whole, part = int(factor), factor - int(factor)
    span_s = trace.span_s
    shift_s = min(_MAX_SHIFT_S, _MAX_SHIFT_SHARE * span_s)
    copies = [trace.requests] if whole else []
    copies += [_copy(trace.requests, number, random.uniform(-shift_s, shift_s), span_s) for number in range(1, whole)]
    if part:
        drawn = _sample(trace.requests, part, random)
        copies.append(_copy(drawn, whole, random.uniform(-shift_s, shift_s), span_s) if whole else drawn)
    requests = pl.concat(copies)
    if requests.is_empty():
        raise TraceError(f"no request is left of {trace.requests.height:,} at {factor:g}", where="--scale")
    text = f"the rate is multiplied by {factor:g}, seed {seed}: " + (
        f"each copy is shifted by a random time within ±{format_duration(shift_s)} and wraps around the span"
        if whole
        else "a sample of the requests"
    )
    report = replace(trace.report, assumptions=(*trace.report.assumptions, text))
    ordered = requests.sort("arrived_s", maintain_order=True) if len(copies) > 1 else requests
    return rebased(replace(trace, requests=ordered, report=report))


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
        raise TraceError(f"{bound!r} is not a time", where=option, fix=_GRAMMAR) from None
    if trace.epoch_s is None:
        raise TraceError(f"{bound} is a date, but the trace has only times since its start", where=option, fix=_GRAMMAR)
    zoned = instant if instant.tzinfo else instant.replace(tzinfo=dt.UTC)
    return zoned.timestamp() - trace.epoch_s


def _copy(requests: pl.DataFrame, number: int, shift_s: float, span_s: float) -> pl.DataFrame:
    """Return the requests shifted in time, wrapped into the span, in sessions of their own."""
    arrived = pl.col("arrived_s")
    moved = (arrived + shift_s) % span_s if span_s else arrived
    columns = [moved.alias("arrived_s"), (pl.col("deadline_s") - arrived + moved).alias("deadline_s")]
    if requests["session"].null_count() < requests.height:
        renamed = pl.col("session").cast(pl.String) + f"#{number}"
        columns.append(renamed.cast(pl.Categorical).alias("session"))
    return requests.with_columns(columns)


def _sample(requests: pl.DataFrame, share: float, random: np.random.Generator) -> pl.DataFrame:
    """Return a share of the requests, drawn without replacement, in order."""
    drawn = random.choice(requests.height, size=round(share * requests.height), replace=False, shuffle=False)
    return requests[np.sort(drawn)]
