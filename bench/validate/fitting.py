"""Corrections for each (hardware, engine), and each model of it: fitted on half of the rows, judged on the other."""

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
from bench.validate.silicon import Row, quickly_simulated, simulated
from meritorder.perf.calibration import Floats, Tuning
from meritorder.perf.corrections import Correction, correct_profile
from meritorder.perf.profile import EngineLimits, Profile

SOURCE: Final = "aiconfigurator-core 0.12.0 silicon_sample.csv, aggregated rows"
DEFAULT_STEP_TOKENS: Final = EngineLimits().max_num_batched_tokens
_STEP_TOKENS: Final = (8192, 2048, 16384)
_FEWEST: Final = 10
# Rows, spread over those to be fitted to: so many tell where to begin, and so many what is best.
_FEW: Final = 40
_MANY: Final = 300
# Steps along the slopes and sweeps over the numbers, of a general correction and of one of a model.
_ROUNDS_FIRST, _ROUNDS, _SWEEPS = 2, 8, 8
_ROUNDS_MODEL, _SWEEPS_MODEL = 5, 4
_FIRST_SWEEP: Final = 0.3
_MODEL_SPREAD: Final = 0.7
_PULL: Final = 1e-3
# A row that is off by more says that something else was measured; it counts no more than this.
_FARTHEST: Final = 1.5
# Of a first token and a pace. A pace is asked to be nearer, 8 % against 15 %, but is nearer already.
_WEIGHTS: Final = np.array([1.0, 1.0])
# Through a server and a load generator on the same machine: tokenising, HTTP, hand-over to the engine.
_REQUEST_OVERHEAD_S: Final = 0.015
_REQUEST_OVERHEADS_S: Final = (0.015, 0.1)
WORKERS: Final = 2
# Numbers of `Tuning` that are searched for, with the spread of their logarithms; operators have scales of their own.
_TUNED: Final = {
    "kv_scale": 0.5,
    "prefill_scale": 0.5,
    # The library counts bytes, at 90 % of the memory: there is little more.
    "kv_capacity_scale": 0.1,
    "sequence_overhead_s": 1.0,
    "step_overhead_s": 1.0,
    "request_overhead_s": 1.0,
}
_SCALE_SPREAD: Final = 0.4
# The others that are: where the search begins, and the spread of their logarithms.
_WAITS: Final = {
    "prompt_step_s": (3e-3, 1.5),
    "prompt_token_overhead_s": (1e-6, 1.5),
    "first_token_steps": (1.0, 1.5),
    "told_share": (0.75, 0.5),
}
_WITHOUT_WEIGHTS: Final = ("attention", "communication")
_FARTHEST_MOVE: Final = 4.0
# Quantiles of the residuals that a correction carries, evenly spread in probability.
_LEVELS: Final = np.linspace(0.025, 0.975, 20)

Pairs = NDArray[np.float64]
Key = tuple[str, str, str, str]


def measured(rows: Sequence[Row]) -> Pairs:
    """Return TTFT and TPOT, shape (rows, 2)."""
    return np.array([(row.ttft_s, row.tpot_s) for row in rows])


def predicted(rows: Sequence[Row], correction: Correction | None) -> Pairs:
    """Return simulated TTFT and TPOT, shape (rows, 2)."""
    if correction is None:
        return np.array([simulated(row, row.profile, DEFAULT_STEP_TOKENS) for row in rows])
    step_tokens = correction.max_num_batched_tokens
    servers = [_told(correction.apply(row.profile), correction.told_share * row.told.wait_steps) for row in rows]
    return np.array([simulated(row, server, step_tokens) for row, server in zip(rows, servers, strict=True)])


def _told(profile: Profile, steps: float) -> Profile:
    """Return the profile of a server that was told to wait so many steps more."""
    return msgspec.structs.replace(profile, first_token_steps=profile.first_token_steps + steps)


def groups(rows: Sequence[Row]) -> dict[Key, list[Row]]:
    """Return the rows of each (hardware, engine), and of each model and precision of it, that are enough to fit to."""
    found: dict[Key, list[Row]] = defaultdict(list)
    for row in (each for each in rows if not each.contradicted):
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
        of_engines = {key: pool.submit(correction, key, each) for key, each in wanted.items() if not key[2]}
        of_models: dict[Key, Future[Correction]] = {}
        done: list[Correction] = []
        for number, (key, fit) in enumerate(of_engines.items(), start=1):
            progress(f"fitting {key[0]} {key[1]} ({number} of {len(of_engines)} engines)")
            general = fit.result()
            done.append(general)
            models = [each for each in wanted if each[:2] == key[:2] and each[2]]
            of_models |= {each: pool.submit(correction, each, wanted[each], general) for each in models}
        for number, (key, fit) in enumerate(of_models.items(), start=1):
            progress(f"fitting {' '.join(key)} ({number} of {len(of_models)} models)")
            done.append(fit.result())
    return sorted(done, key=lambda each: (each.hardware, each.engine, each.model, each.precision))


class Parts(NamedTuple):
    """The numbers of a correction, as it has them."""

    tuning: Tuning
    scales: dict[str, float]
    waits: dict[str, float]

    def apply(self, row: Row, step_tokens: int) -> Profile:
        """Return the profile of a row's server, corrected."""
        waits = dict(self.waits)
        told_steps = waits.pop("told_share") * row.told.wait_steps
        return _told(
            correct_profile(row.profile, self.tuning, self.scales, **waits, step_tokens=step_tokens), told_steps
        )


class Numbers(NamedTuple):
    """The numbers that are searched for: where the search begins, and how far it may go (perf.calibration)."""

    names: tuple[str, ...]
    start: Floats
    spread: Floats

    @classmethod
    def of(cls, rows: Sequence[Row], *, told: bool) -> "Numbers":
        """Return those that rows can tell about; `told` if servers of the engine were told to wait."""
        shortest_s = min(min(row.profile.decode_base_s) for row in rows)
        tuning = replace(Tuning.start(_with_floor(rows[0].profile, shortest_s)), request_overhead_s=_REQUEST_OVERHEAD_S)
        numbers = {name: (getattr(tuning, name), spread) for name, spread in _TUNED.items()}
        numbers |= {name: number for name, number in _WAITS.items() if told or name != "told_share"}
        for scale in sorted(_scales(rows)):
            numbers[scale] = (1.0, _SCALE_SPREAD)
        start, spread = zip(*numbers.values(), strict=True)
        return cls(tuple(numbers), np.array(start), np.array(spread))

    def beginning(self, overhead_s: float) -> Floats:
        """Return where to begin with so much before each request; a search from one place alone may stay there."""
        begin = np.zeros(len(self.names))
        begin[self.names.index("request_overhead_s")] = np.log(overhead_s / _REQUEST_OVERHEAD_S)
        return begin

    def beside(self, general: Correction) -> "Numbers":
        """Return the same numbers, to begin where a general correction has them and to stay nearer."""
        known = general.tuning | general.operator_scales | {name: getattr(general, name) for name in _WAITS}
        start = [known.get(name) or own for name, own in zip(self.names, self.start, strict=True)]
        return Numbers(self.names, np.array(start), self.spread * _MODEL_SPREAD)

    def parts(self, moved: Floats) -> Parts:
        """Return the numbers as a correction has them."""
        values = self.start * np.exp(np.clip(moved, -_FARTHEST_MOVE, _FARTHEST_MOVE))
        by_name = {name: float(f"{value:.4g}") for name, value in zip(self.names, values, strict=True)}
        waits = {name: by_name.pop(name, 0.0) for name in _WAITS}
        tuning = Tuning(**{name: by_name.pop(name) for name in _TUNED})
        return Parts(tuning, by_name, waits)


def _with_floor(profile: Profile, shortest_s: float) -> Profile:
    return msgspec.structs.replace(profile, decode_base_s=[shortest_s] * len(profile.decode_base_s))


def _scales(rows: Sequence[Row]) -> set[str]:
    """Return the classes of operators that the rows have: with the precision where the weights have one."""
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
    """A search for the numbers that fit rows best, at one step length.

    Args:
        numbers: What is searched for.
        rows: Rows to fit to.
        step_tokens: Prompt tokens in a step.
    """

    numbers: Numbers
    rows: Sequence[Row]
    step_tokens: int

    def residuals(self, moved: Floats) -> Floats:
        """Return weighted logarithms of simulated / measured, shape (2 rows,)."""
        parts = self.numbers.parts(moved)
        profiles = (parts.apply(row, self.step_tokens) for row in self.rows)
        ours = [quickly_simulated(row, one, self.step_tokens) for row, one in zip(self.rows, profiles, strict=True)]
        ratio = np.log(np.array(ours) / measured(self.rows))
        return np.asarray((np.clip(ratio, -_FARTHEST, _FARTHEST) * _WEIGHTS).ravel())

    def steps(self, begin: Floats, rounds: int) -> tuple[Floats, float]:
        """Follow the slopes."""
        return least_deviations(self.residuals, begin, rounds, _PULL, self.numbers.spread)

    def sweeps(self, begin: Floats, count: int) -> tuple[Floats, float]:
        """Try each number alone: slopes mislead where a simulation jumps."""
        spread = self.numbers.spread

        def value(moved: Floats) -> float:
            return deviation(self.residuals(moved), moved, _PULL, spread)

        return coordinate_descent(value, begin, spread * _FIRST_SWEEP, count)


def correction(key: Key, rows: Sequence[Row], general: Correction | None = None) -> Correction:
    """Fit and judge one group; one of a model begins with, and is drawn to, the general one of its engine."""
    fitted = [row for row in rows if row.half == 0]
    judged = [row for row in rows if row.half == 1]
    told = bool(general.told_share) if general else any(row.told.wait_steps for row in fitted)
    numbers = Numbers.of(fitted, told=told)
    if general is None:
        begin, step_tokens = _beginning(numbers, fitted)
        search = Search(numbers=numbers, rows=_spread(fitted, _MANY), step_tokens=step_tokens)
        best, _ = search.sweeps(search.steps(begin, _ROUNDS)[0], _SWEEPS)
    else:
        step_tokens = general.max_num_batched_tokens
        numbers = numbers.beside(general)
        search = Search(numbers=numbers, rows=_spread(fitted, _MANY), step_tokens=step_tokens)
        best, _ = search.sweeps(search.steps(np.zeros(len(numbers.names)), _ROUNDS_MODEL)[0], _SWEEPS_MODEL)
    return _judged(key, fitted, judged, numbers.parts(best), step_tokens)


def _beginning(numbers: Numbers, fitted: Sequence[Row]) -> tuple[Floats, int]:
    """Return where to begin, and at which step length: the best of a few short searches."""
    tries = []
    for step_tokens in _STEP_TOKENS:
        search = Search(numbers=numbers, rows=_spread(fitted, _FEW), step_tokens=step_tokens)
        begins = [numbers.beginning(overhead_s) for overhead_s in _REQUEST_OVERHEADS_S]
        tries += [(*search.steps(begin, _ROUNDS_FIRST), step_tokens) for begin in begins]
    begin, _, step_tokens = min(tries, key=lambda each: each[1])
    return begin, step_tokens


def _spread(rows: Sequence[Row], most: int) -> list[Row]:
    """Return so many rows, evenly spread over all."""
    return [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, most).astype(int))]


def _judged(
    key: Key,
    fitted: Sequence[Row],
    judged: Sequence[Row],
    parts: Parts,
    step_tokens: int,
) -> Correction:
    found = Correction(
        hardware=key[0],
        engine=key[1],
        model=key[2],
        precision=key[3],
        tuning={name: getattr(parts.tuning, name) for name in Tuning.__slots__},
        operator_scales=parts.scales,
        **parts.waits,
        max_num_batched_tokens=step_tokens,
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
    theirs, ours = measured(judged), predicted(judged, found)
    after = np.median(np.abs(ours / theirs - 1), axis=0)
    before = np.median(np.abs(predicted(judged, None) / theirs - 1), axis=0)
    ratios = np.quantile(theirs[:, 1] / ours[:, 1], _LEVELS)
    return msgspec.structs.replace(
        found,
        ttft_median=round(float(after[0]), 4),
        tpot_median=round(float(after[1]), 4),
        ttft_median_before=round(float(before[0]), 4),
        tpot_median_before=round(float(before[1]), 4),
        pace_ratios=[round(float(ratio), 4) for ratio in ratios],
    )
