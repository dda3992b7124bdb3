"""How many sequences saturate an engine: against the definition, tried one number at a time."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meritorder.policy.saturation import StepTimes, observe, saturating_sequences


def _observed(windows: list[tuple[float, float]]) -> StepTimes:
    times = StepTimes()
    for sequences, step_s in windows:
        times = observe(times, sequences, step_s)
    return times


def _on_line(base_s: float, per_sequence_s: float, sequences: list[int]) -> StepTimes:
    return _observed([(count, base_s + per_sequence_s * count) for count in sequences])


@given(
    base_s=st.floats(0.001, 0.1),
    per_sequence_s=st.floats(0.00001, 0.02),
    share=st.floats(0.05, 0.99),
    max_sequences=st.integers(1, 256),
)
def test_fewest_sequences_with_the_share(
    base_s: float, per_sequence_s: float, share: float, max_sequences: int
) -> None:
    def tokens_per_s(sequences: int) -> float:
        return sequences / (base_s + per_sequence_s * sequences)

    enough = saturating_sequences(_on_line(base_s, per_sequence_s, [1, 4, 2, 8]), share, max_sequences)
    assert enough is not None
    assert tokens_per_s(enough) >= share * tokens_per_s(max_sequences) * (1 - 1e-6)
    assert enough == 1 or tokens_per_s(enough - 1) < share * tokens_per_s(max_sequences) * (1 + 1e-6)


def test_one_sequence_saturates_a_processor() -> None:
    assert saturating_sequences(_on_line(0.0, 0.012, [1, 2, 8]), 0.98, 8) == 1


def test_accelerator_needs_its_share_of_sequences() -> None:
    assert saturating_sequences(_on_line(0.03, 0.0, [4, 8, 16]), 0.75, 16) == 12


def test_constant_load_shows_nothing() -> None:
    assert saturating_sequences(StepTimes(), 0.9, 8) is None
    assert saturating_sequences(_on_line(0.03, 0.001, [8] * 50), 0.9, 16) is None


def test_spread_fades_at_constant_load() -> None:
    varied = _on_line(0.03, 0.001, [4, 8, 16])
    assert varied.conclusive
    for _ in range(400):
        varied = observe(varied, 16, 0.046)
    assert not varied.conclusive


def test_slower_engine_is_noticed() -> None:
    counts = [2, 6, 4, 8] * 60
    fast, slow = _on_line(0.03, 0.0001, counts), _on_line(0.0, 0.03, counts)
    assert saturating_sequences(fast, 0.9, 8) == 8
    for count in counts:
        fast = observe(fast, count, 0.03 * count)
    assert saturating_sequences(slow, 0.9, 8) == 1
    assert saturating_sequences(fast, 0.9, 8) in {1, 2}


def test_noise_lowers_the_number() -> None:
    draw = random.Random(3)
    counts = [draw.randint(1, 16) for _ in range(12)]
    exact = _on_line(0.03, 0.001, counts)
    noisy = _observed([(count, 0.03 + 0.001 * count + draw.gauss(0, 0.01)) for count in counts])
    slope = noisy.covariance / noisy.spread
    error = saturating_sequences(noisy, 0.9, 16)
    assert exact.conclusive
    assert error is not None
    assert error < _without_error(noisy.step_s - slope * noisy.sequences, slope, 0.9, 16)


def _without_error(base_s: float, per_sequence_s: float, share: float, max_sequences: int) -> int:
    full = max_sequences / (base_s + per_sequence_s * max_sequences)
    return min(n for n in range(1, max_sequences + 1) if n / (base_s + per_sequence_s * n) >= share * full)


@given(st.lists(st.tuples(st.floats(1, 64), st.floats(0.001, 1.0)), min_size=2, max_size=60))
def test_moments_are_weighted_sums(windows: list[tuple[float, float]]) -> None:
    times = _observed(windows)
    weights = 0.99 ** np.arange(len(windows))[::-1]
    sequences, step_s = np.array(windows).T
    mean_n, mean_s = np.average(sequences, weights=weights), np.average(step_s, weights=weights)
    expected = [
        weights.sum(),
        mean_n,
        mean_s,
        (weights * (sequences - mean_n) ** 2).sum(),
        (weights * (step_s - mean_s) ** 2).sum(),
        (weights * (sequences - mean_n) * (step_s - mean_s)).sum(),
    ]
    measured = [times.weight, times.sequences, times.step_s, times.spread, times.step_s_spread, times.covariance]
    assert measured == pytest.approx(expected, rel=1e-6, abs=1e-6)
