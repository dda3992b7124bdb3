import msgspec
import pytest

from meritorder import catalog
from meritorder.domain import Provenance, Replica
from meritorder.errors import PerformanceError
from meritorder.perf.profile import Profile
from meritorder.perf.roofline import roofline, within_peak
from meritorder.perf.shipped import find_profiles

CATALOG = catalog.load(())


def test_single_sequence_reads_weights_once() -> None:
    model, hardware = CATALOG.find_model("llama-3.1-8b"), CATALOG.find_hardware("rtx-4090")
    profile = roofline(model, hardware, Replica(model=model.id, hardware=hardware.id, gpus=1), as_of="2026-11-23")
    assert profile.provenance is Provenance.ROOFLINE
    # 16.06 GB at 0.8 of 1,008 GB/s.
    assert profile.decode_base_s[0] == pytest.approx(16.06e9 / (0.8 * 1.008e12), rel=1e-3)
    assert profile.decode_base_s[5] == profile.decode_base_s[0]
    # Prompts are bound by operations: 2 x 8.03e9 a token at 0.6 of 165.2 TFLOPS.
    assert profile.mixed_base_s[-1] == pytest.approx(2 * 8.03e9 * 16384 / (0.6 * 165.2e12), rel=1e-3)
    # So are the answers of 1,024 sequences.
    assert profile.decode_base_s[-1] == pytest.approx(2 * 8.03e9 * 1024 / (0.6 * 165.2e12), rel=1e-3)
    # 0.9 of 25.76 GB less weights and activations, at 131 kB a token.
    assert profile.kv_capacity_tokens == pytest.approx(42_900, rel=0.01)


def test_experts_read_more_with_tokens() -> None:
    model, hardware = CATALOG.find_model("qwen3-30b-a3b"), CATALOG.find_hardware("h100")
    profile = roofline(model, hardware, Replica(model=model.id, hardware="h100", gpus=1), as_of="2026-11-23")
    assert profile.decode_base_s[0] == pytest.approx(2 * model.active_parameters / (0.8 * 3.35e12), rel=1e-3)
    assert profile.decode_base_s == sorted(profile.decode_base_s)
    assert profile.decode_base_s[-1] == pytest.approx(2 * model.parameters / (0.8 * 3.35e12), rel=1e-3)


def test_four_bits_take_four_bits() -> None:
    """4 bits and a scale of 8 bits for each 16 weights, read at 0.8 of 7.7 TB/s."""
    model, hardware = CATALOG.find_model("llama-3.1-70b"), CATALOG.find_hardware("b200")
    replica = Replica(model=model.id, hardware="b200", gpus=1, precision="nvfp4")
    profile = roofline(model, hardware, replica, as_of="2026-11-30")
    assert profile.decode_base_s[0] == pytest.approx(model.parameters * 4.5 / 8 / (0.8 * 7.7e12), rel=1e-6)


def test_steps_are_raised_to_the_peak_rates() -> None:
    """Prompts a hundred times as fast as they are run at the peak: 0.85 x 2 x 8.03e9 operations at 1,978 TFLOPS."""
    model, hardware = CATALOG.find_model("llama-3.1-8b"), CATALOG.find_hardware("h100")
    (plain,) = find_profiles(model, "h100", engine="vllm", precision="fp8", gpus=1)
    assert within_peak(plain, plain, model, hardware) == plain
    fast = msgspec.structs.replace(plain, mixed_base_s=[step_s / 100 for step_s in plain.mixed_base_s])
    raised = within_peak(fast, plain, model, hardware)
    assert raised.mixed_base_s[-1] == pytest.approx(0.85 * 2 * 8.03e9 * 16384 / 1978e12, rel=1e-3)
    assert raised.decode_base_s == plain.decode_base_s


def test_ranks_share_no_reading_of_context() -> None:
    """With eight ranks each reads its own context at the bandwidth of its GPU, an eighth of the replica's."""
    model, hardware = CATALOG.find_model("qwen3-235b-a22b"), CATALOG.find_hardware("h200")
    plain, ranks = find_profiles(model, "h200", engine="vllm", precision="fp8", gpus=8)

    def least_s(measured: Profile) -> float:
        columns = [[1e-12] * len(measured.decode_sequences), [1.0] * len(measured.decode_sequences)]
        fast, tables = (msgspec.structs.replace(measured, decode_per_kv_token_s=column) for column in columns)
        return within_peak(fast, tables, model, hardware).decode_per_kv_token_s[0]

    assert least_s(ranks) == pytest.approx(8 * least_s(plain))


def test_context_is_read_within_bandwidth() -> None:
    """A token of context is 131 kB in BF16, and an H100 reads 3.35 TB/s; of sparse attention the tables know better."""
    model, hardware = CATALOG.find_model("llama-3.1-8b"), CATALOG.find_hardware("h100")
    (plain,) = find_profiles(model, "h100", engine="vllm", precision="fp8", gpus=1)
    halved = msgspec.structs.replace(plain, decode_per_kv_token_s=[x / 2 for x in plain.decode_per_kv_token_s])
    assert min(within_peak(halved, plain, model, hardware).decode_per_kv_token_s) == pytest.approx(131_072 / 3.35e12)
    assert within_peak(halved, halved, model, hardware) == halved


def test_weights_beyond_memory_refused() -> None:
    model, hardware = CATALOG.find_model("llama-3.1-70b"), CATALOG.find_hardware("rtx-4090")
    with pytest.raises(PerformanceError, match="do not fit"):
        roofline(model, hardware, Replica(model=model.id, hardware=hardware.id, gpus=1), as_of="2026-11-23")
