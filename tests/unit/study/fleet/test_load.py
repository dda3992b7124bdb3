"""Promises: who kept them, and whether any replica could."""

import numpy as np
import polars as pl
import pytest
from tests.samples.fleets import SLO, WORKLOADS, load

from meritorder.domain import Lane, Slo, Workload
from meritorder.study.fleet.load import load_from_requests
from meritorder.study.fleet.options import CompareOptions
from meritorder.study.fleet.workloads import assign_workloads
from meritorder.traces import Trace


def test_load_has_slo_of_each_workload() -> None:
    tight = Workload(name="tight", lane=Lane.REALTIME, slo=Slo(ttft_s=0.5, tpot_s=0.02, attainment=0.9))
    requests = pl.DataFrame(
        {
            "arrived_s": [0.0, 1.0, 2.0],
            "input_tokens": [10, 20, 30],
            "cached_tokens": [0, 5, 0],
            "output_tokens": [1, 2, 3],
            "workload": ["chat", "tight", "bulk"],
            "deadline_s": [None, 99.0, 3602.0],
        }
    )
    trace_load = load_from_requests(requests, (*WORKLOADS, tight), SLO, 3.0)
    assert trace_load.deferrable.tolist() == [False, False, True], "the lane decides, not the column"
    assert trace_load.deadline_s.tolist() == [np.inf, np.inf, 3602.0]
    assert trace_load.ttft_limit_s[:2].tolist() == [2.0, 0.5]
    assert trace_load.attainment == 0.9
    assert trace_load.tightest_tpot_s == 0.02
    assert trace_load.tokens == 66


def test_same_requests_under_other_promises() -> None:
    mixed = load([0.0, 10.0], waits=[False, True], patience_s=60.0)
    assert not mixed.all_realtime().deferrable.any()
    assert mixed.all_deferrable(500.0).deadline_s.tolist() == [500.0, 70.0], "its own deadline stays"
    assert mixed.select(mixed.deferrable).arrived_s.tolist() == [10.0]


def test_slo_needs_ttft_and_tpot() -> None:
    asked = load([0.0] * 4)
    ttft_s = np.array([1.0, 3.0, 1.0, 1.0])
    tpot_s = np.array([0.05, 0.05, 0.2, np.nan])
    share, enough = asked.slo_attainment(ttft_s, tpot_s)
    assert share == 0.5
    assert not enough
    assert asked.slo_attainment(np.full(4, 2.0), np.full(4, 0.1)) == (1.0, True), "the limit itself is in time"
    assert asked.slo_attainment(np.full(4, np.nan), np.full(4, np.nan))[0] == 0.0, "what is never served is not in time"


def test_each_workload_has_its_slo() -> None:
    few = Workload(name="few", lane=Lane.REALTIME, slo=SLO)
    asked = load(np.zeros(100))
    mine = np.zeros(100, np.int32)
    mine[:2] = 2
    split = type(asked)(
        **{name: getattr(asked, name) for name in asked.__dataclass_fields__ if name not in {"workload", "workloads"}},
        workload=mine,
        workloads=(*WORKLOADS, few),
    )
    ttft_s = np.where(mine == 2, 9.0, 1.0)
    assert split.slo_attainment(ttft_s, np.full(100, 0.05)) == (0.98, False)


def test_no_realtime_request_meets_slo() -> None:
    assert load([0.0], waits=[True]).slo_attainment(np.array([9.0]), np.array([9.0])) == (None, True)


def test_busiest_stretch_is_the_shortest() -> None:
    asked = load([0.0, 50.0, 100.0, 101.0, 102.0, 200.0])
    stretch = asked.busiest(3)
    assert stretch.arrived_s.tolist() == [0.0, 1.0, 2.0]
    assert stretch.span_s == 2.0
    assert 1 - stretch.attainment == pytest.approx((1 - asked.attainment) * 6 / 3), "as many violations as in all"


def test_latest_start_never_before_arrival() -> None:
    both = load([100.0, 100.0], waits=[True, True], patience_s=900.0)
    assert both.requests(np.ones(2), np.array([150.0, 950.0])).latest_start_s.tolist() == [850.0, 100.0]


def test_deferral_leaves_the_promise_of_real_time(small: Trace) -> None:
    loads = [
        assign_workloads(small, CompareOptions(defer=defer)).load(CompareOptions()).all_realtime()
        for defer in ((), ("40%@4h",))
    ]
    # Requests that break the SLO are all among those that may wait: judged alone, the others would keep it.
    deferred = loads[1].workload != loads[1].workload[0]
    ttft_s = np.where(deferred, 100.0, 0.1)
    tpot_s = np.full(len(ttft_s), 0.01)
    assert loads[0].slo_attainment(ttft_s, tpot_s) == loads[1].slo_attainment(ttft_s, tpot_s)
