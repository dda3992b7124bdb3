import msgspec
import numpy as np
import pytest
from tests.unit.perf.test_corrections import profile_of

from meritorder.perf.accuracy import expected_accuracy, speed_factors
from meritorder.perf.corrections import Correction
from meritorder.perf.shipped import _correction as lookup
from meritorder.perf.shipped import shipped_corrections


def test_corrected_profile_records_residuals() -> None:
    found = lookup("h100", "vllm")
    assert isinstance(found, Correction)
    known = expected_accuracy(found.apply(profile_of("vllm")))
    assert known is not None
    assert known.pace_ratios == tuple(found.pace_ratios)
    assert known.error == pytest.approx(found.tpot_median, abs=0.02)
    assert f"{found.judged_on} measured servers of vllm on h100" in known.basis
    low, high = known.factors((0.05, 0.95), seed=0)
    assert low < 1 < high
    assert min(found.pace_ratios) <= low < high <= max(found.pace_ratios)


def test_unvalidated_hardware_assigned_largest_error() -> None:
    known = expected_accuracy(profile_of("vllm", "a100"))
    assert known is not None
    assert known.error == max(c.tpot_median_before for c in shipped_corrections() if c.engine == "vllm" and not c.model)
    assert "a100 is not among it" in known.basis
    assert np.median(known.factors((0.25, 0.5, 0.75), seed=1)) == pytest.approx(1, abs=0.05)
    assert expected_accuracy(msgspec.structs.replace(profile_of("vllm"), engine="abacus")) is None


def test_speed_factors_drawn_from_ratios() -> None:
    drawn = speed_factors([0.9, 1.1], 0.5, 1000, np.random.default_rng(0))
    assert set(drawn) == {0.9, 1.1}
    assert drawn.mean() == pytest.approx(1.0, abs=0.02)


def test_speed_factors_have_given_median_error() -> None:
    drawn = speed_factors([], 0.08, 20_000, np.random.default_rng(0))
    assert np.median(np.abs(np.log(drawn))) == pytest.approx(0.08, rel=0.03)
