"""Real vLLM servers: calibrated on the first half of a log, how far are the means of the other?"""

from pathlib import Path

import pytest

from meritorder.domain import Provenance
from meritorder.study.calibrate.calibrate import KnownLimits, calibrate_logs
from meritorder.study.calibrate.starting import Deployment

LOG = Path(__file__).parents[3] / "shared/data/measured/vllm_0.19_requests.csv"
FIRST = 150
CONFIGS = ["RTX4090/Llama-3.1-8B", "RTXPRO6000/Qwen3-30B-A3B-Instruct-2507"]

pytestmark = pytest.mark.skipif(not LOG.exists(), reason=f"{LOG} is not here")


@pytest.mark.parametrize("config", CONFIGS)
def test_errors_on_unseen_requests(config: str) -> None:
    (profile,) = calibrate_logs([str(LOG)], Deployment(), KnownLimits(), config=config, fit=FIRST)
    found = profile.calibration
    assert profile.provenance is Provenance.CALIBRATED
    assert found is not None
    assert (found.fitted_on, found.judged_on, found.unseen) == (150, 150, True)
    assert abs(found.e2e.of_mean) < 0.03
    assert abs(found.tpot.of_mean) < 0.02
    assert abs(found.ttft.of_mean) < 0.10
