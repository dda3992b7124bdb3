"""Simulated requests per second: the compiled simulator against the step-by-step one on the same requests.

The traffic is a week of production (ServeGen's `m-large`) repeated to a million requests on eight replicas, compressed
in time to a utilization of 55 %.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

from meritorder.perf.profile import Profile
from meritorder.perf.shipped import shipped_profiles
from meritorder.sim.pools import Autoscaled, Fixed, Requests, SimPool, SimResult
from meritorder.sim.run import simulate

TRACE = Path(__file__).parents[2] / "shared/data/traces/servegen/servegen_m_large_week1.parquet"
REPLICAS = 8
UTILIZATION = 0.55
REQUESTS = 1_000_000
ORACLE_REQUESTS = 300
DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
REPEATS = 5
LONG_DAYS = 90
LONG_REQUESTS = 20_000


def _week() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return arrivals, input tokens and output tokens of the week; a synthetic week if the trace is absent."""
    if TRACE.exists():
        frame = pl.read_parquet(TRACE, columns=["arrival_s", "input_tokens", "output_tokens"])
        return tuple(frame[name].to_numpy() for name in frame.columns)  # type: ignore[return-value]
    print(f"{TRACE} is absent: a synthetic week with its means takes its place", file=sys.stderr)
    rng = np.random.default_rng(1)
    count = 136_570
    day = 1 + 0.5 * np.sin(2 * np.pi * np.arange(24 * 7) / 24)
    hour = rng.choice(24 * 7, count, p=day / day.sum())
    arrived_s = np.sort((hour + rng.random(count)) * WEEK_S / (24 * 7))
    input_tokens = np.clip(rng.lognormal(6.35, 1.0, count), 12, 24_195)
    output_tokens = np.clip(rng.lognormal(4.3, 1.3, count), 1, 8_192)
    return arrived_s, input_tokens.astype(np.int32), output_tokens.astype(np.int32)


def profile() -> Profile:
    """Return the shipped profile of a 70B model on four H100 GPUs."""
    wanted = "llama-3.1-70b on 4xh100 (vllm, bf16)"
    return next(p for p in shipped_profiles() if p.replica.label == wanted)


def traffic(count: int) -> Requests:
    """Repeat the week to a number of requests, compressed in time to the utilization."""
    arrived_s, input_tokens, output_tokens = _week()
    rounds = -(-count // len(arrived_s))
    weeks = np.arange(rounds)[:, None] * WEEK_S
    requests = Requests(
        arrived_s=(weeks + arrived_s).ravel()[:count],
        input_tokens=np.tile(input_tokens, rounds)[:count],
        cached_tokens=np.zeros(count, np.int32),
        output_tokens=np.tile(output_tokens, rounds)[:count],
        latest_start_s=np.full(count, np.inf),
        work_s=np.zeros(count),
    )
    sample = min(count, len(arrived_s))
    compression = _saturated_s(input_tokens[:sample], output_tokens[:sample]) / (
        UTILIZATION * REPLICAS * requests.arrived_s[sample - 1]
    )
    requests.arrived_s[:] *= compression
    return requests


def _saturated_s(input_tokens: np.ndarray, output_tokens: np.ndarray) -> float:
    """Return the time that these requests take on one saturated replica."""
    count = len(input_tokens)
    at_once = Requests(
        arrived_s=np.zeros(count),
        input_tokens=input_tokens,
        cached_tokens=np.zeros(count, np.int32),
        output_tokens=output_tokens,
        latest_start_s=np.full(count, np.inf),
        work_s=np.zeros(count),
    )
    return simulate(at_once, (SimPool(profile=profile(), scaling=Fixed(instances=1)),), horizon_s=0.0).end_s


def serve(requests: Requests) -> SimResult:
    """Serve them with the fleet."""
    pool = SimPool(profile=profile(), scaling=Fixed(instances=REPLICAS))
    return simulate(requests, (pool,), horizon_s=float(requests.arrived_s[-1]))


def _oracle_requests_per_s(requests: Requests) -> float:
    from tests.oracle.stepwise import simulate_stepwise  # noqa: PLC0415 - tests are beside the package, not in it

    middle = len(requests) // 2
    keep = np.zeros(len(requests), np.bool_)
    keep[middle : middle + ORACLE_REQUESTS] = True
    few = requests.only(keep)
    few.arrived_s[:] -= few.arrived_s[0]
    pool = SimPool(profile=profile(), scaling=Fixed(instances=REPLICAS))
    horizon_s = float(few.arrived_s[-1])
    started_s = time.perf_counter()
    fleet, _ = simulate_stepwise(few, (pool,), horizon_s=horizon_s)
    taken_s = time.perf_counter() - started_s
    found_s = simulate(few, (pool,), horizon_s=horizon_s).finished_s
    expected_s = np.array([request.finished_s for request in fleet.requests])
    if not np.allclose(found_s, expected_s, rtol=1e-6):
        raise AssertionError("the two simulators differ")
    return len(few) / taken_s


def _span_ratio() -> float:
    """Return the time of an autoscaled fleet over 90 days with few requests, relative to the same requests in a day."""
    requests = traffic(LONG_REQUESTS)
    scaling = Autoscaled(target_in_flight=8, minimum=1, maximum=2 * REPLICAS, initial=REPLICAS)
    times_s = []
    for days in (1, LONG_DAYS):
        requests.arrived_s[:] *= days * DAY_S / requests.arrived_s[-1]
        best_s = np.inf
        for _ in range(REPEATS):
            started_s = time.process_time()
            simulate(requests, (SimPool(profile=profile(), scaling=scaling),), horizon_s=days * DAY_S)
            best_s = min(best_s, time.process_time() - started_s)
        times_s.append(best_s)
    return float(times_s[1] / times_s[0])


def _compile_s() -> float:
    """Return the time of the first simulation on a machine without compiled kernels."""
    program = (
        "import os, tempfile, time; os.environ['XDG_CACHE_HOME'] = tempfile.mkdtemp();"
        "from bench.simulate import _saturated_s; import numpy as np; one = np.ones(1, np.int32);"
        "started_s = time.perf_counter(); _saturated_s(one, one); print(time.perf_counter() - started_s)"
    )
    root = Path(__file__).parents[1]
    answer = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    return float(answer.stdout)


def _peak_rss_bytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def run() -> dict[str, float]:
    """Measure on a million requests; the best of five runs counts, since other processes share the machine."""
    compile_s = _compile_s()
    requests = traffic(REQUESTS)
    times_s = []
    for _ in range(REPEATS):
        started_s = time.perf_counter()
        serve(requests)
        times_s.append(time.perf_counter() - started_s)
    per_s, oracle_per_s = len(requests) / min(times_s), _oracle_requests_per_s(requests)
    return {
        "requests_per_s": per_s,
        "requests_per_s_oracle": oracle_per_s,
        "ratio": per_s / oracle_per_s,
        "ratio_90_days_to_1": _span_ratio(),
        "compile_s": compile_s,
        "peak_rss_bytes": _peak_rss_bytes(),
    }


def run_ten_million() -> dict[str, float]:
    """Measure memory on ten million requests."""
    requests = traffic(10 * REQUESTS)
    started_s = time.perf_counter()
    serve(requests)
    return {
        "requests_per_s": len(requests) / (time.perf_counter() - started_s),
        "peak_rss_bytes": _peak_rss_bytes(),
    }


if __name__ == "__main__":
    for name, value in (run_ten_million() if "--ten-million" in sys.argv else run()).items():
        print(f"{name:24} {value:,.1f}")
