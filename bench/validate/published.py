"""Published throughputs, which no fit has seen, against what `compare` computes; and intervals by source left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl

from meritorder import catalog as facts
from meritorder.domain import Provenance
from meritorder.errors import MeritorderError
from meritorder.perf.accuracy import SOURCE_SPREAD
from meritorder.perf.limits import limits_of
from meritorder.perf.profile import Profile
from meritorder.sim.pools import Fixed, Requests, SimPool
from meritorder.sim.run import simulate
from meritorder.sim.saturation import saturate
from meritorder.study.fleet.machines import measured_profiles

RESULTS: Final = Path(__file__).parents[3] / "shared/data/measured/published_throughput.csv"
# GPUStack's "H100" takes 43.4 ms for a token of Qwen3-32B in bf16 at a batch of one with 32,000 tokens of context, of
# which it reads 65.5 GB of weights and 8.4 GB of cache: 1.7 TB/s, 85 % of the 2.0 of an H100 PCIe and half of the 3.35
# of an H100 SXM. Source: gpustack/gpustack, docs/performance-lab/qwen3-32b/h100.md, mean TPOT, read 2026-11-30.
_TRUE_HARDWARE: Final = {("gpustack/gpustack", "h100"): "h100-pcie"}
# Lengths of ShareGPT vary by about their mean.
_LOG_SPREAD: Final = float(np.sqrt(np.log(2.0)))
_MANY: Final = 4000
_OUTSIDE: Final = 0.2
_ENOUGH: Final = 10
_SHRINKAGE: Final = 100
_DRAWS: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One published throughput, and the simulated one as `compare` runs: on its hardware, and on that of its name.

    Both are None, with the reason, where the tables do not cover it.
    """

    source: str
    label: str
    engine: str
    hardware: str
    corrected: str = ""
    lengths: str
    measured: float
    simulated: float | None = None
    as_named: float | None = None
    reason: str = ""

    @property
    def error(self) -> float | None:
        """Simulated / measured - 1."""
        return None if self.simulated is None else self.simulated / self.measured - 1

    @property
    def cells(self) -> tuple[str, str, str]:
        """The simulated throughput and the errors, as text."""
        if self.error is None:
            return "-", "-", f"no data: {self.reason}"[:80]
        return f"{self.simulated:,.0f}", f"{(self.as_named or 0) / self.measured - 1:+.0%}", f"{self.error:+.0%}"


def results() -> list[Published]:
    """Return all published throughputs at hand, simulated if there are data; none where the folder is absent."""
    if not RESULTS.exists():
        return []
    catalog = facts.load(())
    return [_result(catalog, row) for row in pl.read_csv(RESULTS).iter_rows(named=True)]


def _result(catalog: facts.Catalog, row: dict[str, object]) -> Published:
    gpus = int(str(row["gpus"]))
    source = str(row["source"]).split(" ", maxsplit=1)[0]
    hardware = _TRUE_HARDWARE.get((source, str(row["hardware"])), str(row["hardware"]))
    known: dict[str, Any] = {
        "source": source,
        "label": f"{row['model']} on {gpus}x{hardware} ({row['engine']}, {row['precision']})",
        "engine": str(row["engine"]),
        "hardware": hardware,
        "lengths": f"{row['input_tokens']:,} + {row['output_tokens']:,}",
        "measured": float(str(row["measured"])),
    }
    try:
        named, true = (
            measured_profiles(
                catalog,
                catalog.find_model(str(row["model"])),
                catalog.find_hardware(name),
                engine=str(row["engine"]),
                precision=str(row["precision"]),
                gpus=gpus,
            )[0]
            for name in (str(row["hardware"]), hardware)
        )
        as_named, simulated = (_throughput(row, profile) for profile in (named, true))
    except MeritorderError as error:
        return Published(**known, reason=error.what)
    corrected = _corrected_by(true)
    return Published(**known, corrected=corrected, simulated=simulated, as_named=as_named)


def _corrected_by(profile: Profile) -> str:
    """Return what a profile was corrected by, from its residuals."""
    basis = profile.residuals.basis if profile.residuals else "left out"
    if profile.provenance is Provenance.INTERPOLATED or "left out" in basis:
        return "host"
    return "model" if profile.model in basis else "engine"


def _throughput(row: dict[str, object], profile: Profile) -> float:
    """Return the throughput in the unit of the row: of its requests sent at once, else of a saturated replica."""
    limits = limits_of(profile)
    inputs, outputs = _lengths(row)
    requests = Requests(
        arrived_s=np.zeros(len(inputs)),
        input_tokens=inputs,
        cached_tokens=np.zeros(len(inputs), np.int32),
        output_tokens=outputs,
        latest_start_s=np.full(len(inputs), np.inf),
        work_s=np.zeros(len(inputs)),
    )
    total = int(inputs.sum(dtype=np.int64) + outputs.sum(dtype=np.int64))
    if row["requests"]:
        pool = SimPool(profile=profile, scaling=Fixed(instances=1), limits=limits)
        tokens_per_s = total / float(simulate(requests, (pool,), horizon_s=0.0).finished_s.max())
    else:
        tokens_per_s = saturate(requests, profile, limits).tokens_per_s
    if str(row["unit"]).startswith("output"):
        return tokens_per_s * int(outputs.sum(dtype=np.int64)) / total / profile.gpus
    return tokens_per_s


def _lengths(row: dict[str, object]) -> tuple[np.ndarray, np.ndarray]:
    """Return the lengths of the requests: the stated ones, or drawn around the stated means."""
    count = int(str(row["requests"] or _MANY))
    generator = np.random.default_rng(0)
    means = int(str(row["input_tokens"])), int(str(row["output_tokens"]))
    if "heavy-tailed" not in str(row["load"]):
        return np.full(count, means[0], np.int32), np.full(count, means[1], np.int32)
    drawn = [generator.lognormal(0.0, _LOG_SPREAD, count) for _ in means]
    inputs, outputs = (
        np.maximum(x / x.mean() * mean, 2).astype(np.int32) for x, mean in zip(drawn, means, strict=True)
    )
    return inputs, outputs


class Point(NamedTuple):
    """An error that no fit has seen: log(measured / simulated) of the time of the work.

    Attributes:
        source: Who measured.
        corrected: What the profile was corrected by: "model", "engine" or "host".
        hardware: `Hardware.id`.
        engine: Engine.
        error: The error.
    """

    source: str
    corrected: str
    hardware: str
    engine: str
    error: float


class Coverage(NamedTuple):
    """How intervals of 80 % hold the points of sources that were left out, beside one constant interval for all.

    Scores are mean interval scores on the logarithm, the lower the better (Gneiting and Raftery, JASA 102, 2007).
    """

    source: str
    points: int
    held: float
    score: float
    constant_held: float
    constant_score: float


def coverage(points: Sequence[Point]) -> list[Coverage]:
    """Leave each source out once: intervals from all others, on its points; the last row pools all points."""
    outcomes: dict[str, list[tuple[float, ...]]] = {}
    for source in sorted({point.source for point in points}):
        others = [point for point in points if point.source != source]
        constant = _interval([point.error for point in others], 0.0)
        intervals: dict[tuple[str, ...], tuple[float, float]] = {}
        outcomes[source] = []
        for point in (point for point in points if point.source == source):
            group = point.corrected, point.hardware, point.engine
            intervals[group] = intervals.get(group) or _specific(others, point)
            outcomes[source].append((*_score(point.error, *intervals[group]), *_score(point.error, *constant)))
    pooled = {**outcomes, "all": [outcome for group in outcomes.values() for outcome in group]}
    return [
        Coverage(source, len(group), *(float(mean) for mean in np.mean(group, axis=0)))
        for source, group in pooled.items()
        if group
    ]


def _specific(others: Sequence[Point], point: Point) -> tuple[float, float]:
    """Return the interval of the most specific group with enough points, the less of its own the fewer it has."""
    alike = [other for other in others if other.corrected == point.corrected]
    of_engine = [other for other in alike if other.engine == point.engine]
    here = [other for other in of_engine if other.hardware == point.hardware]
    groups = [[other.error for other in group] for group in (here, of_engine, alike, others)]
    errors = next((group for group in groups if len(group) >= _ENOUGH), groups[-1])
    weight = len(errors) / (len(errors) + _SHRINKAGE)
    own, common = _interval(errors, SOURCE_SPREAD), _interval(groups[-1], 0.0)
    low, high = (weight * mine + (1 - weight) * theirs for mine, theirs in zip(own, common, strict=True))
    return low, high


def _interval(errors: Sequence[float], spread: float) -> tuple[float, float]:
    generator = np.random.default_rng(0)
    drawn = generator.choice(np.array(errors), _DRAWS) + generator.standard_normal(_DRAWS) * spread
    low, high = np.quantile(drawn, (_OUTSIDE / 2, 1 - _OUTSIDE / 2))
    return float(low), float(high)


def _score(error: float, low: float, high: float) -> tuple[float, float]:
    beyond = max(low - error, 0.0) + max(error - high, 0.0)
    return float(low <= error <= high), high - low + 2 / _OUTSIDE * beyond
