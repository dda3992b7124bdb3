"""Fit a profile to measured requests: simulate the log, compare, and tune the profile (`perf.calibration.Tuning`).

The whole log is simulated, since later requests share the engine with earlier ones; the parameters are fitted to its
first part only, and judged on the rest.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from meritorder import catalog as facts
from meritorder.domain import Provenance
from meritorder.errors import CatalogError, InfeasibleError, PerformanceError, TraceError
from meritorder.latency import tpot_s
from meritorder.perf.calibration import MAX_MOVE, SPREAD, Floats, Timings, Tuning, minimize, misfit, stretch_ratios
from meritorder.perf.limits import limits_of
from meritorder.perf.profile import Calibration, EngineLimits, Errors, Profile
from meritorder.perf.versions import Engine
from meritorder.sim.pools import Fixed, Requests, SimPool
from meritorder.sim.run import simulate
from meritorder.study.calibrate.starting import Deployment, starting_profile
from meritorder.traces.timed import TimedLog, read_timed
from meritorder.units import format_count

_MIN_FITTED: Final = 8
_MIN_UNSEEN: Final = 20
_MAX_SIMULATED: Final = 4000
_STRETCHES: Final = 10
_SEQS: Final = (8, 16, 32, 64, 128, 256, 512, 1024)
_STEP_TOKENS: Final = (2048, 4096, 8192, 16384)
# Evaluations of the first search, of the search under each other engine limit, and of the last search.
_TRIALS, _TRIALS_LIMIT, _TRIALS_LAST = 500, 200, 600
AT_LIMIT: Final = 0.95 * MAX_MOVE
MAX_TTFT_ERROR: Final = 0.5
MAX_PACE_ERROR: Final = 0.25
"""Errors of the mean on requests that a profile was not fitted to; beyond them it is no fit, and is not written."""
# A limit changes only if the misfit falls below this share of the former one, and not by chance.
_IMPROVED: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownLimits:
    """Engine limits that the user states; None is fitted.

    Args:
        max_num_seqs: Most sequences in a step of one replica.
        max_num_batched_tokens: Most tokens in a step of one replica.
        kv_capacity_tokens: Context tokens that fit into the memory of one replica, as the engine logs at its start.
    """

    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    kv_capacity_tokens: int | None = None


@dataclass(slots=True, kw_only=True)
class Fit:
    """A search in progress: the best parameters and engine limits so far."""

    log: TimedLog
    base: Profile
    first: int
    limits: EngineLimits
    fitted: Floats = field(default_factory=lambda: np.ones(len(SPREAD)))
    moved: Floats = field(default_factory=lambda: np.zeros(len(SPREAD)))
    value: float = np.inf

    def profile(self, moved: Floats) -> Profile:
        """Return the base profile with its parameters moved, except those that the user stated."""
        return Tuning.start(self.base).moved(moved * self.fitted).apply(self.base)

    def misfit(self, moved: Floats, limits: EngineLimits) -> float:
        """Simulate, and compare with the part of the log that the profile is fitted to."""
        try:
            simulated = replay(self.log, self.profile(moved), limits)
        except InfeasibleError:
            return np.inf
        part = slice(0, self.first)
        return misfit(simulated.only(part), measured(self.log).only(part), moved)

    def search(self, limits: EngineLimits, trials: int) -> tuple[Floats, float]:
        """Search around the best parameters so far, and again around the result: a simplex can degenerate."""
        first, _ = minimize(lambda x: self.misfit(x, limits), self.moved, SPREAD * 0.5, trials // 2)
        return minimize(lambda x: self.misfit(x, limits), first, SPREAD * 0.5, trials // 2)


def calibrate_logs(
    sources: Sequence[str],
    deployment: Deployment,
    known: KnownLimits,
    *,
    config: str = "",
    fit: int | None = None,
    format: str | None = None,  # noqa: A002  (the name of the option)
    columns: Mapping[str, str] | None = None,
    catalogs: Sequence[facts.Source] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> list[Profile]:
    """Return a profile for each deployment in measured logs.

    Args:
        sources: Files in any trace format with measured times.
        deployment: What the user states about the endpoint, where the log does not.
        known: Engine limits that the user states.
        config: Fit only this deployment of the log.
        fit: Number of requests to fit to, from the start of each; None for the first half.
        format: Name of the trace format; None detects it.
        columns: Field to column, as in `read_trace`.
        catalogs: Files with hardware and models to add, and rates of currencies.
        progress: Called with a description of each stage.

    Raises:
        CatalogError: The model or the accelerator of a log is not known.
        PerformanceError: No profile fits a log.
    """
    return [
        calibrate_log(log, deployment, known, fit=fit, catalogs=catalogs, progress=progress)
        for log in read_timed(sources, config, format=format, columns=columns)
    ]


def calibrate_log(
    log: TimedLog,
    deployment: Deployment,
    known: KnownLimits,
    *,
    fit: int | None = None,
    catalogs: Sequence[facts.Source] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Profile:
    """Return the profile of one deployment, fitted from the nearest known profile."""
    today = dt.datetime.now(dt.UTC).date().isoformat()
    catalog = facts.load(catalogs)
    base = starting_profile(log, catalog, deployment, as_of=today)
    _require_known(base, catalog, log.name)
    fitted = calibrate(log, base, known, fit=fit, progress=progress)
    version = Engine.parse(deployment.engine).version
    return msgspec.structs.replace(fitted, as_of=today, engine_version=version)


def _require_known(base: Profile, catalog: facts.Catalog, where: str) -> None:
    """Raise CatalogError if no price could be found for the profile: its model or accelerator is not in the catalog."""
    for what, name, known, option in (
        ("model", base.model, catalog.models, "--model"),
        ("accelerator", base.hardware, catalog.hardware, "--hardware"),
    ):
        if name not in known:
            fault = "is not stated" if name.startswith("unknown") else f"{name} is not in the catalog"
            raise CatalogError(
                f"its {what} {fault}",
                where=where,
                fix=f"state it with {option}, or describe it with --catalog",
            )


def measured(log: TimedLog) -> Timings:
    """Return the measured times of a log."""
    return Timings(log.ttft_s, log.tpot_s, log.e2e_s)


def replay(log: TimedLog, profile: Profile, limits: EngineLimits) -> Timings:
    """Simulate the requests of a log on the number of replicas that served it.

    Raises:
        InfeasibleError: A request does not fit in memory.
    """
    zeros = np.zeros(len(log))
    requests = Requests(
        arrived_s=log.arrived_s,
        input_tokens=log.input_tokens,
        cached_tokens=log.cached_tokens,
        output_tokens=log.output_tokens,
        latest_start_s=np.full(len(log), np.inf),
        work_s=zeros,
    )
    pool = SimPool(profile=profile, scaling=Fixed(instances=log.replicas), limits=limits)
    result = simulate(requests, (pool,), horizon_s=0.0)
    return Timings(
        result.first_token_s - log.arrived_s,
        tpot_s(result.finished_s, result.first_token_s, log.output_tokens),
        result.finished_s - log.arrived_s,
    )


def calibrate(
    log: TimedLog,
    base: Profile,
    known: KnownLimits,
    *,
    fit: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Profile:
    """Return the profile of the endpoint that the log was measured on.

    Args:
        log: Measured requests.
        base: Profile to start from: the nearest to the same model and hardware.
        known: Engine limits that the user states.
        fit: Number of requests to fit to, from the start; None for the first half.
        progress: Called with a description of each stage.

    Raises:
        TraceError: The log is too short.
        PerformanceError: No profile fits the log.
    """
    log = _head(log, _MAX_SIMULATED)
    first = min(fit or len(log) // 2, len(log))
    if first < _MIN_FITTED:
        fix = f"at least {_MIN_FITTED} are needed for the fit, and as many to judge it"
        if log.dropped:
            fix += (
                f"; without lengths, or with fewer than two of ttft, tpot and e2e: {format_count(log.dropped, 'row')}"
            )
        raise TraceError(f"only {first} requests to fit to", where=log.name, fix=fix)
    if known.kv_capacity_tokens:
        base = msgspec.structs.replace(base, kv_capacity_tokens=known.kv_capacity_tokens)
    search = Fit(log=log, base=base, first=first, limits=_first_limits(log, first, base, known))
    if known.kv_capacity_tokens:
        search.fitted[list(Tuning.__slots__).index("kv_capacity_scale")] = 0.0
    progress(f"fitting {log.name} to its first {first} requests")
    search.moved, search.value = search.search(search.limits, _TRIALS)
    assumed = _fit_limits(search, known, progress)
    progress("judging the fit on the other requests")
    search.moved, search.value = search.search(search.limits, _TRIALS_LAST)
    profile = _judged(search, assumed)
    _refuse_no_fit(search, profile)
    return profile


def _head(log: TimedLog, limit: int) -> TimedLog:
    if len(log) <= limit:
        return log
    columns = ("arrived_s", "input_tokens", "cached_tokens", "output_tokens", "ttft_s", "tpot_s", "e2e_s")
    values = {name: getattr(log, name) for name in TimedLog.__slots__}
    return TimedLog(**values | {name: values[name][:limit] for name in columns})


def _max_concurrent(log: TimedLog, first: int) -> int:
    """Return the most requests that generated at one time, per replica."""
    starts = log.arrived_s[:first] + log.ttft_s[:first]
    ends = log.arrived_s[:first] + log.e2e_s[:first]
    starts, ends = np.sort(starts), np.sort(ends)
    together = np.arange(1, first + 1) - np.searchsorted(ends, starts, side="right")
    return max(1, int(np.ceil(together.max() / log.replicas)))


def _first_limits(log: TimedLog, first: int, base: Profile, known: KnownLimits) -> EngineLimits:
    """Return the initial limits: the largest batch that the log shows, rounded up to a usual setting.

    No larger batch is assumed than was seen to run, so that cost is overestimated rather than underestimated.
    """
    seen = _max_concurrent(log, first)
    usual = next((n for n in _SEQS if n >= seen), _SEQS[-1])
    return limits_of(
        base,
        max_num_seqs=known.max_num_seqs or usual,
        max_num_batched_tokens=known.max_num_batched_tokens or _STEP_TOKENS[0],
    )


def _fit_limits(search: Fit, known: KnownLimits, progress: Callable[[str], None]) -> list[str]:
    """Try other engine limits; return the names of those that make no difference to the log."""
    assumed: list[str] = []
    for name, given, usual in (
        ("max_num_batched_tokens", known.max_num_batched_tokens, _STEP_TOKENS),
        ("max_num_seqs", known.max_num_seqs, _SEQS),
    ):
        if given:
            continue
        here = getattr(search.limits, name)
        trials = [n for n in usual if n > here][: len(_STEP_TOKENS) - 1]
        if name == "max_num_seqs":
            seen = _max_concurrent(search.log, search.first)
            trials = [*[n for n in _SEQS if n < seen][-1:], seen, *trials[:1]]
        matters = False
        best, best_value, moved = here, search.value * _IMPROVED, search.moved
        for trial in trials:
            limits = msgspec.structs.replace(search.limits, **{name: trial})
            if trial == here or limits.max_num_batched_tokens <= limits.max_num_seqs:
                continue
            progress(f"trying {name} {trial}")
            there, value = search.search(limits, _TRIALS_LIMIT)
            matters = matters or (trial > here and value > search.value / _IMPROVED)
            if value < best_value:
                best, best_value, moved, matters = trial, value, there, True
        search.limits = msgspec.structs.replace(search.limits, **{name: best})
        search.moved, search.value = moved, min(search.value, best_value) if best != here else search.value
        if not matters:
            assumed.append(name)
    return assumed


def _refuse_no_fit(search: Fit, profile: Profile) -> None:
    """Raise PerformanceError if a parameter is at its limit, or the errors are beyond their bounds."""
    calibration = profile.calibration
    if calibration is None:
        return
    reasons = [
        f"{name} is {value:.3g}, at the limit of what is searched"
        for (name, value), moved in zip(calibration.parameters.items(), search.moved * search.fitted, strict=True)
        if name.endswith("_scale") and (moved >= AT_LIMIT or (moved <= -AT_LIMIT and name == "decode_scale"))
    ]
    for name, errors, bound in (
        ("TTFT", calibration.ttft, MAX_TTFT_ERROR),
        ("TPOT", calibration.tpot, MAX_PACE_ERROR),
        ("E2E", calibration.e2e, MAX_PACE_ERROR),
    ):
        if abs(errors.of_mean) > bound:
            reasons.append(f"the mean {name} is {errors.of_mean:+,.0%} off, more than {bound:.0%}")
    if reasons:
        raise PerformanceError(
            f"no profile fits these requests: {'; '.join(reasons)}",
            where=search.log.name,
            fix="check the units of the times, --model, --hardware and --tp, and that nothing else used the endpoint",
        )


def _judged(search: Fit, assumed: list[str]) -> Profile:
    """Return the fitted profile, with its errors on requests that it was not fitted to."""
    log = search.log
    fitted = search.profile(search.moved)
    unseen = len(log) - search.first >= _MIN_UNSEEN
    part = slice(search.first, None) if unseen else slice(None)
    simulated, expected = replay(log, fitted, search.limits).only(part), measured(log).only(part)
    tuning = Tuning.start(search.base).moved(search.moved * search.fitted)
    calibration = Calibration(
        log=log.name,
        columns=log.columns,
        notes=[*log.notes, *([f"{log.dropped:,} rows are left out"] if log.dropped else [])],
        replicas=log.replicas,
        fitted_on=search.first,
        judged_on=len(expected.e2e_s),
        unseen=unseen,
        assumed=assumed,
        parameters={name: float(f"{getattr(tuning, name):.4g}") for name in Tuning.__slots__},
        ttft=Errors.between(simulated.ttft_s, expected.ttft_s),
        tpot=Errors.between(simulated.tpot_s, expected.tpot_s),
        e2e=Errors.between(simulated.e2e_s, expected.e2e_s),
        pace_ratios=stretch_ratios(simulated.tpot_s, expected.tpot_s, _STRETCHES),
    )
    return msgspec.structs.replace(
        fitted,
        provenance=Provenance.CALIBRATED,
        source=f"calibrated on {log.name}, from {search.base.source}",
        limits=search.limits,
        calibration=calibration,
    )
