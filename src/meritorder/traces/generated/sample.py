"""The bundled sample: a seeded week of a coding service and of deferrable work beside it.

Published facts:

- Arrivals of the code service in the Azure LLM inference trace of 2024 (week of 2024-05-10): requests by
  hour of the day (UTC) on weekdays and at weekends, relative to the week's mean hour; busiest hour 2.98 times
  the mean, quietest 0.10, a weekend day 0.40 of a mean day; quantiles of its prompt lengths.
- Quantiles of generated lengths of the code service, and of both lengths of the conversation service, in the
  Azure trace of 2023-11-16.

Source: https://github.com/Azure/AzurePublicDataset, CC-BY-4.0, AzureLLMInferenceDataset2024.md (figures read
off the publisher's plots, 2026-11) and AzureLLMInferenceDataset2023.md. Stojkovic et al., DynamoLLM, HPCA
2025; Patel et al., Splitwise, ISCA 2024.

Invented, so that the sample has tenants, sessions and deferrable work: the names, the size of each tenant, turns and
think times of the chats, and the two tenants `evals` (every night at 01:00) and `doc-index` (every 15 minutes, around
the clock).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from meritorder.errors import TraceError
from meritorder.tables import REQUESTS
from meritorder.traces.trace import ReadReport, Trace, rebased
from meritorder.units import (
    HOURS_PER_DAY,
    MS_PER_S,
    SECONDS_PER_DAY,
    SECONDS_PER_HOUR,
    SECONDS_PER_MINUTE,
    SECONDS_PER_WEEK,
)

EPOCH_S: Final = 1_767_571_200.0
"""Monday 2026-01-05T00:00Z; the date is invented."""

MODEL: Final = "llama-3.1-70b"

WORKLOADS: Final = """\
# The lanes of the sample's tenants: interactive use has an SLO, the rest has a deadline.

[[workload]]
name = "interactive"
lane = "realtime"
match = { tenant = "[cw]*" }  # code-assist and web-chat
slo = { ttft_s = 2.0, tpot_s = 0.1, attainment = 0.99 }

[[workload]]
name = "nightly evaluation"
lane = "deferrable"
match = { tenant = "evals" }
deadline = "08:00"

[[workload]]
name = "document index"
lane = "deferrable"
match = { tenant = "doc-index" }
deadline = "12h"
"""
"""The workloads file of the sample."""

# Mean requests of each hour of the day UTC / mean of the week.
_WEEKDAY_HOURS: Final = (
    0.88, 0.84, 0.79, 0.65, 0.52, 0.43, 0.37, 0.31, 0.29, 0.30, 0.32, 0.48,
    0.87, 1.48, 2.09, 2.26, 2.14, 2.46, 2.70, 2.75, 2.55, 1.88, 1.36, 1.01,
)  # fmt: skip
_WEEKEND_HOURS: Final = (
    0.55, 0.54, 0.47, 0.46, 0.39, 0.32, 0.26, 0.18, 0.14, 0.13, 0.12, 0.16,
    0.25, 0.32, 0.40, 0.46, 0.50, 0.53, 0.59, 0.60, 0.61, 0.60, 0.60, 0.55,
)  # fmt: skip
# Requests of each weekday / mean weekday, Monday first.
_WEEKDAYS: Final = (0.99, 1.08, 1.07, 1.03, 0.84)

# (share of requests, tokens); lengths between the points are interpolated.
_CODE_INPUT: Final = (
    (0, 4),
    (0.05, 122),
    (0.25, 926),
    (0.5, 1903),
    (0.75, 3325),
    (0.9, 6186),
    (0.95, 7665),
    (1, 7679),
)
_CODE_OUTPUT: Final = (
    (0, 6),
    (0.25, 9),
    (0.5, 13),
    (0.75, 24),
    (0.9, 55),
    (0.95, 90),
    (0.99, 252),
    (1, 1899),
)
_CHAT_INPUT: Final = (
    (0, 2),
    (0.05, 181),
    (0.25, 396),
    (0.5, 1020),
    (0.75, 1189),
    (0.9, 2735),
    (0.99, 4142),
    (1, 14050),
)
_CHAT_OUTPUT: Final = (
    (0, 7),
    (0.05, 41),
    (0.25, 85),
    (0.5, 129),
    (0.75, 395),
    (0.9, 424),
    (0.99, 601),
    (1, 1000),
)

# Invented.
_CODE_REQUESTS: Final = 56_000
_CHATS: Final = 6_000
_CHAT_TURNS: Final = 2.5
_CHAT_THINK_S: Final = 45.0
_EVAL_REQUESTS_PER_NIGHT: Final = 1_200
_EVAL_START_S: Final = SECONDS_PER_HOUR
_EVAL_DURATION_S: Final = 20 * SECONDS_PER_MINUTE
_EVAL_PREFIX_TOKENS: Final = 1_024
_INDEX_INTERVAL_S: Final = 15 * SECONDS_PER_MINUTE
_INDEX_REQUESTS_PER_RUN: Final = 20
_INDEX_RUN_DURATION_S: Final = 30.0

_GENERATED: Final = (
    "the sample is generated: its hours, weekdays and lengths are those published for the Azure code service "
    "of 2024 and the Azure services of 2023; its tenants, sessions and deferrable jobs are invented"
)

Floats = np.ndarray[Any, np.dtype[np.float64]]
_SUFFIXES: Final = (".csv", ".parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tenant:
    """Requests of one tenant as columns of equal length; `session` is -1 without a session."""

    name: str
    arrived_s: Floats
    input_tokens: Floats
    cached_tokens: Floats
    output_tokens: Floats
    session: Floats


def generate(seed: int = 0) -> Trace:
    """Generate the sample; equal seeds give equal samples.

    Returns:
        About 90,000 requests of four tenants over seven days.
    """
    random = np.random.default_rng(seed)
    tenants = (_code_assist(random), _web_chat(random), _evals(random), _doc_index(random))
    requests = pl.concat([_frame(tenant) for tenant in tenants]).sort("arrived_s", maintain_order=True)
    report = ReadReport(
        files=(f"sample (seed {seed})",),
        format="sample",
        rows=requests.height,
        assumptions=(_GENERATED,),
    )
    return rebased(Trace(requests=requests, epoch_s=EPOCH_S, report=report))


def write(path: str | Path, *, seed: int = 0) -> Path:
    """Write the sample to a CSV or Parquet file, times as UTC dates.

    Raises:
        TraceError: The suffix is neither .csv nor .parquet, or the file cannot be written.
    """
    return write_trace(generate(seed), path)


def write_trace(trace: Trace, path: str | Path) -> Path:
    """Write a trace with dates to a CSV or Parquet file, times as UTC dates.

    Raises:
        TraceError: The suffix is neither .csv nor .parquet, or the file cannot be written.
    """
    target = Path(path)
    if target.suffix not in _SUFFIXES:
        raise TraceError("a trace is written as .csv or .parquet", where=str(path), fix="use one of these suffixes")
    micros = ((pl.col("arrived_s") + (trace.epoch_s or 0.0)) * MS_PER_S**2).round().cast(pl.Int64)
    dated = micros.cast(pl.Datetime("us", "UTC")).alias("arrived_at")
    frame = trace.requests.select(dated, pl.exclude("arrived_s", "workload", "deadline_s"))
    try:
        frame.write_csv(target) if target.suffix == ".csv" else frame.write_parquet(target)
    except OSError as error:
        raise TraceError(f"cannot be written ({error.strerror or error})", where=str(path)) from error
    return target


def _code_assist(random: np.random.Generator) -> _Tenant:
    """Generate completions in an editor: the published service itself."""
    count = _CODE_REQUESTS
    return _Tenant(
        name="code-assist",
        arrived_s=_office_hours(count, random),
        input_tokens=_lengths(_CODE_INPUT, count, random),
        cached_tokens=np.zeros(count),
        output_tokens=_lengths(_CODE_OUTPUT, count, random),
        session=np.full(count, -1.0),
    )


def _web_chat(random: np.random.Generator) -> _Tenant:
    """Generate chats of several turns; every prompt repeats the turns before it, which a prefix cache can reuse."""
    turns = random.geometric(1 / _CHAT_TURNS, _CHATS)
    chat = np.repeat(np.arange(_CHATS), turns)
    first = np.concatenate(([0], np.cumsum(turns)[:-1]))
    think_s = random.lognormal(np.log(_CHAT_THINK_S), 0.8, chat.size)
    question = _lengths(_CHAT_INPUT, chat.size, random)
    answer = _lengths(_CHAT_OUTPUT, chat.size, random)
    think_s[first] = 0
    # Later turns add a short question to the history, not another first prompt.
    question = np.where(np.isin(np.arange(chat.size), first), question, np.ceil(question / 10))
    history = _cumulative(question + answer, turns) - question - answer
    arrived = _office_hours(_CHATS, random)[chat] + _cumulative(think_s, turns)
    inside = arrived < SECONDS_PER_WEEK
    return _Tenant(
        name="web-chat",
        arrived_s=arrived[inside],
        input_tokens=(history + question)[inside],
        cached_tokens=history[inside],
        output_tokens=answer[inside],
        session=chat[inside].astype(np.float64),
    )


def _evals(random: np.random.Generator) -> _Tenant:
    """Generate nightly evaluations of a model: one prompt template, many cases."""
    nights = np.repeat(np.arange(7), _EVAL_REQUESTS_PER_NIGHT)
    count = nights.size
    return _Tenant(
        name="evals",
        arrived_s=nights * SECONDS_PER_DAY + _EVAL_START_S + random.uniform(0, _EVAL_DURATION_S, count),
        input_tokens=_EVAL_PREFIX_TOKENS + np.ceil(random.lognormal(np.log(400), 0.5, count)),
        cached_tokens=np.full(count, float(_EVAL_PREFIX_TOKENS)),
        output_tokens=np.ceil(random.lognormal(np.log(180), 0.6, count)),
        session=np.full(count, -1.0),
    )


def _doc_index(random: np.random.Generator) -> _Tenant:
    """Generate summaries of new documents, every quarter of an hour, day and night."""
    runs = np.repeat(np.arange(int(SECONDS_PER_WEEK / _INDEX_INTERVAL_S)), _INDEX_REQUESTS_PER_RUN)
    count = runs.size
    return _Tenant(
        name="doc-index",
        arrived_s=runs * _INDEX_INTERVAL_S + random.uniform(0, _INDEX_RUN_DURATION_S, count),
        input_tokens=np.ceil(random.lognormal(np.log(2_600), 0.5, count)),
        cached_tokens=np.zeros(count),
        output_tokens=np.ceil(random.lognormal(np.log(140), 0.4, count)),
        session=np.full(count, -1.0),
    )


def _office_hours(count: int, random: np.random.Generator) -> Floats:
    """Draw arrivals from the published week, uniform within each hour; shape (count,)."""
    weekdays = [factor * rate for factor in _WEEKDAYS for rate in _WEEKDAY_HOURS]
    rates = np.array([*weekdays, *_WEEKEND_HOURS, *_WEEKEND_HOURS])
    hours = random.choice(7 * HOURS_PER_DAY, size=count, p=rates / rates.sum())
    return np.asarray((hours + random.uniform(size=count)) * SECONDS_PER_HOUR, dtype=np.float64)


def _lengths(quantiles: Sequence[tuple[float, int]], count: int, random: np.random.Generator) -> Floats:
    """Draw lengths from the published distribution, log-linear between its quantiles."""
    shares, tokens = zip(*quantiles, strict=True)
    return np.rint(np.exp(np.interp(random.uniform(size=count), shares, np.log(tokens))))


def _cumulative(values: Floats, lengths: np.ndarray[Any, np.dtype[np.int64]]) -> Floats:
    """Return the cumulative sum within each of the consecutive runs of the given lengths."""
    total = np.cumsum(values)
    before = np.concatenate(([0.0], total))[np.cumsum(lengths) - lengths]
    return np.asarray(total - np.repeat(before, lengths), dtype=np.float64)


def _frame(tenant: _Tenant) -> pl.DataFrame:
    """Return the requests of a tenant as REQUESTS, on the clock of the week."""
    chat = pl.format("{}-{}", pl.lit(tenant.name), pl.col("session").cast(pl.Int64))
    session = pl.when(pl.col("session") >= 0).then(chat)
    columns = {
        "arrived_s": tenant.arrived_s,
        "input_tokens": tenant.input_tokens,
        "cached_tokens": tenant.cached_tokens,
        "output_tokens": tenant.output_tokens,
        "session": tenant.session,
    }
    filled = pl.DataFrame(columns).with_columns(
        session.alias("session"),
        pl.lit(MODEL).alias("model"),
        pl.lit(tenant.name).alias("tenant"),
        pl.lit(None).alias("workload"),
        pl.lit(None).alias("deadline_s"),
    )
    return filled.select(pl.col(column.name).cast(column.dtype) for column in REQUESTS)
