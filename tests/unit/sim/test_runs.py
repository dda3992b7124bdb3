"""Runs of a replica: how many steps they have, and when a blocked replica tries again."""

import math

import numpy as np
import pytest
from tests.property.fleets import profile
from tests.samples.fleets import backfill
from tests.samples.steady import finished, requests

from meritorder.perf.profile import EngineLimits
from meritorder.sim.pools import (
    Fixed,
    SimPool,
)
from meritorder.sim.runs import add_to_bins, idle_tournament, steps_until


def test_blocked_replica_retries_after_same_moment() -> None:
    """Both replicas end a step together: the first lacks memory for the most urgent request, then the second takes it.

    The first decides again at the end of a step after that moment, not at it. Found by random search.
    """
    rows = [
        (0, 11, 5, math.inf), (1, 8, 9, math.inf), (1, 11, 7, 37), (2, 4, 7, 49), (4, 5, 2, 114),
        (4, 11, 2, math.inf), (10, 3, 7, math.inf), (11, 11, 8, 101), (13, 8, 8, 25), (14, 1, 8, 106),
    ]  # fmt: skip
    wanted = requests(*[(at / 64, prompt, output, latest / 64) for at, prompt, output, latest in rows])
    ticks = [2, 2, 2, 2, 2, 3, 4, 4], [2, 3, 3, 3, 4, 4, 4, 4, 5, 6, 6, 7]
    decode_base_s, mixed_base_s = ([count / 64 for count in column] for column in ticks)
    tight = profile(
        kv_capacity_tokens=22,
        decode_base_s=decode_base_s,
        decode_per_kv_token_s=[0.0] * 8,
        mixed_base_s=mixed_base_s,
        prefill_per_pair_s=0.0,
    )
    pool = SimPool(
        profile=tight,
        scaling=Fixed(instances=1),
        replicas_per_instance=2,
        startup_s=0.0,
        limits=EngineLimits(max_num_seqs=4, max_num_batched_tokens=6, block_tokens=1, prefill_first=True),
        backfill=backfill(4),
    )
    finished(wanted, pool, horizon_s=2.0, tick_s=61 / 64)


@pytest.mark.parametrize("per_kv_s", [1e-22, 1e-20, 1e-18, 1e-16, 1e-14])
def test_nearly_constant_steps_counted_exactly(per_kv_s: float) -> None:
    flat = profile(
        kv_capacity_tokens=100_000,
        decode_base_s=[0.01, 0.01],
        decode_per_kv_token_s=[per_kv_s, per_kv_s],
        mixed_base_s=[0.05, 0.05],
        prefill_per_pair_s=0.0,
    )
    wanted = requests((0.0, 5, 2000, math.inf), (1.234, 5, 2, math.inf), (7.777, 5, 2, math.inf))
    finished(wanted, SimPool(profile=flat, scaling=Fixed(instances=1)))


def test_idle_tournament_pads_to_power_two() -> None:
    assert idle_tournament(1).tolist() == [0, 0]
    assert idle_tournament(3).tolist() == [0, 0, 0, 2, 0, 1, 2, 3]


@pytest.mark.parametrize(("gap_s", "steps"), [(0.0, 1), (0.1, 1), (0.11, 2), (0.30, 3), (0.301, 4)])
def test_fewest_steps_that_fill_a_gap(gap_s: float, steps: int) -> None:
    """Steps of 0.1 s each, which do not grow with context."""
    assert steps_until.py_func(0.1, 0.0, 4, 100, gap_s - 1e-12) == steps


def test_bins_take_what_lies_beyond() -> None:
    bins = np.zeros(3)
    add_to_bins.py_func(bins, 10.0, -5.0, 12.0, 2.0)
    add_to_bins.py_func(bins, 10.0, 25.0, 45.0, 1.0)
    assert bins.tolist() == [30.0, 4.0, 20.0]
