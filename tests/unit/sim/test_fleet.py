"""Routing, escalation and interruptions of a fleet."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tests.samples.fleets import backfill
from tests.samples.steady import STEADY, finished, memory, requests

from meritorder.perf.profile import EngineLimits
from meritorder.sim.pools import (
    Autoscaled,
    DeadlineScaled,
    Fixed,
    Interruptions,
    SimPool,
    SimResult,
)
from meritorder.sim.run import simulate

NOW = math.inf  # latest start of a real-time request


def pool(*, instances: int = 1, interruptions: Interruptions | None = None, **options: object) -> SimPool:
    defaults = {"profile": STEADY, "scaling": Fixed(instances=instances), "startup_s": 0.0, "minimum_billing_s": 0.0}
    return SimPool(interruptions=interruptions, **(defaults | options))


def run(wanted: object, *pools: SimPool, **options: object) -> SimResult:
    """Simulate, and hold it against the step-by-step simulator."""
    options = {"horizon_s": 10.0, "tick_s": 1.0, **options}
    finished(wanted, *pools, **options)
    return simulate(wanted, pools, **options)


def test_work_queued_at_replica_becomes_urgent() -> None:
    rows = [(0.05, 3, 12, math.inf), (0.06, 12, 1, 3.0)]
    rows += [(0.5 + 0.3 * n, 6, 6, math.inf) for n in range(40)]
    done_s = finished(requests(*rows), SimPool(scaling=Fixed(instances=1), backfill=backfill(4), **memory(14)))
    assert done_s[1] < 8.0


def test_arrival_never_overtakes_more_urgent() -> None:
    """The first prompt has four steps; when it is done the next begins, and a sequence is free while one waits."""
    rows = [(0.05, 16, 1, 900.0), (0.06, 16, 1, 900.0), (0.07, 16, 1, 900.0), (0.08, 16, 1, 100.0), (0.6, 16, 1, 500.0)]
    limits = EngineLimits(max_num_seqs=3, max_num_batched_tokens=4)
    pool = SimPool(profile=STEADY, scaling=Fixed(instances=1), limits=limits, realtime=False, backfill=backfill(3))
    done_s = finished(requests(*rows), pool)
    assert done_s[3] < done_s[4]


def test_fleet_without_backfill_serves_deferrable() -> None:
    finished(requests((0.5, 5, 5, 4.0)), SimPool(profile=STEADY, scaling=Fixed(instances=1)))


def test_realtime_skips_pool_without_instances() -> None:
    wanted = requests((0.5, 5, 5, math.inf), (0.6, 5, 5, 1.0))
    elastic = SimPool(
        profile=STEADY, scaling=Autoscaled(target_in_flight=4, minimum=0, maximum=1, initial=0), startup_s=2
    )
    finished(wanted, SimPool(profile=STEADY, scaling=Fixed(instances=0)), elastic)


def test_requests_wait_for_their_permitted_pool() -> None:
    rows = [(0.0, 1, 10, math.inf)] * 3
    wanted = replace(requests(*rows), access=np.array([0, 0, 1], np.int32))
    one = SimPool(
        profile=STEADY, scaling=Fixed(instances=1), limits=EngineLimits(max_num_seqs=1), permits=frozenset({0})
    )
    # Ten steps of 0.1 s each; the second of the first pool begins when its first is done.
    assert finished(wanted, one, replace(one, permits=frozenset({1}))) == pytest.approx([1.0, 2.0, 1.0])


def test_interrupted_request_starts_again() -> None:
    """It began at 0.5 s and was to end at 2.5 s; at 2 s the instance is interrupted and another rented."""
    lives = Interruptions(lifetimes_s=(2.0, 1e6), notice_s=0.0)
    result = run(requests((0.5, 5, 20, NOW)), pool(interruptions=lives))
    assert result.finished_s[0] == pytest.approx(4.0)
    assert result.first_token_s[0] == pytest.approx(2.1)
    assert result.admitted_s[0] == pytest.approx(0.5)
    assert result.attempts[0] == 1
    account = result.pools[0]
    assert (account.interruptions, account.lost_s, account.realtime_s) == (1, pytest.approx(1.5), pytest.approx(2.0))
    assert account.idle_s == pytest.approx(10.0 - 3.5)


def test_instance_under_notice_admits_nothing() -> None:
    """The first instance ends at 4 s with 2 s of notice: what comes at 2.5 s goes to the other."""
    lives = Interruptions(lifetimes_s=(4.0, 1e6), notice_s=2.0)
    result = run(requests((0.5, 5, 30, NOW), (2.5, 5, 5, NOW)), pool(instances=2, interruptions=lives))
    assert result.replica.tolist() == [0, 1]
    assert result.attempts.tolist() == [0, 0]


def test_empty_instance_under_notice_not_counted() -> None:
    lives = Interruptions(lifetimes_s=(4.0, 1e6), notice_s=2.0)
    account = run(requests((5.0, 5, 5, NOW)), pool(interruptions=lives)).pools[0]
    assert account.interruptions == 0
    assert account.lost_s == 0


def test_interrupted_requests_go_before_queued() -> None:
    """One sequence: the first runs, the other two wait; after the interruption at 2 s they are served as they came."""
    lives = Interruptions(lifetimes_s=(2.0, 1e6), notice_s=0.0)
    single = pool(interruptions=lives, limits=EngineLimits(max_num_seqs=1))
    result = run(requests((0.5, 5, 20, NOW), (0.6, 5, 10, NOW), (0.7, 5, 10, NOW)), single)
    np.testing.assert_allclose(result.finished_s, [4.0, 5.0, 6.0])
    assert result.attempts.tolist() == [1, 0, 0]


def test_preempted_request_loses_tokens_on_interruption() -> None:
    """Memory for 14 tokens holds two of 8 for a while; the second is preempted, and waits when the instance ends."""
    lives = Interruptions(lifetimes_s=(1.0, 1e6), notice_s=0.0)
    wanted = requests((0.05, 4, 10, NOW), (0.1, 4, 10, NOW))
    result = run(wanted, pool(interruptions=lives, **memory(14)))
    assert result.preemptions > 0
    assert result.attempts.tolist() == [1, 1]
    assert (result.first_token_s > 1.0).all()
    assert result.pools[0].lost_s == pytest.approx(0.95)


def test_falling_ceiling_takes_highest_instances() -> None:
    """Of three instances one is left from 2 s and two from 4 s: those with the highest numbers are interrupted."""
    ceilings = Interruptions(ceiling_from_s=(2.0, 4.0), ceiling=(1, 2))
    result = run(requests((0.5, 5, 5, NOW)), pool(instances=3, interruptions=ceilings), horizon_s=10.0)
    account = result.pools[0]
    assert account.paid_s == pytest.approx(10.0 + (2.0 + 6.0) + 2.0)
    assert account.interruptions == 2
    assert account.peak_instances == 3


def test_instances_never_exceed_the_ceiling() -> None:
    """One under notice is still one of the two that are left, so that no third is rented for it."""
    both = Interruptions(lifetimes_s=(6.0, 1e6), notice_s=5.0, ceiling_from_s=(0.0,), ceiling=(2,))
    scaling = Autoscaled(target_in_flight=1, minimum=2, maximum=3, initial=2, stabilization_s=1.0)
    account = run(requests((0.5, 5, 80, NOW)), pool(scaling=scaling, interruptions=both)).pools[0]
    assert account.peak_instances == 2
    assert account.interruptions == 1


def test_requests_wait_at_zero_ceiling() -> None:
    none = Interruptions(ceiling_from_s=(2.0, 6.0), ceiling=(0, 1))
    result = run(requests((0.5, 5, 20, NOW), (3.5, 5, 10, NOW)), pool(interruptions=none))
    np.testing.assert_allclose(result.finished_s, [8.0, 7.0])
    assert result.pools[0].paid_s == pytest.approx(2.0 + 4.0)
    assert result.pools[0].interruptions == 1


def test_instance_under_notice_at_start_unused() -> None:
    """It is up at 3 s, under notice already, and returned; urgent work has another started, which takes 2 s again."""
    lives = Interruptions(lifetimes_s=(1.0, 3.0, 1e6), notice_s=2.0)
    result = run(requests((2.5, 5, 5, 3.5)), pool(interruptions=lives, startup_s=2.0, startup_paid_s=2.0))
    assert result.admitted_s[0] == pytest.approx(5.0)


def test_interrupted_deferrable_returns_to_backlog() -> None:
    lives = Interruptions(lifetimes_s=(2.0, 1e6), notice_s=0.0)
    options = {"scaling": DeadlineScaled(maximum=1, margin_s=0.0), "realtime": False, "backfill": backfill(2)}
    result = run(requests((0.5, 5, 30, 20.0), (0.5, 5, 30, 20.0)), pool(interruptions=lives, **options), horizon_s=30.0)
    assert result.attempts.tolist() == [1, 1]
    assert result.pools[0].deferrable_s == pytest.approx(3.0)
