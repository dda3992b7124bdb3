"""Step times from data sheets: an estimate where nothing was measured, and the least that any step takes.

The estimate is of the peak rates times a typical efficiency. It is used only on request, or as the start of a
calibration, and marked by `Provenance.ROOFLINE`.
"""

from typing import Final

import msgspec
import numpy as np

from meritorder.domain import Hardware, Model, Provenance, Replica
from meritorder.errors import PerformanceError
from meritorder.perf.memory import CACHE_BYTES
from meritorder.perf.profile import Floats, Profile

# Shares of the peak rates that engines reach. Memory: mem_bw_empirical_scaling_factor in aiconfigurator-core
# 0.12.0 systems/*.yaml; operations: assumed.
_MEMORY_EFFICIENCY: Final = 0.8
_COMPUTE_EFFICIENCY: Final = 0.6
# Engines use 0.9 of the memory (vLLM's gpu_memory_utilization), of which activations take about this much.
_MEMORY_SHARE: Final = 0.9
_ACTIVATIONS_BYTES: Final = 1.5e9
# Share of the active parameters that every token of a prompt multiplies: embeddings are looked up, and the output layer
# multiplies last tokens only; together they are an eighth of an 8B model, less of larger ones.
_PROMPT_SHARE: Final = 0.85
_DECODE_SEQUENCES: Final = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
_STEP_TOKENS: Final = (1, 8, 16, 32, 64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192, 16384)


def roofline(model: Model, hardware: Hardware, replica: Replica, *, as_of: str) -> Profile:
    """Return the profile of one replica from data sheets.

        decode_base(n) = max(weights read by n tokens / memory bandwidth, 2 active n / peak operations)
        weights read   = weights (1 - (1 - active / parameters)^n)              mixture of experts; else all weights
        per KV token   = KV bytes of a token / memory bandwidth
        mixed_base(n)  = decode_base(n)
        per pair       = 4 KV bytes of a token / peak operations            attention, keys shared by about 4 heads

    Args:
        model: The model.
        hardware: The accelerator.
        replica: GPUs and precision.
        as_of: Date of the profile.

    Raises:
        PerformanceError: The weights do not fit in memory.

    Source: Williams et al., "Roofline", CACM 52(4), 2009; Pope et al., "Efficiently scaling transformer inference",
    2022.
    """
    weight_bytes = model.weights_bytes(replica.precision) or 2.0 * model.parameters
    bandwidth = hardware.memory_bandwidth_bytes_per_s * replica.gpus * _MEMORY_EFFICIENCY
    peak = hardware.fp8_flops if replica.precision == "fp8" and hardware.fp8_flops else hardware.bf16_flops
    operations = peak * replica.gpus * _COMPUTE_EFFICIENCY
    kv_bytes = replica.gpus * (hardware.memory_bytes * _MEMORY_SHARE - _ACTIVATIONS_BYTES) - weight_bytes
    if kv_bytes < model.kv_bytes_per_token:
        raise PerformanceError("the weights do not fit in memory", where=replica.label, fix="use more GPUs per replica")
    idle_share = 1 - model.active_parameters / model.parameters

    def step_s(tokens: int) -> float:
        reading_s = weight_bytes * (1 - idle_share**tokens) / bandwidth
        return float(max(reading_s, 2 * model.active_parameters * tokens / operations))

    return Profile(
        model=replica.model,
        hardware=replica.hardware,
        gpus=replica.gpus,
        engine=replica.engine,
        precision=replica.precision,
        provenance=Provenance.ROOFLINE,
        source="roofline of the data sheets",
        as_of=as_of,
        kv_capacity_tokens=int(kv_bytes / model.kv_bytes_per_token),
        decode_sequences=list(_DECODE_SEQUENCES),
        decode_base_s=[step_s(sequences) for sequences in _DECODE_SEQUENCES],
        decode_per_kv_token_s=[model.kv_bytes_per_token / bandwidth] * len(_DECODE_SEQUENCES),
        step_tokens=list(_STEP_TOKENS),
        mixed_base_s=[step_s(tokens) for tokens in _STEP_TOKENS],
        prefill_per_pair_s=4 * model.kv_bytes_per_token / operations,
    )


def within_peak(profile: Profile, tables: Profile, model: Model, hardware: Hardware) -> Profile:
    """Return a corrected profile whose steps take at least what the peak rates of its hardware allow.

        base(n)      >= prompt share 2 active n / peak operations         n tokens, in steps with prompts or decodes
        per KV token >= KV bytes of a token / memory bandwidth

    A correction that was fitted to few prompts may scale them below it, and one that was fitted to servers with an FP8
    cache may read a BF16 cache twice as fast. Where the tables read less, attention is sparse.

    Args:
        profile: The corrected profile.
        tables: The profile before its correction.
        model: Its model.
        hardware: Its hardware.
    """
    gpus = profile.gpus / profile.attention_ranks
    token_s = 2 * _PROMPT_SHARE * model.active_parameters / (_peak_flops(hardware, profile.precision) * gpus)
    decode_s = np.maximum(profile.decode_base_s, token_s * np.array(profile.decode_sequences))
    mixed_s = np.maximum(profile.mixed_base_s, token_s * np.array(profile.step_tokens))
    bandwidth = hardware.memory_bandwidth_bytes_per_s * gpus
    value_bytes = CACHE_BYTES[profile.memory.cache if profile.memory else "bf16"]
    read_s = model.kv_bytes_per_token * value_bytes / CACHE_BYTES["bf16"] / bandwidth
    kv_s = np.maximum(profile.decode_per_kv_token_s, np.minimum(tables.decode_per_kv_token_s, read_s))
    return msgspec.structs.replace(
        profile,
        decode_base_s=decode_s.tolist(),
        mixed_base_s=mixed_s.tolist(),
        decode_per_kv_token_s=kv_s.tolist(),
    )


def _peak_flops(hardware: Hardware, precision: str) -> float:
    """Return the most operations per second with weights in a precision, with four bits at most twice those of fp8."""
    if precision in {"bf16", "fp16"} or not hardware.fp8_flops:
        return hardware.bf16_flops
    return hardware.fp8_flops * (1 if precision in {"fp8", "int8"} else 2)


def profile_from_timings(
    replica: Replica, tpot_s: Floats, tokens_per_s: float, context_tokens: int, *, as_of: str
) -> Profile:
    """Return a rough profile of an unknown model or hardware, as the start of a fit to the log that it comes from.

    The shortest TPOT approximates the time to read the weights. A context token takes three millionths of that: the
    ratio of their bytes in dense models to within a factor of three (8B: 131 kB / 16 GB = 8e-6; 70B: 328 kB / 141 GB =
    2e-6).

    Args:
        replica: The replica that was measured.
        tpot_s: Measured times per output token.
        tokens_per_s: Prompt tokens per second of a request that arrived at an idle engine.
        context_tokens: Most context that the log shows in memory at one time.
        as_of: Date of the profile.
    """
    floor_s = float(np.quantile(tpot_s, 0.02)) * 0.8
    return Profile(
        model=replica.model,
        hardware=replica.hardware,
        gpus=replica.gpus,
        engine=replica.engine,
        precision=replica.precision,
        provenance=Provenance.ROOFLINE,
        source="rates of the log itself",
        as_of=as_of,
        kv_capacity_tokens=context_tokens,
        decode_sequences=list(_DECODE_SEQUENCES),
        decode_base_s=[floor_s] * len(_DECODE_SEQUENCES),
        decode_per_kv_token_s=[floor_s * 3e-6] * len(_DECODE_SEQUENCES),
        step_tokens=list(_STEP_TOKENS),
        mixed_base_s=[max(floor_s, n / tokens_per_s) for n in _STEP_TOKENS],
        prefill_per_pair_s=1e-5 / tokens_per_s,
    )
