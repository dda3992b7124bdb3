"""Requests of real vLLM servers: calibrate on the first half of each configuration, judge on the other half."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from meritorder.perf.profile import Profile
from meritorder.study.calibrate.calibrate import KnownLimits, calibrate_logs
from meritorder.study.calibrate.starting import Deployment

LOG: Final = Path(__file__).parents[3] / "shared/data/measured/vllm_0.19_requests.csv"
FIRST: Final = 150


def profiles(progress: Callable[[str], None]) -> list[Profile]:
    """Return the calibrated profile of each configuration, with its errors; nothing if the log is absent."""
    if not LOG.exists():
        return []
    return calibrate_logs([str(LOG)], Deployment(), KnownLimits(), fit=FIRST, progress=progress)
