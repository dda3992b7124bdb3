"""`simulate`: what it refuses, and small fleets whose timings can be worked out by hand."""

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from tests.samples.fleets import LIMITS, backfill, profile, requests
from tests.samples.steady import STEADY, memory
from tests.samples.steady import requests as rows

from meritorder.errors import InfeasibleError
from meritorder.perf.profile import EngineLimits
from meritorder.sim import fleet
from meritorder.sim.__main__ import main as compile_ahead
from meritorder.sim.pools import (
    Autoscaled,
    DeadlineScaled,
    Fixed,
    Interruptions,
    Requests,
    Scaling,
    Scheduled,
    SimPool,
    SimResult,
    SloLimits,
)
from meritorder.sim.run import simulate
from meritorder.sim.state import MAX_SLOTS


def pool(scaling: Scaling, **options: object) -> SimPool:
    return SimPool(profile=profile(), scaling=scaling, limits=LIMITS, **options)  # type: ignore[arg-type]


def parts(result: SimResult) -> float:
    return sum(
        pool.realtime_s + pool.deferrable_s + pool.startup_s + pool.idle_s + pool.lost_s for pool in result.pools
    )


def test_single_request_takes_prompt_and_steps() -> None:
    asked = requests([5.0], 300, 11)
    result = simulate(asked, (pool(Fixed(instances=1)),), horizon_s=60.0)
    prompt_s = float(profile().step_time_s(300, 0, 0, 300**2 / 2))
    # Ten more tokens, their context 300, 301, … 309.
    decode_s = sum(float(profile().step_time_s(0, 1, 300 + step)) for step in range(10))
    assert result.admitted_s[0] == 5.0
    assert result.first_token_s[0] == pytest.approx(5 + prompt_s)
    assert result.finished_s[0] == pytest.approx(5 + prompt_s + decode_s)
    account = result.pools[0]
    assert account.paid_s == 60.0
    assert account.realtime_s == pytest.approx(prompt_s + decode_s)
    assert parts(result) == pytest.approx(60.0)


def test_simulation_ends_when_too_many_are_late() -> None:
    asked = requests(np.arange(100.0), 300, 11)
    pools = (pool(Fixed(instances=1)),)
    whole = simulate(asked, pools, horizon_s=100.0)
    late_s = np.where(np.arange(100) % 10 == 9, 0.0, 10.0)
    ten = SloLimits(ttft_s=late_s, tpot_s=np.full(100, 10.0), may_break=10)
    kept = simulate(asked, pools, horizon_s=100.0, limits=ten)
    assert not kept.ended_early
    np.testing.assert_array_equal(kept.finished_s, whole.finished_s)
    broken = simulate(asked, pools, horizon_s=100.0, limits=replace(ten, may_break=4))
    assert broken.ended_early
    assert np.flatnonzero(np.isnan(broken.finished_s))[0] == 50, "the fifth late request is the fiftieth"


def test_long_prompt_prefilled_in_chunks() -> None:
    result = simulate(requests([0.0], 2500, 1), (pool(Fixed(instances=1)),), horizon_s=1.0)
    chunks = ((1024, 0), (1024, 1024), (452, 2048))
    expected_s = sum(float(profile().step_time_s(n, 0, 0, n * (before + n / 2))) for n, before in chunks)
    assert result.first_token_s[0] == pytest.approx(expected_s)
    assert result.finished_s[0] == result.first_token_s[0]


def test_cached_tokens_need_no_computing() -> None:
    result = simulate(requests([0.0], 900, 1, cached_tokens=800), (pool(Fixed(instances=1)),), horizon_s=1.0)
    assert result.first_token_s[0] == pytest.approx(float(profile().step_time_s(100, 0, 0, 100 * (800 + 50))))


@pytest.mark.parametrize("scaling", [Fixed(instances=2), Scheduled(instances=(2, 2), slot_s=500.0)])
def test_idle_pool_paid_until_horizon(scaling: Scaling) -> None:
    result = simulate(requests([]), (pool(scaling),), horizon_s=1000.0)
    assert len(result.finished_s) == 0
    assert result.end_s == 1000.0


def test_two_replicas_share_simultaneous_arrivals() -> None:
    result = simulate(requests([0.0, 0.0], 300, 11), (pool(Fixed(instances=2)),), horizon_s=10.0)
    assert sorted(result.replica) == [0, 1]
    assert result.finished_s[0] == result.finished_s[1]


def test_request_longer_than_memory_refused() -> None:
    with pytest.raises(InfeasibleError, match="50,001 tokens, but a replica has memory for 50,000"):
        simulate(requests([0.0], 50_000, 2), (pool(Fixed(instances=1)),), horizon_s=1.0)


def test_step_without_prompt_budget_refused() -> None:
    narrow = SimPool(
        profile=profile(),
        scaling=Fixed(instances=1),
        limits=EngineLimits(max_num_seqs=64, max_num_batched_tokens=64),
    )
    with pytest.raises(InfeasibleError, match="more tokens than sequences"):
        simulate(requests([0.0]), (narrow,), horizon_s=1.0)


def test_unserved_lane_refused() -> None:
    batch_only = pool(DeadlineScaled(maximum=1), realtime=False, backfill=backfill(8))
    with pytest.raises(InfeasibleError, match="real-time"):
        simulate(requests([0.0]), (batch_only,), horizon_s=1.0)
    with pytest.raises(InfeasibleError, match="real-time"):
        simulate(requests([0.0]), (pool(Fixed(instances=0)),), horizon_s=1.0)
    unserved = pool(Fixed(instances=1), realtime=False)
    with pytest.raises(InfeasibleError, match="deferrable"):
        simulate(requests([0.0], latest_start_s=100.0), (unserved,), horizon_s=1.0)


def test_deadline_scaling_rents_in_time() -> None:
    asked = requests([0.0] * 40, 300, 100, latest_start_s=3000.0, work_s=0.1)
    rented = pool(DeadlineScaled(maximum=2, margin_s=100.0), realtime=False, backfill=backfill(LIMITS.max_num_seqs))
    result = simulate(asked, (rented,), horizon_s=1000.0)
    account = result.pools[0]
    assert result.finished_s.max() < 3000
    assert result.admitted_s.min() > 2000, "nothing is rented before it is needed"
    assert account.startup_s == pytest.approx(240.0 * account.peak_instances)
    assert account.paid_s < 240 + 60 + 60
    assert parts(result) == pytest.approx(account.paid_s)


def test_backfill_delays_ttft_one_step() -> None:
    bulk = requests(np.zeros(200), 200, 50, latest_start_s=1e5)
    asked = Requests(
        arrived_s=np.append(bulk.arrived_s, 0.5),
        input_tokens=np.append(bulk.input_tokens, np.int32(200)),
        cached_tokens=np.append(bulk.cached_tokens, np.int32(0)),
        output_tokens=np.append(bulk.output_tokens, np.int32(50)),
        latest_start_s=np.append(bulk.latest_start_s, np.inf),
        work_s=np.append(bulk.work_s, 1.0),
    )
    mixed = pool(Fixed(instances=1), backfill=backfill(16, prefill_tokens=256))
    result = simulate(asked, (mixed,), horizon_s=60.0)
    longest_step_s = float(profile().step_time_s(512, 16, 16 * 250, 256 * 250))
    assert result.first_token_s[-1] - 0.5 < 2 * longest_step_s
    assert np.isfinite(result.finished_s).all()
    assert result.pools[0].deferrable_s > 0


@pytest.mark.parametrize(
    "scaling",
    [
        Fixed(instances=2),
        Scheduled(instances=(1, 2, 1, 2), slot_s=300.0),
        Autoscaled(target_in_flight=4.0, minimum=1, maximum=4, initial=1),
    ],
)
def test_paid_time_equals_parts_and_bins(scaling: Scaling) -> None:
    random = np.random.default_rng(3)
    asked = requests(np.sort(random.uniform(0, 1200, 900)), 400, 60)
    result = simulate(asked, (pool(scaling),), horizon_s=1200.0, bin_s=100.0)
    account = result.pools[0]
    assert np.isfinite(result.finished_s).all()
    assert parts(result) == pytest.approx(account.paid_s)
    assert min(account.idle_s, account.realtime_s) > 0
    assert result.capacity_bins_s.sum() == pytest.approx(account.paid_s)
    assert result.realtime_bins_s.sum() == pytest.approx(account.realtime_s)
    if isinstance(scaling, Fixed):
        assert account.paid_s == pytest.approx(2 * result.end_s)


def test_starting_instance_paid_until_end() -> None:
    asked = requests(np.zeros(64), 400, 60)
    scaling = Autoscaled(target_in_flight=8.0, minimum=1, maximum=4, initial=1)
    result = simulate(asked, (pool(scaling),), horizon_s=120.0)
    account = result.pools[0]
    # One more is rented at the first tick, is paid for from a minute later, 75 s, and for a minute at the least.
    assert account.peak_instances == 2
    assert account.startup_s == pytest.approx(60.0)
    assert account.paid_s == pytest.approx(120 + 60)
    assert account.idle_s >= 0
    assert parts(result) == pytest.approx(account.paid_s)


def test_fixed_pool_ends_at_horizon() -> None:
    asked = requests([0.0, 1.0], 300, 11, latest_start_s=np.array([np.inf, 5000.0]))
    pools = (
        pool(Fixed(instances=1)),
        pool(DeadlineScaled(maximum=1), realtime=False, backfill=backfill(LIMITS.max_num_seqs)),
    )
    result = simulate(asked, pools, horizon_s=100.0)
    assert result.finished_s[1] > 4000
    assert result.pools[0].paid_s == 100.0
    assert result.pools[0].deferrable_s == 0
    assert result.pools[1].deferrable_s > 0


def test_simulation_is_deterministic() -> None:
    asked = requests(np.sort(np.random.default_rng(1).uniform(0, 60, 500)), 400, 60)
    first, second = (simulate(asked, (pool(Fixed(instances=2)),), horizon_s=60.0) for _ in range(2))
    np.testing.assert_array_equal(first.finished_s, second.finished_s)
    assert first.pools == second.pools


def test_one_request_compiles_every_kernel() -> None:
    compile_ahead()
    compiled = set(fleet.serve_all.signatures)
    assert compiled
    asked = requests([0.0, 1.0], 300, 11, latest_start_s=np.array([np.inf, 9.0]))
    simulate(asked, (pool(Fixed(instances=1), backfill=backfill(2)),), horizon_s=5.0)
    assert set(fleet.serve_all.signatures) == compiled


def test_latency_outside_engine_is_added() -> None:
    """Four decode steps of 0.1 s after the first token: two and a half more are 0.25 s; three tokens, 0.03 s."""
    waiting = msgspec.structs.replace(
        STEADY, request_overhead_s=0.01, prompt_token_overhead_s=0.01, first_token_steps=2.5
    )
    result = simulate(rows((0.0, 3, 5, np.inf)), (SimPool(profile=waiting, scaling=Fixed(instances=1)),), horizon_s=1.0)
    np.testing.assert_allclose(result.first_token_s, [0.39])
    np.testing.assert_allclose(result.finished_s, [0.79])


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        ({"profile": STEADY, "limits": EngineLimits(max_num_seqs=2000)}, "sequences"),
        ({"profile": STEADY, "limits": EngineLimits(max_num_batched_tokens=100_000)}, "tokens"),
        ({"profile": STEADY, "limits": EngineLimits(block_tokens=512)}, "block"),
        ({"profile": STEADY, "backfill": backfill(4, prefill_tokens=0)}, "one prompt token of deferrable work"),
        ({"profile": STEADY, "backfill_shares": (1.0,)}, "1 shares of backfill for 0 slots"),
        ({"profile": STEADY, "scaling": Scheduled(instances=(1,), slot_s=1.0), "backfill_shares": (0.0,)}, "share"),
        (memory(31) | {"limits": EngineLimits(block_tokens=16)}, "memory"),
    ],
)
def test_limits_beyond_the_kernel_refused(pool: dict[str, object], message: str) -> None:
    with pytest.raises(InfeasibleError, match=message):
        simulate(rows((0.0, 20, 1, math.inf)), (SimPool(**{"scaling": Fixed(instances=1)} | pool),), horizon_s=1.0)


def test_settings_beyond_the_kernel_refused() -> None:
    wanted = rows((0.0, 2, 1, math.inf))
    scaled = Autoscaled(target_in_flight=1, minimum=1, maximum=1, initial=1, stabilization_s=3000.0)
    with pytest.raises(InfeasibleError, match="stabili"):
        simulate(wanted, (SimPool(profile=STEADY, scaling=scaled),), horizon_s=1.0, tick_s=1.0)
    slots = (1,) * (MAX_SLOTS + 1)
    planned = Scheduled(instances=slots, slot_s=1.0)
    floored = Autoscaled(target_in_flight=1, minimum=0, maximum=1, initial=1, floor=slots, slot_s=1.0)
    for scaling in (planned, floored):
        with pytest.raises(InfeasibleError, match="slots"):
            simulate(wanted, (SimPool(profile=STEADY, scaling=scaling),), horizon_s=1.0)


def test_unserved_access_named_in_error() -> None:
    wanted = replace(rows((0.0, 1, 1, math.inf), (0.0, 1, 1, math.inf)), access=np.array([0, 1], np.int32))
    pool = SimPool(profile=STEADY, scaling=Fixed(instances=1), permits=frozenset({0}))
    with pytest.raises(InfeasibleError, match="no pool takes real-time requests of access 1"):
        simulate(wanted, (pool,), horizon_s=10.0)


def test_too_many_lifetimes_refused() -> None:
    with pytest.raises(InfeasibleError, match="lifetimes"):
        simulate(
            rows((0.5, 5, 5, math.inf)),
            (pool(Fixed(instances=1), interruptions=Interruptions(lifetimes_s=(1.0,) * 2000)),),
            horizon_s=1.0,
        )
