"""The full replica: its work adds up to its time, and an idle one is as fast as the simulator says."""

import numpy as np
import pytest
from tests.samples.fleets import LIMITS, profile, requests

from meritorder.sim.pools import Fixed, SimPool
from meritorder.sim.run import simulate
from meritorder.sim.saturation import saturate, unloaded_latency


def test_work_on_saturated_replica_equals_time() -> None:
    random = np.random.default_rng(0)
    count = 20 * LIMITS.max_num_seqs
    asked = requests(np.zeros(count), random.integers(50, 900, count), random.integers(5, 200, count))
    saturation = saturate(asked, profile(), LIMITS)
    result = simulate(asked, (SimPool(profile=profile(), scaling=Fixed(instances=1), limits=LIMITS),), horizon_s=0.0)
    work_s = saturation.work_s(asked.input_tokens, asked.cached_tokens, asked.output_tokens).sum()
    # All of it takes as long as the replica runs, but for the tail in which it is not full.
    assert 0.9 < work_s / result.finished_s.max() < 1.0
    tokens = float(asked.input_tokens.sum() + asked.output_tokens.sum())
    assert tokens / work_s == pytest.approx(saturation.tokens_per_s, rel=0.05)


def test_work_equals_time_at_any_context() -> None:
    """A morning of short contexts and an evening of long ones, which leave memory to few: each by itself."""
    random = np.random.default_rng(0)
    count = 4 * 20 * LIMITS.max_num_seqs
    given = np.where(np.arange(count) < count / 2, random.integers(50, 200, count), random.integers(2000, 3000, count))
    asked = requests(np.zeros(count), given, random.integers(50, 150, count))
    saturation = saturate(asked, profile(), LIMITS)
    for half in (np.arange(count) < count / 2, np.arange(count) >= count / 2):
        mine = asked.only(half)
        result = simulate(mine, (SimPool(profile=profile(), scaling=Fixed(instances=1), limits=LIMITS),), horizon_s=0.0)
        work_s = saturation.work_s(mine.input_tokens, mine.cached_tokens, mine.output_tokens).sum()
        assert work_s == pytest.approx(result.finished_s.max(), rel=0.04)


def test_saturated_replica_reaches_max_sequences() -> None:
    saturation = saturate(requests([0.0], 100, 200), profile(), LIMITS)
    assert 0.9 * LIMITS.max_num_seqs < saturation.sequences <= LIMITS.max_num_seqs


def test_memory_can_limit_saturation() -> None:
    saturation = saturate(requests([0.0], 9000, 1000), profile(), LIMITS)
    assert 4 <= saturation.sequences <= 50_000 / 9000


def test_faster_replica_takes_less_work() -> None:
    asked = requests([0.0], 300, 100)
    slow, fast = (saturate(asked, profile(faster=factor), LIMITS) for factor in (1.0, 2.0))
    tokens = asked.input_tokens, asked.cached_tokens, asked.output_tokens
    assert fast.work_s(*tokens)[0] == pytest.approx(slow.work_s(*tokens)[0] / 2)


@pytest.mark.parametrize(
    ("given", "cached", "generated"), [(1, 0, 1), (200, 0, 2), (1024, 0, 50), (1025, 0, 50), (5000, 3000, 400)]
)
def test_unloaded_latency_equals_simulation(given: int, cached: int, generated: int) -> None:
    asked = requests([0.0], given, generated, cached_tokens=cached)
    ttft_s, tpot_s = unloaded_latency(asked, profile(), LIMITS)
    result = simulate(asked, (SimPool(profile=profile(), scaling=Fixed(instances=1), limits=LIMITS),), horizon_s=0.0)
    assert ttft_s[0] == pytest.approx(result.first_token_s[0], rel=1e-9)
    if generated > 1:
        simulated_s = (result.finished_s[0] - result.first_token_s[0]) / (generated - 1)
        assert tpot_s[0] == pytest.approx(simulated_s, rel=1e-3)
