"""Published throughputs, which no fit has seen, against what `compare` computes, and the ranges that it states."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

from meritorder import catalog as facts
from meritorder.domain import Provenance, Replica
from meritorder.errors import MeritorderError, PerformanceError
from meritorder.perf.accuracy import expected_accuracy
from meritorder.perf.limits import limits_of
from meritorder.perf.profile import Profile
from meritorder.perf.versions import months_between
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
# TensorRT-LLM's page names data-parallel attention with expert parallelism DEP.
_DATA_PARALLEL: Final = "dep"


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
    profile: Profile | None = None
    reason: str = ""

    @property
    def error(self) -> float | None:
        """Simulated / measured - 1."""
        return None if self.simulated is None else self.simulated / self.measured - 1

    @property
    def months(self) -> float:
        """Time by which the engine measured was older than that of the profile; 0 if unknown."""
        if self.profile is None:
            return 0.0
        return months_between(self.engine, self.profile.user_version, self.profile.engine_version)

    @property
    def range(self) -> tuple[float, float] | None:
        """The range of the error that `compare` states of eight in ten; None if it states none."""
        known = expected_accuracy(self.profile) if self.profile else None
        if known is None:
            return None
        low, high = known.cost_factors()
        return low - 1, high - 1

    @property
    def is_held(self) -> bool:
        """Whether the range holds the error."""
        return self.error is not None and self.range is not None and self.range[0] <= self.error <= self.range[1]

    @property
    def cells(self) -> tuple[str, ...]:
        """The simulated throughput, the errors and the range, as text."""
        if self.error is None:
            return "-", "-", f"no data: {self.reason}"[:80], "-"
        stated = "-" if self.range is None else f"{self.range[0]:+.0%} to {self.range[1]:+.0%}"
        named = f"{(self.as_named or 0) / self.measured - 1:+.0%}"
        return f"{self.simulated:,.0f}", named, f"{self.error:+.0%}", stated if self.is_held else f"**{stated}**"


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
        "label": Replica(
            model=str(row["model"]),
            hardware=hardware,
            gpus=gpus,
            engine=str(row["engine"]),
            precision=str(row["precision"]),
            attention_ranks=gpus if _is_data_parallel(row) else 1,
        ).label,
        "engine": str(row["engine"]),
        "hardware": hardware,
        "lengths": f"{row['input_tokens']:,} + {row['output_tokens']:,}",
        "measured": float(str(row["measured"])),
    }
    try:
        named, true = (_served(catalog, row, name) for name in (str(row["hardware"]), hardware))
        as_named, simulated = (_throughput(row, profile) for profile in (named, true))
    except MeritorderError as error:
        return Published(**known, reason=error.what)
    # Of a range of versions the oldest.
    profile = msgspec.structs.replace(true, user_version=str(row["engine_version"] or "").partition("-")[0])
    return Published(**known, corrected=_corrected_by(true), simulated=simulated, as_named=as_named, profile=profile)


def _served(catalog: facts.Catalog, row: dict[str, object], hardware: str) -> Profile:
    """Return the profile of a row's server on hardware, with its attention split as the row states.

    Raises:
        MeritorderError: There are no measurements.
    """
    gpus = int(str(row["gpus"]))
    found = measured_profiles(
        catalog,
        catalog.find_model(str(row["model"])),
        catalog.find_hardware(hardware),
        engine=str(row["engine"]),
        precision=str(row["precision"]),
        gpus=gpus,
    )
    alike = [profile for profile in found if (profile.attention_ranks > 1) is _is_data_parallel(row)]
    if not alike:
        raise PerformanceError("no measured performance with this split", where=found[0].replica.label)
    return alike[0]


def _is_data_parallel(row: dict[str, object]) -> bool:
    return str(row["parallelism"] or "").startswith(_DATA_PARALLEL)


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
        ranks = profile.attention_ranks
        pool = SimPool(profile=profile, scaling=Fixed(instances=1), limits=limits, replicas_per_instance=ranks)
        tokens_per_s = total / float(simulate(requests, (pool,), horizon_s=0.0).finished_s.max())
    else:
        tokens_per_s = saturate(requests, profile, limits).tokens_per_s * profile.attention_ranks
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
