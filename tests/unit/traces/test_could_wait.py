"""Signs of requests that could wait: found where they are, absent where they are not."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from meritorder.domain import Lane, Slo
from meritorder.tables import REQUESTS
from meritorder.traces.could_wait import find_candidates, propose_workloads
from meritorder.traces.generated import sample
from meritorder.traces.trace import ReadReport, Trace
from meritorder.traces.workloads import assign, load_workloads

DAY = 86_400.0
MONDAY = 1_767_571_200.0


def trace(arrived_s: object, **columns: object) -> Trace:
    """A trace with the given columns, each one value or one a request."""
    values = {"input_tokens": 100, "cached_tokens": 0, "output_tokens": 10} | columns
    frame = pl.DataFrame({"arrived_s": arrived_s}).with_columns(
        (pl.Series(value) if isinstance(value := values.get(column.name), (list, np.ndarray)) else pl.lit(value))
        .cast(column.dtype)
        .alias(column.name)
        for column in REQUESTS[1:]
    )
    return Trace(requests=frame.sort("arrived_s"), epoch_s=MONDAY, report=ReadReport(files=("t",), format="t", rows=1))


def kinds(found: Trace, tenant: str = "a") -> set[str]:
    return {candidate.kind for candidate in find_candidates(found) if candidate.matching == (("tenant", tenant),)}


def human(random: np.random.Generator, count: int = 5_000, days: int = 7) -> np.ndarray:
    """Arrivals of people: nine to five, no weekends."""
    day = random.integers(0, min(days, 5), count)
    return day * DAY + (9 + 8 * random.uniform(size=count)) * 3600


def test_people_show_no_sign() -> None:
    random = np.random.default_rng(0)
    arrived = np.concatenate((human(random), random.uniform(0, 7 * DAY, 200)))
    lengths = random.integers(10, 5000, arrived.size)
    assert kinds(trace(arrived_s=arrived, input_tokens=lengths, tenant="a")) == set()


def test_rare_steady_tenant_is_no_burst() -> None:
    arrived = np.random.default_rng(0).uniform(0, 7 * DAY, 250)
    lengths = np.arange(250) + 5
    assert kinds(trace(arrived_s=arrived, input_tokens=lengths, tenant="a")) == set()


def test_burst_is_found() -> None:
    random = np.random.default_rng(0)
    arrived = np.concatenate((2.3 * DAY + random.uniform(0, 1800, 900), random.uniform(0, 7 * DAY, 100)))
    assert "burst" in kinds(trace(arrived_s=arrived, input_tokens=np.arange(1000) + 5, tenant="a"))


@pytest.mark.parametrize(("period_s", "deadline"), [(900, "15m"), (3600, "60m"), (DAY, "6h")])
def test_clockwork_is_found(period_s: float, deadline: str) -> None:
    random = np.random.default_rng(0)
    runs = np.repeat(np.arange(int(7 * DAY / period_s)), max(1, int(period_s / 900)))
    arrived = runs * period_s + random.uniform(0, 0.02 * period_s, runs.size)
    found = trace(arrived_s=arrived, input_tokens=np.arange(runs.size) + 5, tenant="a")
    [sign] = [candidate for candidate in find_candidates(found) if candidate.kind == "clockwork"]
    assert sign.deadline == deadline
    assert sign.confidence > 0.8


def test_same_prompt_outside_conversations() -> None:
    random = np.random.default_rng(0)
    arrived = human(random)
    assert kinds(trace(arrived_s=arrived, tenant="a")) == {"same_prompt"}
    lengths = random.integers(1000, 1200, arrived.size)
    prefix = trace(arrived_s=arrived, tenant="a", input_tokens=lengths, cached_tokens=900)
    assert kinds(prefix) == {"same_prompt"}
    chats = [f"s{n}" for n in range(arrived.size)]
    assert kinds(trace(arrived_s=arrived, tenant="a", input_tokens=lengths, cached_tokens=900, session=chats)) == set()


def test_no_time_to_think() -> None:
    random = np.random.default_rng(0)
    starts = np.sort(random.uniform(0, 7 * DAY, 300))
    arrived = np.repeat(starts, 5) + np.tile(np.arange(5) * 0.4, 300)
    session = [f"s{n}" for n in np.repeat(np.arange(300), 5)]
    found = trace(arrived_s=arrived, session=session, tenant="a", input_tokens=np.arange(1500) + 5)
    assert kinds(found) == {"no_thinking"}
    slow = np.repeat(starts, 5) + np.tile(np.arange(5) * 30.0, 300)
    assert kinds(trace(arrived_s=slow, session=session, tenant="a", input_tokens=np.arange(1500) + 5)) == set()


def test_always_on_beside_people() -> None:
    random = np.random.default_rng(0)
    machine, people = random.uniform(0, 7 * DAY, 5_000), human(random)
    tenant = ["a"] * 5_000 + ["b"] * 5_000
    arrived = np.concatenate((machine, people))
    assert kinds(trace(arrived_s=arrived, tenant=tenant, input_tokens=np.arange(10_000) + 5)) == {"always_on"}
    alone = trace(arrived_s=machine, tenant="a", input_tokens=np.arange(5_000) + 5)
    assert kinds(alone) == set()


def test_sample_and_the_proposed_file(tmp_path: Path) -> None:
    week = sample.generate()
    found = find_candidates(week)
    assert {glob for candidate in found for _, glob in candidate.matching} == {"evals", "doc-index"}
    assert all(0 < candidate.confidence <= 1 for candidate in found)
    path = tmp_path / "proposed.toml"
    path.write_text(propose_workloads(found))
    workloads = load_workloads(path)
    assert {workload.name: workload.lane for workload in workloads} == dict.fromkeys(
        ("evals", "doc-index"), Lane.DEFERRABLE
    )
    assigned = assign(week, workloads, Slo(ttft_s=1, tpot_s=0.05))
    assert assigned.requests["deadline_s"].is_not_null().sum() == 8_400 + 13_440


def test_nothing_found_proposes_nothing() -> None:
    assert "[[workload]]" not in propose_workloads([])


def test_glob_characters_match_literally(tmp_path: Path) -> None:
    arrived = human(np.random.default_rng(0))
    odd = 'job [a] "x"*\\'
    found = find_candidates(trace(arrived_s=arrived, tenant=odd))
    path = tmp_path / "proposed.toml"
    path.write_text(propose_workloads(found))
    [workload] = load_workloads(path)
    both = trace(arrived_s=[0.0, 1.0], tenant=[odd, "job a x"])
    assigned = assign(both, [workload], Slo(ttft_s=1, tpot_s=0.05))
    assert assigned.requests["workload"].to_list() == [workload.name, "realtime"]
