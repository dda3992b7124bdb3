"""Corrections for each (hardware, engine), and each model of it: fitted on half of the rows, judged on the other."""

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.validate.silicon import Row, simulated
from meritorder.perf.calibration import SPREAD, Floats, Tuning, least_deviations
from meritorder.perf.corrections import Correction
from meritorder.perf.profile import EngineLimits

SOURCE: Final = "aiconfigurator-core 0.12.0 silicon_sample.csv, aggregated rows"
DEFAULT_STEP_TOKENS: Final = EngineLimits().max_num_batched_tokens
_STEP_TOKENS: Final = (8192, 2048, 16384)
_FEWEST: Final = 10
# A search needs some dozens of rows, not hundreds: so many of the fitted half, spread over it.
_ROWS: Final = 80
_ROUNDS_FIRST, _ROUNDS = 4, 16
_PULL: Final = 1e-3
# A row that is off by more says that something else was measured; it counts no more than this.
_FARTHEST: Final = 1.5
# A pace is asked to be twice as near as a first token (8 % against 15 %).
_WEIGHTS: Final = np.array([0.5, 1.0])
# Through a server and a load generator on the same machine: tokenising, HTTP, hand-over to the engine.
_REQUEST_OVERHEAD_S: Final = 0.015
WORKERS: Final = 2
# Quantiles of the residuals that a correction carries, evenly spread in probability.
_LEVELS: Final = np.linspace(0.025, 0.975, 20)

Pairs = NDArray[np.float64]
Key = tuple[str, str, str, str]


def measured(rows: Sequence[Row]) -> Pairs:
    """Return TTFT and TPOT, shape (rows, 2)."""
    return np.array([(row.ttft_s, row.tpot_s) for row in rows])


def predicted(rows: Sequence[Row], tuning: Tuning | None, step_tokens: int) -> Pairs:
    """Return simulated TTFT and TPOT, shape (rows, 2)."""
    return np.array(
        [simulated(row, tuning.applied(row.profile) if tuning else row.profile, step_tokens) for row in rows]
    )


def groups(rows: Sequence[Row]) -> dict[Key, list[Row]]:
    """Return the rows of each (hardware, engine), and of each model and precision of it, that are enough to fit to."""
    found: dict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.hardware, row.engine, "", ""].append(row)
        found[row.hardware, row.engine, row.model, row.precision].append(row)
    return {key: each for key, each in found.items() if min(_halves(each)) >= _FEWEST}


def _halves(rows: Sequence[Row]) -> tuple[int, int]:
    judged = sum(row.half for row in rows)
    return len(rows) - judged, judged


def corrections(rows: Sequence[Row], progress: Callable[[str], None]) -> list[Correction]:
    """Fit and judge every group."""
    wanted = groups(rows)
    with ProcessPoolExecutor(WORKERS) as pool:
        fits = {key: pool.submit(correction, key, each) for key, each in wanted.items()}
        done = []
        for number, (key, fit) in enumerate(fits.items(), start=1):
            progress(f"fitting {' '.join(filter(None, key))} ({number} of {len(fits)})")
            done.append(fit.result())
    return sorted(done, key=lambda each: (each.hardware, each.engine, each.model, each.precision))


def correction(key: Key, rows: Sequence[Row]) -> Correction:
    """Fit and judge one group."""
    fitted = [row for row in rows if row.half == 0]
    judged = [row for row in rows if row.half == 1]
    few = [fitted[i] for i in np.unique(np.linspace(0, len(fitted) - 1, _ROWS).astype(int))]
    fastest = min(few, key=lambda row: min(row.profile.decode_base_s)).profile
    first = replace(Tuning.start(fastest), request_overhead_s=_REQUEST_OVERHEAD_S)

    def search(begin: Floats, step_tokens: int, rounds: int) -> tuple[Floats, float]:
        return least_deviations(lambda x: _residuals(few, first.moved(x), step_tokens), begin, rounds, _PULL)

    tries = {tokens: search(np.zeros(len(SPREAD)), tokens, _ROUNDS_FIRST) for tokens in _STEP_TOKENS}
    step_tokens = min(tries, key=lambda tokens: tries[tokens][1])
    best, _ = search(tries[step_tokens][0], step_tokens, _ROUNDS)
    tuning = first.moved(best)
    theirs = measured(judged)
    corrected = predicted(judged, tuning, step_tokens)
    after = np.median(np.abs(corrected / theirs - 1), axis=0)
    before = np.median(np.abs(predicted(judged, None, DEFAULT_STEP_TOKENS) / theirs - 1), axis=0)
    return Correction(
        hardware=key[0],
        engine=key[1],
        model=key[2],
        precision=key[3],
        tuning={name: float(f"{getattr(tuning, name):.4g}") for name in Tuning.__slots__},
        max_num_batched_tokens=step_tokens,
        fitted_on=len(fitted),
        judged_on=len(judged),
        ttft_median=round(float(after[0]), 4),
        tpot_median=round(float(after[1]), 4),
        ttft_median_before=round(float(before[0]), 4),
        tpot_median_before=round(float(before[1]), 4),
        pace_ratios=[round(float(ratio), 4) for ratio in np.quantile(theirs[:, 1] / corrected[:, 1], _LEVELS)],
        as_of=dt.datetime.now(dt.UTC).date().isoformat(),
        source=SOURCE,
    )


def _residuals(rows: Sequence[Row], tuning: Tuning, step_tokens: int) -> Floats:
    """Return weighted logarithms of simulated / measured, shape (2 rows,)."""
    ratio = np.log(predicted(rows, tuning, step_tokens) / measured(rows))
    return np.asarray((np.clip(ratio, -_FARTHEST, _FARTHEST) * _WEIGHTS).ravel())
