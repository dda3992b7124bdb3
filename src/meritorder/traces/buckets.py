"""Rows that sum up several requests: recognized if no column says so, and spread over their interval by `--aggregate`.

    arrival of a request     = start + interval u
    tokens of request k of n = floor((k + 1) total / n) - floor(k total / n)

with u uniform in [0, 1), as independent requests arrive. The tokens add up to the total.
"""

from typing import Final

import numpy as np
import polars as pl

from meritorder.errors import TraceError
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_HOUR, SECONDS_PER_MINUTE, format_duration

MAX_SPREAD: Final = 50_000_000
"""More requests than this are not made of sums."""

MAX_TOKENS: Final = 1e12
"""More tokens in one row are a mistake."""

SUM_TOKENS: Final = 100_000
"""If rows come at one constant interval, and half of the first have more input tokens than this, they are sums."""
_MIN_INTERVALS: Final = 3
_MIN_COUNTED: Final = 20
_COUNTER_GROWTH: Final = 10
_SAMPLE: Final = 10_000
_ROW: Final = ("arrival", "model", "tenant", "session")
_HOURLY_TOKENS: Final = 10_000
_NO_CLOCK: Final = (
    "arrivals are days without a clock: all requests of a day are taken to arrive at its midnight, so rates and peaks "
    "are not those of a service"
)

_MIN_ROWS: Final = 3
_MIN_VARIATION: Final = 0.05
_SHORTEST_PROMPT: Final = 50
SEED: Final = 0


def spread(frame: pl.DataFrame, *, where: str) -> tuple[pl.DataFrame, list[str]]:
    """Replace each row of several requests by that many rows.

    Args:
        frame: Columns `arrival, input, output, calls`, and optionally `cached` and `ended`.
        where: Name of the source.

    Returns:
        The rows, and what was assumed.

    Raises:
        TraceError: No column counts the requests, or there are too many.
    """
    if "calls" not in frame.columns:
        raise TraceError(
            "no column counts the requests of a row", where=f"{where}, --aggregate", fix="name it: --columns calls=NAME"
        )
    count = pl.col("calls")
    several = pl.all_horizontal(
        pl.col("arrival").is_finite(),
        *(pl.col(name).is_between(0, MAX_TOKENS) for name in ("input", "output")),
        count >= 2,
        count == count.floor(),
    )
    sums = frame.filter(several)
    total = int(sums["calls"].sum())
    if total > MAX_SPREAD:
        raise TraceError(f"the rows sum up {total:,} requests, more than {MAX_SPREAD:,}", where=f"{where}, --aggregate")
    if sums.is_empty():
        return frame, []
    tokens = [name for name in ("input", "output", "cached") if name in frame.columns]
    notes: list[str] = []
    if _are_means(sums):
        each = float(str((sums["input"] / sums["calls"]).median()))
        notes.append(
            "the tokens of a row do not grow with its calls, each of which would have "
            f"{each:.0f} input tokens: they are taken as means of the row's calls"
        )
        sums = sums.with_columns(pl.col(tokens) * count)
    usual_s = _usual_interval_s(frame["arrival"])
    interval = pl.lit(usual_s)
    if "ended" in frame.columns:
        given = pl.col("ended") - pl.col("arrival")
        interval = pl.when(given > 0).then(given).otherwise(usual_s)
    spans = sums.with_columns(interval.alias("interval"))
    place = pl.int_range(pl.len()).over("sum")
    requests = (
        spans.with_row_index("sum")
        .select(pl.all().repeat_by(count.cast(pl.Int64)).explode())
        .with_columns(place.alias("place"))
        .with_columns(
            pl.col("arrival") + pl.col("interval") * pl.Series("u", np.random.default_rng(SEED).random(total)),
            *(_share(name).alias(name) for name in tokens),
            pl.lit(1.0).alias("calls"),
        )
        .select(frame.columns)
    )
    longest = spans["interval"].max()
    note = (
        f"{sums.height:,} rows sum up {total:,} requests: each row is spread at random over its "
        f"{format_duration(float(str(longest)))} (seed {SEED}), in requests of like length"
    )
    return pl.concat([frame.filter(several.not_().fill_null(value=True)), requests]), [note, *notes]


def _are_means(sums: pl.DataFrame) -> bool:
    """Return whether the tokens of rows are means of their calls: as sums they would vary more, and be too few."""
    calls, tokens = sums["calls"], sums["input"]
    if sums.height < _MIN_ROWS or _variation(calls) < _MIN_VARIATION:
        return False
    each = tokens / calls
    return _variation(tokens) * 2 < _variation(each) and float(str(each.median())) < _SHORTEST_PROMPT


def _variation(values: pl.Series) -> float:
    """Return the standard deviation in relation to the mean."""
    mean, deviation = values.mean(), values.std()
    return float(str(deviation)) / float(str(mean)) if mean and deviation is not None else 0.0


def _share(name: str) -> pl.Expr:
    """Return the part of a total that falls to a request, in whole tokens."""
    total, count, place = (
        pl.col(column).fill_nan(0).clip(0, MAX_TOKENS).cast(pl.Int64) for column in (name, "calls", "place")
    )
    return ((place + 1) * total // count - place * total // count).cast(pl.Float64)


def _usual_interval_s(arrivals: pl.Series) -> float:
    """Return the median gap between different arrivals; if there is none, a day for a midnight, else a minute."""
    instants = arrivals.drop_nulls().unique().sort()
    middle = instants.diff().drop_nulls().median()
    if isinstance(middle, float) and middle > 0:
        return middle
    midnight = bool(((instants > 0) & (instants % SECONDS_PER_DAY == 0)).any())
    return SECONDS_PER_DAY if midnight else SECONDS_PER_MINUTE


def refuse_sums(requests: pl.DataFrame, where: str) -> tuple[str, ...]:
    """Refuse rows that are sums of several requests or states of counters; return notes on rows that could be sums.

    Rows at one constant interval are sums if they are longer than prompts are. Rows for whole days are sums if no two
    are of the same day, model, tenant and session; rows for whole hours are if they are long as well.

    Args:
        requests: Columns `arrival, input, output, model, tenant, session`.
        where: Name of the source.

    Raises:
        TraceError: The rows are no requests.
    """
    _refuse_counters(requests, where)
    first = requests.head(_SAMPLE)
    middle = first["input"].median()
    whole_hours = not (first["arrival"] % SECONDS_PER_HOUR != 0).any()
    if not isinstance(middle, float) or not (whole_hours or middle > SUM_TOKENS):
        return ()
    instants = requests["arrival"].unique().sort()
    gaps = instants.diff().drop_nulls().round(3)
    whole_days = float(str(instants[0])) > 0 and not (instants % SECONDS_PER_DAY != 0).any()
    if gaps.len() < _MIN_INTERVALS - 1:
        return (_NO_CLOCK,) if whole_days and requests.height > instants.len() else ()
    single = whole_hours and bool(requests.select(_ROW).is_unique().all())
    long = middle > (SUM_TOKENS if not single else _HOURLY_TOKENS)
    if (whole_days and single) or (gaps.n_unique() == 1 and gaps.len() >= _MIN_INTERVALS and long):
        raise TraceError(
            f"the rows look like sums of several requests: one every {gaps[0]:g} s, each with about "
            f"{middle:,.0f} input tokens",
            where=where,
            fix="name the column that counts the requests, and spread them: --columns calls=NAME --aggregate",
        )
    return (_NO_CLOCK,) if whole_days else ()


def _refuse_counters(requests: pl.DataFrame, where: str) -> None:
    """Refuse rows whose input and output only rise, and to many times the first: they are states of counters."""
    if requests.height < _MIN_COUNTED:
        return
    ordered = requests.head(_SAMPLE).sort("arrival").select("input", "output")
    first, last = ordered.row(0), ordered.row(-1)
    rising = ordered.select((pl.all().diff().drop_nulls() > 0).all()).row(0)
    if not all(rising) or any(end < _COUNTER_GROWTH * begin for begin, end in zip(first, last, strict=True)):
        return
    raise TraceError(
        "the token counts rise with every row: they are running totals of a counter, not requests",
        where=where,
        fix="give what was added in each interval, with the number of requests, and --aggregate",
    )
