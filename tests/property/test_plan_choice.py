"""More choice never costs more, and `plan` and `compare` mean the same by real time, on small random loads."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from meritorder.planner.solve.highs import Effort
from meritorder.records.comparison import Comparison
from meritorder.records.planfile import Plan
from meritorder.study.compare.compare import CompareOptions, compare
from meritorder.study.plan.answer import plan
from meritorder.study.schedule.options import PlanOptions
from meritorder.traces import Trace
from meritorder.traces.read import read_trace

ROUNDING = 1e-9
CENT = 0.005
MODEL = "llama-3.1-8b"
FEW = {"model": MODEL, "hardware": ("l40s",), "providers": ("runpod", "aws"), "tp": 1}
MORE = FEW | {"hardware": ("l40s", "h100"), "tp": None}
FLEETS = ("realtime_fixed", "realtime_autoscaled", "batch", "mix")
JOBS = '[[workload]]\nname = "jobs"\nlane = "deferrable"\ndeadline = "1h"\nmatch = { tenant = "jobs" }\n'


def drawn(seed: int) -> Trace:
    """A trickle and, in two of three, a burst, of two tenants."""
    rng = np.random.default_rng(seed)
    span_s = float(rng.choice([600.0, 3600.0, 4 * 3600.0]))
    burst_s = rng.uniform(0, span_s) + rng.uniform(0, 20, int(rng.choice([0, 30, 200])))
    arrived_s = np.sort(np.concatenate([rng.uniform(0, span_s, int(rng.integers(2, 150))), burst_s]))
    count = len(arrived_s)
    requests = {
        "time": arrived_s,
        "input_tokens": rng.integers(20, 2000, count),
        "output_tokens": rng.integers(1, 300, count),
        "tenant": np.where(rng.random(count) < 0.5, "chat", "jobs"),
    }
    return read_trace([pl.DataFrame(requests)])


def compared(trace: Trace, arguments: dict[str, Any]) -> Comparison:
    return compare(trace, CompareOptions(**arguments))


def planned(trace: Trace, arguments: dict[str, Any]) -> Plan:
    return plan(trace, PlanOptions(**arguments, effort=Effort(time_limit_s=2.0)))


def costs(answer: Comparison) -> dict[str, float]:
    """Dollars by arrangement; infinity where a promise is broken."""
    return {row.name: row.total_usd if row.feasible else math.inf for row in answer.arrangements if row.name in FLEETS}


def realtime_usd(answer: Comparison) -> float:
    usd = costs(answer)
    return min(usd["realtime_fixed"], usd["realtime_autoscaled"])


def assert_no_dearer(more: Comparison, less: Comparison, names: tuple[str, ...] = FLEETS) -> None:
    more_usd, less_usd = costs(more), costs(less)
    dearer = {name: (more_usd[name], less_usd[name]) for name in names if more_usd[name] > less_usd[name] + ROUNDING}
    assert not dearer


@pytest.mark.parametrize("seed", [0, 2, 7, 12])
def test_more_hardware_is_no_dearer(seed: int) -> None:
    waits = {"defer": ("40%@1h",)}
    assert_no_dearer(compared(drawn(seed), MORE | waits), compared(drawn(seed), FEW | waits))


@pytest.mark.parametrize("seed", [3, 9, 14])
def test_more_patience_is_no_dearer(seed: int) -> None:
    hour, hours = ({"defer": (f"40%@{deadline}",)} for deadline in ("1h", "4h"))
    assert_no_dearer(compared(drawn(seed), FEW | hours), compared(drawn(seed), FEW | hour))


def test_few_requests_may_wait_longer() -> None:
    """Machines that wait for more work are more expensive here; the longer deadline may use the shorter wait."""
    requests = {
        "time": [0.0, 3.0, 25.0, 64.0],
        "input_tokens": [204, 837, 3892, 825],
        "output_tokens": [491, 126, 434, 321],
    }
    trace = read_trace([pl.DataFrame(requests)])
    shared = {"model": "llama-3.1-70b", "hardware": ("h100", "l40s")}
    half_hour, hour = (compared(trace, shared | {"defer": (f"50%@{deadline}",)}) for deadline in ("30m", "1h"))
    assert_no_dearer(hour, half_hour)


@pytest.mark.parametrize("seed", [2, 10])
def test_fewer_denials_are_no_dearer(seed: int, tmp_path: Path) -> None:
    free, denied = tmp_path / "free.toml", tmp_path / "denied.toml"
    free.write_text(JOBS)
    denied.write_text(f'{JOBS}deny = {{ provider = "runpod" }}\n')
    more, less = ({"workloads": path} for path in (free, denied))
    assert_no_dearer(compared(drawn(seed), MORE | more), compared(drawn(seed), MORE | less))
    assert planned(drawn(seed), FEW | more).total_usd <= planned(drawn(seed), FEW | less).total_usd + ROUNDING


@pytest.mark.parametrize("seed", [2, 6])
def test_denials_of_all_are_no_cheaper(seed: int, tmp_path: Path) -> None:
    deny, chat = 'deny = { provider = "runpod" }\n', JOBS.replace("jobs", "chat")
    one, both = tmp_path / "one.toml", tmp_path / "both.toml"
    one.write_text(f"{JOBS}{deny}{chat}")
    both.write_text(f"{JOBS}{deny}{chat}{deny}")
    more_usd, less_usd = (planned(drawn(seed), FEW | {"workloads": path}).total_usd for path in (one, both))
    assert more_usd <= less_usd + ROUNDING


@pytest.mark.parametrize("seed", [1, 5])
def test_waiting_moves_no_baseline(seed: int) -> None:
    shares: list[dict[str, Any]] = [{}, {"defer": ("20%@1h",)}, {"defer": ("80%@10m",)}]
    assert len({realtime_usd(compared(drawn(seed), FEW | share)) for share in shares}) == 1


@pytest.mark.parametrize("seed", [4, 8])
def test_plan_and_compare_agree(seed: int) -> None:
    arguments = MORE | {"defer": ("30%@1h",)}
    answer, made = compared(drawn(seed), arguments), planned(drawn(seed), arguments)
    hindsight = made.in_hindsight
    assert hindsight is not None
    assert hindsight.baseline_usd == pytest.approx(realtime_usd(answer), abs=CENT)
    known_usd = min(costs(answer)[name] for name in ("realtime_fixed", "realtime_autoscaled", "mix"))
    assert hindsight.total_usd <= known_usd + ROUNDING
    assert hindsight.bound_usd <= min(known_usd, hindsight.total_usd) * (1 + ROUNDING)


@pytest.mark.parametrize(("seed", "deadline"), [(4, "10m"), (7, "1h"), (7, "30h")])
def test_plan_is_no_dearer_than_tokens(seed: int, deadline: str) -> None:
    """All may wait: `compare` prices them on machines and at each tier; batch answers come within a day."""
    arguments = FEW | {"defer": (f"100%@{deadline}",)}
    made = planned(drawn(seed), arguments)
    tiers = {"api_standard", "api_flex"} | ({"api_batch"} if deadline == "30h" else set())
    rows = compared(drawn(seed), arguments).arrangements
    known_usd = [row.total_usd for row in rows if row.name in tiers | set(FLEETS) and not row.deadlines_missed]
    assert made.total_usd <= min(known_usd) * (1 + ROUNDING)
    assert made.bound_usd <= made.total_usd * (1 + ROUNDING)


def test_plan_with_more_choice_is_no_dearer() -> None:
    few, machines, patience = ({"defer": (f"40%@{deadline}",)} for deadline in ("1h", "1h", "4h"))
    usd = planned(drawn(2), FEW | few).total_usd
    assert planned(drawn(2), MORE | machines).total_usd <= usd + ROUNDING
    assert planned(drawn(2), FEW | patience).total_usd <= usd + ROUNDING
