"""What a job would cost and when it would end, from answers to a few of its rows; these count as answers of the job."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.errors import ConfigError
from meritorder.jobs.cluster import connected
from meritorder.jobs.job import Run
from meritorder.jobs.options import JobOptions
from meritorder.jobs.output import OutputFolder
from meritorder.jobs.runs import Runs
from meritorder.records.job import JobQuote
from meritorder.units import SECONDS_PER_HOUR, utc

_LEAST_ROWS: Final = 200
_ROUNDS: Final = 6  # calls of the sample beside calls in flight, so that its beginning and its end count for little
_Z: Final = 1.96  # of 95 %


def quote_job(options: JobOptions, progress: Callable[[str], None]) -> JobQuote:
    """Answer a random sample of the rows, and return what the others would cost and when they would be answered.

    The least rows a second are those of the whole sample, with its slow beginning and end; the most are
    calls in flight / mean seconds of a call.

    Args:
        options: The job.
        progress: Takes what was done so far, as text.

    Raises:
        ConfigError: As in `run_job`, or no row of the sample was answered.
    """
    output, runs = OutputFolder(options.out), Runs(options.out)
    with runs.alone():
        # A gateway would let calls with a deadline wait.
        run = Run(replace(options, asking=replace(options.asking, deadline_s=None)), output, runs)
        newest = run.stored.newest
        with runs.recorded(run.record), connected(options.cluster):
            rows = run.count()
            slots = options.workers * options.asking.calls
            left = max(rows - run.stored.hashes.size, 1)
            run.answer(progress, share=min(max(_LEAST_ROWS, _ROUNDS * slots) / left, 1.0))
        record, sums = run.end(), run.sums
        tokens = output.newer_tokens(after=newest)
    if not len(tokens):
        why = sums.why or "no row of the sample has an answer; column `error` says why"
        raise ConfigError(why, where="--quote", fix="mend that and ask again")
    left, now_s = max(rows - record.rows, 0), time.time()
    slowest = sums.rows / max(sums.ended_s - sums.began_s, 1e-9)
    fastest = max(min(slots, sums.rows) * len(tokens) / max(sums.call_s, 1e-9), slowest)
    takes_s = left / fastest, left / slowest
    cost_usd, spent_usd = _cost_usd(options, tokens, left, takes_s), record.job_cost_usd
    deadline_s, budget_usd = options.asking.deadline_s, options.budget_usd
    most_usd = None if cost_usd is None else (spent_usd or 0.0) + cost_usd[1]
    return JobQuote(
        out=options.out,
        quoted=_iso(now_s),
        sampled=sums.rows,
        failed=sums.failed,
        left=left,
        rows_per_s=(slowest, fastest),
        ends=(_iso(now_s + takes_s[0]), _iso(now_s + takes_s[1])),
        input_tokens=round(tokens[:, 0].mean() * left),
        output_tokens=round(tokens[:, 1].mean() * left),
        cost_usd=cost_usd,
        spent_usd=spent_usd,
        deadline=None if deadline_s is None else _iso(deadline_s),
        deadline_holds=None if deadline_s is None else now_s + takes_s[1] <= deadline_s,
        budget_usd=budget_usd,
        budget_holds=None if budget_usd is None or most_usd is None else most_usd <= budget_usd,
    )


def _iso(time_s: float) -> str:
    return utc(time_s).isoformat(timespec="seconds")


def _cost_usd(
    options: JobOptions, tokens: NDArray[np.int64], left: int, takes_s: tuple[float, float]
) -> tuple[float, float] | None:
    """Return what the rows that are left cost: machines as long as they take, or tokens by the mean of the sample."""
    if options.usd_per_hour is not None:
        usd_per_s = options.usd_per_hour / SECONDS_PER_HOUR
        return takes_s[0] * usd_per_s, takes_s[1] * usd_per_s
    if not any(options.asking.usd_per_token):
        return None
    row_usd = tokens @ np.array(options.asking.usd_per_token)
    mean_usd, error_usd = float(row_usd.mean()), _Z * float(row_usd.std()) / math.sqrt(row_usd.size)
    return left * max(mean_usd - error_usd, 0.0), left * (mean_usd + error_usd)
