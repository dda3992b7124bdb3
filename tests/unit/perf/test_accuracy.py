import msgspec
import numpy as np
import pytest
from tests.samples.fleets import profile
from tests.unit.perf.test_corrections import profile_of

from meritorder.domain import Provenance
from meritorder.perf.accuracy import SOURCE_SPREAD, Accuracy, drawn_together, expected_accuracy, log_range
from meritorder.perf.profile import Calibration, Errors, Profile, Residuals
from meritorder.perf.shipped import apply_correction, shipped_corrections, shipped_errors

# Quantile 0.9 of the standard normal distribution.
DEVIATIONS = 1.2816


def judged(engine_version: str = "0.12.0", user_version: str = "") -> Profile:
    residuals = Residuals(basis="9 servers", pace_ratios=[0.9, 1.0, 1.1], servers=9)
    return msgspec.structs.replace(
        profile(), residuals=residuals, engine_version=engine_version, user_version=user_version
    )


def cost_factors(found: Profile) -> tuple[float, float]:
    known = expected_accuracy(found)
    assert known is not None
    return known.cost_factors()


def test_corrected_profile_records_residuals() -> None:
    plain = profile_of("vllm")
    found = next(c for c in shipped_corrections() if c.covers(plain) and c.model)
    known = expected_accuracy(apply_correction(plain))
    assert known is not None
    assert known.pace_ratios == tuple(found.pace_ratios)
    assert known.servers == found.judged_on
    assert f"{found.judged_on} measured servers of llama-3.1-70b" in known.basis
    low, high = known.factors((0.05, 0.95), seed=0)
    assert low < 1 < high
    assert min(found.pace_ratios) <= low < high <= max(found.pace_ratios)


def test_kinds_of_speeds_have_errors_of_their_own() -> None:
    """The less is measured, the wider: corrected tables, tables alone, GPUs never measured, data sheets."""
    plain = profile_of("vllm")
    kinds = {
        "corrected": apply_correction(plain),
        "tables": plain,
        "sibling": msgspec.structs.replace(apply_correction(plain), provenance=Provenance.INTERPOLATED),
        "roofline": msgspec.structs.replace(plain, provenance=Provenance.ROOFLINE),
    }
    wide = {name: float(np.log(high / low)) for name, (low, high) in ((n, cost_factors(p)) for n, p in kinds.items())}
    assert wide["corrected"] < wide["sibling"] < wide["roofline"]
    assert wide["corrected"] < wide["tables"] < wide["roofline"]
    scaled = msgspec.structs.replace(plain, provenance=Provenance.INTERPOLATED)
    assert cost_factors(scaled) == cost_factors(plain)
    assert expected_accuracy(msgspec.structs.replace(plain, engine="abacus")) is None


def test_cost_range_has_the_spread_of_sources() -> None:
    """Without errors of speed the range is that of a normal distribution."""
    low, high = Accuracy(error=0.0, basis="", pace_ratios=(1.0,)).cost_factors()
    assert np.log([low, high]) == pytest.approx([-DEVIATIONS * SOURCE_SPREAD, DEVIATIONS * SOURCE_SPREAD], abs=0.03)
    assert Accuracy(error=0.0, basis="", pace_ratios=(1.0,), source_spread=0.0).cost_factors() == (1.0, 1.0)


def test_few_servers_are_drawn_toward_all() -> None:
    assert drawn_together((-0.1, 0.1), 0, (-0.5, 0.3)) == pytest.approx((-0.5, 0.3))
    assert drawn_together((-0.1, 0.1), 100, (-0.5, 0.3)) == pytest.approx((-0.3, 0.2))
    assert drawn_together((-0.1, 0.1), 10**9, (-0.5, 0.3)) == pytest.approx((-0.1, 0.1))


def test_log_range_holds_eight_in_ten() -> None:
    low, high = log_range(np.random.default_rng(1).normal(0.2, 0.1, 5000), 0.0)
    assert (low, high) == pytest.approx((0.2 - DEVIATIONS * 0.1, 0.2 + DEVIATIONS * 0.1), abs=0.02)


def test_older_engine_widens_only_upward() -> None:
    """Three releases of vLLM, of 0.8 months each, before the one that the times are of."""
    low, high = cost_factors(judged())
    older_low, older_high = cost_factors(judged(user_version="0.9.2"))
    assert older_low == low
    assert np.log(older_high / high) == pytest.approx(3 * 0.8 * shipped_errors().per_month)
    known = expected_accuracy(judged(user_version="0.9.2"))
    assert known is not None
    assert known.basis == "9 servers, widened for 3 releases"
    plain = expected_accuracy(judged())
    assert plain is not None
    ratio = known.factors((0.05, 0.95), seed=0) / plain.factors((0.05, 0.95), seed=0)
    assert ratio == pytest.approx([1.0, known.older])


def test_newer_engine_widens_only_downward() -> None:
    low, high = cost_factors(judged())
    newer_low, newer_high = cost_factors(judged(user_version="0.14"))
    assert newer_high == high
    assert np.log(low / newer_low) == pytest.approx(2 * 0.8 * shipped_errors().per_month)


@pytest.mark.parametrize(("measured", "used"), [("0.12.0", "0.12.3"), ("", "0.9"), ("0.12.0", "")])
def test_same_or_unknown_version_changes_nothing(measured: str, used: str) -> None:
    assert cost_factors(judged(measured, used)) == cost_factors(judged())


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
    assert known.cost_factors() == pytest.approx((0.98, 1.02))
