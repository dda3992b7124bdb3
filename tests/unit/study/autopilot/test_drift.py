"""What measured speeds lead to: the next prediction has them, unless workloads disagree beyond the profile's range."""

from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from meritorder.records.autopilot import Drift, WorkloadDrift
from meritorder.study.autopilot import drift

_UNKNOWN = (0.5, 2.0)
_CALIBRATED = (0.9, 1.1)


def _measured(
    monkeypatch: pytest.MonkeyPatch, interval: tuple[float, float], ratios: dict[str, float], paid_usd: float = 100.0
) -> Drift:
    """Return the drift of workloads with 100 requests each, against a prediction of $100 a day at a speed of 1.2."""
    workloads = [
        WorkloadDrift(
            workload=name, lane="realtime", requests=100, predicted_s=0.02, measured_s=0.02 * ratio, ratio=ratio
        )
        for name, ratio in ratios.items()
    ]
    monkeypatch.setattr(drift, "_interval", lambda _: interval)
    monkeypatch.setattr(drift, "_Measured", lambda _: None)
    monkeypatch.setattr(drift, "_by_workload", lambda *_: workloads)
    judged: Any = SimpleNamespace(replay=None, alternative=SimpleNamespace(usd_per_day=100.0))
    return drift.measure_drift(judged, pl.DataFrame(), paid_usd, slower=1.2)


@pytest.mark.parametrize("interval", [_UNKNOWN, _CALIBRATED])
@pytest.mark.parametrize("ratio", [0.75, 4 / 3])
def test_measured_speed_replaces_the_profiles(
    monkeypatch: pytest.MonkeyPatch, interval: tuple[float, float], ratio: float
) -> None:
    """Also where the profile might be wrong by a factor of two."""
    found = _measured(monkeypatch, interval, {"chat": ratio, "night": ratio})
    assert (found.slower, found.stop_because) == (pytest.approx(1.2 * ratio), "")


def test_noise_of_medians_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _measured(monkeypatch, _UNKNOWN, {"chat": 1.08, "night": 0.93})
    assert (found.slower, found.stop_because) == (1.2, "")


def test_workload_that_differs_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far apart as an unknown profile may be, it is the profile; beyond that of a calibrated one, something else."""
    apart = {"chat": 1.5, "night": 1.0}
    assert _measured(monkeypatch, _UNKNOWN, apart).slower == pytest.approx(1.2 * 1.25)
    stopped = _measured(monkeypatch, _CALIBRATED, apart)
    assert stopped.slower == 1.2
    assert "a token of chat takes 30.0 ms instead of 20.0 ms" in stopped.stop_because


def test_cost_is_compared_where_speed_is_as_foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "more than 15% apart" in _measured(monkeypatch, _CALIBRATED, {"chat": 1.0}, 120.0).stop_because
    assert not _measured(monkeypatch, _UNKNOWN, {"chat": 1.3, "night": 0.7}, 100.0).stop_because
