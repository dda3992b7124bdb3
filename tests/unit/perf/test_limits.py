"""Limits against the engines' sources: what a server starts with, where its user states nothing."""

import msgspec
import pytest
from tests.samples.fleets import profile

from meritorder import catalog as facts
from meritorder.errors import ConfigError
from meritorder.perf.limits import DEFAULTS, default_limits, limits_of
from meritorder.perf.profile import EngineLimits


@pytest.mark.parametrize(
    ("engine", "hardware", "sequences", "tokens"),
    [
        # vLLM: at least 70 GiB and no A100, else small.
        ("vllm", "h100", 1024, 8192),
        ("vllm", "rtx-pro-6000", 1024, 8192),
        ("vllm", "a100", 256, 2048),
        ("vllm", "l40s", 256, 2048),
        # SGLang: the prefill chunk grows with memory.
        ("sglang", "l4", 1024, 2048),
        ("sglang", "l40s", 1024, 4096),
        ("sglang", "a100", 1024, 8192),
        ("sglang", "b200", 1024, 16_384),
        ("trtllm", "h200", 1024, 8192),
    ],
)
def test_servers_have_their_defaults(engine: str, hardware: str, sequences: int, tokens: int) -> None:
    limits = default_limits(engine, hardware)
    assert (limits.max_num_seqs, limits.max_num_batched_tokens) == (sequences, tokens)


def test_hardware_falls_in_its_memory_class() -> None:
    """vLLM and SGLang ask for memory, so that the declared classes must follow from the catalog."""
    for hardware in facts.load(()).hardware.values():
        gib = hardware.memory_bytes / 2**30
        large = gib >= 70 and "a100" not in hardware.id
        assert default_limits("vllm", hardware.id).max_num_batched_tokens == (8192 if large else 2048), hardware.id
        chunk = next(chunk for most, chunk in ((35, 2048), (60, 4096), (160, 8192), (1e9, 16_384)) if gib < most)
        assert default_limits("sglang", hardware.id).max_num_batched_tokens == chunk, hardware.id


def test_engines_schedule_prompts_their_way() -> None:
    assert default_limits("sglang", "h100").prefill_first
    assert default_limits("trtllm", "h100").whole_prompts
    assert default_limits("trtllm", "h100").reserve_outputs
    vllm = default_limits("vllm", "h100")
    assert not vllm.prefill_first
    assert not vllm.whole_prompts
    assert not vllm.reserve_outputs
    assert default_limits("abacus", "h100") == EngineLimits()


def test_every_default_has_its_source() -> None:
    assert all("read 20" in row.source for row in DEFAULTS)


def test_stated_limits_precede_known_ones() -> None:
    plain = profile()
    assert limits_of(plain) == default_limits(plain.engine, plain.hardware)
    known = msgspec.structs.replace(plain, limits=EngineLimits(max_num_seqs=32, max_num_batched_tokens=512))
    assert limits_of(known) == known.limits
    stated = limits_of(known, max_num_seqs=8)
    assert (stated.max_num_seqs, stated.max_num_batched_tokens) == (8, 512)


def test_few_tokens_hold_few_sequences() -> None:
    plain = profile()
    assert limits_of(plain, max_num_batched_tokens=100).max_num_seqs == 99
    with pytest.raises(ConfigError, match="max-num-batched-tokens"):
        limits_of(plain, max_num_seqs=128, max_num_batched_tokens=128)


def test_sglang_divides_its_limits_among_ranks() -> None:
    """SGLang: chunked_prefill_size // dp_size with enable_dp_attention; each rank of vLLM is an engine of its own."""
    eight = default_limits("sglang", "h200", attention_ranks=8)
    assert (eight.max_num_seqs, eight.max_num_batched_tokens) == (2048 // 8, 8192 // 8)
    assert default_limits("vllm", "h200", attention_ranks=8) == default_limits("vllm", "h200")
    server = msgspec.structs.replace(profile(), engine="sglang", hardware="h200", gpus=8, attention_ranks=8)
    assert limits_of(server) == eight
