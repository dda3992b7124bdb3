"""The profiles that ship: each sane, and all that were promised there or absent for a reason."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from meritorder import catalog
from meritorder.domain import Model, Replica
from meritorder.errors import MissingExtraError, PerformanceError
from meritorder.perf import shipped
from meritorder.perf.memory import context_bytes
from meritorder.perf.profile import Profile
from meritorder.perf.shipped import find_profiles, load_profiles, shipped_profiles
from meritorder.perf.silicon import native_modes, sample_profile

FACTS = catalog.load(())
PROMISED = (
    *("llama-3.1-8b", "qwen3-32b", "llama-3.1-70b", "gpt-oss-20b", "gpt-oss-120b"),
    *("qwen3-30b-a3b", "qwen3-235b-a22b", "deepseek-v3", "deepseek-r1"),
)
HARDWARE = ("a100", "l40s", "h100", "h200", "b200")
NO_MXFP4 = "the tables have no mxfp4 on Ampere"
NO_FP8 = "Ampere has no fp8 arithmetic"
TOO_LARGE = "the weights and the engine leave no memory on 8 GPUs"
ABSENT = {
    ("gpt-oss-20b", "a100"): NO_MXFP4,
    ("gpt-oss-120b", "a100"): NO_MXFP4,
    ("deepseek-v3", "a100"): NO_FP8,
    ("deepseek-r1", "a100"): NO_FP8,
    ("deepseek-v3", "l40s"): TOO_LARGE,
    ("deepseek-r1", "l40s"): TOO_LARGE,
    ("deepseek-v3", "h100"): TOO_LARGE,
    ("deepseek-r1", "h100"): TOO_LARGE,
}
# A token in the layers that attend to a window: 25 layers of 8 heads of 256, half of the layers of 8 heads of 64.
WINDOW_BYTES = {
    "gemma-4-26b-a4b": 25 * 2 * 8 * 256 * 2,
    "gpt-oss-20b": 12 * 2 * 8 * 64 * 2,
    "gpt-oss-120b": 18 * 2 * 8 * 64 * 2,
}
# Slower at profile sequence than at ten in the measured tables themselves: expert and FP8 kernels at small batches.
SLOW_WHEN_SMALL = {
    "qwen3-235b-a22b on 8xh100 (trtllm, bf16)",
    "qwen3-32b on 4xb200 (vllm, fp8)",
    "qwen3-32b on 8xb200 (vllm, fp8)",
}
# Heads of the KV cache of models that have fewer than eight, by the start of their names; latent caches have one.
KV_HEADS = {
    "deepseek": 1,
    "kimi": 1,
    "glm": 1,
    "gemma-4": 2,
    "qwen3.5-27b": 4,
    "qwen3.6-27b": 4,
    "qwen3.5": 2,
    "qwen3.6": 2,
    "qwen3-30b": 4,
    "qwen3-235b": 4,
    "qwen3-vl-30b": 4,
    "qwen3-vl-235b": 4,
    "minimax-m3": 4,
}


def offenders(of: Callable[[Profile], bool]) -> list[str]:
    return [profile.replica.label for profile in shipped_profiles() if of(profile)]


def test_promised_profiles_present_or_excused() -> None:
    there = {(profile.model, profile.hardware) for profile in shipped_profiles() if profile.engine == "vllm"}
    missing = {(model, hardware) for model in PROMISED for hardware in HARDWARE} - there
    assert missing == set(ABSENT)
    for (name, hardware), reason in ABSENT.items():
        budget_bytes = 0.9 * 8 * FACTS.hardware[hardware].memory_bytes
        if reason == TOO_LARGE:
            assert 1.05 * (FACTS.models[name].weights_bytes("fp8") or 0) > budget_bytes


def test_no_replica_ships_twice() -> None:
    assert len({profile.replica for profile in shipped_profiles()}) == len(shipped_profiles())


def test_profile_names_known_to_catalog() -> None:
    assert not offenders(lambda profile: profile.model not in FACTS.models or profile.hardware not in FACTS.hardware)
    assert not offenders(lambda profile: not profile.source or not profile.as_of)


def test_step_times_are_plausible() -> None:
    """No engine steps in under a millisecond; a full step of 16,384 tokens over PCIe takes most of a minute."""
    assert not offenders(lambda profile: min(*profile.decode_base_s, *profile.mixed_base_s) < 1e-3)
    assert not offenders(lambda profile: max(profile.decode_base_s) > 6 or max(profile.mixed_base_s) > 60)
    assert not offenders(lambda profile: max(profile.decode_per_kv_token_s) == 0 or profile.prefill_per_pair_s == 0)
    assert not offenders(lambda profile: profile.table_error_p90 > 0.3)


def largest_dip(column: list[float]) -> float:
    return float(np.max(1 - np.array(column) / np.maximum.accumulate(column)))


def test_columns_broadly_increase() -> None:
    """Measured operators are not monotone: a larger batch may find a better kernel. But never far below."""
    for column in ("decode_base_s", "mixed_base_s"):
        deep = offenders(lambda profile, column=column: largest_dip(getattr(profile, column)) > 0.5)
        assert set(deep) <= SLOW_WHEN_SMALL, column
    assert not offenders(lambda profile: profile.decode_base_s[-1] < 0.75 * profile.decode_base_s[0])
    flat = offenders(lambda profile: profile.mixed_base_s[-1] < 3 * profile.mixed_base_s[0])
    assert set(flat) <= SLOW_WHEN_SMALL


def test_large_batches_raise_throughput() -> None:
    def gain(profile: Profile) -> float:
        return (
            profile.decode_sequences[-1]
            / profile.decode_sequences[0]
            * profile.decode_base_s[0]
            / profile.decode_base_s[-1]
        )

    assert not offenders(lambda profile: gain(profile) < 5)


def test_decode_never_beats_memory_bandwidth() -> None:
    """One sequence reads at least the weights that are active for it, all GPUs at peak bandwidth."""

    def least_s(profile: Profile) -> float:
        facts, hardware = FACTS.models[profile.model], FACTS.hardware[profile.hardware]
        read_bytes = (facts.weights_bytes(profile.precision) or 0) * facts.active_parameters / facts.parameters
        return read_bytes / (profile.gpus * hardware.memory_bandwidth_bytes_per_s)

    assert not offenders(lambda profile: profile.decode_base_s[0] < 0.95 * least_s(profile))


def kv_heads(name: str) -> int:
    return next((heads for start, heads in KV_HEADS.items() if name.startswith(start)), 8)


def test_weights_and_context_fill_memory() -> None:
    """Context takes two bytes per number, one in fp8; GPUs beyond the heads hold copies of them.

    TensorRT-LLM also keeps all of a sequence in layers that attend to a window.
    """

    def token_bytes(profile: Profile) -> float:
        windows = WINDOW_BYTES.get(profile.model, 0) if profile.engine == "trtllm" else 0
        copies = max(1.0, profile.gpus / profile.attention_ranks / kv_heads(profile.model))
        return FACTS.models[profile.model].kv_bytes_per_token * copies + windows

    def filled(profile: Profile) -> float:
        facts, hardware = FACTS.models[profile.model], FACTS.hardware[profile.hardware]
        halved = 0.5 if profile.memory is not None and profile.memory.cache == "fp8" else 1.0
        held_tokens = profile.kv_capacity_tokens * profile.attention_ranks
        context_bytes = held_tokens * token_bytes(profile) * halved
        return ((facts.weights_bytes(profile.precision) or 0) + context_bytes) / (profile.gpus * hardware.memory_bytes)

    def most(profile: Profile) -> float:
        """By the engines' defaults, vLLM fills 90 % of memory, and TensorRT-LLM 90 % of what weights leave free."""
        facts, hardware = FACTS.models[profile.model], FACTS.hardware[profile.hardware]
        weights = (facts.weights_bytes(profile.precision) or 0) / (profile.gpus * hardware.memory_bytes)
        return {"vllm": 0.9, "trtllm": weights + 0.9 * (1 - weights)}.get(profile.engine, 0.95)

    assert not offenders(lambda profile: not 0.4 <= filled(profile) <= most(profile))


def test_ranks_hold_what_tensor_parallel_gpus_copy() -> None:
    """Eight GPUs each keep the one latent head of DeepSeek, all of every sequence; eight ranks keep their own."""
    tensor, data = find_profiles(model("deepseek-r1"), "h200", engine="vllm", precision="fp8", gpus=8)
    assert (tensor.attention_ranks, data.attention_ranks) == (1, 8)
    assert data.replica.label == "deepseek-r1 on 8xh200 (vllm, fp8, data-parallel attention)"
    assert data.memory is not None
    assert tensor.memory is not None
    free = [context_bytes("vllm", memory) for memory in (tensor.memory, data.memory)]
    assert data.kv_capacity_tokens / tensor.kv_capacity_tokens == pytest.approx(free[1] / free[0], rel=0.01)


def model(name: str) -> Model:
    return FACTS.models[name]


def test_find_defaults_to_native_precision() -> None:
    found = find_profiles(model("llama-3.1-70b"), "h100", engine="vllm", precision=None, gpus=None)
    assert {profile.precision for profile in found} == {"bf16"}
    assert [profile.gpus for profile in found] == sorted(profile.gpus for profile in found)
    assert [
        profile.gpus
        for profile in find_profiles(model("llama-3.1-70b"), "h100", engine="vllm", precision="fp8", gpus=4)
    ] == [4]


def test_find_serves_the_precision_of_a_name() -> None:
    named = FACTS.find_model("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8")
    found = find_profiles(named, "h100", engine="vllm", precision=None, gpus=None)
    assert {profile.precision for profile in found} == {"fp8"}
    stated = find_profiles(named, "h100", engine="vllm", precision="bf16", gpus=None)
    assert {profile.precision for profile in stated} == {"bf16"}


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_replica: Replica, _hf_id: str, *, native: bool) -> Profile:
        raise MissingExtraError(f"no aiconfigurator-core here, native={native}")

    monkeypatch.setattr(shipped, "_sample", refuse)


@pytest.mark.usefixtures("no_library")
@pytest.mark.parametrize(
    ("name", "hardware", "engine", "gpus", "named"),
    [
        ("llama-3.1-8b", "h100", "vllm", 3, "bf16 on 1 GPU, bf16 on 2 GPUs"),
        ("deepseek-r1", "h100", "vllm", 1, "deepseek-r1 was measured on b200, "),
        ("llama-3.1-8b", "h100", "tgi", None, "rtx-pro-6000 with sglang, trtllm, vllm"),
        ("mixtral-8x7b", "h100", "vllm", None, "measured models are deepseek-r1, deepseek-v3"),
    ],
)
def test_missing_profile_error_names_available(
    name: str, hardware: str, engine: str, gpus: int | None, named: str
) -> None:
    with pytest.raises(PerformanceError, match="no measured performance") as caught:
        find_profiles(model(name), hardware, engine=engine, precision=None, gpus=gpus)
    assert named in str(caught.value)
    assert "meritorder[silicon]" in str(caught.value)


def test_profile_survives_a_round_trip(tmp_path: Path) -> None:
    profile = shipped_profiles()[0]
    (tmp_path / "p.json").write_bytes(msgspec.json.encode(profile))
    (tmp_path / "p.toml").write_text(shipped.to_toml([profile]))
    assert load_profiles(tmp_path / "p.json") == (profile,)
    assert load_profiles(tmp_path / "p.toml") == (profile,)


@pytest.mark.parametrize(
    ("name", "content"), [("p.json", b"{}"), ("p.json", b"\x00"), ("p.toml", b"= ="), ("p.toml", b"\xff\xfe")]
)
def test_other_files_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PerformanceError, match="not a profile") as caught:
        load_profiles(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_invalid_profile_file_refused(tmp_path: Path) -> None:
    document = msgspec.json.decode(msgspec.json.encode(shipped_profiles()[0]))
    document["decode_base_s"][3] = -1.0
    (tmp_path / "p.json").write_bytes(msgspec.json.encode(document))
    with pytest.raises(PerformanceError, match="negative"):
        load_profiles(tmp_path / "p.json")


@pytest.mark.parametrize(
    ("engine", "hardware", "precision", "modes"),
    [
        # TensorRT-LLM, get_mxfp4_quant_algo: W4A8_MXFP4_MXFP8 from SM 100 on, W4A16_MXFP4 before.
        ("trtllm", "b200", "mxfp4", {"moe_quant_mode": "w4a8_mxfp4_mxfp8"}),
        ("trtllm", "h200", "mxfp4", {}),
        ("vllm", "b200", "mxfp4", {}),
        ("trtllm", "b200", "fp8", {}),
    ],
)
def test_activations_are_those_of_the_engine(engine: str, hardware: str, precision: str, modes: dict[str, str]) -> None:
    replica = Replica(model="gpt-oss-120b", hardware=hardware, gpus=1, engine=engine, precision=precision)
    assert native_modes(replica) == modes


@pytest.mark.slow
def test_sampling_reproduces_shipped_profile() -> None:
    pytest.importorskip("aiconfigurator_core")
    profile = next(p for p in shipped_profiles() if p.replica.label == "llama-3.1-8b on 1xh100 (vllm, bf16)")
    again = sample_profile(profile.replica, "meta-llama/Meta-Llama-3.1-8B", native=True)
    assert again.kv_capacity_tokens == profile.kv_capacity_tokens
    np.testing.assert_allclose(again.decode_base_s, profile.decode_base_s, rtol=0.01)
    np.testing.assert_allclose(again.mixed_base_s, profile.mixed_base_s, rtol=0.01)


@pytest.mark.slow
def test_sampled_state_matches_model_config() -> None:
    """Qwen3.5-27B keeps 48 heads of 128 x 128 floats in each of its 48 recurrent layers; 16 layers hold context."""
    pytest.importorskip("aiconfigurator_core")
    replica = Replica(model="qwen3.5-27b", hardware="h200", gpus=1, precision="bf16")
    profile = sample_profile(replica, "Qwen/Qwen3.5-27B", native=True)
    state_bytes = 48 * 48 * 128 * 128 * 4
    context_bytes = 16 * 2 * 4 * 256 * 2
    assert profile.state_tokens == pytest.approx(state_bytes / context_bytes, rel=0.03)


@pytest.mark.slow
def test_windows_are_kept_whole_by_tensorrt_llm() -> None:
    """gpt-oss-20b has 24 layers of 8 heads of 64, half of them with a window of 128 tokens."""
    pytest.importorskip("aiconfigurator_core")
    sampled = {
        engine: sample_profile(
            Replica(model="gpt-oss-20b", hardware="h100", gpus=1, engine=engine, precision="mxfp4"),
            "openai/gpt-oss-20b",
            native=True,
        )
        for engine in ("trtllm", "vllm")
    }
    layer_bytes = 2 * 8 * 64 * 2
    for engine, layers, state_tokens in (("trtllm", 24, 0), ("vllm", 12, 128)):
        found = sampled[engine]
        assert found.memory is not None
        free_bytes = context_bytes(engine, found.memory)
        assert found.kv_capacity_tokens == pytest.approx(free_bytes / (layers * layer_bytes), rel=0.001)
        assert found.state_tokens == pytest.approx(state_tokens, abs=2)
