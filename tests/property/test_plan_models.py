"""Several models planned together cost no more than one by one, whenever their first requests come."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from meritorder.planner.solve.highs import Effort
from meritorder.records.planfile import Plan
from meritorder.study.plan.answer import plan
from meritorder.study.plan.replay import replay
from meritorder.study.schedule.options import PlanOptions
from meritorder.traces import Trace
from meritorder.traces.read import read_trace
from meritorder.traces.trace import rebased

ROUNDING = 1e-9
MODELS = ("llama-3.1-8b", "qwen3-32b", "qwen3-30b-a3b")
JOBS = '[[workload]]\nname = "jobs"\nlane = "deferrable"\ndeadline = "{}"\nmatch = {{ tenant = "jobs" }}\n'


def drawn(seed: int) -> Trace:
    """Up to 50 requests of two or three models, each with its own first and last moment."""
    rng = np.random.default_rng(seed)
    span_s = float(rng.choice([600.0, 3600.0, 4 * 3600.0]))
    parts = []
    for model in rng.choice(MODELS, int(rng.integers(2, 4)), replace=False):
        count = int(rng.integers(1, 50))
        first_s = rng.uniform(0, span_s)
        # Times that floats hold exactly, so that moving the clock rounds nothing.
        at_s = np.sort(np.round(64 * rng.uniform(first_s, rng.uniform(first_s, span_s), count)) / 64)
        columns = {
            "time": at_s,
            "input_tokens": rng.integers(20, 3000, count),
            "output_tokens": rng.integers(1, 400, count),
            "tenant": np.where(rng.random(count) < rng.choice([0.0, 0.5, 1.0]), "jobs", "chat"),
            "model": [model] * count,
        }
        parts.append(pl.DataFrame(columns))
    return read_trace([pl.concat(parts).sort("time")])


def of_model(trace: Trace, model: str) -> Trace:
    kept = trace.requests.filter(pl.col("model").cast(pl.String) == model)
    return rebased(replace(trace, requests=kept))


def planned(trace: Trace, arguments: dict[str, Any]) -> Plan:
    return plan(trace, PlanOptions(**arguments, effort=Effort(time_limit_s=2.0)))


@pytest.mark.parametrize("seed", [2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 5, 6))])
def test_models_together_cost_no_more(seed: int, tmp_path: Path) -> None:
    """Each model is known alone: together cost, real time and bound are the sums, and the plan file says so again."""
    workloads = tmp_path / "workloads.toml"
    workloads.write_text(JOBS.format("1h"))
    arguments = {"hardware": ("l40s", "a100"), "workloads": workloads}
    trace = drawn(seed)
    together = planned(trace, arguments)
    apart = [planned(of_model(trace, model), arguments) for model in trace.models]
    assert together.total_usd <= sum(one.total_usd for one in apart) * (1 + ROUNDING)
    assert together.baseline_usd == pytest.approx(sum(one.baseline_usd for one in apart))
    assert together.bound_usd == pytest.approx(sum(one.bound_usd for one in apart))
    assert together.bound_usd <= together.total_usd * (1 + ROUNDING)
    assert together.simulated is not None
    assert together.simulated.kept
    assert together.policy_outcome is not None
    again = replay(together, trace)
    assert again.total_usd == pytest.approx(together.policy_outcome.total_usd, abs=1e-9)
    assert again.deadlines_missed == together.policy_outcome.deadlines_missed
