"""Requests that no replica can serve in time even alone: found, named, and left out."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.samples.fleets import LIMITS, load, offer, profile

from meritorder.domain import Access
from meritorder.sim.pools import Fixed, SimPool
from meritorder.sim.run import simulate
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.servable import Server, describe, joined, split_servable

SLOW = Server(profile=profile(), limits=LIMITS, offers=(offer(),))
FAST = Server(profile=profile(2, faster=2.0), limits=LIMITS, offers=(offer(2, instance="twobox"),))


def waiting(waits_s: list[float], *, input_tokens: int = 200, output_tokens: int = 100) -> TraceLoad:
    requests = load(
        [10.0 * place for place in range(len(waits_s))],
        waits=[True] * len(waits_s),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
    )
    return replace(requests, deadline_s=requests.arrived_s + np.array(waits_s))


def alone_s(requests: TraceLoad, server: Server) -> np.ndarray:
    """Return what each request takes in the simulator on a replica of its own."""
    times = []
    for place in range(len(requests)):
        one = requests.select(np.array([place]))
        none = np.zeros(1)
        pool = SimPool(profile=server.profile, scaling=Fixed(instances=1), limits=server.limits)
        result = simulate(replace(one, deadline_s=np.full(1, np.inf)).requests(none, none), (pool,), horizon_s=0.0)
        times.append(float(result.finished_s[0] - one.arrived_s[0]))
    return np.array(times)


def test_too_little_time_is_left_out() -> None:
    # Alone it takes 0.028 s to the first token, and 99 further tokens of 10 ms.
    kept, left_out = split_servable(waiting([60.0, 0.5, 60.0]), [SLOW])
    assert kept.arrived_s.tolist() == [0.0, 20.0]
    assert left_out is not None
    assert (left_out.requests, left_out.of, left_out.first[0].row) == (1, 3, 2)
    assert left_out.first[0].needs_s == pytest.approx(1.02, abs=0.03)
    assert left_out.first[0].has_s == pytest.approx(0.5)


def test_faster_replica_serves_it_in_time() -> None:
    kept, left_out = split_servable(waiting([0.8]), [SLOW, FAST])
    assert left_out is None
    assert len(kept) == 1


def test_replica_that_it_may_not_use() -> None:
    requests = waiting([0.8, 0.8])
    chat, bulk = requests.workloads
    denied = replace(bulk, access=Access(deny_hardware=frozenset({"h100"})))
    requests = replace(requests, workloads=(chat, denied))
    elsewhere = replace(SLOW, offers=(offer(hardware="l40s"),))
    _, left_out = split_servable(requests, [elsewhere, FAST])
    assert left_out is not None
    assert left_out.first[0].needs_s == pytest.approx(1.02, abs=0.03)
    # Without any machine that it may use, the lists are at fault, and the plan says so.
    assert split_servable(requests, [FAST]) == (requests, None)


def test_request_beyond_every_memory() -> None:
    requests = load([0.0, 1.0], input_tokens=60_000, output_tokens=10)
    requests = replace(requests, input_tokens=np.array([200, 60_000], np.int32))
    kept, left_out = split_servable(requests, [SLOW, FAST])
    assert len(kept) == 1
    assert left_out is not None
    assert left_out.first[0].memory_tokens == 50_000
    assert split_servable(requests, [SLOW, FAST], beyond_memory=False) == (requests, None)


def test_slow_realtime_is_served() -> None:
    requests = load([0.0], input_tokens=40_000, output_tokens=5_000)
    assert split_servable(requests, [SLOW]) == (requests, None)


def test_sentence_names_row_lengths_and_time() -> None:
    rows = np.array([4, 17])
    _, left_out = split_servable(waiting([60.0, 0.5]), [SLOW], rows)
    text = describe(left_out)
    assert text.startswith("1 of 2 requests is left out, since no replica can serve it in time even alone: request 18 ")
    assert "(200 input and 100 output tokens), needs 1.02 s on llama-3.1-8b on 1xh100" in text
    assert text.endswith("and has 500 ms.")
    assert describe(None) == ""


def test_parts_of_two_models_are_joined() -> None:
    _, first = split_servable(waiting([60.0, 0.5]), [SLOW], np.array([4, 17]))
    _, second = split_servable(waiting([0.1, 0.2, 60.0]), [SLOW], np.array([1, 2, 3]))
    assert first is not None
    assert second is not None
    both = joined([first, second])
    assert (both.requests, both.of, [request.row for request in both.first]) == (3, 5, [2, 3, 18])
    assert "3 of 5 requests are left out" in describe(both)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5_000), st.integers(2, 400), st.floats(0.1, 8.0)), min_size=1, max_size=8),
    st.sampled_from([[SLOW], [FAST], [SLOW, FAST]]),
)
def test_simulator_agrees_alone(drawn: list[tuple[int, int, float]], servers: list[Server]) -> None:
    """What is left out is late on every replica when it is simulated alone; what is kept is in time on one of them."""
    inputs, outputs, waits_s = (list(values) for values in zip(*drawn, strict=True))
    requests = waiting([float(wait_s) for wait_s in waits_s])
    requests = replace(requests, input_tokens=np.array(inputs, np.int32), output_tokens=np.array(outputs, np.int32))
    kept, _ = split_servable(requests, servers)
    taken_s = np.min([alone_s(requests, server) for server in servers], axis=0)
    in_time = np.isin(requests.arrived_s, kept.arrived_s)
    clear = np.abs(taken_s / np.array(waits_s) - 1) > 0.05  # at the edge, rounding of context lengths may decide
    assert (in_time == (taken_s <= waits_s))[clear].all()
