"""Workloads of a trace: the model it names, its arrival times, and where its workloads may run."""

from pathlib import Path

import polars as pl
import pytest

from meritorder import catalog as facts
from meritorder import traces
from meritorder.domain import Access
from meritorder.errors import CatalogError, WorkloadsError
from meritorder.study.fleet.options import CompareOptions
from meritorder.study.fleet.workloads import access_assumptions, assign_workloads, only_model, permitted_to_all
from meritorder.traces.read import read_trace


def trace_of(folder: Path, **columns: list[object]) -> traces.Trace:
    path = folder / "trace.csv"
    tokens = {"input_tokens": [100, 200], "output_tokens": [10, 20]}
    pl.DataFrame(tokens | columns).write_csv(path)
    return read_trace([path])


def test_only_model_needs_exactly_one(tmp_path: Path) -> None:
    assert only_model(trace_of(tmp_path, arrived_s=[0.0, 1.0], model=["m", "m"])) == "m"
    with pytest.raises(CatalogError, match="the trace has 2: a, b"):
        only_model(trace_of(tmp_path, arrived_s=[0.0, 1.0], model=["b", "a"]))
    with pytest.raises(CatalogError, match="the trace names none"):
        only_model(trace_of(tmp_path, arrived_s=[0.0, 1.0]))


def test_requests_without_arrivals_are_spread(tmp_path: Path) -> None:
    assigned = assign_workloads(trace_of(tmp_path, arrived_s=[5.0, 5.0]), CompareOptions(spread_s=100.0))
    assert assigned.requests["arrived_s"].to_list() == [0.0, 50.0]
    assert assigned.span_s == 100.0
    assert assigned.assumptions[0].option == "--spread"


def test_spread_requests_wait_as_long(tmp_path: Path) -> None:
    """Both arrive at 5; the first has 60 s. Spread over 100 s, the second has 10 s still, 50 s later."""
    trace = trace_of(tmp_path, arrived_s=[5.0, 5.0], deadline=[65.0, 15.0])
    assigned = assign_workloads(trace, CompareOptions(spread_s=100.0))
    assert assigned.requests["deadline_s"].to_list() == [60.0, 60.0]
    assert len(assigned.load(CompareOptions())) == 2


def test_glob_without_match_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "workloads.toml"
    path.write_text(
        '[[workload]]\nname = "x"\nlane = "realtime"\nallow = { provider = "nimbus" }\n'
        "slo = { ttft_s = 2.0, tpot_s = 0.1 }\n"
    )
    assigned = assign_workloads(trace_of(tmp_path, arrived_s=[0.0, 1.0]), CompareOptions(workloads=path))
    with pytest.raises(WorkloadsError, match="'nimbus' matches nothing"):
        permitted_to_all(facts.load(()), (), assigned)


def test_limits_of_shared_machines_are_stated(tmp_path: Path) -> None:
    assigned = assign_workloads(trace_of(tmp_path, arrived_s=[0.0, 1.0]), CompareOptions())
    assert access_assumptions(assigned.workloads) == []
    assert all(workload.access == Access() for workload in assigned.workloads)


def test_missing_hours_are_not_paid(tmp_path: Path) -> None:
    arrived_s = [300.0 * number for number in range(5 * 288) if not 288 <= number < 576]
    every = [100.0] * len(arrived_s)
    trace = trace_of(tmp_path, time=arrived_s, input_tokens=every, output_tokens=every)
    assigned = assign_workloads(trace, CompareOptions(defer=("50%@1h",)))
    load = assigned.load(CompareOptions())
    # Four of five days are there, and every request keeps its patience of an hour.
    assert load.span_s == pytest.approx(4 * 86_400)
    assert load.arrived_s[-1] == pytest.approx(arrived_s[-1] - 86_400)
    waits = load.deferrable
    assert load.deadline_s[waits] - load.arrived_s[waits] == pytest.approx(3600)
    assert any("are taken as missing from the log" in assumption.text for assumption in assigned.assumptions)
