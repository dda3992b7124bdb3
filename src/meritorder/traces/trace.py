"""A trace: its requests, and a report of how they were read."""

from dataclasses import dataclass, field
from typing import Final

import polars as pl

SHOWN_BAD_ROWS: Final = 5
"""Number of bad rows that a report quotes; all are counted."""

FAILED: Final = "failed (no output tokens)"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadReport:
    """How a trace was read: every row is a request, bad, or set aside.

    Args:
        files: Files as the user named them, globs resolved.
        format: Names of the formats, joined with "+" where files differ.
        rows: Rows read, before any window or scale.
        bad: Reason to number of bad rows.
        first_bad: The first few of them.
        set_aside: Reason to number of well-formed rows that put no load on a model: failed requests, responses from a
            proxy's cache, calls that generate no text.
        estimated_tokens: True if token counts were estimated from text.
        session_clock: True if times are relative to the start of each session, so that rates are meaningless.
        assumptions: What was assumed because the input does not state it, a sentence each.
    """

    files: tuple[str, ...]
    format: str
    rows: int
    bad: dict[str, int] = field(default_factory=dict)
    first_bad: tuple[BadRow, ...] = ()
    set_aside: dict[str, int] = field(default_factory=dict)
    estimated_tokens: bool = False
    session_clock: bool = False
    assumptions: tuple[str, ...] = ()

    @property
    def bad_rows(self) -> int:
        """Number of bad rows."""
        return sum(self.bad.values())

    @property
    def failed_rows(self) -> int:
        """Number of requests that failed upstream: no output tokens, or logged as a failure."""
        return self.set_aside.get(FAILED, 0)


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
        """Names of the models that the requests ask for, sorted; empty where the source does not say."""
        return tuple(sorted(self.requests["model"].drop_nulls().unique().cast(pl.String).to_list()))

    @property
    def span_s(self) -> float:
        """Time that the trace covers: span = (last - first arrival) · n / (n - 1).

        There are only n - 1 gaps between n arrivals; with this span, requests / span_s is the mean rate. Zero if all
        arrive at once.
        """
        count = self.requests.height
        if count < 2:
            return 0.0
        arrived = self.requests["arrived_s"]
        return float(arrived[-1] - arrived[0]) * count / (count - 1)
