"""More capacity never hurts: as far as that is a theorem, request by request; random traffic, no means.

It is no theorem for every engine: a batch may be slower with one more sequence in it, and joining the shortest queue
may send a long request where it harms. It is one for a shared line before c servers that are served in order:

    with the sorted vector of the times at which servers come free, V:  W_n = max(0, V_n[1] - t_n),
    V_{n+1} = sort(max(V_n[1], t_n) + S_n, V_n[2], ..., V_n[c])

is monotone in V, in S, and in c (a further server that is free from the start makes V smaller), and a request that is
left out makes V smaller for those behind it.

Source: J. Kiefer and J. Wolfowitz, "On the theory of queues with many servers", Trans. AMS 78, 1955; S. Asmussen,
"Applied Probability and Queues", 2nd edition 2003, chapter XII.
"""

import dataclasses
import itertools

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.property.fleets import profile

from meritorder.perf.profile import EngineLimits
from meritorder.sim.pools import Fixed, Requests, SimPool, SimResult
from meritorder.sim.run import simulate

STEP_S = 1e-6
MANY = settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def drawn_requests(rng: np.random.Generator, *, mean_gap_s: float, longest: int) -> Requests:
    count = int(rng.integers(2, 60))
    return Requests(
        arrived_s=np.cumsum(rng.exponential(mean_gap_s, count)),
        input_tokens=rng.integers(1, 20, count).astype(np.int32),
        cached_tokens=np.zeros(count, np.int32),
        output_tokens=rng.integers(1, longest, count).astype(np.int32),
        latest_start_s=np.full(count, np.inf),
        work_s=np.zeros(count),
    )


def one_sequence(rng: np.random.Generator) -> SimPool:
    """Return a replica that serves one request at a time, at any speed: the service of each is then its own."""
    drawn = profile(
        kv_capacity_tokens=10_000,
        decode_base_s=[float(rng.uniform(0.01, 0.1))] * 2,
        decode_per_kv_token_s=[float(rng.uniform(0.0, 0.001))] * 2,
        mixed_base_s=list(np.sort(rng.uniform(0.01, 0.3, 10))),
        prefill_per_pair_s=float(rng.uniform(0.0, 0.001)),
    )
    limits = EngineLimits(max_num_seqs=1, max_num_batched_tokens=int(rng.integers(2, 30)))
    return SimPool(profile=drawn, scaling=Fixed(instances=1), limits=limits)


def servers(count: int) -> SimPool:
    """Return a replica whose steps all take a microsecond: its sequences are the servers of a shared queue."""
    steady = profile(
        kv_capacity_tokens=1 << 40,
        decode_base_s=[STEP_S] * 2,
        decode_per_kv_token_s=[0.0] * 2,
        mixed_base_s=[STEP_S] * 2,
        prefill_per_pair_s=0.0,
    )
    limits = EngineLimits(max_num_seqs=count, max_num_batched_tokens=2048)
    return SimPool(profile=steady, scaling=Fixed(instances=1), limits=limits)


def serve(requests: Requests, pool: SimPool) -> SimResult:
    return simulate(requests, (pool,), horizon_s=0.0)


def shared_line_waits_s(requests: Requests, count: int) -> np.ndarray:
    """Return the waits of the recursion above."""
    free_s = np.zeros(count)
    waits_s = []
    for arrived_s, tokens in zip(requests.arrived_s, requests.output_tokens, strict=True):
        server = int(np.argmin(free_s))
        waits_s.append(max(0.0, free_s[server] - arrived_s))
        free_s[server] = arrived_s + waits_s[-1] + tokens * STEP_S
    return np.array(waits_s)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
@MANY
def test_more_sequences_never_lengthen_waits(seed: int, sequences: int) -> None:
    """Equal to the recursion but for the steps that a request waits for: one each for those that it waits behind."""
    requests = drawn_requests(np.random.default_rng(seed), mean_gap_s=0.3, longest=2_000_000)
    slack_s = 2 * len(requests) * STEP_S
    fewer, more = serve(requests, servers(sequences)), serve(requests, servers(sequences + 1))
    waited_s = fewer.admitted_s - requests.arrived_s
    np.testing.assert_allclose(waited_s, shared_line_waits_s(requests, sequences), rtol=0, atol=slack_s)
    assert (more.finished_s <= fewer.finished_s + slack_s).all()


@given(st.integers(0, 2**32 - 1))
@MANY
def test_fewer_requests_never_delay_others(seed: int) -> None:
    """Hence a stream split over several replicas, none of which gets additional requests, waits no longer."""
    rng = np.random.default_rng(seed)
    requests, pool = drawn_requests(rng, mean_gap_s=1.0, longest=40), one_sequence(rng)
    keep = rng.random(len(requests)) < rng.random()
    together = serve(requests, pool).finished_s
    for part in (keep, ~keep):
        if part.any():
            assert (serve(requests.only(part), pool).finished_s <= together[part] + 1e-9).all()


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1.0))
@MANY
def test_faster_replica_never_hurts(seed: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    requests, pool = drawn_requests(rng, mean_gap_s=1.0, longest=40), one_sequence(rng)
    faster = dataclasses.replace(pool, profile=pool.profile.slowed(factor))
    assert (serve(requests, faster).finished_s <= serve(requests, pool).finished_s + 1e-9).all()


@given(st.integers(0, 2**32 - 1))
@MANY
def test_more_replicas_never_delay_bursts(seed: int) -> None:
    """All arrive at once and are alike: n replicas hold ceil(count / n) at most, and each serves its own in order."""
    rng = np.random.default_rng(seed)
    pool, count = one_sequence(rng), int(rng.integers(1, 30))
    burst = Requests(
        arrived_s=np.zeros(count),
        input_tokens=np.full(count, 5, np.int32),
        cached_tokens=np.zeros(count, np.int32),
        output_tokens=np.full(count, 7, np.int32),
        latest_start_s=np.full(count, np.inf),
        work_s=np.zeros(count),
    )
    last_s = [serve(burst, dataclasses.replace(pool, scaling=Fixed(instances=n))).finished_s for n in (1, 2, 3, 4)]
    for fewer, more in itertools.pairwise(last_s):
        assert (np.sort(more) <= np.sort(fewer) + 1e-9).all()
