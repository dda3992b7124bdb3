import msgspec
import numpy as np
import pytest
from tests.samples.fleets import profile

from meritorder.domain import Provenance
from meritorder.perf.calibration import Tuning
from meritorder.perf.corrections import Correction, correct_profile, model_kind
from meritorder.perf.profile import Profile
from meritorder.perf.shipped import apply_correction, shipped_corrections, shipped_profiles

NOTHING = {
    "prompt_step_s": 0.0,
    "prompt_token_s": 0.0,
    "prompt_token_overhead_s": 0.0,
    "first_token_steps": 0.0,
}


def profile_of(engine: str, hardware: str = "h100", model: str = "llama-3.1-70b", precision: str = "fp8") -> Profile:
    wanted = (model, precision, hardware, engine)
    return next(p for p in shipped_profiles() if (p.model, p.precision, p.hardware, p.engine) == wanted)


def correction(**changes: object) -> Correction:
    plain = {
        "hardware": "h100",
        "engine": "vllm",
        "tuning": {},
        "fitted_on": 10,
        "judged_on": 12,
        "ttft_median": 0.1,
        "tpot_median": 0.05,
        "ttft_median_before": 0.3,
        "tpot_median_before": 0.1,
        "pace_ratios": [0.9, 1.1],
        "as_of": "2026-11-30",
        "source": "a sample",
    }
    return Correction(**(plain | changes))  # type: ignore[arg-type]


def test_corrections_ship_for_validated_hardware() -> None:
    general = {(correction.hardware, correction.engine) for correction in shipped_corrections() if not correction.model}
    assert {("h100", "vllm"), ("h200", "vllm"), ("b200", "vllm"), ("h100", "trtllm"), ("", "vllm")} <= general
    for shipped in shipped_corrections():
        assert shipped.fitted_on >= 10
        assert shipped.judged_on >= 10


def test_precisions_are_those_of_profiles() -> None:
    """A correction in a precision that no profile has would never apply."""
    served = {profile.precision for profile in shipped_profiles()}
    assert {weights.split()[1] for shipped in shipped_corrections() for weights in shipped.fitted_to} <= served
    assert {shipped.precision for shipped in shipped_corrections()} <= served | {""}


def test_corrected_profile_keeps_silicon_provenance() -> None:
    plain = profile_of("vllm")
    better = apply_correction(plain)
    assert better.provenance is Provenance.SILICON
    assert better.source.startswith(plain.source)
    assert "corrected by the validation of" in better.source
    assert better != plain
    assert better.limits is None
    assert better.kv_capacity_tokens == plain.kv_capacity_tokens


def test_model_correction_precedes_engine_correction() -> None:
    plain = profile_of("vllm")
    own = next(c for c in shipped_corrections() if c.covers(plain) and c.model)
    assert own.model == "llama-3.1-70b"
    assert apply_correction(plain) == own.apply(plain)


def test_models_of_an_architecture_share_corrections() -> None:
    older, newer = profile_of("vllm"), profile_of("vllm", model="llama-3.3-70b")
    assert apply_correction(newer).decode_base_s == apply_correction(older).decode_base_s


def test_unseen_models_need_an_earned_correction() -> None:
    """Only a kind of model that was helped unseen is corrected unseen."""
    dense = msgspec.structs.replace(profile(), engine="vllm", hardware="h100", model="new", precision="bf16")
    assert not correction(fitted_to=["other bf16"]).covers(dense)
    assert correction(fitted_to=["new bf16"]).covers(dense)
    assert not correction(fitted_to=["new fp8"]).covers(dense)
    assert correction(transfers={model_kind(dense): [1.0]}).covers(dense)
    assert not correction(transfers={"experts": [1.0]}).covers(dense)
    assert not correction(model="other", transfers={"dense": [1.0]}).covers(dense)


def test_host_correction_covers_any_hardware() -> None:
    anywhere = correction(hardware="", transfers={"dense": [1.0]})
    dense = msgspec.structs.replace(profile(), engine="vllm", hardware="l40s")
    assert anywhere.covers(dense)
    assert not anywhere.covers(msgspec.structs.replace(dense, engine="sglang"))
    assert not correction(transfers={"dense": [1.0]}).covers(dense)


def test_residuals_are_of_models_left_out() -> None:
    dense = msgspec.structs.replace(profile(), engine="vllm", hardware="h100", model="new", precision="bf16")
    seen = correction(fitted_to=["new bf16"], transfers={"dense": [0.7, 1.3]}).apply(dense).residuals
    unseen = correction(transfers={"dense": [0.7, 1.3]}).apply(dense).residuals
    assert seen is not None
    assert unseen is not None
    assert seen.pace_ratios == [0.9, 1.1]
    assert unseen.pace_ratios == [0.7, 1.3]
    assert "left out" in unseen.basis


def test_prompts_take_time_of_the_host() -> None:
    """A step with prompts: 10 ms of the table, 1 ms of the host and 2 us a token."""
    plain = msgspec.structs.replace(
        profile(),
        decode_sequences=[1, 2],
        decode_base_s=[0.004, 0.005],
        decode_per_kv_token_s=[0.0, 0.0],
        step_tokens=[1, 1000],
        mixed_base_s=[0.004, 0.010],
    )
    host = NOTHING | {"prompt_step_s": 0.001, "prompt_token_s": 2e-6}
    corrected = correct_profile(plain, Tuning(), {}, **host)
    assert corrected.mixed_base_s == pytest.approx([0.004 + 0.001 + 2e-6, 0.010 + 0.001 + 0.002])
    assert np.allclose(corrected.decode_base_s, plain.decode_base_s)


def test_calibrated_profiles_not_corrected() -> None:
    own = msgspec.structs.replace(profile_of("vllm"), provenance=Provenance.CALIBRATED)
    assert apply_correction(own) is own
