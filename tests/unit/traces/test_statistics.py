"""Statistics against traces whose answers are known."""

from pathlib import Path

import numpy as np
import pytest

from meritorder import traces
from meritorder.traces import statistics
from meritorder.traces.read import read_trace


def trace(tmp_path: Path, arrived: object, **tokens: object) -> traces.Trace:
    path = tmp_path / "t.csv"
    rows = [f"{at},{tokens.get('input', 10)},{n + 1},{'a' if n % 4 else 'b'}" for n, at in enumerate(arrived)]
    path.write_text("\n".join(["time,input_tokens,output_tokens,tenant", *rows, ""]))
    return read_trace([path])


def test_metronome_has_no_variation(tmp_path: Path) -> None:
    described = statistics.describe(trace(tmp_path, range(0, 4 * 3600, 10)))
    assert described.mean_rate_per_s == pytest.approx(0.1)
    assert described.interarrival_cv == pytest.approx(0)
    assert described.dispersion_minute == pytest.approx(0)
    assert described.peak_to_mean_hour == described.trough_to_mean_hour == 1
    assert described.per_hour == (360,) * 4


def test_poisson_process_has_variation_one(tmp_path: Path) -> None:
    arrived = np.sort(np.random.default_rng(0).uniform(0, 48 * 3600, 50_000))
    described = statistics.describe(trace(tmp_path, arrived))
    assert described.interarrival_cv == pytest.approx(1, abs=0.02)
    assert described.dispersion_minute == pytest.approx(1, abs=0.06)


def test_lengths_and_shares(tmp_path: Path) -> None:
    described = statistics.describe(trace(tmp_path, range(100)))
    assert described.output_tokens == statistics.Lengths(total=5050, mean=50.5, p50=51, p90=91, p99=100, max=100)
    assert [(group.name, group.requests) for group in described.tenants] == [("a", 75), ("b", 25)]
    assert [group.name for group in described.models] == [None]
    assert sum(group.share_of_tokens for group in described.tenants) == pytest.approx(1)


def test_hours_of_day_need_dates(tmp_path: Path) -> None:
    noon = 1767571200 + 12 * 3600
    arrived = [noon + hour * 3600 + n for hour in range(50) for n in (range(36) if hour % 24 == 3 else range(1))]
    described = statistics.describe(trace(tmp_path, arrived))
    assert described.by_hour_of_day is not None
    assert int(np.argmax(described.by_hour_of_day)) == 15
    assert described.by_hour_of_day[15] == pytest.approx(36 / 3600)
    assert statistics.describe(trace(tmp_path, range(100))).by_hour_of_day is None


def test_all_at_once_has_no_rate(tmp_path: Path) -> None:
    described = statistics.describe(trace(tmp_path, [5, 5, 5]))
    assert described.span_s == 0
    assert described.mean_rate_per_s is described.interarrival_cv is described.peak_to_mean_hour is None
    width_s, counts = statistics.arrivals(trace(tmp_path, [5, 5, 5]), max_bins=10)
    assert (width_s, counts.tolist()) == (1.0, [3])


def test_load_fits_the_width(tmp_path: Path) -> None:
    for span_s in (5, 500, 50_000, 5_000_000, 300_000_000):
        width_s, counts = statistics.arrivals(trace(tmp_path, [0, span_s]), max_bins=80)
        assert counts.size <= 80
        assert counts.sum() == 2
        assert width_s * counts.size >= span_s
