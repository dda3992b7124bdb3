"""One replica: what a step admits, splits and preempts."""

import math
from dataclasses import replace

import msgspec
import numpy as np
from tests.samples.fleets import backfill
from tests.samples.steady import STEADY, finished, memory, requests

from meritorder.perf.profile import EngineLimits
from meritorder.sim.pools import (
    Fixed,
    SimPool,
)
from meritorder.sim.run import simulate


def test_simultaneous_requests_share_first_step() -> None:
    wanted = requests((0.0, 5, 1, math.inf), (0.0, 5, 1, math.inf), (0.0, 5, 1, 1e3))
    done_s = finished(wanted, SimPool(profile=STEADY, scaling=Fixed(instances=1), backfill=backfill(8)))
    np.testing.assert_allclose(done_s, 0.1)


def test_prefill_first_delays_decodes() -> None:
    """Steps of 0.1 s; the second prompt comes in the second step of the first request, which has five tokens."""
    wanted = requests((0.0, 3, 5, np.inf), (0.15, 3, 1, np.inf))
    limits = EngineLimits(max_num_seqs=4, max_num_batched_tokens=100)
    mixed = SimPool(profile=STEADY, scaling=Fixed(instances=1), limits=limits)
    alone = replace(mixed, limits=msgspec.structs.replace(limits, prefill_first=True))
    np.testing.assert_allclose(finished(wanted, mixed), [0.5, 0.3])
    np.testing.assert_allclose(finished(wanted, alone), [0.6, 0.3])


def test_whole_prompts_not_split_beside_others() -> None:
    """Steps of 0.1 s and eight tokens: two prompts of five share two steps if they are cut, else each has its own.

    The third has twelve, more than any step: it is cut, for it is alone in the third step.
    """
    wanted = requests((0.0, 5, 1, np.inf), (0.0, 5, 1, np.inf), (0.0, 12, 1, np.inf))
    limits = EngineLimits(max_num_seqs=4, max_num_batched_tokens=8)
    cut = SimPool(profile=STEADY, scaling=Fixed(instances=1), limits=limits)
    whole = replace(cut, limits=msgspec.structs.replace(limits, whole_prompts=True))
    np.testing.assert_allclose(finished(wanted, cut), [0.1, 0.2, 0.3])
    np.testing.assert_allclose(finished(wanted, whole), [0.1, 0.2, 0.4])


def test_state_of_sequences_takes_memory() -> None:
    """Steps of 0.1 s; each of three takes 10 tokens, and 10 more for its state: in 40 only two run at once."""
    wanted = requests(*[(0.0, 5, 5, math.inf)] * 3)
    limits = EngineLimits(max_num_seqs=4, max_num_batched_tokens=100, block_tokens=1)
    small = msgspec.structs.replace(STEADY, kv_capacity_tokens=40)
    stateless = SimPool(profile=small, scaling=Fixed(instances=1), limits=limits)
    stateful = replace(stateless, profile=msgspec.structs.replace(small, state_tokens=10))
    np.testing.assert_allclose(finished(wanted, stateless), [0.5, 0.5, 0.5])
    np.testing.assert_allclose(finished(wanted, stateful), [0.5, 0.5, 1.0])


def test_reserved_outputs_are_never_preempted() -> None:
    """Steps of 0.1 s, 16 tokens of memory, three requests of 2 + 6: two fit whole, three fit until they grow.

    Steps 1 and 2 serve all three if memory is taken as they grow (6, 9, 12, 15 tokens); the step to 18 has no room.
    """
    wanted = requests(*[(0.0, 2, 6, math.inf)] * 3)
    limits = EngineLimits(max_num_seqs=4, max_num_batched_tokens=100, block_tokens=1)
    small = msgspec.structs.replace(STEADY, kv_capacity_tokens=16)
    growing = SimPool(profile=small, scaling=Fixed(instances=1), limits=limits)
    reserving = replace(growing, limits=msgspec.structs.replace(limits, reserve_outputs=True))
    assert simulate(wanted, (growing,), horizon_s=10.0).preemptions == 1
    assert simulate(wanted, (reserving,), horizon_s=10.0).preemptions == 0
    np.testing.assert_allclose(finished(wanted, reserving), [0.6, 0.6, 1.2])


def test_step_after_preemption_admits() -> None:
    """A long deferrable sequence is preempted; the real-time request that it kept out fits one step later."""
    wanted = requests((0.05, 2, 12, math.inf), (0.06, 11, 8, 1e3), (0.5, 8, 2, math.inf))
    pool = SimPool(scaling=Fixed(instances=1), backfill=backfill(4), **memory(20))
    result = simulate(wanted, (pool,), horizon_s=10.0, tick_s=1.0)
    assert result.preemptions == 1
    finished(wanted, pool)


def test_blocked_replica_tries_next_of_backlog() -> None:
    """The long one goes to the other pool while this one decodes; the short one behind it fits here at once."""
    rows = [(0.05, 20, 19, 1e3), (0.06, 1, 3, 1e3), (0.07, 6, 6, 1e3), (0.1, 30, 2, 90.0), (0.12, 1, 2, 95.0)]
    pools = [
        SimPool(scaling=Fixed(instances=1), realtime=False, backfill=backfill(2), **memory(40)),
        SimPool(scaling=Fixed(instances=1), realtime=False, backfill=backfill(1), **memory(40)),
    ]
    finished(requests(*rows), *pools)


def test_backfill_leaves_memory_to_realtime() -> None:
    """Of two that wait the second would fill the memory that the real-time request needs."""
    wanted = requests((0.05, 6, 12, 1e3), (0.06, 6, 12, 1e3), (0.5, 8, 2, math.inf))
    done_s = {
        share: finished(wanted, SimPool(scaling=Fixed(instances=1), backfill=backfill(4, kv_share=share), **memory(24)))
        for share in (1.0, 0.5)
    }
    assert done_s[0.5][2] < 1.0 < done_s[1.0][2]
    assert done_s[0.5][1] > done_s[1.0][1]


def test_empty_replica_admits_beyond_kv_share() -> None:
    finished(
        requests((0.05, 16, 2, 1e3)),
        SimPool(scaling=Fixed(instances=1), backfill=backfill(4, kv_share=0.5), **memory(20)),
    )
