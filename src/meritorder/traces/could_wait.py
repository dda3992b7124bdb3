"""Requests that could probably wait: signs in the trace that no person waits for the answer.

Every tenant (every model, if the trace has no tenants) is examined separately. A sign is never a decision: it comes
with its evidence and a confidence, and `propose_workloads` writes a workloads file for the user to review.

    burst         most requests arrive in a small part of the time: a job was started
    clockwork     most requests arrive at the same phase of a day, an hour, …: a scheduler started them
    same_prompt   prompts share most of their tokens outside any conversation: one template, many cases
    no_thinking   the next request of a conversation arrives too soon to have been typed
    always_on     the load is the same at night and at weekends, while the other tenants follow working hours

Confidence is 0 at the threshold of a sign and grows linearly to the ceiling of that sign; the rarer people produce a
sign, the higher its ceiling. Thresholds and ceilings are judgment, not measurement: no public trace states which of its
requests could wait.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from meritorder.domain import Lane
from meritorder.traces.trace import Trace
from meritorder.units import (
    HOURS_PER_DAY,
    SECONDS_PER_DAY,
    SECONDS_PER_HOUR,
    SECONDS_PER_MINUTE,
    SECONDS_PER_WEEK,
    format_duration,
)

Floats = np.ndarray[Any, np.dtype[np.float64]]

MIN_REQUESTS: Final = 100
"""With fewer requests a pattern of a tenant may be chance."""

BURST_BIN_S: Final = 5 * SECONDS_PER_MINUTE
BURST_TIME_SHARE: Final = 0.05
BURST_THRESHOLD: Final = 0.7
BURST_BIN_REQUESTS: Final = 5
MIN_BURST_BINS: Final = 40

MINUTES_PER_HOUR: Final = int(SECONDS_PER_HOUR / SECONDS_PER_MINUTE)

CLOCK_PERIODS_S: Final = (SECONDS_PER_DAY, SECONDS_PER_HOUR, 15 * SECONDS_PER_MINUTE, 5 * SECONDS_PER_MINUTE)
CLOCK_PHASE_SHARE: Final = 0.1
CLOCK_THRESHOLD: Final = 0.6
MIN_PERIODS: Final = 5
"""A period counts if it repeats at least this often and at least half of its repetitions have arrivals."""

SAME_PROMPT_THRESHOLD: Final = 0.4

THINKING_S: Final = 1.0
NO_THINKING_THRESHOLD: Final = 0.6
HOURS_ROUND_THE_CLOCK: Final = 20

FLAT_TROUGH_THRESHOLD: Final = 0.5
REST_TROUGH: Final = 0.5
"""The other tenants follow working hours if their quietest hour is below this share of their mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferralCandidate:
    """Requests with one sign that they could wait.

    Args:
        kind: Name of the sign.
        matching: Column to glob, as in a workloads file.
        requests: Number of matching requests.
        share_of_tokens: Their input and output tokens / those of the whole trace.
        evidence: The observation with its numbers, a sentence.
        confidence: In [0, 1].
        deadline: A deadline that suits the sign.
    """

    kind: str
    matching: tuple[tuple[str, str], ...]
    requests: int
    share_of_tokens: float
    evidence: str
    confidence: float
    deadline: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sign:
    """One sign that a group shows."""

    kind: str
    evidence: str
    confidence: float
    deadline: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Requests of one tenant, and the load of all other tenants by hour of the day."""

    requests: pl.DataFrame
    arrived_epoch_s: Floats
    rest_by_hour: Floats
    span_s: float
    dated: bool
    shared_clock: bool


def find_candidates(trace: Trace) -> list[DeferralCandidate]:
    """Find the requests that could probably wait, most confident first."""
    column = _grouping_column(trace.requests)
    if column is None:
        groups = [("*", trace.requests)]
    else:
        parts = trace.requests.filter(pl.col(column).is_not_null()).partition_by(column, maintain_order=True)
        groups = [(str(part[column][0]), part) for part in parts]
    epoch_s = trace.epoch_s or 0.0
    whole = _tokens(trace.requests)
    all_by_hour = _by_hour(trace.requests["arrived_s"].to_numpy() + epoch_s)
    candidates: list[DeferralCandidate] = []
    for name, part in groups:
        if part.height < MIN_REQUESTS:
            continue
        arrived_epoch_s = part["arrived_s"].to_numpy() + epoch_s
        group = _Group(
            requests=part,
            arrived_epoch_s=arrived_epoch_s,
            rest_by_hour=all_by_hour - _by_hour(arrived_epoch_s),
            span_s=trace.span_s,
            dated=trace.epoch_s is not None,
            shared_clock=not trace.report.session_clock,
        )
        candidates += [
            DeferralCandidate(
                kind=sign.kind,
                matching=((column or "tenant", _escaped(name)),),
                requests=part.height,
                share_of_tokens=_tokens(part) / whole,
                evidence=sign.evidence,
                confidence=round(sign.confidence, 2),
                deadline=sign.deadline,
            )
            for sign in _signs(group)
        ]
    return sorted(candidates, key=lambda candidate: (-candidate.confidence, candidate.matching, candidate.kind))


def propose_workloads(candidates: Sequence[DeferralCandidate]) -> str:
    """Write a workloads file that declares the candidates deferrable, with their evidence as comments.

    Signs of the same requests make one workload. Its deadline is that of the most confident sign. Its confidence is the
    probability that at least one sign is right, if the signs are independent: 1 - product of (1 - confidence).
    """
    lines = [
        "# Proposed from the trace: requests that no person seems to wait for. Nothing is applied.",
        "# Keep what is right, change the deadlines, delete the rest; then use --workloads FILE",
    ]
    for matching in dict.fromkeys(candidate.matching for candidate in candidates):
        signs = [candidate for candidate in candidates if candidate.matching == matching]
        first = signs[0]
        doubt = float(np.prod([1 - sign.confidence for sign in signs]))
        lines += [
            "",
            f"# {first.requests:,} requests, {first.share_of_tokens:.0%} of tokens, {1 - doubt:.0%} sure",
            *(f"# - {sign.kind} ({sign.confidence:.2f}): {sign.evidence}" for sign in signs),
            "[[workload]]",
            f"name = {_quoted(' '.join(pattern for _, pattern in matching))}",
            f"lane = {_quoted(Lane.DEFERRABLE.value)}",
            f"deadline = {_quoted(first.deadline)}",
            "match = { " + ", ".join(f"{column} = {_quoted(glob)}" for column, glob in matching) + " }",
        ]
    return "\n".join(lines) + "\n"


def _grouping_column(requests: pl.DataFrame) -> str | None:
    """Return the column to group by: the tenant, else the model, else None."""
    return next((name for name in ("tenant", "model") if requests[name].null_count() < requests.height), None)


def _signs(group: _Group) -> Iterator[_Sign]:
    """Yield the signs of a group; signs of time need a clock that all sessions share."""
    of_content = (_same_prompt(group), _no_thinking(group))
    of_time = (_burst(group), _clockwork(group), _always_on(group)) if group.shared_clock else ()
    for sign in (*of_time, *of_content):
        if sign is not None and sign.confidence > 0:
            yield sign


def _burst(group: _Group) -> _Sign | None:
    """Most requests are in the busiest 5 % of bins that a steady tenant would fill evenly."""
    mean_gap_s = group.span_s / group.requests.height
    width_s = max(BURST_BIN_S, BURST_BIN_REQUESTS * mean_gap_s)
    bins = int(group.span_s // width_s)
    if bins < MIN_BURST_BINS:
        return None
    arrived = group.requests["arrived_s"].to_numpy()
    counts = np.sort(np.bincount((arrived // width_s).astype(np.int64), minlength=bins))[::-1]
    busiest = max(1, int(bins * BURST_TIME_SHARE))
    share = float(counts[:busiest].sum() / counts.sum())
    return _Sign(
        kind="burst",
        evidence=f"{share:.0%} of the requests arrive in {busiest / bins:.1%} of the time",
        confidence=_confidence(share, BURST_THRESHOLD, ceiling=0.8),
        deadline="4h",
    )


def _clockwork(group: _Group) -> _Sign | None:
    """Most requests are in the same tenth of a period, again and again; reports the longest such period."""
    for period_s in CLOCK_PERIODS_S:
        repetitions = group.span_s / period_s
        hit = np.unique(group.arrived_epoch_s // period_s).size
        if repetitions < MIN_PERIODS or hit < repetitions / 2:
            continue
        phase = np.sort(group.arrived_epoch_s % period_s)
        width_s = CLOCK_PHASE_SHARE * period_s
        wrapped = np.concatenate((phase, phase + period_s))
        inside = np.searchsorted(wrapped, phase + width_s, side="right") - np.arange(phase.size)
        share, start_s = float(inside.max() / phase.size), float(phase[inside.argmax()])
        if share > CLOCK_THRESHOLD:
            when = _phase_text(start_s, period_s, dated=group.dated)
            whole = max(hit, round(repetitions))
            return _Sign(
                kind="clockwork",
                evidence=f"{share:.0%} of the requests arrive in the {format_duration(width_s)} after "
                f"{when}, in {hit:,} of {whole:,} periods",
                confidence=_confidence(share, CLOCK_THRESHOLD, ceiling=0.9),
                deadline="6h" if period_s == SECONDS_PER_DAY else f"{period_s / SECONDS_PER_MINUTE:.0f}m",
            )
    return None


def _same_prompt(group: _Group) -> _Sign | None:
    """Outside sessions, prompts share a prefix, or have exactly the same length."""
    lone = group.requests.filter(pl.col("session").is_null())
    if lone.height < max(MIN_REQUESTS, group.requests.height / 2):
        return None
    total = int(lone["input_tokens"].cast(pl.Int64).sum())
    cached = int(lone["cached_tokens"].cast(pl.Int64).sum()) / total
    lengths = lone["input_tokens"].value_counts(sort=True)
    same = int(lengths["count"][0]) / lone.height
    if same > cached:
        evidence = f"{same:.0%} of the prompts have exactly {lengths['input_tokens'][0]:,} tokens"
    else:
        evidence = f"{cached:.0%} of the input tokens are a prefix seen before, with no conversation around it"
    confidence = _confidence(max(same, cached), SAME_PROMPT_THRESHOLD, ceiling=0.6)
    return _Sign(kind="same_prompt", evidence=evidence, confidence=confidence, deadline="4h")


def _no_thinking(group: _Group) -> _Sign | None:
    """Requests of a session follow within a second of the previous one, at nearly all hours of the day."""
    gaps = (
        group.requests.filter(pl.col("session").is_not_null())
        .select(pl.col("arrived_s").diff().over("session").alias("gap"))["gap"]
        .drop_nulls()
    )
    hours = int((_by_hour(group.arrived_epoch_s) > 0).sum())
    if gaps.len() < MIN_REQUESTS or hours < HOURS_ROUND_THE_CLOCK:
        return None
    share = int((gaps < THINKING_S).sum()) / gaps.len()
    return _Sign(
        kind="no_thinking",
        evidence=f"{share:.0%} of the requests follow the previous one of their session within "
        f"{THINKING_S:g} s, in {hours} of 24 hours of the day",
        confidence=_confidence(share, NO_THINKING_THRESHOLD, ceiling=0.6),
        deadline="1h",
    )


def _always_on(group: _Group) -> _Sign | None:
    """The quietest hour and the weekend are near the mean, while the other tenants follow working hours."""
    if group.span_s < 2 * SECONDS_PER_DAY or group.rest_by_hour.sum() < MIN_REQUESTS:
        return None
    own, rest = _by_hour(group.arrived_epoch_s), group.rest_by_hour
    trough, rest_trough = float(own.min() / own.mean()), float(rest.min() / rest.mean())
    if rest_trough >= REST_TROUGH:
        return None
    evidence = (
        f"its quietest hour of the day has {trough:.0%} of its mean rate; that of all other tenants {rest_trough:.0%}"
    )
    flat = trough
    if group.dated and group.span_s >= SECONDS_PER_WEEK * 0.95:
        weekend = _weekend_to_weekday(group.arrived_epoch_s)
        evidence += f"; a weekend day has {weekend:.0%} of a weekday"
        flat = min(trough, weekend)
    confidence = _confidence(flat, FLAT_TROUGH_THRESHOLD, ceiling=0.6)
    return _Sign(kind="always_on", evidence=evidence, confidence=confidence, deadline="4h")


def _confidence(value: float, threshold: float, *, ceiling: float) -> float:
    """Grow from 0 at the threshold to the ceiling at 1."""
    return ceiling * min(1.0, max(0.0, (value - threshold) / (1 - threshold)))


def _by_hour(arrived_epoch_s: Floats) -> Floats:
    """Count arrivals by hour of the day, shape (24,)."""
    hours = (arrived_epoch_s % SECONDS_PER_DAY // SECONDS_PER_HOUR).astype(np.int64)
    return np.bincount(hours, minlength=HOURS_PER_DAY).astype(np.float64)


def _weekend_to_weekday(arrived_epoch_s: Floats) -> float:
    """Return requests on an average weekend day / on an average weekday. 1970-01-01 was a Thursday."""
    days, counts = np.unique(arrived_epoch_s // SECONDS_PER_DAY, return_counts=True)
    weekend = (days + 3) % 7 >= 5
    if weekend.all() or not weekend.any():
        return 0.0
    return float(counts[weekend].mean() / counts[~weekend].mean())


def _phase_text(start_s: float, period_s: float, *, dated: bool) -> str:
    minutes, seconds = divmod(round(start_s), int(SECONDS_PER_MINUTE))
    if period_s == SECONDS_PER_DAY:
        zone = " UTC" if dated else " since the start"
        return f"{minutes // MINUTES_PER_HOUR:02d}:{minutes % MINUTES_PER_HOUR:02d}{zone} each day"
    return f"{minutes:02d}:{seconds:02d} of each {format_duration(period_s)}"


def _tokens(requests: pl.DataFrame) -> int:
    return int(requests["input_tokens"].cast(pl.Int64).sum()) + int(requests["output_tokens"].cast(pl.Int64).sum())


def _quoted(text: str) -> str:
    """Write a TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return (
        '"'
        + "".join(character if character.isprintable() else f"\\u{ord(character):04x}" for character in escaped)
        + '"'
    )


def _escaped(glob: str) -> str:
    """Write a literal value as a glob; "*" alone matches everything."""
    if glob == "*":
        return glob
    return "".join(f"[{character}]" if character in "*?[" else character for character in glob)
