import msgspec
import pytest

from meritorder.domain import Provenance
from meritorder.perf.corrections import Correction
from meritorder.perf.shipped import _correction as lookup
from meritorder.perf.shipped import accuracy, corrected, corrections, profiles


def profile_of(engine: str, hardware: str = "h100"):  # noqa: ANN201
    return next(p for p in profiles() if (p.model, p.hardware, p.engine) == ("llama-3.1-70b", hardware, engine))


def test_corrections_ship_for_the_hardware_that_was_validated() -> None:
    general = {(each.hardware, each.engine) for each in corrections() if not each.model}
    assert {("h100", "vllm"), ("h200", "vllm"), ("b200", "vllm"), ("h100", "trtllm")} <= general
    for each in corrections():
        assert each.fitted_on >= 10
        assert each.judged_on >= 10


def test_a_corrected_profile_stays_silicon_and_says_so() -> None:
    plain = profile_of("vllm")
    better = corrected(plain)
    assert better.provenance is Provenance.SILICON
    assert better.source.startswith(plain.source)
    assert "corrected by the validation of" in better.source
    assert better != plain


def test_the_correction_of_the_model_goes_before_that_of_the_engine() -> None:
    plain = next(p for p in profiles() if (p.model, p.hardware, p.precision) == ("llama-3.1-70b", "h100", "fp8"))
    own = lookup("h100", plain.engine, "llama-3.1-70b", "fp8")
    general = lookup("h100", plain.engine)
    assert general is not None
    assert corrected(plain) == (own or general).applied(plain)


def test_calibrated_profiles_are_left_alone() -> None:
    own = msgspec.structs.replace(profile_of("vllm"), provenance=Provenance.CALIBRATED)
    assert corrected(own) is own


def test_accuracy_is_that_of_the_validation() -> None:
    found = lookup("h100", "vllm")
    assert isinstance(found, Correction)
    assert accuracy("h100", "vllm") == found.tpot_median_before
    assert accuracy("h100", "vllm", corrected=True) == found.tpot_median
    assert accuracy("abacus", "vllm") is None
    assert 0 < (accuracy("h200", "vllm") or 0) == pytest.approx(0.15, abs=0.15)
