"""The memory that engines leave for context, by their own accounting."""

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from meritorder.errors import ConfigError, PerformanceError
from meritorder.perf.profile import Memory, Profile

# CUDA sees 79.1 of the 80 GiB of an H100, 139.8 of the 141 GiB of an H200.
# Source: out-of-memory messages of PyTorch, "GPU 0 has a total capacity of 79.11 GiB", 2025.
_VISIBLE: Final = 0.99
_GIB: Final = 1 << 30
_MIB: Final = 1 << 20
CACHE_BYTES: Final = {"bf16": 2, "fp8": 1}
"""Bytes of a value in the KV cache."""


class Accounting(NamedTuple):
    """How an engine divides the memory of a GPU.

    Attributes:
        budget_bytes: Returns the bytes for context from the memory of a GPU and the utilization.
        utilization: Returns the engine's default utilization.
        option: The engine's own name of the utilization.
        source: Version and place in the engine's source.
    """

    budget_bytes: Callable[[Memory, float], float]
    utilization: Callable[[Memory], float]
    option: str
    source: str


def _vllm_bytes(memory: Memory, utilization: float) -> float:
    """Weights, the peak of a full step and buffers outside PyTorch are within the utilization; CUDA graphs are not."""
    outside_bytes = 0.3 * _GIB
    return utilization * _visible(memory) - memory.weights_bytes - memory.step_bytes - outside_bytes


def _sglang_bytes(memory: Memory, utilization: float) -> float:
    """Weights and context are within the utilization; steps and CUDA graphs use the rest."""
    return utilization * _visible(memory) - memory.weights_bytes - 0.5 * _GIB


def _sglang_utilization(memory: Memory) -> float:
    """Reserve for a prefill chunk, CUDA graphs and parallel ranks, at least 10 GiB on large GPUs."""
    large, chunk = memory.gpu_bytes > 60 * _GIB, 16_384 if memory.gpu_bytes >= 160 * _GIB else 8192
    reserved_mib = 512 + chunk * 1.5 + (512 if chunk > 8192 else 256) * 2
    reserved_mib = max(reserved_mib, 10 * 1024) if large else reserved_mib
    return 1 - reserved_mib * _MIB / memory.gpu_bytes


def _trtllm_bytes(memory: Memory, utilization: float) -> float:
    """The utilization is that of the memory that weights, a full step and the runtime leave free."""
    runtime_bytes = 2.0 * _GIB
    return utilization * (_visible(memory) - memory.weights_bytes - memory.step_bytes - runtime_bytes)


ACCOUNTING: Final = {
    "vllm": Accounting(
        _vllm_bytes,
        lambda _: 0.9,
        "gpu_memory_utilization",
        "vLLM 0.9 to 0.19, v1/worker/gpu_worker.py determine_available_memory, read 2026-11-30",
    ),
    "sglang": Accounting(
        _sglang_bytes,
        _sglang_utilization,
        "mem_fraction_static",
        "SGLang 0.5, srt/server_args.py mem_fraction_static, read 2026-11-30",
    ),
    "trtllm": Accounting(
        _trtllm_bytes,
        lambda _: 0.9,
        "free_gpu_memory_fraction",
        "TensorRT-LLM 1.0 to 1.3, KvCacheConfig.free_gpu_memory_fraction, read 2026-11-30",
    ),
}


def context_bytes(engine: str, memory: Memory, utilization: float | None = None) -> float:
    """Return the bytes for context on one GPU; 0 if the weights leave none.

    Args:
        engine: Engine.
        memory: What occupies the GPU.
        utilization: Share of the memory that the engine may use; None for its default.
    """
    rule = ACCOUNTING[engine]
    return max(0.0, rule.budget_bytes(memory, rule.utilization(memory) if utilization is None else utilization))


def resized(profile: Profile, utilization: float | None, cache: str | None) -> Profile:
    """Return the profile of a server with another share of the memory, or another precision of the KV cache.

    A cache of half the bytes holds twice the tokens, and is read in half the time.

    Args:
        profile: The profile.
        utilization: Share of the memory that the engine may use; None for its default.
        cache: Precision of the KV cache, a key of `CACHE_BYTES`; None for the profile's own.

    Raises:
        ConfigError: The utilization or the precision does not exist.
        PerformanceError: The profile does not state its memory, or nothing is left for context.
    """
    if utilization is None and cache is None:
        return profile
    if utilization is not None and not 0 < utilization <= 1:
        raise ConfigError(
            f"{utilization:g} is no share of the memory", where="--memory-utilization", fix="such as 0.95"
        )
    if cache is not None and cache not in CACHE_BYTES:
        raise ConfigError(
            f"unknown precision {cache!r}", where="--kv-cache-dtype", fix=f"one of {', '.join(CACHE_BYTES)}"
        )
    memory = profile.memory
    if memory is None or profile.engine not in ACCOUNTING:
        raise PerformanceError(
            "the profile does not state how its memory is used",
            where=profile.replica.label,
            fix="leave out --memory-utilization and --kv-cache-dtype: a calibrated profile has those of its server",
        )
    smaller = CACHE_BYTES[memory.cache] / CACHE_BYTES[cache or memory.cache]
    larger = context_bytes(profile.engine, memory, utilization) / context_bytes(profile.engine, memory)
    tokens = int(profile.kv_capacity_tokens * larger * smaller)
    if tokens < 1:
        raise PerformanceError(
            "the weights leave no memory for context", where=profile.replica.label, fix="use more GPUs per replica"
        )
    return msgspec.structs.replace(
        profile,
        kv_capacity_tokens=tokens,
        decode_per_kv_token_s=[second / smaller for second in profile.decode_per_kv_token_s],
        memory=msgspec.structs.replace(memory, cache=cache or memory.cache),
    )


def _visible(memory: Memory) -> float:
    return memory.gpu_bytes * _VISIBLE
