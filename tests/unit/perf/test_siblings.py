"""Hardware with the chip of measured hardware: numbers by hand from two data sheets."""

from dataclasses import replace

import msgspec
import pytest
from tests.samples.fleets import profile

from meritorder import catalog as facts
from meritorder.domain import Provenance, Replica
from meritorder.errors import PerformanceError
from meritorder.perf.profile import Memory, Profile
from meritorder.perf.shipped import apply_correction, shipped_profiles
from meritorder.perf.siblings import SIBLINGS, TWINS, from_sibling

GIB = 2**30
KNOWN = facts.load(()).hardware
MEASURED = replace(KNOWN["h100"], memory_bandwidth_bytes_per_s=3e12, bf16_flops=900e12)
# Half the bandwidth, two thirds of the operations, and an eighth of the power, whose cube root is a half.
SIBLING = replace(
    KNOWN["h100-pcie"],
    memory_bandwidth_bytes_per_s=1.5e12,
    bf16_flops=600e12,
    memory_bytes=80 * GIB,
    power_w=MEASURED.power_w / 8,
)
PLAIN = msgspec.structs.replace(
    profile(),
    engine="vllm",
    decode_sequences=[1, 2],
    decode_base_s=[0.010, 0.012],
    decode_per_kv_token_s=[1e-7, 1e-7],
    step_tokens=[1, 1000],
    mixed_base_s=[0.010, 0.040],
    prefill_per_pair_s=3e-9,
    memory=Memory(gpu_bytes=80 * GIB, weights_bytes=40 * GIB, step_bytes=GIB),
)


def test_step_times_follow_the_data_sheets() -> None:
    found = from_sibling(PLAIN, MEASURED, SIBLING)
    assert found.decode_base_s == pytest.approx([0.020, 0.024])
    assert found.decode_per_kv_token_s == pytest.approx([2e-7, 2e-7])
    assert found.mixed_base_s == pytest.approx([0.020, 0.020 + 0.030 * 3])
    assert found.prefill_per_pair_s == pytest.approx(9e-9)
    assert (found.hardware, found.kv_capacity_tokens) == ("h100-pcie", PLAIN.kv_capacity_tokens)
    assert found.provenance is Provenance.INTERPOLATED


@pytest.mark.parametrize(
    ("sibling", "samples_per_s", "measured_samples_per_s"),
    [("h100-pcie", 5878.44, 9369.12), ("a100-pcie", 3168.14, 3590.46)],
)
def test_prompts_slow_down_as_in_mlperf(sibling: str, samples_per_s: float, measured_samples_per_s: float) -> None:
    """BERT encodes whole texts, as a prompt is. Source: MLPerf Inference v3.0, NVIDIA, one GPU, BERT-99 offline."""
    found = from_sibling(PLAIN, KNOWN[SIBLINGS[sibling]], KNOWN[sibling])
    slower = found.prefill_per_pair_s / PLAIN.prefill_per_pair_s
    assert slower == pytest.approx(measured_samples_per_s / samples_per_s, rel=0.04)


def test_memory_is_the_hardwares_own() -> None:
    smaller = from_sibling(PLAIN, MEASURED, replace(SIBLING, memory_bytes=60 * GIB))
    left = (0.9 * 0.99 * 60 - 41.3) / (0.9 * 0.99 * 80 - 41.3)
    assert smaller.kv_capacity_tokens == int(PLAIN.kv_capacity_tokens * left)
    with pytest.raises(PerformanceError, match="no memory for context"):
        from_sibling(PLAIN, MEASURED, replace(SIBLING, memory_bytes=40 * GIB))


def test_links_between_gpus_do_not_follow() -> None:
    with pytest.raises(PerformanceError, match="one GPU per replica"):
        from_sibling(msgspec.structs.replace(PLAIN, gpus=2), MEASURED, SIBLING)


def shipped(hardware: str) -> Profile:
    wanted = Replica(model="gpt-oss-20b", hardware=hardware, gpus=1, engine="trtllm", precision="mxfp4")
    return next(found for found in shipped_profiles(wanted.model) if found.replica == wanted)


def test_unmeasured_models_have_the_speed_of_a_twin() -> None:
    """No server on GB200 was measured with gpt-oss; its memory stays its own."""
    plain = shipped("gb200")
    found, twin = apply_correction(plain), apply_correction(shipped("b200"))
    assert found.decode_base_s == twin.decode_base_s != plain.decode_base_s
    assert found.kv_capacity_tokens == plain.kv_capacity_tokens != twin.kv_capacity_tokens
    assert found.hardware == "gb200"
    assert "speed of b200" in found.source
    assert found.provenance is Provenance.INTERPOLATED


def test_twins_are_alike() -> None:
    for hardware, twins in TWINS.items():
        for twin in twins:
            mine, other = KNOWN[hardware], KNOWN[twin]
            assert mine.memory_bandwidth_bytes_per_s == pytest.approx(other.memory_bandwidth_bytes_per_s, rel=0.05)
            assert mine.bf16_flops == pytest.approx(other.bf16_flops, rel=0.2)


def test_siblings_are_in_the_catalog() -> None:
    assert set(SIBLINGS) | set(SIBLINGS.values()) <= set(KNOWN)
    assert not set(SIBLINGS) & set(SIBLINGS.values())
