"""Sample step times from NVIDIA's measured operator tables, through the library aiconfigurator-core.

The library answers a query in microseconds, but takes a second and 114 MB to compile a model, so each
(model, hardware, engine, precision, parallelism) is sampled once into a `Profile`. Its back-end objects cache results
by lengths and batch without regard to the model, so each replica compiles a handle of its own.

Source: aiconfigurator-core 0.12.0 (Apache-2.0), systems data of 2026.
"""

import logging
import warnings
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any, Final

import numpy as np

from meritorder.domain import Provenance, Replica
from meritorder.errors import MissingExtraError, PerformanceError
from meritorder.perf.limits import default_limits
from meritorder.perf.memory import context_bytes
from meritorder.perf.operators import DECODE_POINTS, STEP_POINTS, OperatorShares, operator_class
from meritorder.perf.profile import Floats, Memory, Profile
from meritorder.units import MS_PER_S

SOURCE: Final = "aiconfigurator-core 0.12.0, measured operator tables"
AS_OF: Final = "2026-10-01"
SYSTEMS: Final = {
    "a100": "a100_sxm",
    "b200": "b200_sxm",
    "b300": "b300_sxm",
    "gb200": "gb200",
    "gb300": "gb300",
    "h100": "h100_sxm",
    "h200": "h200_sxm",
    "l40s": "l40s",
    "rtx-pro-6000": "rtx_pro_6000_server",
}
"""The library's systems that have data, by `Hardware.id`."""

# Weights whose FP8 and FP4 checkpoints NVIDIA's Model Optimizer made: they scale whole tensors in FP8, and state an FP8
# cache. The FP8 checkpoints of DeepSeek, Qwen, GLM and others are their own: they scale blocks of 128, and state none.
# Checkpoints in NVFP4 are NVIDIA's, of any model.
# Source: hf_quant_config.json of nvidia/Llama-3.3-70B-Instruct-FP8, quantization_config of Qwen/Qwen3-32B-FP8, 2026.
_MODEL_OPTIMIZER: Final = ("nvidia/", "meta-llama/")
# The library's names of precisions; native precision is its default.
_NVFP4_MODE: Final = {"gemm_quant_mode": "nvfp4", "moe_quant_mode": "nvfp4"}
_TENSOR_MODES: Final = {"fp8": {"gemm_quant_mode": "fp8", "moe_quant_mode": "fp8"}, "nvfp4": _NVFP4_MODE}
_BLOCK_MODES: Final = {
    "fp8": {"gemm_quant_mode": "fp8_block", "moe_quant_mode": "fp8_block"},
    "nvfp4": _NVFP4_MODE,
}
# On Blackwell, TensorRT-LLM computes experts in MXFP4 with activations in MXFP8; elsewhere, and in other engines by
# default, with activations in bf16, which is the library's default.
# Source: TensorRT-LLM 1.0 to 1.3, _torch/model_config.py get_mxfp4_quant_algo (SM 100 and later), read 2026-11-30.
_BLACKWELL: Final = frozenset({"b200", "b300", "gb200", "gb300", "rtx-pro-6000"})
_MXFP8_ACTIVATIONS: Final = {"moe_quant_mode": "w4a8_mxfp4_mxfp8"}
_DECODE_SEQUENCES: Final = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
_DECODE_CONTEXTS: Final = (128, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
_STEP_TOKENS: Final = (
    *(1, 8, 16, 24),
    *range(32, 256, 32),
    *range(256, 1024, 128),
    *range(1024, 4096, 512),
    *range(4096, 16385, 2048),
)
_CHUNKS: Final = (512, 1024, 2048, 4096)
_PREFIXES: Final = (1024, 4096, 16384)
# Settings of the KV cache that engines have by default, the first that was measured: `kv_cache_dtype` "auto" is the
# precision of the activations; TensorRT-LLM takes that which a checkpoint states.
# Source: vLLM 0.19 and SGLang 0.5 server arguments; TensorRT-LLM 1.2 KvCacheConfig.dtype, 2026.
_BF16_CACHE: Final = {"kvcache_quant_mode": "bfloat16"}
_BF16_ATTENTION: Final = _BF16_CACHE | {"fmha_quant_mode": "bfloat16"}
_FP8_CACHE: Final = {"kvcache_quant_mode": "fp8"}
_CACHES: Final = (_BF16_CACHE, _BF16_ATTENTION, _FP8_CACHE)
_SMALL_CACHES: Final = (_FP8_CACHE, *_CACHES)
# Lengths by which a sequence's memory is measured. TensorRT-LLM keeps whole sequences also in layers that attend to a
# window, unless `max_attention_window` is set: it is measured below any window.
# Source: TensorRT-LLM 1.0 to 1.3, _torch/pyexecutor/resource_manager.py max_attention_window_vec, read 2026-11-30.
_STATE_LENGTHS: Final = {"trtllm": (32, 96)}
_USUAL_LENGTHS: Final = (512, 4096)
_SMALL_WEIGHTS: Final = frozenset({"fp8", "nvfp4"})


def sample_profile(replica: Replica, hf_id: str, *, native: bool) -> Profile:
    """Sample one replica from the library's tables.

    Args:
        replica: The replica.
        hf_id: Name of the weights on the Hugging Face hub, as the library knows it.
        native: Whether the replica's precision is that of these weights.

    Raises:
        MissingExtraError: aiconfigurator-core is not installed.
        PerformanceError: There are no measurements of this combination.
    """
    if replica.hardware not in SYSTEMS:
        raise PerformanceError(
            f"no measured performance on {replica.hardware}",
            where=replica.label,
            fix=f"measured are {', '.join(sorted(SYSTEMS))}",
        )
    optimized = hf_id.startswith(_MODEL_OPTIMIZER) or replica.precision == "nvfp4"
    options = native_modes(replica) if native else _quantized(replica, _TENSOR_MODES if optimized else _BLOCK_MODES)
    small = optimized and replica.engine == "trtllm" and replica.precision in _SMALL_WEIGHTS
    failures: list[str] = []
    for cache, shares in product(_SMALL_CACHES if small else _CACHES, _shares(replica)):
        split = {**shares, **options, **cache}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return sample_split(replica, hf_id, split)
        except PerformanceError as error:
            failures.append(error.what)
    raise PerformanceError(failures[0], where=replica.label)


def _shares(replica: Replica) -> list[dict[str, int]]:
    """Return the splits of a replica over its GPUs, as the library names them; not every one was measured.

    Beside tensor-parallel attention, experts are split by tensor or expert parallelism; beside data-parallel attention
    by expert parallelism.
    """
    gpus, ranks = replica.gpus, replica.attention_ranks
    if ranks > 1:
        return [{"tp_size": gpus // ranks, "attention_dp_size": ranks, "moe_tp_size": 1, "moe_ep_size": gpus}]
    experts = dict.fromkeys(((gpus, 1), (1, gpus)))
    return [{"tp_size": gpus, "moe_tp_size": moe_tp, "moe_ep_size": moe_ep} for moe_tp, moe_ep in experts]


def native_modes(replica: Replica) -> dict[str, str]:
    """Return the library's settings for weights as published, where its default is not what the engine computes."""
    small = replica.precision == "mxfp4" and replica.engine == "trtllm" and replica.hardware in _BLACKWELL
    return _MXFP8_ACTIVATIONS if small else {}


def _quantized(replica: Replica, modes: dict[str, dict[str, str]]) -> dict[str, str]:
    """Return the library's settings for weights at another precision than their own.

    Raises:
        PerformanceError: They are not known.
    """
    if replica.precision not in modes:
        raise PerformanceError(f"no weights in {replica.precision} are known", where=replica.label)
    return modes[replica.precision]


def sample_split(replica: Replica, hf_id: str, split: dict[str, Any]) -> Profile:
    """Sample one replica from the library's tables, with an explicit split over its GPUs.

    Args:
        replica: The replica; its precision is only a label, `split` decides.
        hf_id: Name of the weights on the Hugging Face hub, as the library knows it.
        split: The library's settings: `tp_size`, `moe_ep_size`, `attention_dp_size`, `gemm_quant_mode`, ...

    Raises:
        MissingExtraError: aiconfigurator-core is not installed.
        PerformanceError: There are no measurements of this combination.
    """
    library = _library()
    try:
        return _sample(library, replica, hf_id, split)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PerformanceError(f"no measurements: {reason}", where=replica.label) from error


def _sample(library: Any, replica: Replica, hf_id: str, split: dict[str, Any]) -> Profile:
    system = SYSTEMS[replica.hardware]
    handle = library.engine.EngineHandle.compile(hf_id, system, replica.engine, **split)
    memory, capacity, state = memory_of(library, hf_id, replica, split)
    decode_base_s, per_kv_s = _decode_columns(handle, capacity)
    per_pair_s = _pair_time_s(handle)
    tokens = np.array(_STEP_TOKENS, float)
    fresh_s = np.array([handle.predict_prefill_latency(1, n) for n in _STEP_TOKENS]) / MS_PER_S
    mixed_s = np.maximum(fresh_s - per_pair_s * tokens**2 / 2, 0.0)
    profile = Profile(
        model=replica.model,
        hardware=replica.hardware,
        gpus=replica.gpus,
        engine=replica.engine,
        precision=replica.precision,
        provenance=Provenance.SILICON,
        source=SOURCE,
        as_of=AS_OF,
        kv_capacity_tokens=capacity,
        state_tokens=state,
        decode_sequences=list(_DECODE_SEQUENCES),
        decode_base_s=_round(decode_base_s),
        decode_per_kv_token_s=_round(per_kv_s),
        step_tokens=list(_STEP_TOKENS),
        mixed_base_s=_round(mixed_s),
        prefill_per_pair_s=float(f"{per_pair_s:.5g}"),
        operators=_operator_shares(handle, per_pair_s),
        memory=memory,
        engine_version=_version(library, replica),
        attention_ranks=replica.attention_ranks,
    )
    return _with_error(profile, handle)


def _library() -> Any:
    try:
        from aiconfigurator_core.sdk import engine, memory
    except ImportError as error:
        raise MissingExtraError(
            "sampling step times needs aiconfigurator-core",
            fix="pip install 'meritorder[silicon]' (Linux x86-64), or choose shipped hardware and models",
        ) from error
    logging.getLogger("aiconfigurator_core").setLevel(logging.CRITICAL)  # failures are raised as well

    class _Library:
        pass

    found = _Library()
    found.engine, found.memory = engine, memory  # type: ignore[attr-defined]
    return found


def _version(library: Any, replica: Replica) -> str:
    """Return the version of the engine that the tables were measured on."""
    system = SYSTEMS[replica.hardware]
    return str(library.engine._literal_backend_version(system, replica.engine, None, None, None))


def memory_of(library: Any, hf_id: str, replica: Replica, split: dict[str, Any]) -> tuple[Memory, int, int]:
    """Return what occupies each GPU of a replica, the tokens that fit beside it, and those of a sequence's state.

    Raises:
        PerformanceError: The weights leave no memory for context.
    """
    system = SYSTEMS[replica.hardware]
    limits = default_limits(replica.engine, replica.hardware, replica.attention_ranks)
    counts = library.memory.KVCacheEstimator.from_request(
        hf_id,
        system,
        replica.engine,
        _version(library, replica),
        max_num_tokens=limits.max_num_batched_tokens,
        max_batch_size=limits.max_num_seqs,
        **split,
    ).breakdown
    memory = Memory(
        gpu_bytes=int(counts["gpu_memory_capacity_bytes"]),
        weights_bytes=int(counts["weights_bytes"]),
        step_bytes=int(counts["activations_bytes"] + counts["comm_overhead_bytes"]),
        cache="fp8" if split.get("kvcache_quant_mode") == "fp8" else "bf16",
    )
    free_bytes = context_bytes(replica.engine, memory)
    if not free_bytes:
        raise PerformanceError("the weights leave no memory for context", where=replica.label)
    if counts["tokens_from_kv_bytes"](free_bytes) < 1:
        raise PerformanceError("the weights leave no memory for context", where=replica.label)
    lengths = _STATE_LENGTHS.get(replica.engine, _USUAL_LENGTHS)
    state_tokens, token_bytes = _sequence_memory(counts["tokens_from_kv_bytes"], int(free_bytes), lengths)
    return memory, int(free_bytes / token_bytes), state_tokens


def _sequence_memory(tokens_of: Callable[[int], int], free_bytes: int, lengths: tuple[int, int]) -> tuple[int, float]:
    """Return the state of one sequence, in tokens of context, and the bytes of a token: the line through two lengths.

    Windows of attention fill up with the first tokens of a sequence; a line through usual lengths is near.

    Args:
        tokens_of: The longest sequence in a number of bytes.
        free_bytes: Memory for context.
        lengths: The two lengths.
    """
    short, usual = lengths
    if tokens_of(free_bytes) <= usual:
        return 0, free_bytes / tokens_of(free_bytes)
    short_bytes, usual_bytes = (bisect_left(range(free_bytes), tokens, key=tokens_of) for tokens in (short, usual))
    token_bytes = (usual_bytes - short_bytes) / (usual - short)
    return max(0, round(short_bytes / token_bytes) - short), token_bytes


def _decode_columns(handle: Any, capacity_tokens: int) -> tuple[Floats, Floats]:
    """Fit decode steps as linear in context tokens, for each batch size, over contexts that fit in memory."""
    base_s, per_kv_s = np.zeros(len(_DECODE_SEQUENCES)), np.zeros(len(_DECODE_SEQUENCES))
    for row, sequences in enumerate(_DECODE_SEQUENCES):
        fitting = [c for c in _DECODE_CONTEXTS if c * sequences <= capacity_tokens] or []
        contexts = np.array(fitting if len(fitting) >= 2 else _DECODE_CONTEXTS[:2])
        step_s = np.array([handle.decode_step_latency(sequences, int(c), 2) for c in contexts]) / MS_PER_S
        # Weighted by 1 / step time, to minimize the relative error.
        design = np.stack([np.ones(len(contexts)), contexts * float(sequences)], axis=1) / step_s[:, None]
        (base_s[row], per_kv_s[row]), *_ = np.linalg.lstsq(design, np.ones(len(contexts)), rcond=None)
    return base_s, np.maximum(per_kv_s, 0.0)


def _pair_time_s(handle: Any) -> float:
    """Return the seconds per (prompt token, context token) pair: the median slope of a prefill chunk in its prefix."""
    slopes = [
        (handle.predict_prefill_latency(1, chunk + prefix, prefix) - handle.predict_prefill_latency(1, chunk))
        / MS_PER_S
        / (chunk * prefix)
        for chunk, prefix in product(_CHUNKS, _PREFIXES)
    ]
    return max(float(np.median(slopes)), 0.0)


def _operator_shares(handle: Any, per_pair_s: float) -> OperatorShares:
    """Return the shares of operator classes in steps, without the attention that grows with context."""
    decode = [_by_class(handle.decode_step_per_op(n, _DECODE_CONTEXTS[0], 2)) for n in DECODE_POINTS]
    step = []
    for tokens in STEP_POINTS:
        context, _ = handle.run_static_per_op(batch_size=1, isl=tokens, osl=2, mode="static_ctx")
        times = _by_class(context)
        times["attention"] = max(times.get("attention", 0.0) - per_pair_s * tokens**2 / 2, 0.0)
        step.append(times)
    return OperatorShares.from_times(decode, step)


def _by_class(operators: Iterable[tuple[str, float, float, str]]) -> dict[str, float]:
    times: dict[str, float] = defaultdict(float)
    for name, latency_ms, *_ in operators:
        times[operator_class(name)] += latency_ms / MS_PER_S
    return dict(times)


def _with_error(profile: Profile, handle: Any) -> Profile:
    """Return the profile with its error between grid points, in decode steps and steps with a prefill chunk."""
    import msgspec

    capacity = profile.kv_capacity_tokens
    decode = [(b, c) for b in (3, 12, 40, 80, 160, 224) for c in (300, 1500, 3000, 6000) if b * c < capacity]
    table_s = [float(profile.step_time_s(0, b, b * c)) for b, c in decode]
    source_s = [handle.decode_step_latency(b, c, 2) / MS_PER_S for b, c in decode]
    mixed = [(n, b) for n in (640, 1280, 2560, 5120) for b in (10, 100) if b * 1024 < capacity]
    table_s += [float(profile.step_time_s(n, b, b * 1024, n * n / 2)) for n, b in mixed]
    source_s += [handle.mixed_step_latency(n, b, n, 2) / MS_PER_S for n, b in mixed]
    error = np.abs(np.array(table_s) / np.array(source_s) - 1)
    return msgspec.structs.replace(profile, table_error_p90=float(f"{np.quantile(error, 0.9):.3g}"))


def _round(column: Floats) -> list[float]:
    return [float(f"{value:.5g}") for value in column]
