"""The silicon sample in aiconfigurator-core: closed loops at a concurrency, with mean TTFT and TPOT measured."""

import functools
import json
import os
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

from bench.validate.sample.closed_loop import Ints, closed_loop
from bench.validate.sample.contradictions import contradicted, has_cached_prompts
from bench.validate.sample.flags import ServerSettings, server_settings
from bench.validate.sample.labels import correct_labels, drop_repeated
from meritorder.domain import Replica
from meritorder.errors import PerformanceError
from meritorder.perf.limits import limits_of
from meritorder.perf.profile import EngineLimits, Profile
from meritorder.perf.silicon import SYSTEMS, native_modes, sample_split
from meritorder.sim.pools import Fixed, Requests, SimPool
from meritorder.sim.run import simulate
from meritorder.units import MS_PER_S

CACHE: Final = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "meritorder" / "silicon-0.12.0-6.jsonl"
)
# Names in the sample -> names of the same architecture that the library knows without a download.
_ARCHITECTURE: Final = {
    "meta-llama/Llama-3.1-8B-Instruct": "meta-llama/Meta-Llama-3.1-8B",
    "nvidia/Llama-3.1-8B-Instruct-FP8": "meta-llama/Meta-Llama-3.1-8B",
    "meta-llama/Llama-3.1-70B": "meta-llama/Meta-Llama-3.1-70B",
    "nvidia/DeepSeek-R1-NVFP4": "deepseek-ai/DeepSeek-R1",
    "nvidia/Qwen3-32B-NVFP4": "Qwen/Qwen3-32B",
}
_BF16_ATTENTION: Final = {"fmha_quant_mode": "bfloat16"}
# InferenceMAX draws lengths evenly from [0.8, 1] of the nominal; ten requests a client, all clients start at once.
# Source: SemiAnalysis InferenceMAX, README and benchmarks/*.sh (RANDOM_RANGE_RATIO=0.8, 10 CONC prompts), 2025-10.
_MIN_LENGTH_SHARE: Final = 0.8
_MEAN_LENGTH_SHARE: Final = (_MIN_LENGTH_SHARE + 1) / 2
ROUNDS: Final = 10
_KEY: Final = (
    *("model_path", "system", "backend", "precision", "gemm_quant_mode", "moe_quant_mode", "tp_size"),
    *("pp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size"),
)
_MAX_SEQS: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement, and the profile of its replica."""

    id: str
    model: str
    hardware: str
    engine: str
    engine_version: str
    precision: str
    input_tokens: int
    output_tokens: int
    concurrency: int
    settings: ServerSettings
    ttft_s: float
    tpot_s: float
    half: int
    contradicted: str
    profile: Profile

    @property
    def group(self) -> tuple[str, str]:
        """The hardware and engine that a correction applies to."""
        return self.hardware, self.engine

    def e2e_s(self, ttft_s: float, tpot_s: float) -> float:
        """Return the end-to-end latency; in a closed loop, concurrency over throughput."""
        return ttft_s + tpot_s * (self.output_tokens - 1)


def read_sample() -> tuple[pl.DataFrame, int]:
    """Return the aggregated rows, each measurement once, and their number with repetitions.

    `half` depends only on what a row states, before its labels are corrected.
    """
    text = (files("aiconfigurator_core") / "systems" / "silicon_sample.csv").read_bytes()
    rows = pl.read_csv(text, infer_schema_length=None).filter(pl.col("mode") == "agg")
    halves = [_half(row) for row in rows.iter_rows(named=True)]
    return drop_repeated(correct_labels(rows.with_columns(half=pl.Series(halves)))), rows.height


def _half(row: dict[str, Any]) -> int:
    identity = "|".join(str(row[name]) for name in (*_KEY, "isl", "osl", "batch_size", "silicon_ttft_ms"))
    return zlib.crc32(identity.encode()) % 2


def rows(
    progress: Callable[[str], None] = lambda _: None, only: pl.Expr | None = None
) -> tuple[list[Row], pl.DataFrame]:
    """Return the rows that the operator tables cover, and the others with the reason.

    Args:
        progress: Called with a description of each stage.
        only: Filter on the rows of the sample; None for all.
    """
    frame, _ = read_sample()
    frame = frame if only is None else frame.filter(only)
    cache = _read_cache()
    reasons = contradicted(read_sample()[0].iter_rows(named=True))
    found: list[Row] = []
    missing: list[dict[str, str]] = []
    for number, row in enumerate(frame.iter_rows(named=True)):
        progress(f"sampling step times for row {number} of {frame.height}")
        profile = _sampled(row, cache)
        if isinstance(profile, str):
            missing.append({name: str(row[name]) for name in _KEY[:4]} | {"reason": profile})
        else:
            found.append(_row(row, profile, reasons.get(row["id"], "")))
    return found, pl.DataFrame(missing)


def replicas_on(hardware: str, found: Sequence[Row]) -> dict[str, Profile]:
    """Return the replicas of rows as if on other hardware, by the row's `id`, where the tables cover them."""
    frame, _ = read_sample()
    precisions = {row.id: row.precision for row in found}
    cache = _read_cache()
    replicas = {}
    for row in frame.filter(pl.col("id").is_in(list(precisions))).iter_rows(named=True):
        profile = _sampled(row | {"system": SYSTEMS[hardware]}, cache)
        if not isinstance(profile, str):
            replicas[row["id"]] = msgspec.structs.replace(profile, precision=precisions[row["id"]])
    return replicas


def _sampled(row: dict[str, Any], cache: dict[str, Profile | str]) -> Profile | str:
    """Return the profile of a row's replica, or the reason why there is none; what is sampled is kept."""
    key = json.dumps([row[name] for name in _KEY])
    if key not in cache:
        cache[key] = _profile(row)
        _append(key, cache[key])
    return cache[key]


def _row(row: dict[str, Any], profile: Profile, reason: str) -> Row:
    profile = msgspec.structs.replace(profile, precision=_precision(row))
    measured = Row(
        id=row["id"],
        model=row["model_path"].rsplit("/", 1)[-1],
        hardware=profile.hardware,
        engine=row["backend"],
        engine_version=row["backend_version"] or "",
        precision=profile.precision,
        input_tokens=row["isl"],
        output_tokens=row["osl"],
        # That of one rank where attention is data parallel; ranks run in lockstep.
        concurrency=row["batch_size"],
        settings=server_settings(row),
        ttft_s=row["silicon_ttft_ms"] / MS_PER_S,
        tpot_s=row["silicon_tpot_ms"] / MS_PER_S,
        half=row["half"],
        contradicted=reason,
        profile=profile,
    )
    share = 1.0 if measured.settings.fixed_lengths else _MEAN_LENGTH_SHARE
    request_s = measured.ttft_s + measured.tpot_s * (measured.output_tokens * share - 1)
    if not reason and has_cached_prompts(profile, measured.concurrency, measured.input_tokens * share, request_s):
        return replace(measured, contradicted="prompts faster than their kernels, from a cache")
    return measured


def _precision(row: dict[str, Any]) -> str:
    """Return the precision of a row's weights by our names: the sample calls every format of four bits fp4."""
    stated = row["precision"] or "bf16"
    four_bits = "mxfp4" if "gpt-oss" in row["model_path"] else "nvfp4"
    return four_bits if stated == "fp4" else str(stated)


def _profile(row: dict[str, Any]) -> Profile | str:
    """Sample the replica of a row, with its stated arithmetic first; return the reason if there are no data."""
    hardware = {system: ours for ours, system in SYSTEMS.items()}.get(row["system"])
    if hardware is None:
        return f"no data for {row['system']}"
    gpus = row["tp_size"] * max(1, row["attention_dp_size"] or 1)
    replica = Replica(
        model=row["model_path"],
        hardware=hardware,
        gpus=gpus,
        engine=row["backend"],
        precision=_precision(row),
    )
    reasons = []
    for split in _splits(row, replica):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return sample_split(replica, _ARCHITECTURE.get(row["model_path"], row["model_path"]), split)
        except PerformanceError as error:
            reasons.append(error.what)
    return reasons[0][:160]


def _splits(row: dict[str, Any], replica: Replica) -> Iterator[dict[str, Any]]:
    """Yield splits and arithmetic, the most literal first.

    Attention falls back to bf16 where the tables lack it in fp8 (multi-head latent attention), and the weights to their
    native arithmetic where the sample names mxfp4 weights fp4, or fp8 of another granularity.
    """
    sizes = {"tp_size": row["tp_size"], "attention_dp_size": row["attention_dp_size"], "pp_size": row["pp_size"]}
    base = {name: size for name, size in sizes.items() if name == "tp_size" or (size or 1) > 1}
    experts = max(1, row["moe_tp_size"] or 1), max(1, row["moe_ep_size"] or 1)
    gpus, modes = replica.gpus, native_modes(replica)
    moes = [experts] if experts[0] * experts[1] == gpus else [(gpus, 1), (1, gpus)]
    quant = {name: row[name] for name in ("gemm_quant_mode", "moe_quant_mode") if row[name]}
    native = row["precision"] != "fp4" or "gpt-oss" in row["model_path"]
    for options in (quant, quant | _BF16_ATTENTION, *((modes, modes | _BF16_ATTENTION) if native else ())):
        for moe_tp, moe_ep in moes:
            yield base | {"moe_tp_size": moe_tp, "moe_ep_size": moe_ep} | options


def simulated(row: Row, profile: Profile) -> tuple[float, float]:
    """Return the mean TTFT and TPOT of a closed loop in the simulator, infinity if a request does not fit in memory."""
    limits = server_limits(row, profile)
    inputs, outputs = _lengths(row)
    if int((inputs + outputs).max()) > profile.kv_capacity_tokens // limits.block_tokens * limits.block_tokens:
        return np.inf, np.inf
    sent = closed_loop(profile, limits, limits.max_num_seqs, inputs, outputs)
    requests = Requests(
        arrived_s=sent.arrived_s,
        input_tokens=inputs.astype(np.int32),
        cached_tokens=np.zeros(len(inputs), np.int32),
        output_tokens=outputs.astype(np.int32),
        latest_start_s=np.full(len(inputs), np.inf),
        work_s=np.zeros(len(inputs)),
    )
    pool = SimPool(profile=profile, scaling=Fixed(instances=1), limits=limits)
    result = simulate(requests, (pool,), horizon_s=0.0)
    tpot_s = (result.finished_s - result.first_token_s) / (outputs - 1)
    return float(np.mean(result.first_token_s - sent.arrived_s)), float(np.mean(tpot_s))


def quickly_simulated(row: Row, profile: Profile) -> tuple[float, float]:
    """Return the same from the load generator's engine, which is faster and has no preemption."""
    inputs, outputs = _lengths(row)
    if int((inputs + outputs).max()) > profile.kv_capacity_tokens:
        return np.inf, np.inf
    limits = server_limits(row, profile)
    served = closed_loop(profile, limits, limits.max_num_seqs, inputs, outputs)
    tpot_s = (served.finished_s - served.first_token_s) / (outputs - 1)
    host_s = profile.request_overhead_s + profile.prompt_token_overhead_s * inputs
    outside_s = host_s + profile.first_token_steps * tpot_s
    return float(np.mean(served.first_token_s - served.arrived_s + outside_s)), float(np.mean(tpot_s))


def server_limits(row: Row, profile: Profile) -> EngineLimits:
    """Return the limits of an engine with a sequence for each client, and its configured step or its default."""
    clients = min(row.concurrency, _MAX_SEQS)
    limits = limits_of(profile)
    return msgspec.structs.replace(
        limits,
        max_num_seqs=clients,
        max_num_batched_tokens=max(row.settings.step_tokens or limits.max_num_batched_tokens, 2 * clients),
        whole_prompts=limits.whole_prompts if row.settings.whole_prompts is None else row.settings.whole_prompts,
    )


def _lengths(row: Row) -> tuple[Ints, Ints]:
    return _drawn(row.input_tokens, row.output_tokens, min(row.concurrency, _MAX_SEQS), row.settings.fixed_lengths)


@functools.cache
def _drawn(input_tokens: int, output_tokens: int, clients: int, fixed: bool) -> tuple[Ints, Ints]:  # noqa: FBT001
    generator = np.random.default_rng(0)
    shortest = 1.0 if fixed else _MIN_LENGTH_SHARE
    inputs = generator.integers(int(input_tokens * shortest), input_tokens + 1, clients * ROUNDS)
    outputs = generator.integers(int(output_tokens * shortest), output_tokens + 1, clients * ROUNDS)
    return inputs, np.maximum(outputs, 2)


def _read_cache() -> dict[str, Profile | str]:
    if not CACHE.exists():
        return {}
    lines = (json.loads(line) for line in CACHE.read_text().splitlines())
    return {x["key"]: x["reason"] or msgspec.convert(x["profile"], Profile) for x in lines}


def _append(key: str, profile: Profile | str) -> None:
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    failed = isinstance(profile, str)
    line = {
        "key": key,
        "reason": profile if failed else "",
        "profile": None if failed else msgspec.to_builtins(profile),
    }
    with CACHE.open("a") as cache:
        cache.write(json.dumps(line) + "\n")
