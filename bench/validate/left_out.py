"""Whether a correction helps models that it was not fitted to: each model is left out once.

A correction is fitted without the rows of one architecture, and judged on these. It is used for other models of a kind,
dense or mixture of experts, only if it lowers the median error of the time of a request over all rows of that kind that
were left out by a tenth, since less is chance: that of the plain tables, or for a correction of one hardware that of a
correction of host time alone. One that leaves half of its own servers a third off is none: its rows contradict each
other.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import msgspec
import numpy as np

from bench.validate.fitting import LEVELS, WORKERS, Parameters, Search, measured
from bench.validate.sample.labels import models_of
from bench.validate.sample.silicon import Row, quickly_simulated
from meritorder.perf.corrections import Correction, model_kind
from meritorder.perf.profile import Floats

# Rows to fit to and to judge on, and steps of the fit: a direction is enough, not the last percent.
_ROWS: Final = 60
_ROUNDS: Final = 4
_ENOUGH: Final = 10
_CHANCE: Final = 0.1
_MOST_ERROR: Final = 1 / 3


def earned(rows: Sequence[Row], corrections: Sequence[Correction], progress: Callable[[str], None]) -> list[Correction]:
    """Return the corrections that help, with the kinds of models that each of an engine may be used for unseen."""
    general = [correction for correction in corrections if not correction.model]
    with ProcessPoolExecutor(WORKERS) as pool:
        transfers = {
            (correction.hardware, correction.engine): pool.submit(_transfers, _rows_of(correction, rows))
            for correction in general
        }
        for number, (key, outcome) in enumerate(transfers.items(), start=1):
            progress(f"leaving out models of {' '.join(key)} ({number} of {len(transfers)} engines)")
            outcome.result()
    return [
        msgspec.structs.replace(found, transfers=transfers[found.hardware, found.engine].result())
        if not found.model
        else found
        for found in corrections
        if found.tpot_median <= _MOST_ERROR
    ]


def _rows_of(correction: Correction, rows: Sequence[Row]) -> list[Row]:
    return [
        row
        for row in rows
        if row.engine == correction.engine and correction.hardware in {"", row.hardware} and not row.contradicted
    ]


def _transfers(rows: Sequence[Row]) -> dict[str, list[float]]:
    """Return measured / simulated times of requests of unseen models, by the kinds of models that are helped."""
    host_only = len({row.hardware for row in rows}) > 1
    found = {}
    for kind, (before, after) in left_out_ratios(rows, host_only=host_only).items():
        if np.median(np.abs(after)) < (1 - _CHANCE) * np.median(np.abs(before)):
            found[kind] = [round(float(ratio), 4) for ratio in np.exp(np.quantile(after, LEVELS))]
    return found


def left_out_ratios(rows: Sequence[Row], *, host_only: bool) -> dict[str, tuple[Floats, Floats]]:
    """Return log(measured / simulated) of the time of a request by kind of model, without and with the correction."""
    by_architecture: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        by_architecture[tuple(sorted(models_of(row.model)))].append(row)
    ratios: dict[str, list[tuple[Floats, Floats]]] = defaultdict(list)
    for architecture, judged in by_architecture.items():
        others = [row for key, group in by_architecture.items() if key != architecture for row in group]
        if len(judged) < _ENOUGH or len(others) < _ENOUGH:
            continue
        some, fitted = _some(judged), _some(others)
        before = _plain(some) if host_only else _corrected(fitted, some, host_only=True)
        ratios[model_kind(some[0].profile)].append((before, _corrected(fitted, some, host_only=host_only)))
    return {kind: (_joined(pairs, 0), _joined(pairs, 1)) for kind, pairs in ratios.items()}


def _joined(pairs: Sequence[tuple[Floats, Floats]], which: int) -> Floats:
    return np.concatenate([pair[which] for pair in pairs])


def _some(rows: Sequence[Row]) -> list[Row]:
    return [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, _ROWS).astype(int))]


def _plain(rows: Sequence[Row]) -> Floats:
    return _ratios(rows, [quickly_simulated(row, row.profile) for row in rows])


def _corrected(fitted: Sequence[Row], judged: Sequence[Row], *, host_only: bool) -> Floats:
    waits = any(row.settings.wait_steps for row in fitted)
    parameters = Parameters.from_rows(fitted, waits=waits, host_only=host_only)
    best, _ = Search(parameters=parameters, rows=fitted).steps(np.zeros(len(parameters.names)), _ROUNDS)
    parts = parameters.parts(best)
    return _ratios(judged, [quickly_simulated(row, parts.apply(row)) for row in judged])


def _ratios(rows: Sequence[Row], simulated: Sequence[tuple[float, float]]) -> Floats:
    ours = np.array([row.e2e_s(*times) for row, times in zip(rows, simulated, strict=True)])
    theirs = np.array([row.e2e_s(*times) for row, times in zip(rows, measured(rows), strict=True)])
    ratios = np.log(theirs / ours)
    return np.asarray(ratios[np.isfinite(ratios)])
