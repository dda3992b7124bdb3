"""Offline throughput of MLPerf Inference v5.1 against a saturated replica."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

from meritorder import catalog as facts
from meritorder.domain import Replica
from meritorder.errors import MeritorderError, PerformanceError
from meritorder.perf.limits import limits_of
from meritorder.perf.profile import Profile
from meritorder.perf.roofline import within_peak
from meritorder.perf.shipped import apply_correction, find_profiles
from meritorder.perf.silicon import sample_split
from meritorder.sim.pools import Requests
from meritorder.sim.saturation import saturate

RESULTS: Final = Path(__file__).parents[3] / "shared/data/measured/mlperf_v5.1_llm.csv"
# Model -> (ours, mean prompt). Llama 2 70B has the layers of Llama 3.1 70B and a smaller vocabulary.
# Source: MLPerf Inference v5.1 datasets: CNN/DailyMail (mean 778 tokens), OpenOrca (294), LongBench and others (9,428);
# https://github.com/mlcommons/inference/tree/v5.1/language, 2025-09.
_WORKLOADS: Final = {
    "llama3.1-8b": ("llama-3.1-8b", 778),
    "llama2-70b-99": ("llama-3.1-70b", 294),
    "llama3.1-405b": ("llama-3.1-405b", 9428),
}
_WEIGHTS: Final = {
    "llama-3.1-8b": "meta-llama/Meta-Llama-3.1-8B",
    "llama-3.1-70b": "meta-llama/Meta-Llama-3.1-70B",
    "llama-3.1-405b": "meta-llama/Meta-Llama-3.1-405B",
}
_PRECISION: Final = {"fp4": "nvfp4"}
_SPREAD: Final = 0.5
_REQUESTS: Final = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Offline:
    """One result: tokens per second of one GPU, measured and simulated; None, with the reason, without data."""

    submitter: str
    model: str
    accelerator: str
    hardware: str
    engine: str
    gpus: int
    weights: str
    software: str
    measured: float
    simulated: float | None = None
    uncorrected: float | None = None
    reason: str = ""


def results() -> list[Offline]:
    """Return all offline results of known models, simulated if there are data."""
    if not RESULTS.exists():
        return []
    catalog = facts.load(())
    rows = pl.read_csv(RESULTS).filter(pl.col("scenario") == "Offline", pl.col("model").is_in(list(_WORKLOADS)))
    return [_result(catalog, row) for row in rows.sort("model", "accelerator", "submitter").iter_rows(named=True)]


def _result(catalog: facts.Catalog, row: dict[str, object]) -> Offline:
    name, prompt = _WORKLOADS[str(row["model"])]
    gpus = int(float(str(row["nodes"])) * float(str(row["gpus_per_node"])))
    software = str(row["software"])
    engine = "vllm" if "vllm" in software.lower() else "trtllm"
    offline: dict[str, Any] = {
        "submitter": str(row["submitter"]),
        "model": str(row["model"]),
        "accelerator": str(row["accelerator"]),
        "hardware": _hardware(str(row["accelerator"])),
        "engine": engine,
        "gpus": gpus,
        "weights": str(row["weights"]),
        "software": software,
        "measured": float(str(row["tokens_per_s"])) / gpus,
    }
    try:
        hardware = catalog.find_hardware(_hardware(str(row["accelerator"])))
        found = find_profiles(
            catalog.find_model(name),
            hardware.id,
            engine=engine,
            precision=_PRECISION.get(str(row["weights"]), str(row["weights"])),
            gpus=None,
        )
    except MeritorderError as error:
        return Offline(**offline, reason=error.what)
    if engine == "trtllm":
        found = (*found, *_pipelines(found))
    outputs = float(str(row["tokens_per_sample"]))
    # Submitters use the fastest split.
    model = catalog.find_model(name)
    corrected = [within_peak(apply_correction(profile), profile, model, hardware) for profile in found]
    best, plain = (
        max(_tokens_per_s(profile, prompt, outputs) for profile in profiles) for profiles in (corrected, found)
    )
    return Offline(**offline, simulated=best, uncorrected=plain)


def _pipelines(found: tuple[Profile, ...]) -> list[Profile]:
    """Return replicas with pipeline parallelism, each as the share of one stage.

    With as many batches in flight as stages, each batch takes a step in the time of all stages together, and has its
    share of the memory: a stage is equivalent to a replica with that memory. Transfers between stages are neglected.
    """
    pipelines = []
    for whole in found:
        for stages in (2, 4):
            if whole.gpus % stages:
                continue
            narrow = _narrower(whole, whole.gpus // stages)
            if narrow is not None:
                capacity_tokens = whole.kv_capacity_tokens // stages
                pipelines.append(msgspec.structs.replace(narrow, kv_capacity_tokens=capacity_tokens))
    return pipelines


@functools.cache
def _steps_of(model: str, replica: Replica) -> Profile | None:
    """Sample step times on fewer GPUs than the weights fit in: the library has these, though not a KV capacity."""
    split = {
        "tp_size": replica.gpus,
        "pp_size": 2,
        "gemm_quant_mode": replica.precision,
        "kvcache_quant_mode": "fp8",
    }
    try:
        return sample_split(replica, _WEIGHTS[model], split)
    except PerformanceError:
        return None


def _narrower(whole: Profile, gpus: int) -> Profile | None:
    return _steps_of(whole.model, msgspec.structs.replace(whole, gpus=gpus).replica)


def _hardware(accelerator: str) -> str:
    for name in ("GB300", "GB200", "B300", "B200", "H200", "L40S", "RTX PRO 6000"):
        if name in accelerator:
            return name.lower().replace(" ", "-")
    return "h100" if "H100-SXM" in accelerator else accelerator


def _tokens_per_s(profile: Profile, prompt: float, output: float) -> float:
    """Return the generated tokens per second and GPU of a saturated replica; lengths vary by half."""
    generator = np.random.default_rng(0)

    def lengths(mean: float) -> np.ndarray:
        return np.maximum(generator.uniform(1 - _SPREAD, 1 + _SPREAD, _REQUESTS) * mean, 2).astype(np.int32)

    inputs, outputs, zeros = lengths(prompt), lengths(output), np.zeros(_REQUESTS)
    requests = Requests(
        arrived_s=zeros,
        input_tokens=inputs,
        cached_tokens=zeros.astype(np.int32),
        output_tokens=outputs,
        latest_start_s=np.full(_REQUESTS, np.inf),
        work_s=zeros,
    )
    saturation = saturate(requests, profile, limits_of(profile))
    share = float(outputs.sum() / (inputs.sum(dtype=np.int64) + outputs.sum()))
    return saturation.tokens_per_s * share / profile.gpus
