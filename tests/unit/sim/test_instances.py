"""Instances: rented ahead, started, drained and paid for."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tests.samples.fleets import backfill
from tests.samples.steady import STEADY, finished, requests

from meritorder.errors import InfeasibleError
from meritorder.perf.profile import EngineLimits
from meritorder.sim.pools import (
    Autoscaled,
    DeadlineScaled,
    Fixed,
    Scheduled,
    SimPool,
)
from meritorder.sim.run import simulate


def test_draining_instance_admits_no_backfill() -> None:
    """The backlog is long; the second instance is not wanted after 1 s, and is returned when it is empty."""
    wanted = requests(*[(0.05, 5, 20, 1e3)] * 20)
    pool = SimPool(
        profile=STEADY,
        scaling=Scheduled(instances=(2, 1), slot_s=1.0),
        backfill=backfill(1),
        minimum_billing_s=0.0,
        limits=EngineLimits(max_num_seqs=4),
    )
    result = simulate(wanted, (pool,), horizon_s=10.0, tick_s=1.0)
    second_s = result.finished_s[result.replica == 1]
    assert len(second_s) == 1
    assert result.pools[0].paid_s == pytest.approx(result.end_s + math.ceil(second_s[0]))
    finished(wanted, pool)


def test_instant_start_serves_the_backlog() -> None:
    wanted = requests((0.5, 5, 10, 30.0), (40.0, 5, 10, 50.0))
    pool = SimPool(
        profile=STEADY,
        scaling=DeadlineScaled(maximum=1, margin_s=0.0),
        realtime=False,
        backfill=backfill(2),
        startup_s=0.0,
    )
    assert finished(wanted, pool)[0] < 32.0


def test_backfill_follows_limits_of_slot() -> None:
    """Of four that wait one may run in the first slot; at its end the others join at once, in the middle of its run."""
    wanted = requests(*((0.05, 2, 60, 1e3) for _ in range(4)))
    planned = Scheduled(instances=(1, 1), slot_s=3.0)
    pool = SimPool(profile=STEADY, scaling=planned, backfill=backfill(4), backfill_shares=(0.25, 1.0))
    finished(wanted, pool, tick_s=1.0)
    result = simulate(wanted, (pool,), horizon_s=6.0, tick_s=1.0)
    assert result.admitted_s[0] < 0.1
    assert (result.admitted_s[1:] > 3.0).all()
    assert (result.admitted_s[1:] < min(3.5, result.finished_s[0])).all()


def test_backfill_unrestricted_beyond_schedule() -> None:
    wanted = requests(*((0.05, 2, 60, 1e3) for _ in range(3)))
    pool = SimPool(
        profile=STEADY, scaling=Scheduled(instances=(1,), slot_s=2.0), backfill=backfill(3), backfill_shares=(0.3,)
    )
    result = simulate(wanted, (pool,), horizon_s=2.0, tick_s=1.0)
    assert (result.admitted_s < 2.5).all()
    finished(wanted, pool, tick_s=1.0)


def test_interrupted_startup_paid_until_end() -> None:
    wanted = requests(*[(3.9, 5, 1, math.inf)] * 30)
    scaling = Autoscaled(target_in_flight=1, minimum=1, maximum=4, initial=1)
    slow = SimPool(
        profile=STEADY, scaling=scaling, limits=EngineLimits(max_num_seqs=1), startup_s=60, startup_paid_s=60,
        minimum_billing_s=0,
    )  # fmt: skip
    account = simulate(wanted, (slow,), horizon_s=5.0, tick_s=1.0).pools[0]
    assert account.startup_s > 0
    assert account.idle_s >= 0


def test_idle_fleet_is_paid_for() -> None:
    nothing = requests((0.0, 1, 1, math.inf)).only(np.array([False]))
    result = simulate(nothing, (SimPool(profile=STEADY, scaling=Fixed(instances=3)),), horizon_s=70.0)
    assert result.pools[0].idle_s == pytest.approx(210.0)


def test_second_slot_rented_before_first_began() -> None:
    wanted = requests(*[(61.0, 1, 10, math.inf)] * 3)
    pool = SimPool(
        profile=STEADY,
        scaling=Scheduled(instances=(1, 3), slot_s=60.0, ahead_s=300.0),
        limits=EngineLimits(max_num_seqs=1),
        startup_s=300.0,
        startup_paid_s=240.0,
        minimum_billing_s=0.0,
    )
    # Ten steps of 0.1 s, each on a machine of its own.
    assert finished(wanted, pool, horizon_s=120.0) == pytest.approx([62.0, 62.0, 62.0])
    account = simulate(wanted, (pool,), horizon_s=120.0).pools[0]
    # Two machines are paid for from 240 s before their slot, the first for the two slots alone.
    assert account.paid_s == pytest.approx(120.0 + 2 * (240.0 + 60.0))
    assert account.startup_s == pytest.approx(2 * 240.0)


def test_load_adds_instances_to_floor() -> None:
    """The floor asks for one instance, then two; at 61 s six requests arrive that one third instance may share."""
    wanted = requests(*[(61.0, 1, 40, math.inf)] * 6, (119.5, 1, 1, math.inf))
    scaling = Autoscaled(
        target_in_flight=2, minimum=0, maximum=3, initial=0, stabilization_s=1.0, floor=(1, 2), slot_s=60.0
    )
    pool = SimPool(
        profile=STEADY,
        scaling=scaling,
        limits=EngineLimits(max_num_seqs=8),
        startup_s=0.0,
        startup_paid_s=0.0,
        minimum_billing_s=0.0,
    )
    finished(wanted, pool, horizon_s=120.0)
    result = simulate(wanted, (pool,), horizon_s=120.0, tick_s=1.0, bin_s=60.0)
    # The ticks at 62 s to 65 s saw six requests in flight during the second before them.
    assert result.capacity_bins_s[0, :2].tolist() == pytest.approx([60.0, 2 * 60.0 + 4.0])


def test_floor_rents_ahead_of_its_slot() -> None:
    wanted = requests(*[(61.0, 1, 10, math.inf)] * 3)
    scaling = Autoscaled(
        target_in_flight=100, minimum=0, maximum=3, initial=1, floor=(1, 3), slot_s=60.0, ahead_s=300.0
    )
    pool = SimPool(profile=STEADY, scaling=scaling, limits=EngineLimits(max_num_seqs=1), minimum_billing_s=0.0)
    assert finished(wanted, pool, horizon_s=120.0) == pytest.approx([62.0, 62.0, 62.0])


def test_load_is_counted_beside_other_pool() -> None:
    """Reserved machines take all requests until the autoscaled ones are there, which must see them all the same."""
    wanted = requests(*[(0.5, 1, 40, math.inf)] * 8, (8.5, 1, 1, math.inf))
    limits = EngineLimits(max_num_seqs=8)
    reserved = SimPool(profile=STEADY, scaling=Fixed(instances=1), limits=limits)
    scaling = Autoscaled(target_in_flight=2, minimum=0, maximum=9, initial=0, stabilization_s=1.0)
    added = SimPool(
        profile=STEADY, scaling=scaling, limits=limits, startup_s=0.0, startup_paid_s=0.0, minimum_billing_s=0.0
    )
    sharing = replace(added, scaling=replace(scaling, beside=(0,)))
    finished(wanted, reserved, sharing)
    alone, together = (simulate(wanted, (reserved, pool), horizon_s=10.0, tick_s=1.0) for pool in (added, sharing))
    assert alone.pools[1].peak_instances == 0
    # Eight in flight over a target of two are four replicas, of which one is reserved.
    assert together.pools[1].peak_instances == 3


def test_load_has_one_autoscaled_pool() -> None:
    scaling = Autoscaled(target_in_flight=2, minimum=0, maximum=1, initial=0)
    pools = (SimPool(profile=STEADY, scaling=scaling), SimPool(profile=STEADY, scaling=replace(scaling, beside=(0,))))
    with pytest.raises(InfeasibleError, match="two autoscaled pools share a load"):
        simulate(requests((0.0, 1, 1, math.inf)), pools, horizon_s=1.0)
