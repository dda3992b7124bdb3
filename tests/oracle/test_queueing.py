"""Queues whose waiting times are known in closed form, played on the simulator.

A station is a replica whose steps all take a microsecond, whatever is in them. A request with a prompt of one token
and n output tokens then runs for exactly n steps, its prompt step included, and so c sequences are c servers with one
shared line. A mean service time of one second is a million tokens, so that any distribution is met to a millionth;
decode stretches have a closed form and cost nothing.

Each wait of one sample is that of the queue's recursion, which is played on as many samples as its mean needs.
Waiting times near saturation are so correlated that a plain mean needs very many requests: of M/M/1 at load 0.95 the
standard error is 2 % with four million. Half of that variance is the load that happened to be drawn (for reflected
Brownian motion, the limit in heavy traffic, exactly half), so each sample is scaled to the load that it stands for.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
import pytest
from tests.property.fleets import profile
from tests.samples.fleets import backfill

from meritorder.perf.profile import EngineLimits
from meritorder.sim.pools import Fixed, Requests, SimPool
from meritorder.sim.run import simulate

STEP_S = 1e-6
TOLERANCE = 0.02
WARM_UP = 20_000
SAMPLE = 1_000_000
LATE_S = 1e12
ROUNDING_S = 1.1 * STEP_S  # a request that arrives within a step waits for its end

Draw = Callable[[np.random.Generator, int], np.ndarray]

FAST = [(0.3, 1), (0.7, 2)]
LONG = [(0.9, 10), (0.95, 30)]
LOADS = [*FAST, *(pytest.param(*case, marks=pytest.mark.slow) for case in LONG)]


def exponential(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.exponential(1.0, count)


def constant(_rng: np.random.Generator, count: int) -> np.ndarray:
    return np.ones(count)


def two_kinds(rng: np.random.Generator, count: int) -> np.ndarray:
    """A third are four times as long as the others: mean 1, second moment (2/3 + 16/3) / 4 = 3/2."""
    return np.where(rng.random(count) < 1 / 3, 2.0, 0.5)


def station(servers: int) -> SimPool:
    steady = profile(
        kv_capacity_tokens=1 << 50,
        decode_base_s=[STEP_S, STEP_S],
        decode_per_kv_token_s=[0.0, 0.0],
        mixed_base_s=[STEP_S, STEP_S],
        prefill_per_pair_s=0.0,
    )
    limits = EngineLimits(max_num_seqs=servers, max_num_batched_tokens=servers + 1)
    return SimPool(profile=steady, scaling=Fixed(instances=1), limits=limits, backfill=backfill(servers))


@dataclass(frozen=True, slots=True)
class Line:
    """Requests of one line: Poisson arrivals, and services of mean 1 s."""

    arrived_s: np.ndarray
    service_s: np.ndarray
    deferred: np.ndarray
    servers: int


def draw_line(
    *, load: float, servers: int, realtime: Draw, seed: int, deferrable: Draw = constant, deferrable_share: float = 0.0
) -> Line:
    rng = np.random.default_rng(seed)
    gaps_s = rng.exponential(1.0, SAMPLE)
    gaps_s /= gaps_s.mean() * load * servers
    deferred = rng.random(SAMPLE) < deferrable_share
    service_s = np.empty(SAMPLE)
    for lane, draw, share in ((~deferred, realtime, 1 - deferrable_share), (deferred, deferrable, deferrable_share)):
        drawn = draw(rng, int(lane.sum()))
        service_s[lane] = drawn * (share * SAMPLE / drawn.sum()) if share > 0 else drawn
    steps = np.maximum(np.rint(service_s / STEP_S), 1)
    return Line(np.cumsum(gaps_s), steps * STEP_S, deferred, servers)


def simulated_waits_s(line: Line) -> np.ndarray:
    requests = Requests(
        arrived_s=line.arrived_s,
        input_tokens=np.ones(SAMPLE, np.int32),
        cached_tokens=np.zeros(SAMPLE, np.int32),
        output_tokens=np.rint(line.service_s / STEP_S).astype(np.int32),
        latest_start_s=np.where(line.deferred, LATE_S + line.arrived_s, np.inf),
        work_s=line.service_s,
    )
    result = simulate(requests, (station(line.servers),), horizon_s=0.0, tick_s=1e9, bin_s=1e12)
    return result.admitted_s - line.arrived_s


@nb.njit
def first_come_waits_s(arrived_s: np.ndarray, service_s: np.ndarray, servers: int) -> np.ndarray:
    """Return each wait: the next in line goes to the server that is free first.

    Source: J. Kiefer, J. Wolfowitz, "On the theory of queues with many servers", 1955.
    """
    free_s = np.zeros(servers)
    waited_s = np.empty(len(arrived_s))
    for index in range(len(arrived_s)):
        server = free_s.argmin()
        start_s = max(arrived_s[index], free_s[server])
        waited_s[index] = start_s - arrived_s[index]
        free_s[server] = start_s + service_s[index]
    return waited_s


@nb.njit
def priority_waits_s(arrived_s: np.ndarray, service_s: np.ndarray, deferred: np.ndarray) -> np.ndarray:
    """Return each wait at one server: it takes real-time requests first, and ends what it has begun."""
    count = len(arrived_s)
    waited_s = np.empty(count)
    first, second, free_s = 0, 0, 0.0
    for _ in range(count):
        while first < count and deferred[first]:
            first += 1
        while second < count and not deferred[second]:
            second += 1
        takes_second = first == count or (
            second < count and arrived_s[second] < arrived_s[first] and arrived_s[first] > free_s
        )
        index = second if takes_second else first
        start_s = max(arrived_s[index], free_s)
        waited_s[index] = start_s - arrived_s[index]
        free_s = start_s + service_s[index]
        first, second = (first, second + 1) if takes_second else (first + 1, second)
    return waited_s


def mean_waits_s(samples: int, **queue: Any) -> tuple[float, float]:  # noqa: ANN401 - arguments of `draw_line`
    """Return the mean wait in each lane over independent samples, the first of which is also simulated."""
    sums_s = np.zeros(2)
    for seed in range(samples):
        line = draw_line(seed=seed, **queue)
        if line.deferred.any():
            waited_s = priority_waits_s(line.arrived_s, line.service_s, line.deferred)
        else:
            waited_s = first_come_waits_s(line.arrived_s, line.service_s, line.servers)
        if seed == 0:
            np.testing.assert_allclose(simulated_waits_s(line), waited_s, rtol=0, atol=ROUNDING_S)
        kept = np.arange(SAMPLE) >= WARM_UP
        sums_s += [waited_s[kept & lane].mean() if lane.any() else np.nan for lane in (~line.deferred, line.deferred)]
    return sums_s[0] / samples, sums_s[1] / samples


def erlang_c(load: float, servers: int) -> float:
    """Return the probability of waiting in M/M/c.

    With a = c load:  C = (a^c / c!) / (1 - load) / (sum over k < c of a^k / k! + (a^c / c!) / (1 - load))

    Source: A. K. Erlang, "Solution of some problems in the theory of probabilities of significance in automatic
    telephone exchanges", 1917.
    """
    offered = load * servers
    all_busy = offered**servers / math.factorial(servers) / (1 - load)
    return all_busy / (sum(offered**k / math.factorial(k) for k in range(servers)) + all_busy)


def pollaczek_khinchine(load: float, second_moment: float) -> float:
    """Return the mean wait in M/G/1 with mean service 1: W = load E[S^2] / (2 (1 - load)).

    Source: F. Pollaczek, "Ueber eine Aufgabe der Wahrscheinlichkeitstheorie", 1930; A. Khinchine, 1932.
    """
    return load * second_moment / (2 * (1 - load))


def cobham(loads: tuple[float, float], second_moments: tuple[float, float]) -> tuple[float, float]:
    """Return the mean waits of two non-preemptive priorities in M/G/1, all services of mean 1.

    With W0 = sum of load_k E[S_k^2] / 2:  W1 = W0 / (1 - load_1),  W2 = W0 / ((1 - load_1) (1 - load_1 - load_2))

    Source: A. Cobham, "Priority assignment in waiting line problems", Operations Research 2(1), 1954.
    """
    residual = sum(load * moment for load, moment in zip(loads, second_moments, strict=True)) / 2
    first = residual / (1 - loads[0])
    return first, first / (1 - sum(loads))


@pytest.mark.parametrize(("load", "samples"), LOADS)
def test_mean_wait_of_m_m_1(load: float, samples: int) -> None:
    waited_s, _ = mean_waits_s(samples, load=load, servers=1, realtime=exponential)
    assert waited_s == pytest.approx(load / (1 - load), rel=TOLERANCE)


@pytest.mark.parametrize(("load", "samples"), LOADS)
def test_mean_wait_of_m_m_3(load: float, samples: int) -> None:
    """W = C / (c (1 - load)) with C of Erlang and mean service 1."""
    waited_s, _ = mean_waits_s(samples, load=load, servers=3, realtime=exponential)
    assert waited_s == pytest.approx(erlang_c(load, 3) / (3 * (1 - load)), rel=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize(("load", "samples"), [(0.3, 40), (0.7, 4), *LONG])
def test_mean_wait_of_m_m_8(load: float, samples: int) -> None:
    """At load 0.3 one in 300 waits at all, so that the mean takes many."""
    waited_s, _ = mean_waits_s(samples, load=load, servers=8, realtime=exponential)
    assert waited_s == pytest.approx(erlang_c(load, 8) / (8 * (1 - load)), rel=TOLERANCE)


@pytest.mark.parametrize(("load", "samples"), LOADS)
def test_mean_wait_of_m_d_1(load: float, samples: int) -> None:
    waited_s, _ = mean_waits_s(samples, load=load, servers=1, realtime=constant)
    assert waited_s == pytest.approx(pollaczek_khinchine(load, 1.0), rel=TOLERANCE)


@pytest.mark.parametrize(("load", "samples"), LOADS)
def test_mean_waits_of_two_priorities(load: float, samples: int) -> None:
    """Real-time work of two kinds goes before deferrable work that is exponential; a service is never broken off."""
    realtime_s, deferrable_s = mean_waits_s(
        samples, load=load, servers=1, realtime=two_kinds, deferrable=exponential, deferrable_share=0.4
    )
    first_s, second_s = cobham((0.6 * load, 0.4 * load), (1.5, 2.0))
    assert realtime_s == pytest.approx(first_s, rel=TOLERANCE)
    assert deferrable_s == pytest.approx(second_s, rel=TOLERANCE)
