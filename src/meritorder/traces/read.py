"""Read a trace: its sources, their formats, their rows, on one clock."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Final, TypeVar, cast

import polars as pl

from meritorder import tables
from meritorder.errors import TraceError
from meritorder.traces import formats
from meritorder.traces.holes import describe_holes, find_holes
from meritorder.traces.intake import RawTable, SourceRequests, to_requests
from meritorder.traces.sources import SourceLike, opened
from meritorder.traces.trace import SHOWN_BAD_ROWS, Aside, Bound, Kind, ReadReport, Trace, cut, scaled
from meritorder.traces.verdicts import without_repeats
from meritorder.units import DAYS_PER_YEAR, SECONDS_PER_DAY, utc

MAX_SPAN_S: Final = 10 * DAYS_PER_YEAR * SECONDS_PER_DAY
# A clock that started long before the trace may count something else than seconds, such as minutes of an epoch.
_LATE_START_S: Final = 10_000.0
_LATE_START: Final = 10

K = TypeVar("K")
V = TypeVar("V", int, Aside)


def read_trace(
    sources: SourceLike | Sequence[SourceLike],
    *,
    format: str | None = None,  # noqa: A002  (the name of the option)
    columns: Mapping[str, str] | None = None,
    scale: float = 1,
    seed: int = 0,
    start: Bound = None,
    end: Bound = None,
    strict: bool = False,
    aggregate: bool = False,
) -> Trace:
    """Read a trace from files or data frames.

    Args:
        sources: One or several of: a path, a glob, "-" for standard input, a Polars, pandas or Arrow data frame. Files
            may be compressed with gzip or zstd. All sources share one clock.
        format: Name of the format; None detects it.
        columns: Field to column; the fields are `arrival, input, output` and optionally `cached, model, tenant,
            session, workload, deadline`.
        scale: Factor on the request rate, applied after the window is cut.
        seed: Seed of the scaling.
        start: Beginning of a window: seconds or a duration since the start of the trace, or ISO 8601.
        end: End of the window, exclusive.
        strict: Make a bad row an error instead of counting it.
        aggregate: Spread a row that sums up several requests over its interval.

    Raises:
        TraceError: A source cannot be read, or holds no requests; with `strict`, a row is bad.
    """
    several = isinstance(sources, Sequence) and not isinstance(sources, str)
    with opened(cast("Sequence[SourceLike]", sources if several else [sources])) as opened_sources:
        parts: list[tuple[str, RawTable, SourceRequests]] = []
        for source in opened_sources:
            for name, raw in formats.read(source, name=format, mapping=columns):
                parts.append((name, raw, to_requests(source, raw, aggregate=aggregate)))
        report = _report([source.name for source in opened_sources], parts)
    if strict and report.bad_rows:
        raise TraceError(
            f"{report.bad_rows:,} bad rows, the first: {report.first_bad[0]}",
            fix="correct them, or drop --strict",
        )
    trace = cut(_merged([part for _, _, part in parts], report), start, end)
    _check_span(trace)
    return scaled(trace, scale, seed=seed)


def _check_span(trace: Trace) -> None:
    """Refuse a trace of more than ten years: a few mistaken dates would make every count by the hour huge."""
    last_s = float(trace.requests["arrived_s"][-1])
    if last_s <= MAX_SPAN_S:
        return
    times = f"0 to {last_s:,.0f} s"
    if trace.epoch_s is not None:
        times = f"{utc(trace.epoch_s):%Y-%m-%d} to {utc(trace.epoch_s + last_s):%Y-%m-%d}"
    raise TraceError(
        f"the times run over more than ten years, from {times}",
        where=", ".join(trace.report.files),
        fix="correct the dates that are mistaken, or cut them off with --from and --to",
    )


def _report(names: list[str], parts: list[tuple[str, RawTable, SourceRequests]]) -> ReadReport:
    assumptions = dict.fromkeys(text for _, _, part in parts for text in part.assumptions)
    judged = [part.judged for _, _, part in parts]
    return ReadReport(
        files=tuple(names),
        format="+".join(dict.fromkeys(name for name, _, _ in parts)),
        rows=sum(part.rows for part in judged),
        bad=_sums([part.bad for part in judged], 0),
        first_bad=tuple(row for part in judged for row in part.first_bad)[:SHOWN_BAD_ROWS],
        aside=_sums([part.aside for part in judged], Aside(rows=0)),
        columns=tuple(dict.fromkeys(_columns_text(raw) for _, raw, _ in parts if raw.columns)),
        estimated_tokens=any(raw.estimated_tokens for _, raw, _ in parts),
        assumptions=tuple(assumptions),
    )


def _columns_text(raw: RawTable) -> str:
    return ", ".join(f"{field}={column}" for field, column in raw.columns.items())


def _sums(counts: list[dict[K, V]], zero: V) -> dict[K, V]:
    """Add up the counts of each key."""
    keys = dict.fromkeys(key for count in counts for key in count)
    return {key: reduce(operator.add, (count[key] for count in counts if key in count), zero) for key in keys}


def _merged(parts: list[SourceRequests], report: ReadReport) -> Trace:
    """Join the files on one clock that begins at the first arrival."""
    if len({part.absolute for part in parts}) > 1:
        raise TraceError(
            "some files have dates, others times since their start",
            where=", ".join(report.files),
            fix="read them separately",
        )
    requests = pl.concat(
        [
            part.judged.requests if part.ids_everywhere else part.judged.requests.with_columns(file=pl.lit(number))
            for number, part in enumerate(parts)
        ],
        how="diagonal",
    )
    if requests.is_empty():
        raise TraceError(
            f"none of {report.rows:,} rows is a request: {_other_rows(report)}",
            where=", ".join(report.files),
            fix=_use_of_sums(report),
        )
    ordered = requests if requests["arrived_s"].is_sorted() else requests.sort("arrived_s", maintain_order=True)
    unique, again, notes = without_repeats(ordered, ids_unique=all(part.ids_unique for part in parts))
    zero_s = float(unique["arrived_s"][0])
    if not parts[0].absolute and zero_s > max(_LATE_START_S, _LATE_START * (float(unique["arrived_s"][-1]) - zero_s)):
        notes = (*notes, f"times are taken as seconds since a start, although the first is {zero_s:,.0f}")
    shifted = unique.with_columns(pl.col("arrived_s", "deadline_s") - zero_s) if zero_s else unique
    checked = tables.check(shifted, tables.REQUESTS, what=report.format)
    full = replace(
        report,
        requests=checked.height,
        aside=_sums([report.aside, again], Aside(rows=0)),
        assumptions=(*report.assumptions, *notes),
    )
    epoch_s = zero_s if parts[0].absolute else None
    return Trace(requests=checked, epoch_s=epoch_s, report=_noted(checked, full, epoch_s))


def _use_of_sums(report: ReadReport) -> str:
    """Return what to do with sums of requests, if a file has nothing else."""
    sums = report.aside.get(Kind.BUCKET)
    if sums is None:
        return ""
    if sums.calls:
        return "add --aggregate to spread each sum over its interval"
    return (
        "they do not say of how many: give a log of single calls, or name the count: --columns calls=NAME --aggregate"
    )


def _other_rows(report: ReadReport) -> str:
    """Return what the rows are that are no requests."""
    parts = [f"{report.bad_rows:,} bad, the first: {report.first_bad[0]}"] if report.first_bad else []
    return "; ".join([*(f"{kind.value}: {aside}" for kind, aside in report.aside.items()), *parts])


def _noted(requests: pl.DataFrame, report: ReadReport, epoch_s: float | None) -> ReadReport:
    """Add notes on the joined trace: one clock for several files, no cached tokens, sessions that start at 0."""
    notes: list[str] = []
    if len(report.files) > 1 and epoch_s is None:
        notes.append(f"the {len(report.files)} files share one clock")
    if not (requests["cached_tokens"] > 0).any():
        notes.append("the trace has no cached tokens: every prompt is taken as new")
    starts = (
        requests.filter(pl.col("session").is_not_null()).group_by("session").agg(pl.col("arrived_s").min())["arrived_s"]
    )
    at_zero = int((starts == 0).sum())
    relative = epoch_s is None and starts.len() > 1 and at_zero * 2 > starts.len()
    if relative:
        notes.append(
            f"times look relative to each session ({at_zero:,} of {starts.len():,} sessions begin at 0): "
            "all sessions are taken to begin together, so rates and peaks are not those of a service"
        )
    holes = () if relative else find_holes(requests["arrived_s"].to_numpy(), epoch_s)
    return replace(report, gap=describe_holes(holes), session_clock=relative, assumptions=(*report.assumptions, *notes))
