"""Workloads with restricted access: planned, simulated and compared only where they may run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from msgspec import structs
from tests.unit.study.conftest import OPTIONS, requests

from meritorder.errors import InfeasibleError, WorkloadsError
from meritorder.records import planfile
from meritorder.study.compare.compare import compare
from meritorder.study.fleet.options import CompareOptions
from meritorder.study.plan.answer import plan
from meritorder.study.plan.replay import replay
from meritorder.traces import Trace
from meritorder.traces.read import read_trace

LIMITED = """\
[[workload]]
name = "records"
lane = "realtime"
match = { tenant = "clinic" }
slo = { ttft_s = 2.0, tpot_s = 0.1 }
allow = { region = "eu-*" }

[[workload]]
name = "index"
lane = "deferrable"
deadline = "2h"
match = { tenant = "index" }
deny = { provider = "runpod" }
"""
BOTH = replace(OPTIONS, providers=("aws", "runpod"), defer=())


def trace_of(frame: pl.DataFrame, folder: Path) -> Trace:
    path = folder / "day.parquet"
    names = np.random.default_rng(1).choice(["clinic", "web", "index"], frame.height, p=[0.4, 0.4, 0.2])
    frame.with_columns(pl.Series("tenant", names)).write_parquet(path)
    return read_trace([path])


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    return trace_of(requests(8.0, hours=2), tmp_path_factory.mktemp("access"))


@pytest.fixture(scope="module")
def limited(tenants: Trace, tmp_path_factory: pytest.TempPathFactory) -> planfile.Plan:
    return plan(tenants, replace(BOTH, workloads=written(tmp_path_factory.mktemp("access"))))


def written(folder: Path, text: str = LIMITED) -> Path:
    path = folder / "workloads.toml"
    path.write_text(text)
    return path


def test_workloads_run_only_where_permitted(limited: planfile.Plan) -> None:
    pools = {pool.name: pool for pool in limited.pools}
    venues: dict[str, set[tuple[str, str]]] = {}
    for route in limited.routes:
        if max(route.flow) > 0:
            venues.setdefault(route.workload, set()).add((pools[route.venue].provider, pools[route.venue].region))
    assert set(venues) == {"records", "realtime", "index"}
    assert {(provider, region[:3]) for provider, region in venues["records"]} == {("aws", "eu-")}
    assert {provider for provider, _ in venues["index"]} == {"aws"}
    # runpod is cheaper, and permitted for workloads without restrictions.
    assert "runpod" in {provider for provider, _ in venues["realtime"]}


def test_restricted_plan_holds_and_is_reproduced(limited: planfile.Plan, tenants: Trace, tmp_path: Path) -> None:
    assert limited.simulated is not None
    assert limited.simulated.kept
    assert limited.simulated.requests == tenants.requests.height
    path = tmp_path / "plan.json"
    planfile.write_plan(limited, path)
    again, outcome = replay(planfile.read_plan(path), tenants), limited.policy_outcome
    assert outcome is not None
    # Utilization alone differs: the work of each tenant was measured by itself.
    assert structs.replace(again, utilization=None) == structs.replace(outcome, utilization=None)


def test_restrictions_cost_more(limited: planfile.Plan, tenants: Trace, tmp_path: Path) -> None:
    lines = [line for line in LIMITED.splitlines() if not line.startswith(("allow", "deny"))]
    free = plan(tenants, replace(BOTH, workloads=written(tmp_path, "\n".join(lines))))
    assert free.total_usd < limited.total_usd
    assert limited.baseline_usd is not None
    assert free.baseline_usd is not None
    assert free.baseline_usd < limited.baseline_usd
    assert limited.baseline.startswith("records")


def test_unsatisfiable_restriction_is_refused(tenants: Trace, tmp_path: Path) -> None:
    nowhere = LIMITED.replace('{ region = "eu-*" }', '{ region = "eu-*", provider = "runpod" }')
    with pytest.raises(InfeasibleError, match="records"):
        plan(tenants, replace(BOTH, workloads=written(tmp_path, nowhere)))


@pytest.mark.parametrize("study", [plan, compare])
def test_misspelled_restriction_is_refused(study: object, tenants: Trace, tmp_path: Path) -> None:
    options = replace(BOTH, workloads=written(tmp_path, LIMITED.replace("runpod", "runpot")))
    with pytest.raises(WorkloadsError, match=r"workload index: deny provider: 'runpot' .* runpod"):
        study(tenants, options)  # type: ignore[operator]


def test_compare_uses_permitted_machines(tmp_path: Path) -> None:
    options = CompareOptions(model="llama-3.1-8b", hardware=("l40s",), tp=1, workloads=written(tmp_path))
    answer = compare(trace_of(requests(2.0, hours=0.2), tmp_path), options)
    capacity = [price for price in answer.prices if "token" not in price.pricing_model]
    assert {price.provider for price in capacity} == {"aws"}
    assert all(" eu-" in price.what for price in capacity)
    assert not [price for price in answer.prices if "token" in price.pricing_model]
    assert any("records and index may" in assumption.text for assumption in answer.assumptions)


def test_no_permitted_machine_is_refused(tmp_path: Path) -> None:
    apart = LIMITED.replace('provider = "runpod"', 'region = "eu-*"')
    options = CompareOptions(model="llama-3.1-8b", hardware=("l40s",), tp=1, workloads=written(tmp_path, apart))
    with pytest.raises(WorkloadsError, match="allow and deny of the workloads leave no machine that has a price"):
        compare(trace_of(requests(2.0, hours=0.2), tmp_path), options)
