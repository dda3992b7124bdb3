"""The verdict on every row: a request, bad (it cannot be read), or set aside (it is read, and is not one request).

A format knows its own rows: a poll, the total of a batch, a step around model calls. It writes their kind into the
column `aside` of its raw table. What any table can show is judged here: error codes, missing token counts, sums of
several requests, parents that repeat their children.
"""

import re
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from meritorder.tables import REQUESTS
from meritorder.traces.buckets import refuse_sums
from meritorder.traces.trace import SHOWN_BAD_ROWS, Aside, BadRow, Kind

MAX_TOKENS: Final = 10_000_000
"""More tokens in one request are a mistake: ten times the longest context on the market in 2026."""

MAX_CONTEXT_TOKENS: Final = 2_000_000
"""No model on the market in 2026 takes a longer prompt: such a row is a sum."""

REQUIRED: Final = ("arrival", "input", "output")

_MEASURED: Final = ("id", "started", "first", "ended", "ttft", "tpot", "e2e", "config", "hardware", "gpus", "replicas")
_ERROR_STATUS: Final = 400
_ERROR_WORDS: Final = (
    "failure",
    "failed",
    "fail",
    "error",
    "errored",
    "timeout",
    "timed_out",
    "incomplete",
    "cancelled",
)
_SUCCESS_STATUS: Final = 200
_SUCCESS_WORDS: Final = ("success", "succeeded", "ok", "completed", "complete")
_NO_ERROR: Final = ("", "0", "none", "null", "nan", "false", "{}", "[]")

_NO_TEXT_MODELS: Final = re.compile(r"embed|rerank|moderation|\bbge-|\be5-|whisper|\btts-")
"""Models that generate no text, by their names."""
_MAX_DEPTH: Final = 12
_ALIKE: Final = 0.01

_MIN_SUMMED: Final = 2
_MOST_TOKENS: Final = 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The requests of one source, unsorted, and an account of its other rows."""

    requests: pl.DataFrame
    rows: int
    bad: dict[str, int] = field(default_factory=dict)
    first_bad: tuple[BadRow, ...] = ()
    aside: dict[Kind, Aside] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def judge(frame: pl.DataFrame, *, where: str) -> Judged:
    """Separate the requests of a source from its other rows.

    Args:
        frame: Columns `line, arrival, input, output`, names of REQUESTS, `aside`, `broken`, and any of `cached`,
            `reasoning`, `total`, `deadline`, `id`, `parent`, `status`, `error`, `calls`; `<name>_given` marks that a
            row has a value.
        where: Name of the source.

    Raises:
        TraceError: The rows are sums of several requests, although no column says so.
    """
    frame, notes = _disjoint_cache(_with_sums(frame))
    frame, added = _disjoint_thoughts(frame)
    notes = (*notes, *added, *_missing_parts(frame))
    faults = _faults(frame.columns)
    verdict = pl.Enum([*dict.fromkeys(reason for reason, _ in faults), *Kind])
    judged = frame.with_columns(_verdict(frame, faults).cast(verdict).alias("verdict"))
    requests = judged.filter(pl.col("verdict").is_null())
    notes = (*notes, *refuse_sums(requests, where))
    names = [column.name for column in REQUESTS]
    extra = [name for name in _MEASURED if name in frame.columns]
    typed = requests.select(*_columns(frame.columns), *(pl.col(name) for name in extra)).select(*names, *extra)
    if requests.height == frame.height:
        return Judged(requests=typed, rows=frame.height, notes=notes)
    bad, first_bad, aside = _account(judged.filter(pl.col("verdict").is_not_null()), where)
    return Judged(requests=typed, rows=frame.height, bad=bad, first_bad=first_bad, aside=aside, notes=notes)


def _with_sums(frame: pl.DataFrame) -> pl.DataFrame:
    """Mark rows without arrival whose tokens are the sums of all rows that have one."""
    undated = ~pl.col("arrival_given") & (pl.col("input") > 0)
    if not frame.select(undated.any()).item():
        return frame
    dated = frame.filter(pl.col("arrival_given") & pl.col("aside").is_null())
    if dated.height < _MIN_SUMMED:
        return frame
    is_sum = undated & (pl.col("input") == dated["input"].sum()) & (pl.col("output") == dated["output"].sum())
    return frame.with_columns(aside=pl.coalesce("aside", pl.when(is_sum).then(pl.lit(Kind.SUMMARY.value))))


def _columns(present: list[str]) -> list[pl.Expr]:
    """Return REQUESTS of rows that are requests; at least the last token of a prompt is never cached."""
    cached = pl.min_horizontal(pl.col("cached"), pl.col("input") - 1) if "cached" in present else pl.lit(0)
    return [
        pl.col("arrival").alias("arrived_s"),
        pl.col("input").cast(pl.Int32).alias("input_tokens"),
        cached.cast(pl.Int32).alias("cached_tokens"),
        pl.col("output").cast(pl.Int32).alias("output_tokens"),
        *(pl.col(name) for name in ("model", "tenant", "session", "workload")),
        (pl.col("deadline") if "deadline" in present else pl.lit(None, pl.Float64)).alias("deadline_s"),
    ]


def _verdict(frame: pl.DataFrame, faults: list[tuple[str, pl.Expr]]) -> pl.Expr:
    """Return the first of: broken, kind by the format, error, kind by evidence, fault; null for a request."""
    present = frame.columns
    kinds = [pl.when(pl.col("broken")).then(pl.lit(faults[0][0])), pl.col("aside")]
    for name, wrong in (("status", _is_error_status), ("error", _is_error_text)):
        if name in present:
            kinds.append(pl.when(wrong(pl.col(name))).then(pl.lit(Kind.ERROR.value)))
    if {"id", "parent"} <= set(present):
        repeating = pl.col("id").is_in(_repeating_parents(frame).implode())
        kinds.append(pl.when(repeating).then(pl.lit(Kind.PARENT.value)))
    if "calls" in present:
        kinds.append(pl.when(pl.col("calls") > 1).then(pl.lit(Kind.BUCKET.value)))
    no_text = [
        name for name in frame["model"].unique().drop_nulls().cast(pl.String) if _NO_TEXT_MODELS.search(name.lower())
    ]
    if no_text:
        no_output = pl.col("model").cast(pl.String).is_in(no_text) & (pl.col("output").fill_null(0) == 0)
        kinds.append(pl.when(no_output & (pl.col("input") > 0)).then(pl.lit(Kind.NO_GENERATION.value)))
    uncounted = pl.col("arrival_given") & (pl.col("input").fill_null(0) == 0) & (pl.col("output").fill_null(0) == 0)
    readable = pl.all_horizontal(pl.col(f"{name}_given").not_() | pl.col(name).is_not_null() for name in REQUIRED)
    if "status" in present:
        uncounted |= (pl.col("output") == 0) & _is_success(pl.col("status"))
    if "id" in present and frame.select(uncounted.any()).item():
        counted = frame.filter((pl.col("input") > 0) & (pl.col("output") > 0))["id"].drop_nulls()
        kinds.append(pl.when(uncounted & pl.col("id").is_in(counted.implode())).then(pl.lit(Kind.REPEATED.value)))
    kinds.append(pl.when(uncounted & readable).then(pl.lit(Kind.UNCOUNTED.value)))
    beyond = pl.col("input").is_between(MAX_CONTEXT_TOKENS, MAX_TOKENS, closed="right")
    kinds.append(pl.when(beyond).then(pl.lit(Kind.BUCKET.value)))
    kinds += [pl.when(wrong).then(pl.lit(reason)) for reason, wrong in faults]
    kinds.append(pl.when(pl.col("output") == 0).then(pl.lit(Kind.FAILED.value)))
    return pl.coalesce(kinds)


def _repeating_parents(frame: pl.DataFrame) -> pl.Series:
    """Return the ids of rows whose tokens are those of their children, or that have none but children with tokens."""
    counts = (pl.col(name).fill_nan(0).fill_null(0).clip(0) for name in ("input", "output"))
    runs = frame.select("id", "parent", own=pl.sum_horizontal(counts)).filter(pl.col("id").is_not_null())
    runs = runs.unique(subset="id").with_columns(total=pl.col("own"), below=pl.lit(0.0))
    for _ in range(_MAX_DEPTH):
        below = (
            runs.filter(pl.col("parent").is_not_null())
            .group_by(pl.col("parent").alias("id"))
            .agg(below=pl.col("total").sum())
        )
        runs = runs.drop("below").join(below, on="id", how="left").with_columns(pl.col("below").fill_null(0))
        total = pl.when(pl.col("own") > 0).then(pl.col("own")).otherwise(pl.col("below"))
        changed = bool(runs.select((total != pl.col("total")).any()).item())
        runs = runs.with_columns(total=total)
        if not changed:
            break
    alike = (pl.col("own") - pl.col("below")).abs() <= _ALIKE * pl.col("below")
    return runs.filter((pl.col("below") > 0) & ((pl.col("own") == 0) | alike))["id"]


def _status_code(text: pl.Expr) -> pl.Expr:
    """Return the code of an HTTP status: 429 of "429 Too Many Requests"."""
    return text.str.extract(r"^\s*(\d{3})(?:\D|$)").cast(pl.Int16)


def _is_success(column: pl.Expr) -> pl.Expr:
    text = column.cast(pl.String).str.to_lowercase()
    code = _status_code(text)
    good = code.is_between(_SUCCESS_STATUS, _ERROR_STATUS, closed="left") | text.is_in(_SUCCESS_WORDS)
    return good.fill_null(value=False)


def _is_error_status(column: pl.Expr) -> pl.Expr:
    text = column.cast(pl.String).str.to_lowercase()
    code = _status_code(text)
    return ((code >= _ERROR_STATUS) | text.is_in(_ERROR_WORDS)).fill_null(value=False)


def _is_error_text(column: pl.Expr) -> pl.Expr:
    text = column.cast(pl.String).str.to_lowercase()
    return text.is_in(_NO_ERROR).not_().fill_null(value=False)


def _faults(present: list[str]) -> list[tuple[str, pl.Expr]]:
    """Return the faults that a row can have, in the order in which they are reported."""
    faults = [
        ("not a JSON object", pl.col("broken")),
        ("empty row", ~pl.any_horizontal(f"{name}_given" for name in REQUIRED)),
        ("no arrival time", ~pl.col("arrival_given")),
        ("unreadable arrival time", ~pl.col("arrival").is_finite().fill_null(value=False)),
        ("negative arrival time", pl.col("arrival") < 0),
    ]
    for name in ("input", "output"):
        value = pl.col(name)
        unreadable = pl.col(f"{name}_given") & ~(value == value.floor()).fill_null(value=False)
        faults += [
            (f"no {name} tokens", ~pl.col(f"{name}_given")),
            (f"unreadable {name} tokens", unreadable | value.is_nan()),
            (f"negative {name} tokens", value < 0),
            (f"more than {MAX_TOKENS:,} {name} tokens", value > MAX_TOKENS),
        ]
    faults.append(("zero input tokens", pl.col("input") == 0))
    if "cached" in present:
        faults.append(("more cached than input tokens", pl.col("cached") > pl.col("input")))
    return faults


def _disjoint_cache(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Read the cached tokens, whose absence never costs a row; add them to the input if they are no part of it."""
    if "cached" not in frame.columns:
        return frame, ()
    value = pl.col("cached")
    readable = value.is_finite() & (value >= 0) & (value == value.floor())
    notes: list[str] = []
    lost = int(frame.select((pl.col("cached_given") & readable.fill_null(value=False).not_()).sum()).item())
    if lost:
        notes.append(f"{lost:,} rows have unreadable cached tokens, which are taken as 0")
    frame = frame.with_columns(pl.when(readable).then(value).otherwise(0.0).alias("cached"))
    counts = frame.select(
        cached=(value > 0).sum(), beyond=((value > pl.col("input")) & (pl.col("input") > 0)).sum()
    ).row(0)
    if counts[1] and counts[1] * 2 >= counts[0]:
        notes.append(
            f"in {counts[1]:,} of {counts[0]:,} rows the cached tokens exceed the input tokens: the input column is "
            "taken to leave them out, and they are added to it"
        )
        frame = frame.with_columns(pl.col("input") + value)
    return frame, tuple(notes)


def _disjoint_thoughts(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Add thought tokens to the output of rows whose total is the sum of the three, if most with thoughts are such."""
    if not {"total", "reasoning"} <= set(frame.columns):
        return frame, ()
    thoughts = pl.col("reasoning")
    thinks = (thoughts > 0).fill_null(value=False)
    beside = thinks & (pl.col("total") == pl.col("input") + pl.col("output") + thoughts).fill_null(value=False)
    with_thoughts, apart = frame.select(thinks.sum(), apart=beside.sum()).row(0)
    if not apart or apart * 2 < with_thoughts:
        return frame, ()
    text = (
        f"in {apart:,} of {with_thoughts:,} rows with thought tokens the total is input, output and thoughts: the "
        "output column is taken to leave them out, and they are added to it"
    )
    output = pl.when(beside).then(pl.col("output") + thoughts).otherwise("output")
    return frame.with_columns(output.alias("output")), (text,)


def _missing_parts(frame: pl.DataFrame) -> tuple[str, ...]:
    """Return a note if the total of many rows is more than input and output: a part is in neither column."""
    if "total" not in frame.columns:
        return ()
    known = (pl.col("input") > 0) & (pl.col("output") > 0) & pl.col("total").is_finite()
    more = pl.col("total") - pl.col("input") - pl.col("output")
    rows, beyond, tokens = frame.select(
        rows=known.sum(), beyond=(known & (more > 0)).sum(), tokens=more.filter(known & (more > 0)).sum()
    ).row(0)
    if beyond * 2 < rows or not beyond:
        return ()
    text = (
        f"in {beyond:,} of {rows:,} rows the total is more than input and output, by {tokens:,.0f} tokens: cached or "
        "thought tokens may be in a column that is not read; add it with --columns output=A+B or input=A+B"
    )
    return (text,)


def _account(other: pl.DataFrame, where: str) -> tuple[dict[str, int], tuple[BadRow, ...], dict[Kind, Aside]]:
    """Count the rows that are no requests, with their tokens by kind, and quote the first bad ones."""
    kinds = [kind.value for kind in Kind]
    calls = pl.col("calls").fill_nan(0).clip(0, _MOST_TOKENS).sum() if "calls" in other.columns else pl.lit(0)
    tokens = (
        pl.col(name).fill_nan(0).clip(0, _MOST_TOKENS).sum().cast(pl.Int64).alias(name) for name in ("input", "output")
    )
    sums = (
        other.sort("line")
        .group_by(pl.col("verdict").cast(pl.String), maintain_order=True)
        .agg(pl.len(), *tokens, calls.fill_null(0).cast(pl.Int64).alias("calls"))
    )
    bad: dict[str, int] = {}
    aside: dict[Kind, Aside] = {}
    for verdict, rows, input_tokens, output_tokens, count in sums.iter_rows():
        if verdict in kinds:
            several = count if verdict == Kind.BUCKET else 0
            aside[Kind(verdict)] = Aside(
                rows=rows, input_tokens=input_tokens, output_tokens=output_tokens, calls=several
            )
        else:
            bad[verdict] = rows
    shown = other.sort("line").filter(~pl.col("verdict").cast(pl.String).is_in(kinds)).head(SHOWN_BAD_ROWS)
    first_bad = (
        BadRow(file=where, line=line, reason=reason)
        for line, reason in shown.select("line", pl.col("verdict").cast(pl.String)).iter_rows()
    )
    return bad, tuple(first_bad), aside


def without_repeats(
    requests: pl.DataFrame, *, ids_unique: bool
) -> tuple[pl.DataFrame, dict[Kind, Aside], tuple[str, ...]]:
    """Leave out rows that are there again: the same row, or the same id with another time or length.

    An id is one request within a file, or everywhere if the format says so; the same row may be in several files. An
    id that returns in more than a fifth of the rows, with other lengths, is no id of a request, unless the format says
    that it is.
    Without ids, rows are repeated if every one of them is there equally often at an instant that is no whole second.

    Args:
        requests: REQUESTS sorted by arrival, and optionally `id` and `file`.
        ids_unique: True if rows of a file with one id are one request.

    Returns:
        The requests, what was set aside, and notes.
    """
    if "id" in requests.columns and requests["id"].null_count() < requests.height:
        return _by_id(requests, ids_unique=ids_unique)
    return _by_row(requests)


_ROW: Final = ("arrived_s", "input_tokens", "output_tokens", "model", "tenant", "session")
_MAX_REPEATED: Final = 0.2
_MIN_INSTANTS: Final = 10


def _by_id(requests: pl.DataFrame, *, ids_unique: bool) -> tuple[pl.DataFrame, dict[Kind, Aside], tuple[str, ...]]:
    ids = requests["id"].drop_nulls()
    if ids.n_unique() == ids.len():
        return requests, {}, ()
    single = pl.col("id").is_null()
    first = pl.struct("id", *_ROW).is_first_distinct()
    different = requests.filter(single | first)
    aside = {Kind.SAME_ROW: _totals(requests.filter(~(single | first)))}
    within = ["id", "file"] if "file" in requests.columns else ["id"]
    again = different.filter(~single).select(within)
    repeated = again.height - again.n_unique()
    notes: tuple[str, ...] = ()
    kept = different
    few = repeated <= _MAX_REPEATED * different.height
    if repeated and (ids_unique or few or _same_prompts(different.filter(~single), within)):
        # The longest answer is the last state of a request that was logged several times.
        longest = (pl.col("output_tokens") == pl.col("output_tokens").max().over(within)).fill_null(value=True)
        ends = different.filter(single | longest)
        kept = ends.filter(single | pl.struct(within).is_last_distinct())
        aside[Kind.REPEATED] = _totals(different) - _totals(kept)
    elif repeated:
        notes = (f"the ids of requests return in {repeated:,} of {different.height:,} rows: they are not taken as ids",)
    return kept, {kind: part for kind, part in aside.items() if part.rows}, notes


def _same_prompts(requests: pl.DataFrame, within: list[str]) -> bool:
    """Return whether rows with one id have one prompt length, while different ids mostly have different ones."""
    ids = requests.select(within).n_unique()
    same = requests.select(*within, "input_tokens").n_unique() == ids
    return same and ids >= _MIN_INSTANTS and requests["input_tokens"].n_unique() * 2 >= ids


def _by_row(requests: pl.DataFrame) -> tuple[pl.DataFrame, dict[Kind, Aside], tuple[str, ...]]:
    arrived = requests["arrived_s"]
    if requests.height < 2 * _MIN_INSTANTS or int((arrived.diff() == 0).sum()) * 2 < requests.height:
        return requests, {}, ()
    counts = requests.group_by(_ROW).len()["len"]
    if counts.min() == 1 or counts.n_unique() > 1 or arrived.n_unique() < _MIN_INSTANTS:
        return requests, {}, ()
    if int(((arrived - arrived[0]) % 1 != 0).sum()) * 2 < requests.height:
        text = f"every row is there {counts[0]} times: if the log was written twice, remove what is there again"
        return requests, {}, (text,)
    kept = requests.unique(subset=_ROW, keep="first", maintain_order=True)
    return kept, {Kind.SAME_ROW: _totals(requests) - _totals(kept)}, ()


def _totals(requests: pl.DataFrame) -> Aside:
    tokens = requests.select(pl.col("input_tokens", "output_tokens").cast(pl.Int64).sum()).row(0)
    return Aside(rows=requests.height, input_tokens=tokens[0], output_tokens=tokens[1])
