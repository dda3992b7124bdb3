import msgspec
import numpy as np
import pytest
from tests.samples.fleets import profile
from tests.unit.perf.test_corrections import profile_of

from meritorder.perf.accuracy import SOURCE_SPREAD, Accuracy, expected_accuracy, speed_factors
from meritorder.perf.profile import Calibration, Errors
from meritorder.perf.shipped import apply_correction, shipped_corrections


def test_corrected_profile_records_residuals() -> None:
    plain = profile_of("vllm")
    found = next(c for c in shipped_corrections() if c.covers(plain) and c.model)
    known = expected_accuracy(apply_correction(plain))
    assert known is not None
    assert known.pace_ratios == tuple(found.pace_ratios)
    assert known.error == pytest.approx(found.tpot_median, abs=0.02)
    assert f"{found.judged_on} measured servers of llama-3.1-70b" in known.basis
    low, high = known.factors((0.05, 0.95), seed=0)
    assert low < 1 < high
    assert min(found.pace_ratios) <= low < high <= max(found.pace_ratios)


def test_unvalidated_hardware_assigned_largest_error() -> None:
    known = expected_accuracy(profile_of("vllm", "a100", precision="bf16"))
    assert known is not None
    assert known.error == max(c.tpot_median_before for c in shipped_corrections() if c.engine == "vllm" and not c.model)
    assert "a100 is not among it" in known.basis
    assert np.median(known.factors((0.25, 0.5, 0.75), seed=1)) == pytest.approx(1, abs=0.05)
    assert expected_accuracy(msgspec.structs.replace(profile_of("vllm"), engine="abacus")) is None


def test_cost_range_has_the_spread_of_sources() -> None:
    """Without errors of speed the range is that of a normal distribution: 1.2816 deviations either way."""
    low, high = Accuracy(error=0.0, basis="", pace_ratios=(1.0,)).cost_factors()
    assert np.log([low, high]) == pytest.approx([-1.2816 * SOURCE_SPREAD, 1.2816 * SOURCE_SPREAD], abs=0.03)
    assert Accuracy(error=0.0, basis="", pace_ratios=(1.0,), source_spread=0.0).cost_factors() == (1.0, 1.0)


def test_own_log_has_no_spread_of_sources() -> None:
    errors = Errors(of_mean=0.0, median=0.0, p90=0.0)
    fit = Calibration(
        log="log",
        replicas=1,
        fitted_on=10,
        judged_on=10,
        unseen=True,
        assumed=[],
        parameters={},
        ttft=errors,
        tpot=errors,
        e2e=errors,
        pace_ratios=[0.98, 1.02],
    )
    known = expected_accuracy(msgspec.structs.replace(profile(), calibration=fit))
    assert known is not None
    assert known.cost_factors() == (0.98, 1.02)


def test_speed_factors_drawn_from_ratios() -> None:
    drawn = speed_factors([0.9, 1.1], 0.5, 1000, np.random.default_rng(0))
    assert set(drawn) == {0.9, 1.1}
    assert drawn.mean() == pytest.approx(1.0, abs=0.02)


def test_speed_factors_have_given_median_error() -> None:
    drawn = speed_factors([], 0.08, 20_000, np.random.default_rng(0))
    assert np.median(np.abs(np.log(drawn))) == pytest.approx(0.08, rel=0.03)
