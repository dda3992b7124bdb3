"""The limits that engines set themselves, by engine and hardware, and the limits of a replica."""

from typing import Final, NamedTuple

import msgspec

from meritorder.errors import ConfigError
from meritorder.perf.profile import EngineLimits, Profile

# GPUs by the memory classes that engines ask for.
_FROM_160_GIB: Final = frozenset({"b200", "b300", "gb200", "gb300"})
_FROM_70_GIB: Final = _FROM_160_GIB | {"h100", "h100-pcie", "h100-nvl", "h200", "rtx-pro-6000"}
_A100: Final = frozenset({"a100", "a100-pcie"})
_FROM_35_GIB: Final = frozenset({"a100-40gb", "l40s"})
_ANY: Final = frozenset({""})
SHARED_BY_RANKS: Final = frozenset({"sglang"})
"""Engines whose options state the limits of all ranks of data-parallel attention together; others those of one.

Source: SGLang 0.5, srt/server_args.py, chunked_prefill_size // dp_size with enable_dp_attention, read 2026-11-30."""
_MOST_SEQUENCES: Final = 1024
"""The simulator holds no more sequences in a step."""


class Defaults(NamedTuple):
    """The limits of an engine's server where its user states none.

    Attributes:
        engine: Engine.
        hardware: `Hardware.id` that they apply to; `_ANY` for all other hardware.
        max_num_seqs: Most sequences in a step.
        max_num_batched_tokens: Most tokens in a step.
        source: Version and place in the engine's source.
    """

    engine: str
    hardware: frozenset[str]
    max_num_seqs: int
    max_num_batched_tokens: int
    source: str


_VLLM: Final = "vLLM 0.9 (2025-05) and later, engine/arg_utils.py get_batch_defaults, API server, read 2026-11-30"
_SGLANG: Final = "SGLang 0.5 (2025-08) and later, srt/server_args.py chunked_prefill_size by memory, read 2026-11-30"
_TRTLLM: Final = (
    "TensorRT-LLM 1.0 (2025-08) and later, llmapi/llm_args.py max_batch_size, max_num_tokens, read 2026-11-30"
)
DEFAULTS: Final = (
    # At least 70 GiB, but no A100, where long steps lower the throughput (vLLM #17885).
    Defaults("vllm", _FROM_70_GIB, 1024, 8192, _VLLM),
    Defaults("vllm", _ANY, 256, 2048, _VLLM),
    # Sequences follow from memory, from 2,048 to 4,096.
    Defaults("sglang", _FROM_160_GIB, 2048, 16_384, _SGLANG),
    Defaults("sglang", _FROM_70_GIB | _A100, 2048, 8192, _SGLANG),
    Defaults("sglang", _FROM_35_GIB, 2048, 4096, _SGLANG),
    Defaults("sglang", _ANY, 2048, 2048, _SGLANG),
    Defaults("trtllm", _ANY, 2048, 8192, _TRTLLM),
)
"""The first row that names an engine and its hardware applies."""


def default_limits(engine: str, hardware: str, attention_ranks: int = 1) -> EngineLimits:
    """Return the limits of an engine's server on hardware, where its user states none.

    Each rank of data-parallel attention has the limits of a server; SGLang divides its own among them.

    Args:
        engine: Engine; one without a row has those of a plain `EngineLimits`.
        hardware: `Hardware.id`.
        attention_ranks: Ranks of data-parallel attention, whose limits these are.

    Source: SGLang 0.5 server arguments (enable_mixed_chunk is off), docs.sglang.ai, 2026; TensorRT-LLM 1.2 LLM
    arguments (enable_chunked_prefill is off, capacity_scheduler_policy is GUARANTEED_NO_EVICT),
    nvidia.github.io/TensorRT-LLM, 2026.
    """
    rows = (row for row in DEFAULTS if row.engine == engine and (hardware in row.hardware or row.hardware == _ANY))
    row = next(rows, None)
    if row is None:
        return EngineLimits()
    ranks = attention_ranks if engine in SHARED_BY_RANKS else 1
    return EngineLimits(
        max_num_seqs=min(row.max_num_seqs // ranks, _MOST_SEQUENCES),
        max_num_batched_tokens=row.max_num_batched_tokens // ranks,
        prefill_first=engine == "sglang",
        whole_prompts=engine == "trtllm",
        reserve_outputs=engine == "trtllm",
    )


def limits_of(
    profile: Profile, *, max_num_seqs: int | None = None, max_num_batched_tokens: int | None = None
) -> EngineLimits:
    """Return the limits of a replica: the stated ones, else the profile's own, else those of its engine's server.

    Where only the tokens are stated, there are no more sequences than they hold, as engines set it.

    Raises:
        ConfigError: A step of the stated tokens does not hold the stated sequences.
    """
    known = profile.limits or default_limits(profile.engine, profile.hardware, profile.attention_ranks)
    tokens = max_num_batched_tokens or known.max_num_batched_tokens
    sequences = max_num_seqs or max(1, min(known.max_num_seqs, tokens - 1))
    if tokens <= sequences:
        raise ConfigError(
            f"a step of {tokens:,} tokens does not hold {sequences:,} sequences and a prompt",
            where="--max-num-batched-tokens",
            fix="give more tokens, or fewer sequences with --max-num-seqs",
        )
    return msgspec.structs.replace(known, max_num_seqs=sequences, max_num_batched_tokens=tokens)
