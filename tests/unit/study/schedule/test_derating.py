"""Deratings after attempts that broke a promise."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from tests.samples import fleets

from meritorder.study.schedule.derating import (
    Derating,
    halfway,
    lower_backfill_shares,
    with_more_headroom,
)
from meritorder.study.schedule.simulate import ModelOutcome

SLOT_S = 100.0
REQUESTS_IN_A_SLOT = 1000


def test_share_scales_sequences_and_memory() -> None:
    assert fleets.backfill(100, prefill_tokens=512, kv_share=0.9).scaled(0.5) == fleets.backfill(
        50, prefill_tokens=512, kv_share=0.45
    )


def test_halfway_is_the_geometric_mean() -> None:
    before = Derating(backfill_shares={"a": np.array([1.0, 0.5])}, utilization=0.9)
    after = Derating(
        backfill_shares={"a": np.array([0.25, 0.5]), "b": np.array([0.64, 1.0])},
        utilization=0.8,
    )
    nearer = halfway(before, after)
    assert nearer.utilization == 0.8
    shares = {model: share.tolist() for model, share in nearer.backfill_shares.items()}
    assert shares == {"a": [0.5, 0.5], "b": [0.8, 1.0]}


def test_half_of_lost_headroom_is_restored() -> None:
    restored = with_more_headroom(Derating(headroom={"a": np.array([1.0, 0.6])}, utilization=0.9))
    assert restored.headroom["a"].tolist() == [1.0, 0.8]
    assert restored.utilization == 0.9


def outcome(*broken: int, waiting: int = 0) -> ModelOutcome:
    """Return an outcome with this many violations among a thousand real-time requests of each slot; SLO 99 %."""
    slots, count = len(broken), REQUESTS_IN_A_SLOT + waiting
    load = fleets.load(
        np.arange(slots * count) * SLOT_S / count,
        100,
        10,
        waits=np.tile(np.arange(count) >= REQUESTS_IN_A_SLOT, slots),
        slo=fleets.Slo(ttft_s=1.0, tpot_s=0.1, attainment=0.99),
    )
    violations = np.concatenate([np.arange(count) < bad for bad in broken])
    return cast("ModelOutcome", SimpleNamespace(load=load, violations=violations))


def test_more_harm_lowers_backfill_further() -> None:
    shares = lower_backfill_shares(np.ones(4), outcome(100, 0, 40, 2, waiting=50), outcome(0, 0, 0, 0), SLOT_S)
    assert shares[1] == shares[3] == 1.0
    assert shares[0] == pytest.approx((0.01 / 0.1) ** 0.25)
    assert shares[2] == pytest.approx((0.01 / 0.04) ** 0.25)


def test_backfill_unblamed_for_realtime_violations() -> None:
    shares = lower_backfill_shares(np.ones(3), outcome(30, 60, 0), outcome(30, 0, 0), SLOT_S)
    assert shares[0] == shares[2] == 1.0
    assert shares[1] < 0.9


def test_fewest_slots_lose_backfill() -> None:
    shares = lower_backfill_shares(np.ones(3), outcome(25, 20, 4), outcome(0, 0, 0), SLOT_S)
    assert (shares < 1).tolist() == [True, False, False], "24 of 3,000 may remain"


def test_steps_grow_while_without_effect() -> None:
    shares, rounds = np.ones(2), 0
    while shares[0] > 0.03:
        shares = lower_backfill_shares(shares, outcome(45, 0), outcome(0, 0), SLOT_S)
        rounds += 1
    assert rounds < 10
    for _ in range(10):
        shares = lower_backfill_shares(shares, outcome(45, 0), outcome(0, 0), SLOT_S)
    assert shares[0] > 0
