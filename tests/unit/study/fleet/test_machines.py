"""Candidate machines: the SLO of an idle replica, and how much backfill leaves it intact."""

import pytest
from tests.samples.fleets import LIMITS, load, profile

from meritorder.domain import Slo
from meritorder.errors import InfeasibleError
from meritorder.study.fleet.machines import check_slo


@pytest.mark.parametrize("slo", [Slo(ttft_s=0.005, tpot_s=0.1), Slo(ttft_s=2.0, tpot_s=0.009)])
def test_impossible_slo_names_feasible_limits(slo: Slo) -> None:
    with pytest.raises(InfeasibleError, match="no replica can meet the SLO") as caught:
        check_slo(load([0.0] * 9, slo=slo), profile(), LIMITS)
    message = str(caught.value)
    # Alone: 200 prompt tokens at 10 ms and 0.088 ms each, and pairs; then 10 ms a step and its context.
    assert "TTFT of 0.028 s and TPOT of 0.01 s" in message
    assert "--slo" in message


def test_feasible_and_empty_slo_pass() -> None:
    check_slo(load([0.0] * 9), profile(), LIMITS)
    check_slo(load([0.0], waits=[True], slo=Slo(ttft_s=1e-9, tpot_s=1e-9)), profile(), LIMITS)
    check_slo(load([0.0], output_tokens=1), profile(), LIMITS)


def test_single_token_has_no_tpot() -> None:
    with pytest.raises(InfeasibleError, match=r"TTFT of 0\.028 s; loosen"):
        check_slo(load([0.0], output_tokens=1, slo=Slo(ttft_s=1e-3, tpot_s=1.0)), profile(), LIMITS)
