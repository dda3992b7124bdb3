"""Readers of request traces: one a format, all to the REQUESTS schema.

    read         files, a glob or standard input to a Trace
    workloads    which requests are promised what: a TOML file, `--defer`, deadlines
    could_wait   which requests could wait, with evidence
    statistics   what a trace is like
    sample       a seeded week of a service

A format is one module with `recognises(file)` and `read(file) -> Raw`, listed in `formats.py`; everything
that formats share (kinds of file, times, bad rows) is in `files.py`, `clock.py` and `intake.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from meritorder import tables
from meritorder.errors import TraceError
from meritorder.traces import files, formats, intake, window
from meritorder.traces import scale as scaling
from meritorder.traces.intake import Intake, Raw
from meritorder.traces.trace import SHOWN_BAD_ROWS, BadRow, ReadReport, Trace
from meritorder.traces.window import Bound

__all__ = ["BadRow", "ReadReport", "Trace", "read"]


def read(
    sources: str | Path | Sequence[str | Path],
    *,
    format: str | None = None,  # noqa: A002  (the name of the option)
    columns: Mapping[str, str] | None = None,
    scale: float = 1,
    seed: int = 0,
    start: Bound = None,
    end: Bound = None,
    strict: bool = False,
) -> Trace:
    """Read a trace from one or many files.

    Args:
        sources: One or many of paths, globs, or "-" for standard input; gzip and zstd are unpacked. Files share one
            clock.
        format: Name of the format, else it is found by content.
        columns: Field of `generic.FIELDS` to column.
        scale: Factor on the rate, see `scale.scaled`; after the window is cut.
        seed: Of whatever scaling draws.
        start: Beginning of a window: seconds or a duration since the start of the trace, or ISO 8601.
        end: End of the window, exclusive.
        strict: Make a bad row an error.

    Raises:
        TraceError: A source cannot be read, or holds no requests; with `strict`, a row is bad.
    """
    with files.opened([sources] if isinstance(sources, (str, Path)) else sources) as plain:
        taken: list[tuple[str, Raw, Intake]] = []
        for file in plain:
            name, raw = formats.read(file, name=format, columns=columns)
            taken.append((name, raw, intake.take(file, raw)))
        report = _report([file.name for file in plain], taken)
    if strict and report.bad_rows:
        raise TraceError(
            f"{report.bad_rows:,} bad rows, the first: {report.first_bad[0]}",
            fix="mend them, or leave out --strict",
        )
    trace = _merged([each for _, _, each in taken], report)
    return scaling.scaled(window.cut(trace, start, end), scale, seed=seed)


def _report(names: list[str], taken: list[tuple[str, Raw, Intake]]) -> ReadReport:
    assumptions = dict.fromkeys(text for _, _, each in taken for text in each.assumptions)
    return ReadReport(
        files=tuple(names),
        format="+".join(dict.fromkeys(name for name, _, _ in taken)),
        rows=sum(each.rows for _, _, each in taken),
        bad=_sums([each.bad for _, _, each in taken]),
        first_bad=tuple(row for _, _, each in taken for row in each.first_bad)[:SHOWN_BAD_ROWS],
        set_aside=_sums([each.set_aside for _, _, each in taken]),
        estimated_tokens=any(raw.estimated_tokens for _, raw, _ in taken),
        assumptions=tuple(assumptions),
    )


def _sums(counts: list[dict[str, int]]) -> dict[str, int]:
    reasons = dict.fromkeys(reason for each in counts for reason in each)
    return {reason: sum(each.get(reason, 0) for each in counts) for reason in reasons}


def _merged(taken: list[Intake], report: ReadReport) -> Trace:
    """Join the files on one clock that begins at the first arrival."""
    if len({each.absolute for each in taken}) > 1:
        raise TraceError(
            "some files tell dates, others times since their start",
            where=", ".join(report.files),
            fix="read them apart",
        )
    requests = pl.concat([each.requests for each in taken])
    if requests.is_empty():
        aside = sum(report.set_aside.values())
        first = f", the first: {report.first_bad[0]}" if report.first_bad else ""
        raise TraceError(
            f"none of {report.rows:,} rows is a request: {report.bad_rows:,} bad, {aside:,} set aside{first}",
            where=", ".join(report.files),
        )
    ordered = requests if requests["arrived_s"].is_sorted() else requests.sort("arrived_s", maintain_order=True)
    zero_s = float(ordered["arrived_s"][0])
    shifted = ordered.with_columns(pl.col("arrived_s", "deadline_s") - zero_s) if zero_s else ordered
    checked = tables.check(shifted, tables.REQUESTS, what=report.format)
    noted = _noted(checked, report, absolute=taken[0].absolute)
    return Trace(requests=checked, epoch_s=zero_s if taken[0].absolute else None, report=noted)


def _noted(requests: pl.DataFrame, report: ReadReport, *, absolute: bool) -> ReadReport:
    """Note what the joined trace shows: one clock for several files, no cached tokens, sessions at zero."""
    notes: list[str] = []
    if len(report.files) > 1 and not absolute:
        notes.append(f"the {len(report.files)} files share one clock")
    if not (requests["cached_tokens"] > 0).any():
        notes.append("the trace tells no cached tokens: every prompt is taken as new")
    starts = (
        requests.filter(pl.col("session").is_not_null()).group_by("session").agg(pl.col("arrived_s").min())["arrived_s"]
    )
    at_zero = int((starts == 0).sum())
    relative = not absolute and starts.len() > 1 and at_zero * 2 > starts.len()
    if relative:
        notes.append(
            f"times look relative to each session ({at_zero:,} of {starts.len():,} sessions begin at 0): "
            "all sessions are taken to begin together, so rates and peaks are not those of a service"
        )
    return replace(report, session_clock=relative, assumptions=(*report.assumptions, *notes))
