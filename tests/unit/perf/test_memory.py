"""Memory for context, worked out by hand from each engine's rule."""

import msgspec
import pytest
from tests.samples.fleets import profile

from meritorder.errors import ConfigError, PerformanceError
from meritorder.perf.memory import context_bytes, resized
from meritorder.perf.profile import Memory, Profile

GIB = 2**30
# 79.2 GiB are visible of 80.
H100 = Memory(gpu_bytes=80 * GIB, weights_bytes=60 * GIB, step_bytes=GIB)


def served(engine: str = "vllm") -> Profile:
    return msgspec.structs.replace(profile(), engine=engine, memory=H100, kv_capacity_tokens=10_000)


@pytest.mark.parametrize(
    ("engine", "gib"),
    [
        ("vllm", 0.9 * 79.2 - 60 - 1 - 0.3),
        # 512 MiB, 12,288 for a chunk of 8,192 and 512 for graphs are reserved of 81,920.
        ("sglang", (1 - 13_312 / 81_920) * 79.2 - 60 - 0.5),
        ("trtllm", 0.9 * (79.2 - 60 - 1 - 2)),
    ],
)
def test_context_has_what_engines_leave(engine: str, gib: float) -> None:
    assert context_bytes(engine, H100) / GIB == pytest.approx(gib)


def test_too_large_weights_leave_nothing() -> None:
    assert context_bytes("vllm", msgspec.structs.replace(H100, weights_bytes=75 * GIB)) == 0


def test_utilization_changes_the_capacity() -> None:
    more = resized(served(), 0.95, None)
    assert more.kv_capacity_tokens == int(10_000 * (0.95 * 79.2 - 61.3) / (0.9 * 79.2 - 61.3))
    assert more.decode_per_kv_token_s == served().decode_per_kv_token_s
    assert resized(served(), None, None) == served()
    assert resized(served("trtllm"), 0.45, None).kv_capacity_tokens == 5000


def test_fp8_cache_holds_twice_the_tokens() -> None:
    small = resized(served(), None, "fp8")
    assert small.kv_capacity_tokens == 20_000
    assert small.decode_per_kv_token_s == [second / 2 for second in served().decode_per_kv_token_s]
    assert resized(small, None, "bf16").kv_capacity_tokens == 10_000
    assert resized(served(), None, "bf16") == served()


def test_mistaken_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="memory-utilization"):
        resized(served(), 90.0, None)
    with pytest.raises(ConfigError, match="kv-cache-dtype"):
        resized(served(), None, "int3")
    with pytest.raises(PerformanceError, match="does not state"):
        resized(profile(), 0.95, None)
    with pytest.raises(PerformanceError, match="no memory for context"):
        resized(served(), 0.5, None)
