import msgspec

from meritorder.domain import Provenance
from meritorder.perf.shipped import _correction as lookup
from meritorder.perf.shipped import apply_correction, shipped_corrections, shipped_profiles


def profile_of(engine: str, hardware: str = "h100"):  # noqa: ANN201
    return next(p for p in shipped_profiles() if (p.model, p.hardware, p.engine) == ("llama-3.1-70b", hardware, engine))


def test_corrections_ship_for_validated_hardware() -> None:
    general = {(correction.hardware, correction.engine) for correction in shipped_corrections() if not correction.model}
    assert {("h100", "vllm"), ("h200", "vllm"), ("b200", "vllm"), ("h100", "trtllm")} <= general
    for correction in shipped_corrections():
        assert correction.fitted_on >= 10
        assert correction.judged_on >= 10


def test_corrected_profile_keeps_silicon_provenance() -> None:
    plain = profile_of("vllm")
    better = apply_correction(plain)
    assert better.provenance is Provenance.SILICON
    assert better.source.startswith(plain.source)
    assert "corrected by the validation of" in better.source
    assert better != plain


def test_model_correction_precedes_engine_correction() -> None:
    plain = next(
        p for p in shipped_profiles() if (p.model, p.hardware, p.precision) == ("llama-3.1-70b", "h100", "fp8")
    )
    own = lookup("h100", plain.engine, "llama-3.1-70b", "fp8")
    general = lookup("h100", plain.engine)
    assert general is not None
    assert apply_correction(plain) == (own or general).apply(plain)


def test_calibrated_profiles_not_corrected() -> None:
    own = msgspec.structs.replace(profile_of("vllm"), provenance=Provenance.CALIBRATED)
    assert apply_correction(own) is own
