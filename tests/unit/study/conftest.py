"""A small trace; and three hours of a service with a peak, as a trace and as a plan that was made for it."""

import fcntl
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from meritorder.planner.solve.highs import Effort
from meritorder.records import planfile
from meritorder.study.plan.answer import plan
from meritorder.study.schedule.options import PlanOptions
from meritorder.traces import Trace
from meritorder.traces.read import read_trace

HOURS = 3
OPTIONS = PlanOptions(
    model="llama-3.1-8b",
    hardware=("l40s",),
    providers=("runpod",),
    tp=1,
    defer=("40%@1h",),
    terms=("1y",),
    tiers=(),
    effort=Effort(time_limit_s=6.0),
)


def requests(rate_per_s: float, hours: float = HOURS, seed: int = 0) -> pl.DataFrame:
    """Poisson arrivals under a peak in the middle, with lengths as chats have them."""
    rng = np.random.default_rng(seed)
    count = int(rate_per_s * hours * 3600 * 2)
    arrived = np.sort(rng.uniform(0, hours * 3600, count))
    shape = 0.3 + 0.7 * np.exp(-(((arrived / 3600 - hours / 2) / 1.2) ** 2))
    kept = arrived[rng.uniform(size=count) < shape]
    return pl.DataFrame(
        {
            "time": kept,
            "input_tokens": rng.integers(100, 900, len(kept)),
            "output_tokens": rng.integers(20, 300, len(kept)),
        }
    )


@pytest.fixture(scope="session")
def planned_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a trace and its plan, made once for all processes of a run."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with (folder / "day.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = folder / "day.parquet"
        if not path.exists():
            requests(12.0).write_parquet(path)
            planfile.write_plan(plan(read_trace([path]), OPTIONS), folder / "day.json")
    return folder


@pytest.fixture(scope="session")
def day(planned_day: Path) -> Trace:
    return read_trace([planned_day / "day.parquet"])


@pytest.fixture(scope="session")
def day_plan(planned_day: Path) -> planfile.Plan:
    return planfile.read_plan(planned_day / "day.json")


@pytest.fixture
def small(tmp_path: Path) -> Trace:
    rows = "".join(f"{second},{300 + second % 7},40\n" for second in range(600))
    path = tmp_path / "trace.csv"
    path.write_text(f"time,input_tokens,output_tokens\n{rows}")
    return read_trace([path])
