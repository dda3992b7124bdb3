"""`estimate` against `compare` on whole days of the same traffic, on random settings; and how long an answer takes."""

import time
from contextlib import suppress
from typing import Any, Final

import numpy as np

from bench._process import measure
from meritorder.errors import MeritorderError
from meritorder.study.compare.compare import compare
from meritorder.study.estimate.traffic import SIMULATED_REQUESTS, estimate_traffic, simulated_trace
from meritorder.study.fleet.options import CompareOptions
from meritorder.traces.generated.synthetic import Traffic
from meritorder.units import HOURS_PER_DAY, HOURS_PER_MONTH

EXAMPLE: Final = (
    *("--model", "llama-3.1-70b", "--requests-per-day", "50000", "--input", "1200", "--output", "300"),
    *("--peak", "3", "--can-wait", "30%@4h"),
)
_SETTINGS: Final = 60
_MOST_REQUESTS: Final = 50_000
_LARGE_SETTINGS: Final = 10
_MOST_LARGE_REQUESTS: Final = 400_000
_TIMED: Final = 200
_MOST_TIMED_REQUESTS: Final = 1_000_000


def run() -> dict[str, Any]:
    """Compare the costs of every way that keeps its promise, and measure answers and the command, caches filled."""
    random = np.random.default_rng(16)
    off = [difference for _ in range(_SETTINGS) for difference in differences(*draw(random, _MOST_REQUESTS))]
    large = [draw(random, _MOST_LARGE_REQUESTS, fewest_requests=_MOST_REQUESTS) for _ in range(_LARGE_SETTINGS)]
    large_off = [difference for setting in large for difference in differences(*setting)]
    took_s, processor_s = zip(*(_measure(*draw(random, _MOST_TIMED_REQUESTS)) for _ in range(_TIMED)), strict=True)
    command = ["-m", "meritorder", "estimate", *EXAMPLE]
    measure(command, {})
    return {
        "settings": _SETTINGS,
        "ways": len(off),
        "difference_largest": max(off),
        "difference_p90": float(np.quantile(off, 0.9)),
        "large_difference_largest": max(large_off),
        "large_difference_p90": float(np.quantile(large_off, 0.9)),
        "answer_p95_s": float(np.quantile(took_s, 0.95)),
        "answer_processor_p95_s": float(np.quantile(processor_s, 0.95)),
        "command_s": measure(command, {}).seconds,
    }


def draw(
    random: np.random.Generator, most_requests: float, *, fewest_requests: float = 1_000
) -> tuple[Traffic, CompareOptions]:
    """Draw traffic in a few numbers, and what may serve it."""
    traffic = Traffic(
        requests_per_day=float(np.exp(random.uniform(np.log(fewest_requests), np.log(most_requests)))),
        input_tokens=float(np.exp(random.uniform(np.log(100), np.log(4_000)))),
        output_tokens=float(np.exp(random.uniform(np.log(20), np.log(600)))),
        cached_share=float(random.choice([0.0, 0.5])),
        peak_to_mean=float(random.uniform(1.2, 4.0)),
    )
    share, hours = random.integers(10, 91), random.choice([1, 4, 12, 24])
    options = CompareOptions(
        model=str(random.choice(["llama-3.1-8b", "llama-3.1-70b", "qwen3-32b"])),
        hardware=tuple(map(str, random.choice(["a100", "h100", "h200", "b200", "l40s"], 2, replace=False))),
        defer=(f"{share}%@{hours}h",),
        seed=int(random.integers(1000)),
    )
    return traffic, options


def _measure(traffic: Traffic, options: CompareOptions) -> tuple[float, float]:
    """Return the seconds, and the seconds of processor time, that an answer takes; an error is one too."""
    began_s, began_processor_s = time.perf_counter(), time.process_time()
    with suppress(MeritorderError):
        estimate_traffic(traffic, options)
    return time.perf_counter() - began_s, time.process_time() - began_processor_s


def differences(traffic: Traffic, options: CompareOptions) -> list[float]:
    """Return by how much the estimate of each way that keeps its promise is off the comparison of the same requests."""
    trace = simulated_trace(traffic, options, SIMULATED_REQUESTS)
    estimated = {way.name: way for way in reversed(estimate_traffic(traffic, options).ways)}
    compared = compare(trace, options)
    usd_factor = HOURS_PER_MONTH / HOURS_PER_DAY / traffic.days
    return [
        abs(estimated[arrangement.name].usd / (arrangement.total_usd * usd_factor) - 1)
        for arrangement in compared.arrangements
        if arrangement.replica and arrangement.feasible
    ]
