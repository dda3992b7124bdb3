"""The backlog and the queues of a replica."""

import math

import pytest
from tests.oracle.stepwise import simulate_stepwise
from tests.samples.fleets import backfill
from tests.samples.steady import STEADY, finished, memory, requests

from meritorder.sim.pools import (
    DeadlineScaled,
    Fixed,
    SimPool,
)
from meritorder.sim.run import simulate


def test_preempted_urgent_work_stays_urgent() -> None:
    """Nothing is backfilled here: once requeued as deferrable it would never come out of its queue."""
    wanted = requests((0.05, 4, 6, 0.5), (0.9, 4, 6, math.inf), (0.95, 4, 6, 0.6))
    pool = SimPool(scaling=Fixed(instances=1), **memory(14))
    assert simulate(wanted, (pool,), horizon_s=10.0, tick_s=1.0).preemptions > 0
    finished(wanted, pool)


def test_rounding_remainder_starts_no_instance() -> None:
    """Work of 0.1, 0.2 and 0.3 s comes and goes in one interval of latest starts; later work waits on."""
    wanted = requests((0.1, 5, 5, 20.0), (0.2, 5, 5, 20.0), (0.3, 5, 5, 20.0), (0.4, 5, 5, 9000.0), (800.0, 5, 5, 1e4))
    wanted.work_s[:] = 0.1, 0.2, 0.3, 1.0, 1.0
    fleet = (
        SimPool(profile=STEADY, scaling=Fixed(instances=1)),
        SimPool(profile=STEADY, scaling=DeadlineScaled(maximum=3), realtime=False, backfill=backfill(1), startup_s=0.0),
    )
    result = simulate(wanted, fleet, horizon_s=100.0, tick_s=15.0)
    oracle, _ = simulate_stepwise(wanted, fleet, horizon_s=100.0, tick_s=15.0)
    assert result.pools[1].peak_instances == oracle.groups[1].account.peak_instances
    assert result.pools[1].paid_s == pytest.approx(oracle.groups[1].account.paid_s)
