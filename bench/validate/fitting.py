"""Corrections for each (hardware, engine) and its models: fitted on half of the rows, judged on the other half."""

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.validate.optimize import coordinate_descent, deviation, least_deviations
from bench.validate.sample.labels import models_of
from bench.validate.sample.silicon import Row, quickly_simulated, simulated
from meritorder.perf.calibration import Floats, Tuning
from meritorder.perf.corrections import Correction, correct_profile
from meritorder.perf.profile import Profile
from meritorder.perf.versions import middle_version

SOURCE: Final = "aiconfigurator-core 0.12.0 silicon_sample.csv, aggregated rows"
_MIN_ROWS: Final = 10
# Rows of the searches for the start and for the best parameters.
_FEW: Final = 40
_MANY: Final = 120
# Gauss-Newton steps and coordinate sweeps, for a correction of an engine and for one of a model.
_ROUNDS_FIRST, _ROUNDS, _SWEEPS = 2, 6, 2
_ROUNDS_MODEL, _SWEEPS_MODEL = 5, 1
_FIRST_SWEEP: Final = 0.3
_MODEL_SPREAD: Final = 0.7
_PULL: Final = 1e-3
# Rows with a larger residual measured something else, and count no more than this.
_MAX_RESIDUAL: Final = 1.5
# Weights of TTFT and TPOT. The target of TPOT is tighter, 8 % against 15 %, but TPOT is closer already.
_WEIGHTS: Final = np.array([1.0, 1.0])
# A server and a load generator on the same machine: tokenization, HTTP, transfer to the engine.
_REQUEST_OVERHEAD_S: Final = 0.015
_REQUEST_OVERHEADS_S: Final = (0.015, 0.1)
WORKERS: Final = 2
# Parameters of `Tuning` that are fitted, with the spread of their logarithms; operators have scales of their own.
_TUNED: Final = {
    "kv_scale": 0.5,
    "prefill_scale": 0.5,
    "sequence_overhead_s": 1.0,
    "step_overhead_s": 1.0,
    "request_overhead_s": 1.0,
}
_HOST: Final = frozenset({"sequence_overhead_s", "step_overhead_s", "request_overhead_s"})
_SCALE_SPREAD: Final = 0.4
# Other fitted parameters: start of the search, and spread of their logarithms.
_WAITS: Final = {
    "prompt_step_s": (3e-3, 1.5),
    "prompt_token_s": (4e-6, 1.0),
    "prompt_token_overhead_s": (1e-6, 1.5),
    "first_token_steps": (1.0, 1.5),
    "told_share": (0.75, 0.5),
}
_WITHOUT_WEIGHTS: Final = ("attention", "communication")
_MAX_MOVE: Final = 4.0
# Quantiles of the residuals that a correction records, evenly spaced in probability.
LEVELS: Final = np.linspace(0.025, 0.975, 20)

Pairs = NDArray[np.float64]
Key = tuple[str, str, str, str]


def measured(rows: Sequence[Row]) -> Pairs:
    """Return TTFT and TPOT, shape (rows, 2)."""
    return np.array([(row.ttft_s, row.tpot_s) for row in rows])


def log_errors(rows: Sequence[Row], simulated: Pairs) -> Floats:
    """Return log(measured / simulated) of the time of a request."""
    times = zip(rows, measured(rows), simulated, strict=True)
    return np.array([np.log(row.e2e_s(*theirs) / row.e2e_s(*ours)) for row, theirs, ours in times])


def predicted(rows: Sequence[Row], correction: Correction | None) -> Pairs:
    """Return simulated TTFT and TPOT, shape (rows, 2)."""
    if correction is None:
        return np.array([simulated(row, row.profile) for row in rows])
    servers = [
        _with_wait(correction.apply(row.profile), correction.told_share * row.settings.wait_steps) for row in rows
    ]
    return np.array([simulated(row, server) for row, server in zip(rows, servers, strict=True)])


def _with_wait(profile: Profile, steps: float) -> Profile:
    """Return the profile of a server whose requests wait more steps."""
    return msgspec.structs.replace(profile, first_token_steps=profile.first_token_steps + steps)


def groups(rows: Sequence[Row]) -> dict[Key, list[Row]]:
    """Return the rows of each (hardware, engine), and of each of its models and precisions, with enough rows to fit."""
    found: dict[Key, list[Row]] = defaultdict(list)
    for row in (row for row in rows if not row.contradicted):
        found["", row.engine, "", ""].append(row)
        found[row.hardware, row.engine, "", ""].append(row)
        found[row.hardware, row.engine, models_of(row.model)[0], row.precision].append(row)
    return {key: members for key, members in found.items() if min(_halves(members)) >= _MIN_ROWS}


def _halves(rows: Sequence[Row]) -> tuple[int, int]:
    judged = sum(row.half for row in rows)
    return len(rows) - judged, judged


def corrections(rows: Sequence[Row], progress: Callable[[str], None]) -> list[Correction]:
    """Fit and judge the correction of every group."""
    wanted = groups(rows)
    with ProcessPoolExecutor(WORKERS) as pool:
        of_engines = {key: pool.submit(correction, key, members) for key, members in wanted.items() if not key[2]}
        of_models: dict[Key, Future[Correction]] = {}
        done: list[Correction] = []
        for number, (key, fit) in enumerate(of_engines.items(), start=1):
            progress(f"fitting {key[0]} {key[1]} ({number} of {len(of_engines)} engines)")
            general = fit.result()
            done.append(general)
            models = [other for other in wanted if other[:2] == key[:2] and other[2]]
            of_models |= {model: pool.submit(correction, model, wanted[model], general) for model in models}
        for number, (key, fit) in enumerate(of_models.items(), start=1):
            progress(f"fitting {' '.join(key)} ({number} of {len(of_models)} models)")
            done.append(fit.result())
    dated = [msgspec.structs.replace(found, engine_versions=_versions(found, rows)) for found in done]
    return sorted(dated, key=lambda found: (found.hardware, found.engine, found.model, found.precision))


def _versions(found: Correction, rows: Sequence[Row]) -> dict[str, str]:
    """Return the middle version of the servers of each model, where rows state it; else that of its hardware."""
    stated: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.engine == found.engine and row.hardware == found.hardware and not row.contradicted:
            stated[""].append(row.engine_version)
            for model in models_of(row.model):
                stated[f"{model} {row.precision}"].append(row.engine_version)
    every = middle_version(found.engine, stated[""])
    known = {weights: middle_version(found.engine, stated[weights]) or every for weights in found.fitted_to}
    return {weights: version for weights, version in known.items() if version}


class Parts(NamedTuple):
    """The parameters of a correction by kind."""

    tuning: Tuning
    scales: dict[str, float]
    waits: dict[str, float]

    def apply(self, row: Row) -> Profile:
        """Return the corrected profile of a row's server."""
        waits = dict(self.waits)
        wait_steps = waits.pop("told_share") * row.settings.wait_steps
        return _with_wait(
            correct_profile(row.profile, self.tuning, self.scales, **waits),
            wait_steps,
        )


class Parameters(NamedTuple):
    """The parameters that are fitted: their start and spread (perf.calibration)."""

    names: tuple[str, ...]
    start: Floats
    spread: Floats

    @classmethod
    def from_rows(cls, rows: Sequence[Row], *, waits: bool, host_only: bool = False) -> "Parameters":
        """Return the parameters that rows determine.

        Args:
            rows: Rows to fit to.
            waits: Whether servers of the engine are configured to wait.
            host_only: Only the time that the engine's host adds, which carries over to any model and hardware.
        """
        shortest_s = min(min(row.profile.decode_base_s) for row in rows)
        tuning = replace(Tuning.start(_with_floor(rows[0].profile, shortest_s)), request_overhead_s=_REQUEST_OVERHEAD_S)
        tuned = {name: spread for name, spread in _TUNED.items() if not host_only or name in _HOST}
        parameters = {name: (getattr(tuning, name), spread) for name, spread in tuned.items()}
        parameters |= {name: number for name, number in _WAITS.items() if waits or name != "told_share"}
        for scale in () if host_only else sorted(_scales(rows)):
            parameters[scale] = (1.0, _SCALE_SPREAD)
        start, spread = zip(*parameters.values(), strict=True)
        return cls(tuple(parameters), np.array(start), np.array(spread))

    def start_with(self, overhead_s: float) -> Floats:
        """Return a start with this overhead per request; a search from a single start may end in a local minimum."""
        begin = np.zeros(len(self.names))
        begin[self.names.index("request_overhead_s")] = np.log(overhead_s / _REQUEST_OVERHEAD_S)
        return begin

    def beside(self, general: Correction) -> "Parameters":
        """Return the same parameters, to start from a general correction with a smaller spread."""
        known = general.tuning | general.operator_scales | {name: getattr(general, name) for name in _WAITS}
        start = [known.get(name) or own for name, own in zip(self.names, self.start, strict=True)]
        return Parameters(self.names, np.array(start), self.spread * _MODEL_SPREAD)

    def parts(self, moved: Floats) -> Parts:
        """Return the parameters by kind, at a point of the search."""
        values = self.start * np.exp(np.clip(moved, -_MAX_MOVE, _MAX_MOVE))
        by_name = {name: float(f"{value:.4g}") for name, value in zip(self.names, values, strict=True)}
        waits = {name: by_name.pop(name, 0.0) for name in _WAITS}
        tuning = Tuning(**{name: by_name.pop(name) for name in _TUNED if name in by_name})
        return Parts(tuning, by_name, waits)


def _with_floor(profile: Profile, shortest_s: float) -> Profile:
    return msgspec.structs.replace(profile, decode_base_s=[shortest_s] * len(profile.decode_base_s))


def _scales(rows: Sequence[Row]) -> set[str]:
    """Return the classes of operators in the rows, with the precision for those that have weights."""
    found = set()
    for row in rows:
        shares = row.profile.operators
        if shares is None:
            continue
        for of, columns in (("", shares.decode), ("prompt ", shares.step)):
            found |= {f"{of}{kind}" if kind in _WITHOUT_WEIGHTS else f"{of}{kind} {row.precision}" for kind in columns}
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A search for the parameters that fit rows best.

    Args:
        parameters: The parameters.
        rows: Rows to fit to.
    """

    parameters: Parameters
    rows: Sequence[Row]

    def residuals(self, moved: Floats) -> Floats:
        """Return weighted logarithms of simulated / measured, shape (2 rows,)."""
        parts = self.parameters.parts(moved)
        profiles = (parts.apply(row) for row in self.rows)
        times = [quickly_simulated(row, profile) for row, profile in zip(self.rows, profiles, strict=True)]
        ratio = np.log(np.array(times) / measured(self.rows))
        return np.asarray((np.clip(ratio, -_MAX_RESIDUAL, _MAX_RESIDUAL) * _WEIGHTS).ravel())

    def steps(self, begin: Floats, rounds: int) -> tuple[Floats, float]:
        """Minimize by Gauss-Newton steps."""
        return least_deviations(self.residuals, begin, rounds, _PULL, self.parameters.spread)

    def sweeps(self, begin: Floats, count: int) -> tuple[Floats, float]:
        """Minimize one parameter at a time: gradients mislead where a simulation is discontinuous."""
        spread = self.parameters.spread

        def value(moved: Floats) -> float:
            return deviation(self.residuals(moved), moved, _PULL, spread)

        return coordinate_descent(value, begin, spread * _FIRST_SWEEP, count)


def correction(key: Key, rows: Sequence[Row], general: Correction | None = None) -> Correction:
    """Fit and judge one group; a model's correction starts from, and is regularized toward, that of its engine."""
    fitted = [row for row in rows if row.half == 0]
    judged = [row for row in rows if row.half == 1]
    waits = bool(general.told_share) if general else any(row.settings.wait_steps for row in fitted)
    parameters = Parameters.from_rows(fitted, waits=waits, host_only=not key[0])
    if general is None:
        search = Search(parameters=parameters, rows=_spread(fitted, _MANY))
        best, _ = search.sweeps(search.steps(_choose_start(parameters, fitted), _ROUNDS)[0], _SWEEPS)
    else:
        parameters = parameters.beside(general)
        search = Search(parameters=parameters, rows=_spread(fitted, _MANY))
        best, _ = search.sweeps(search.steps(np.zeros(len(parameters.names)), _ROUNDS_MODEL)[0], _SWEEPS_MODEL)
    return _judged(key, fitted, judged, parameters.parts(best))


def _choose_start(parameters: Parameters, fitted: Sequence[Row]) -> Floats:
    """Return the start: the best of two short searches."""
    search = Search(parameters=parameters, rows=_spread(fitted, _FEW))
    tries = [search.steps(parameters.start_with(overhead_s), _ROUNDS_FIRST) for overhead_s in _REQUEST_OVERHEADS_S]
    return min(tries, key=lambda attempt: attempt[1])[0]


def _spread(rows: Sequence[Row], count: int) -> list[Row]:
    """Return a number of rows, evenly spread over all."""
    return [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, count).astype(int))]


def _judged(
    key: Key,
    fitted: Sequence[Row],
    judged: Sequence[Row],
    parts: Parts,
) -> Correction:
    found = Correction(
        hardware=key[0],
        engine=key[1],
        model=key[2],
        precision=key[3],
        fitted_to=sorted({f"{model} {row.precision}" for row in fitted for model in models_of(row.model)}),
        tuning={name: getattr(parts.tuning, name) for name in Tuning.__slots__},
        operator_scales=parts.scales,
        **parts.waits,  # type: ignore[arg-type] # its keys are names of fields
        fitted_on=len(fitted),
        judged_on=len(judged),
        ttft_median=0.0,
        tpot_median=0.0,
        ttft_median_before=0.0,
        tpot_median_before=0.0,
        pace_ratios=[],
        as_of=dt.datetime.now(dt.UTC).date().isoformat(),
        source=SOURCE,
    )
    expected, corrected = measured(judged), predicted(judged, found)
    after = np.median(np.abs(corrected / expected - 1), axis=0)
    before = np.median(np.abs(predicted(judged, None) / expected - 1), axis=0)
    errors = log_errors(judged, corrected)
    ratios = np.exp(np.quantile(errors[np.isfinite(errors)], LEVELS))
    return msgspec.structs.replace(
        found,
        ttft_median=round(float(after[0]), 4),
        tpot_median=round(float(after[1]), 4),
        ttft_median_before=round(float(before[0]), 4),
        tpot_median_before=round(float(before[1]), 4),
        pace_ratios=[round(float(ratio), 4) for ratio in ratios],
    )
