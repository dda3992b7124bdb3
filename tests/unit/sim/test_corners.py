"""Corners of the simulator that were once wrong, each against the step-by-step simulator or a sum done by hand."""

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from tests.oracle.stepwise import simulate_stepwise
from tests.property.fleets import profile
from tests.samples.fleets import backfill

from meritorder.errors import InfeasibleError
from meritorder.perf.profile import EngineLimits
from meritorder.sim.pools import Autoscaled, DeadlineScaled, Fixed, Requests, Scheduled, SimPool
from meritorder.sim.run import simulate

STEADY = profile(
    kv_capacity_tokens=1000,
    decode_base_s=[0.1, 0.1],
    decode_per_kv_token_s=[0.0, 0.0],
    mixed_base_s=[0.1, 0.1],
    prefill_per_pair_s=0.0,
)


def requests(*rows: tuple[float, int, int, float]) -> Requests:
    """Rows of arrival, input tokens, output tokens and latest start."""
    arrived_s, input_tokens, output_tokens, latest_start_s = (np.array(column) for column in zip(*rows, strict=True))
    return Requests(
        arrived_s=arrived_s.astype(float),
        input_tokens=input_tokens.astype(np.int32),
        cached_tokens=np.zeros(len(rows), np.int32),
        output_tokens=output_tokens.astype(np.int32),
        latest_start_s=latest_start_s.astype(float),
        work_s=np.full(len(rows), 1.0),
    )


def finished(wanted: Requests, *pools: SimPool, **options: object) -> np.ndarray:
    """Return when each was finished, the same in both simulators."""
    options = {"horizon_s": 10.0, "tick_s": 1.0, **options}
    found = simulate(wanted, pools, **options)
    fleet, _ = simulate_stepwise(wanted, pools, **options)
    np.testing.assert_allclose(found.finished_s, [r.finished_s for r in fleet.requests], rtol=1e-9)
    assert np.isfinite(found.finished_s).all()
    return found.finished_s


def memory(blocks: int, **limits: int) -> dict[str, object]:
    """Return a profile with so many blocks of one token, and limits to it."""
    steady = profile(
        kv_capacity_tokens=blocks,
        decode_base_s=STEADY.decode_base_s,
        decode_per_kv_token_s=STEADY.decode_per_kv_token_s,
        mixed_base_s=STEADY.mixed_base_s,
        prefill_per_pair_s=0.0,
    )
    return {"profile": steady, "limits": EngineLimits(block_tokens=1, max_num_seqs=4, **limits)}


def test_requests_of_one_moment_share_the_first_step() -> None:
    wanted = requests((0.0, 5, 1, math.inf), (0.0, 5, 1, math.inf), (0.0, 5, 1, 1e3))
    done_s = finished(wanted, SimPool(profile=STEADY, scaling=Fixed(instances=1), backfill=backfill(8)))
    np.testing.assert_allclose(done_s, 0.1)


def test_with_prefill_first_a_prompt_holds_up_the_decodes() -> None:
    """Steps of 0.1 s; the second prompt comes in the second step of the first request, which has five tokens."""
    wanted = requests((0.0, 3, 5, np.inf), (0.15, 3, 1, np.inf))
    limits = EngineLimits(max_num_seqs=4, max_num_batched_tokens=100)
    mixed = SimPool(profile=STEADY, scaling=Fixed(instances=1), limits=limits)
    alone = replace(mixed, limits=msgspec.structs.replace(limits, prefill_first=True))
    np.testing.assert_allclose(finished(wanted, mixed), [0.5, 0.3])
    np.testing.assert_allclose(finished(wanted, alone), [0.6, 0.3])


def test_with_whole_prompts_a_step_cuts_no_prompt_beside_others() -> None:
    """Steps of 0.1 s and eight tokens: two prompts of five share two steps if they are cut, else each has its own.

    The third has twelve, more than any step: it is cut, for it is alone in the third step.
    """
    wanted = requests((0.0, 5, 1, np.inf), (0.0, 5, 1, np.inf), (0.0, 12, 1, np.inf))
    limits = EngineLimits(max_num_seqs=4, max_num_batched_tokens=8)
    cut = SimPool(profile=STEADY, scaling=Fixed(instances=1), limits=limits)
    whole = replace(cut, limits=msgspec.structs.replace(limits, whole_prompts=True))
    np.testing.assert_allclose(finished(wanted, cut), [0.1, 0.2, 0.3])
    np.testing.assert_allclose(finished(wanted, whole), [0.1, 0.2, 0.4])


def test_what_a_request_waits_before_the_engine_is_added_to_its_times() -> None:
    """Four decode steps of 0.1 s after the first token: two and a half more are 0.25 s; three tokens, 0.03 s."""
    waiting = msgspec.structs.replace(
        STEADY, request_overhead_s=0.01, prompt_token_overhead_s=0.01, first_token_steps=2.5
    )
    result = simulate(
        requests((0.0, 3, 5, np.inf)), (SimPool(profile=waiting, scaling=Fixed(instances=1)),), horizon_s=1.0
    )
    np.testing.assert_allclose(result.first_token_s, [0.39])
    np.testing.assert_allclose(result.finished_s, [0.79])


def test_a_draining_instance_takes_no_more_backfill() -> None:
    """The backlog is long; the second instance is not wanted after 1 s, and is given back when it is empty."""
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


def test_an_instance_that_starts_at_once_begins_with_the_backlog() -> None:
    wanted = requests((0.5, 5, 10, 30.0), (40.0, 5, 10, 50.0))
    pool = SimPool(
        profile=STEADY,
        scaling=DeadlineScaled(maximum=1, margin_s=0.0),
        realtime=False,
        backfill=backfill(2),
        startup_s=0.0,
    )
    assert finished(wanted, pool)[0] < 32.0


def test_urgent_work_stays_urgent_when_it_is_preempted() -> None:
    """Nothing is backfilled here: once sent back to the deferrable queue it would never come out of it."""
    wanted = requests((0.05, 4, 6, 0.5), (0.9, 4, 6, math.inf), (0.95, 4, 6, 0.6))
    pool = SimPool(scaling=Fixed(instances=1), **memory(14))
    assert simulate(wanted, (pool,), horizon_s=10.0, tick_s=1.0).preemptions > 0
    finished(wanted, pool)


def test_deferrable_work_that_waits_at_a_replica_becomes_urgent_too() -> None:
    rows = [(0.05, 3, 12, math.inf), (0.06, 12, 1, 3.0)]
    rows += [(0.5 + 0.3 * n, 6, 6, math.inf) for n in range(40)]
    done_s = finished(requests(*rows), SimPool(scaling=Fixed(instances=1), backfill=backfill(4), **memory(14)))
    assert done_s[1] < 8.0


def test_after_a_preemption_the_next_step_admits() -> None:
    """A long deferrable sequence is sent back; the real-time request that it kept out fits one step later."""
    wanted = requests((0.05, 2, 12, math.inf), (0.06, 11, 8, 1e3), (0.5, 8, 2, math.inf))
    pool = SimPool(scaling=Fixed(instances=1), backfill=backfill(4), **memory(20))
    found = simulate(wanted, (pool,), horizon_s=10.0, tick_s=1.0)
    assert found.preemptions == 1
    finished(wanted, pool)


def test_a_replica_without_memory_for_the_first_of_the_backlog_tries_the_next() -> None:
    """The long one goes to the other pool while this one decodes; the short one behind it fits here at once."""
    rows = [(0.05, 20, 19, 1e3), (0.06, 1, 3, 1e3), (0.07, 6, 6, 1e3), (0.1, 30, 2, 90.0), (0.12, 1, 2, 95.0)]
    pools = [
        SimPool(scaling=Fixed(instances=1), realtime=False, backfill=backfill(2), **memory(40)),
        SimPool(scaling=Fixed(instances=1), realtime=False, backfill=backfill(1), **memory(40)),
    ]
    finished(requests(*rows), *pools)


def test_what_arrives_does_not_overtake_more_urgent_work_that_waits() -> None:
    """The first prompt has four steps; when it is done the next begins, and a seat is free beside one that waits."""
    rows = [(0.05, 16, 1, 900.0), (0.06, 16, 1, 900.0), (0.07, 16, 1, 900.0), (0.08, 16, 1, 100.0), (0.6, 16, 1, 500.0)]
    limits = EngineLimits(max_num_seqs=3, max_num_batched_tokens=4)
    pool = SimPool(profile=STEADY, scaling=Fixed(instances=1), limits=limits, realtime=False, backfill=backfill(3))
    done_s = finished(requests(*rows), pool)
    assert done_s[3] < done_s[4]


def test_deferrable_work_leaves_memory_to_what_comes_next_in_real_time() -> None:
    """Of two that wait the second would fill the memory that the real-time request needs."""
    wanted = requests((0.05, 6, 12, 1e3), (0.06, 6, 12, 1e3), (0.5, 8, 2, math.inf))
    done_s = {
        share: finished(wanted, SimPool(scaling=Fixed(instances=1), backfill=backfill(4, kv_share=share), **memory(24)))
        for share in (1.0, 0.5)
    }
    assert done_s[0.5][2] < 1.0 < done_s[1.0][2]
    assert done_s[0.5][1] > done_s[1.0][1]


def test_seats_for_deferrable_work_are_what_the_slot_allows() -> None:
    """Of four that wait one may run in the first slot; at its end the others join at once, in the middle of its run."""
    wanted = requests(*((0.05, 2, 60, 1e3) for _ in range(4)))
    planned = Scheduled(instances=(1, 1), slot_s=3.0)
    pool = SimPool(profile=STEADY, scaling=planned, backfill=backfill(4), backfill_shares=(0.25, 1.0))
    finished(wanted, pool, tick_s=1.0)
    found = simulate(wanted, (pool,), horizon_s=6.0, tick_s=1.0)
    assert found.admitted_s[0] < 0.1
    assert (found.admitted_s[1:] > 3.0).all()
    assert (found.admitted_s[1:] < min(3.5, found.finished_s[0])).all()


def test_beyond_the_schedule_deferrable_work_has_all_of_its_seats() -> None:
    wanted = requests(*((0.05, 2, 60, 1e3) for _ in range(3)))
    pool = SimPool(
        profile=STEADY, scaling=Scheduled(instances=(1,), slot_s=2.0), backfill=backfill(3), backfill_shares=(0.3,)
    )
    found = simulate(wanted, (pool,), horizon_s=2.0, tick_s=1.0)
    assert (found.admitted_s < 2.5).all()
    finished(wanted, pool, tick_s=1.0)


def test_an_empty_replica_takes_deferrable_work_that_needs_more_memory_than_it_leaves() -> None:
    finished(
        requests((0.05, 16, 2, 1e3)),
        SimPool(scaling=Fixed(instances=1), backfill=backfill(4, kv_share=0.5), **memory(20)),
    )


def test_deferrable_work_is_served_by_a_fleet_that_has_no_backfill() -> None:
    finished(requests((0.5, 5, 5, 4.0)), SimPool(profile=STEADY, scaling=Fixed(instances=1)))


def test_real_time_requests_pass_by_a_pool_without_instances() -> None:
    wanted = requests((0.5, 5, 5, math.inf), (0.6, 5, 5, 1.0))
    elastic = SimPool(
        profile=STEADY, scaling=Autoscaled(target_in_flight=4, minimum=0, maximum=1, initial=0), startup_s=2
    )
    finished(wanted, SimPool(profile=STEADY, scaling=Fixed(instances=0)), elastic)


def test_work_left_by_rounding_starts_nothing() -> None:
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


def test_start_up_cut_short_by_the_end_is_paid_as_far_as_it_went() -> None:
    wanted = requests(*[(3.9, 5, 1, math.inf)] * 30)
    scaling = Autoscaled(target_in_flight=1, minimum=1, maximum=4, initial=1)
    slow = SimPool(
        profile=STEADY, scaling=scaling, limits=EngineLimits(max_num_seqs=1), startup_s=60, startup_paid_s=60,
        minimum_billing_s=0,
    )  # fmt: skip
    account = simulate(wanted, (slow,), horizon_s=5.0, tick_s=1.0).pools[0]
    assert account.startup_s > 0
    assert account.idle_s >= 0


def test_a_fleet_that_nobody_asks_is_paid_for() -> None:
    nothing = requests((0.0, 1, 1, math.inf)).only(np.array([False]))
    result = simulate(nothing, (SimPool(profile=STEADY, scaling=Fixed(instances=3)),), horizon_s=70.0)
    assert result.pools[0].idle_s == pytest.approx(210.0)


@pytest.mark.parametrize("per_kv_s", [1e-22, 1e-20, 1e-18, 1e-16, 1e-14])
def test_steps_that_hardly_grow_are_counted_right(per_kv_s: float) -> None:
    flat = profile(
        kv_capacity_tokens=100_000,
        decode_base_s=[0.01, 0.01],
        decode_per_kv_token_s=[per_kv_s, per_kv_s],
        mixed_base_s=[0.05, 0.05],
        prefill_per_pair_s=0.0,
    )
    wanted = requests((0.0, 5, 2000, math.inf), (1.234, 5, 2, math.inf), (7.777, 5, 2, math.inf))
    finished(wanted, SimPool(profile=flat, scaling=Fixed(instances=1)))


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        ({"profile": STEADY, "limits": EngineLimits(max_num_seqs=2000)}, "sequences"),
        ({"profile": STEADY, "limits": EngineLimits(max_num_batched_tokens=100_000)}, "tokens"),
        ({"profile": STEADY, "limits": EngineLimits(block_tokens=512)}, "block"),
        ({"profile": STEADY, "backfill_shares": (1.0,)}, "1 shares of backfill for 0 slots"),
        ({"profile": STEADY, "scaling": Scheduled(instances=(1,), slot_s=1.0), "backfill_shares": (0.0,)}, "share"),
        (memory(31) | {"limits": EngineLimits(block_tokens=16)}, "memory"),
    ],
)
def test_limits_that_the_simulator_cannot_keep_are_refused(pool: dict[str, object], message: str) -> None:
    with pytest.raises(InfeasibleError, match=message):
        simulate(requests((0.0, 20, 1, math.inf)), (SimPool(**{"scaling": Fixed(instances=1)} | pool),), horizon_s=1.0)


def test_backfill_limits_that_admit_nothing_are_refused() -> None:
    with pytest.raises(InfeasibleError, match="deferrable"):
        backfill(4, prefill_tokens=0)


def test_settings_beyond_the_simulators_memory_are_refused() -> None:
    wanted = requests((0.0, 2, 1, math.inf))
    scaled = Autoscaled(target_in_flight=1, minimum=1, maximum=1, initial=1, stabilization_s=3000.0)
    with pytest.raises(InfeasibleError, match="stabili"):
        simulate(wanted, (SimPool(profile=STEADY, scaling=scaled),), horizon_s=1.0, tick_s=1.0)
    planned = Scheduled(instances=(1,) * 5000, slot_s=1.0)
    with pytest.raises(InfeasibleError, match="slots"):
        simulate(wanted, (SimPool(profile=STEADY, scaling=planned),), horizon_s=1.0)


def test_who_may_run_nowhere_in_real_time_is_an_error_that_says_whose_it_is() -> None:
    wanted = replace(requests((0.0, 1, 1, math.inf), (0.0, 1, 1, math.inf)), access=np.array([0, 1], np.int32))
    pool = SimPool(profile=STEADY, scaling=Fixed(instances=1), permits=frozenset({0}))
    with pytest.raises(InfeasibleError, match="no pool takes real-time requests of access 1"):
        simulate(wanted, (pool,), horizon_s=10.0)


def test_who_may_run_in_one_pool_waits_there_while_another_is_idle() -> None:
    rows = [(0.0, 1, 10, math.inf)] * 3
    wanted = replace(requests(*rows), access=np.array([0, 0, 1], np.int32))
    one = SimPool(
        profile=STEADY, scaling=Fixed(instances=1), limits=EngineLimits(max_num_seqs=1), permits=frozenset({0})
    )
    # Ten steps of 0.1 s each; the second of the first pool begins when its first is done.
    assert finished(wanted, one, replace(one, permits=frozenset({1}))) == pytest.approx([1.0, 2.0, 1.0])


def test_what_the_second_slot_asks_for_was_rented_before_the_first_began() -> None:
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


def test_who_looked_at_a_moment_looks_again_after_it_when_the_backlog_moves_on() -> None:
    """Both end a step at 27/64 s: the first has no memory for the first of the backlog, then the second takes it."""
    rows = [
        (0, 11, 3, 3), (0, 4, 9, 0), (1, 2, 6, 70), (2, 4, 11, 41), (2, 5, 10, math.inf),
        (5, 10, 2, math.inf), (6, 6, 4, 44), (12, 2, 3, 100), (14, 5, 3, 48), (18, 9, 10, 36),
    ]  # fmt: skip
    wanted = requests(*[(at / 64, given_in, out, latest / 64) for at, given_in, out, latest in rows])
    ticks = [2, 2, 2, 2, 2, 3, 4, 4], [2, 3, 3, 3, 4, 4, 4, 4, 5, 6, 6, 7]
    decode_base_s, mixed_base_s = ([count / 64 for count in each] for each in ticks)
    tight = profile(
        kv_capacity_tokens=22,
        decode_base_s=decode_base_s,
        decode_per_kv_token_s=[0.0] * 8,
        mixed_base_s=mixed_base_s,
        prefill_per_pair_s=0.0,
    )
    pool = SimPool(
        profile=tight,
        scaling=Autoscaled(target_in_flight=3.2, minimum=0, maximum=1, initial=0, stabilization_s=0.8),
        replicas_per_instance=2,
        startup_s=0.0,
        limits=EngineLimits(max_num_seqs=4, max_num_batched_tokens=6, block_tokens=1, prefill_first=True),
        backfill=backfill(4),
    )
    finished(wanted, pool, horizon_s=2.0, tick_s=61 / 64)
