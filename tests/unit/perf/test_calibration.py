import numpy as np
import pytest

from meritorder.domain import Provenance
from meritorder.perf.calibration import SPREAD, Timings, Tuning, minimize, misfit, stretch_ratios
from meritorder.perf.profile import Profile

PROFILE = Profile(
    model="m",
    hardware="h",
    gpus=1,
    engine="vllm",
    precision="bf16",
    provenance=Provenance.SILICON,
    source="test",
    as_of="2026-11-23",
    kv_capacity_tokens=100_000,
    decode_sequences=[1, 64],
    decode_base_s=[0.010, 0.012],
    decode_per_kv_token_s=[2e-8, 1e-8],
    step_tokens=[1, 1000],
    mixed_base_s=[0.010, 0.060],
    prefill_per_pair_s=1e-9,
    step_overhead_s=0.001,
)


def test_neutral_tuning_changes_nothing() -> None:
    assert Tuning().apply(PROFILE) == PROFILE


def test_each_parameter_changes_its_column() -> None:
    slow = Tuning(decode_scale=2.0, prefill_scale=3.0, sequence_overhead_s=1e-4, step_overhead_s=1e-3).apply(PROFILE)
    assert slow.decode_base_s == pytest.approx([0.0201, 0.0304])
    # The floor scales with decoding, what prompts add with prefill: 2 * 10 + 3 * 50 ms.
    assert slow.mixed_base_s == pytest.approx([0.020, 0.170])
    assert slow.prefill_per_pair_s == pytest.approx(3e-9)
    assert slow.step_overhead_s == pytest.approx(0.002)
    other = Tuning(kv_scale=0.5, kv_capacity_scale=1.5, request_overhead_s=0.02).apply(PROFILE)
    assert other.decode_per_kv_token_s == pytest.approx([1e-8, 0.5e-8])
    assert other.kv_capacity_tokens == 150_000
    assert other.request_overhead_s == pytest.approx(0.02)
    assert other.decode_base_s == PROFILE.decode_base_s


def test_moves_are_logarithmic_and_positive() -> None:
    start = Tuning.start(PROFILE)
    moved = start.moved(np.log(np.array([2.0, 0.5, 1.0, 1.0, 3.0, 1.0, 1.0])))
    assert moved.decode_scale == pytest.approx(2.0)
    assert moved.kv_scale == pytest.approx(0.5)
    assert moved.sequence_overhead_s == pytest.approx(3 * start.sequence_overhead_s)
    assert start.moved(np.zeros(7)) == start
    assert min(getattr(start.moved(np.full(7, -50.0)), name) for name in Tuning.__slots__) > 0


def test_misfit_symmetric_around_equal_times() -> None:
    times = Timings(np.array([0.1, 0.2]), np.array([0.01, np.nan]), np.array([1.0, 0.2]))
    still = np.zeros(len(SPREAD))
    assert misfit(times, times, still) == 0
    late, early = (Timings(*(column * factor for column in times)) for factor in (1.1, 1 / 1.1))
    assert misfit(late, times, still) == pytest.approx(misfit(early, times, still))
    assert misfit(late, times, still) > 0
    assert misfit(times, times, SPREAD) > 0, "parameters are pulled towards where they start"


def test_misfit_is_robust_to_outliers() -> None:
    theirs = np.full(100, 1.0)
    ours = theirs.copy()
    ours[0] = 100.0
    times = Timings(theirs, theirs, theirs)
    one_bad = misfit(Timings(theirs, ours, theirs), times, np.zeros(len(SPREAD)))
    squares = float(np.mean(np.log(ours) ** 2)) + float(np.log(ours.mean())) ** 2
    assert one_bad < squares


def test_minimize_finds_bottom_of_valley() -> None:
    def valley(x: np.ndarray) -> float:
        return float(100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2)

    point, value = minimize(valley, np.array([-1.2, 1.0]), np.array([0.5, 0.5]), 400)
    assert value < 1e-6
    assert point == pytest.approx([1.0, 1.0], abs=1e-2)


def test_minimize_survives_infinities() -> None:
    point, _ = minimize(lambda x: np.inf if x[0] < 0 else abs(x[0] - 0.3), np.array([1.0]), np.array([-3.0]), 80)
    assert point[0] == pytest.approx(0.3, abs=0.01)


def test_stretch_ratios_average_neighbors() -> None:
    assert stretch_ratios(np.ones(4), np.array([1.0, 1.0, 2.0, 2.0]), 2) == [1.0, 2.0]
    assert stretch_ratios(np.ones(2), np.array([1.0, np.nan]), 10) == [1.0]
