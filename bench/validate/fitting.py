"""One correction for each (hardware, engine): fitted on half of the rows, judged on the other."""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.validate.silicon import Row, simulated
from meritorder.perf.calibration import SPREAD, Floats, Tuning, minimise
from meritorder.perf.corrections import Correction
from meritorder.perf.profile import EngineLimits

SOURCE: Final = "aiconfigurator-core 0.12.0 silicon_sample.csv, aggregated rows"
DEFAULT_STEP_TOKENS: Final = EngineLimits().max_num_batched_tokens
_STEP_TOKENS: Final = (2048, 4096, 8192, 16384)
_FEWEST: Final = 12
# A search needs a few dozen rows, not all: the first so many of the fitted half, spread over it.
_ROWS: Final = 90
_TRIALS_FIRST, _TRIALS = 60, 220
_PULL: Final = 2e-4
_ROBUST: Final = 0.1

Pairs = NDArray[np.float64]


def measured(rows: Sequence[Row]) -> Pairs:
    """Return TTFT and TPOT, shape (rows, 2)."""
    return np.array([(row.ttft_s, row.tpot_s) for row in rows])


def predicted(rows: Sequence[Row], tuning: Tuning | None, step_tokens: int) -> Pairs:
    """Return simulated TTFT and TPOT, shape (rows, 2)."""
    return np.array(
        [simulated(row, tuning.applied(row.profile) if tuning else row.profile, step_tokens) for row in rows]
    )


def start(row_group: Sequence[Row]) -> Tuning:
    """Where a search begins: overheads of a typical step of the group."""
    fastest = min(row_group, key=lambda row: min(row.profile.decode_base_s))
    return Tuning.start(fastest.profile)


def correction(group: tuple[str, str], rows: Sequence[Row], progress: Callable[[str], None]) -> Correction | None:
    """Fit and judge one group; None where there are too few rows for both."""
    fitted = [row for row in rows if row.half == 0]
    judged = [row for row in rows if row.half == 1]
    if min(len(fitted), len(judged)) < _FEWEST:
        return None
    few = [fitted[i] for i in np.unique(np.linspace(0, len(fitted) - 1, _ROWS).astype(int))]
    first = start(few)

    def search(begin: Floats, step_tokens: int, trials: int) -> tuple[Floats, float]:
        return minimise(lambda x: _misfit(few, first.moved(x), step_tokens, x), begin, SPREAD * 0.7, trials)

    best, best_value, best_tokens = np.zeros(len(SPREAD)), np.inf, DEFAULT_STEP_TOKENS
    for step_tokens in _STEP_TOKENS:
        progress(f"{group}: trying {step_tokens} tokens a step")
        moved, value = search(np.zeros(len(SPREAD)), step_tokens, _TRIALS_FIRST)
        if value < best_value:
            best, best_value, best_tokens = moved, value, step_tokens
    progress(f"{group}: fitting with {best_tokens} tokens a step")
    best, _ = search(best, best_tokens, _TRIALS)
    tuning = first.moved(best)
    after, before = predicted(judged, tuning, best_tokens), predicted(judged, None, DEFAULT_STEP_TOKENS)
    theirs = measured(judged)
    error = np.median(np.abs(after / theirs - 1), axis=0)
    return Correction(
        hardware=group[0],
        engine=group[1],
        tuning={name: float(f"{getattr(tuning, name):.4g}") for name in Tuning.__slots__},
        max_num_batched_tokens=best_tokens,
        fitted_on=len(fitted),
        judged_on=len(judged),
        ttft_median=round(float(error[0]), 4),
        tpot_median=round(float(error[1]), 4),
        tpot_median_before=round(float(np.median(np.abs(before[:, 1] / theirs[:, 1] - 1))), 4),
        as_of=dt.datetime.now(dt.UTC).date().isoformat(),
        source=SOURCE,
    )


def _misfit(rows: Sequence[Row], tuning: Tuning, step_tokens: int, moved: Floats) -> float:
    """Return the mean over rows of huber(log error) of TTFT and of TPOT, and the pull of the parameters."""
    ours, theirs = predicted(rows, tuning, step_tokens), measured(rows)
    distance = np.minimum(np.abs(np.log(ours / theirs)), 3.0)
    huber = np.where(distance < _ROBUST, distance**2, _ROBUST * (2 * distance - _ROBUST))
    return float(huber.sum(axis=1).mean()) + _PULL * float(np.sum((moved / SPREAD) ** 2))
