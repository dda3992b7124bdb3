"""How much of the paid machine hours was used."""

import datetime as dt
import json
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.samples import audits as samples
from tests.samples.charges import START, endpoint, machine, tokens, traffic
from tests.unit.study.audit.conftest import DAY, MONTH, WEEKS, Audited, MakeTrace, kinds, only

from meritorder.bills.utilization import UtilizationMetrics
from meritorder.errors import BillError
from meritorder.study.audit.context import AuditOptions
from meritorder.study.audit.pools import PaidRates
from meritorder.study.audit.usage import (
    capacity_by_hour,
    never_scales,
    share_of_capacity,
    usage_from_metrics,
    usage_from_trace,
    work_by_hour,
)


def test_shape_of_tokens_bounds_constant_fleet(audited: Audited) -> None:
    def hour_of(hour: int) -> float:
        return 100.0 if hour % 24 in {9, 10, 11} else 10.0

    load = [row for hour in MONTH for row in tokens([hour], usd=hour_of(hour), thousands=1000)]
    fleet = list(machine(MONTH, instance="g5.2xlarge", usd=1.212, count=10))
    answer = audited(chain(load, fleet))
    found = only(answer, "over_provisioned")
    # A tenth of the peak at four fifths of what they can do: two of the ten.
    assert found.usd == pytest.approx(WEEKS * 21 / 24 * 8 * 1.212)
    assert found.confidence == "low"
    assert "real-time tokens" in found.evidence
    assert any(missing.option.startswith("--trace") for missing in answer.missing_inputs)
    scaling = machine([hour for hour in MONTH if hour_of(hour) > 50], instance="g5.2xlarge", usd=1.212, name="i-2")
    assert "over_provisioned" not in kinds(audited(chain(load, fleet, scaling)))
    assert "over_provisioned" not in kinds(audited(fleet)), "no load is known"


def test_endpoint_without_traffic_is_idle(audited: Audited) -> None:
    called = chain(endpoint(MONTH, name="arn:endpoint/chat"), traffic(MONTH, name="arn:endpoint/chat"))
    forgotten = chain(endpoint(MONTH, name="arn:endpoint/demo"), traffic(range(24), name="arn:endpoint/demo"))
    answer = audited(chain(called, forgotten, endpoint(MONTH, name="arn:endpoint/never")))
    found = only(answer, "idle_capacity")
    assert found.usd == pytest.approx((WEEKS - 24 + WEEKS) * 1.5)
    assert "demo, never" in found.title
    alone = audited(endpoint(MONTH, name="arn:endpoint/never"))
    assert "idle_capacity" not in kinds(alone), "a bill without lines of data tells nothing of who is called"


def test_metrics_show_idle_machines(audited: Audited, tmp_path: Path) -> None:
    samples = [
        {"time": (START + dt.timedelta(hours=hour, minutes=minute)).isoformat(), "machine": name, "gpu_util": used}
        for hour in range(DAY)
        for minute in (0, 30)
        for name, used in (("i-1", 80.0 if hour < 12 else 0.0), ("i-2", 0.0), ("i-3", 10.0), ("i-4", 10.0))
    ]
    path = tmp_path / "gpu.csv"
    pl.DataFrame(samples).write_csv(path)
    rows = chain(*(machine(range(DAY), instance="g5.2xlarge", usd=1.0, name=f"i-{i}") for i in range(1, 5)))
    answer = audited(rows, AuditOptions(metrics=path))
    assert only(answer, "idle_capacity").usd == pytest.approx(12 * 1 + 12 * 2)
    # Day: three run, and do one machine's work, which takes two. Night: two run, and do a fifth of one's.
    assert only(answer, "over_provisioned").usd == pytest.approx(12 * 1 + 12 * 1)
    assert only(answer, "idle_capacity").confidence == "high"
    assert not any("--metrics" in missing.option for missing in answer.missing_inputs)


def test_prometheus_range_query(audited: Audited, tmp_path: Path) -> None:
    values = [[START.timestamp() + 3600 * hour, "0" if hour % 2 else "90"] for hour in range(DAY)]
    series = {"metric": {"__name__": "DCGM_FI_DEV_GPU_UTIL", "Hostname": "gpu-1"}, "values": values}
    path = tmp_path / "range.json"
    path.write_text(json.dumps({"status": "success", "data": {"resultType": "matrix", "result": [series]}}))
    answer = audited(machine(range(DAY), instance="g5.2xlarge", usd=1.0), AuditOptions(metrics=path))
    assert only(answer, "idle_capacity").usd == pytest.approx(12)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "no column of time"),
        ("time,machine\n2026-10-05,x\n", "no column of utilization"),
        ("time,utilization\nnever,0.5\n", "no sample has both"),
        ("time,utilization\n2026-10-05T00:00:00Z,250\n", "over 100 %"),
        ("time,utilization\n2026-10-05T00:00:00Z,-1\n", "below 0"),
        ('{"data": 3}', "not the answer of a Prometheus"),
        ('{"data": {"result": []}}', "no series"),
        ("time,utilization\n2025-01-01T00:00:00Z,0.5\n", "other hours"),
    ],
)
def test_bad_metrics_are_refused(audited: Audited, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "metrics"
    path.write_text(content)
    with pytest.raises(BillError, match=message):
        audited(machine(range(DAY)), AuditOptions(metrics=path))


def test_pace_of_the_busy_hours() -> None:
    """Of 100 busy hours one is an outlier: the pace is that of the second busiest, 2 a unit of capacity."""
    work = np.array([9.0] + [4.0] + [1.0] * 98 + [0.0])
    share = share_of_capacity(work, np.full(101, 2.0))
    assert share[0] == 1.0
    assert share[1] == 1.0
    assert share[2] == pytest.approx(0.25)
    assert share[-1] == 0.0


def test_share_without_capacity_is_zero() -> None:
    assert list(share_of_capacity(np.array([1.0, 2.0]), np.array([0.0, 1.0]))) == [0.0, 1.0]
    assert list(share_of_capacity(np.zeros(2), np.ones(2))) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("hours", "constant"),
    [
        ([2.0] * 20, True),
        ([2.0] * 19 + [5.0], True),
        ([2.0] * 18 + [5.0] * 2, False),
        ([1.0] * 20, False),
    ],
)
def test_fleet_that_never_scales(hours: list[float], *, constant: bool) -> None:
    """At least two machines, and the same number in 95 % of the hours."""
    assert never_scales(samples.pool(hours)) is constant


def test_usage_covers_its_machines() -> None:
    served, other = samples.pool([2.0] * 3), samples.pool([2.0] * 3, served=False)
    scaling = samples.pool([2.0, 4.0, 2.0])
    everything = samples.usage([0.0], [1.0])
    of_served = replace(everything, of_all_machines=False)
    guessed = replace(everything, guessed=True)
    assert [everything.covers(pool) for pool in (served, other, scaling)] == [True, True, True]
    assert [of_served.covers(pool) for pool in (served, other, scaling)] == [True, False, True]
    assert [guessed.covers(pool) for pool in (served, other, scaling)] == [True, False, False]


def test_capacity_is_weighted_by_list_price() -> None:
    """Two kinds of machines at list prices of 10 and 4, the third did not serve: 2 x 10 + 1 x 4."""
    small = replace(samples.MACHINE, instance="g5.2xlarge")
    paid = samples.ledger(
        samples.pool([2.0], 9.0), samples.pool([1.0], 3.0, machine=small), samples.pool([5.0], served=False)
    )
    assert paid.fleet is not None
    fleet = replace(paid.fleet, rates=PaidRates(listed={samples.MACHINE: 10.0, small: 4.0}))
    assert list(capacity_by_hour(fleet)) == [24.0]
    assert list(capacity_by_hour(paid.fleet)) == [2 * 9.0 + 3.0]


def test_work_counts_fresh_and_output_tokens(trace: MakeTrace) -> None:
    """Each request has 1,000 fresh input tokens and 250 output tokens, of the work of 1,000 more.

    Four requests over two hours stand for a third more: the last hour is covered to two thirds.
    """
    fleet = samples.ledger(samples.pool([1.0] * 3)).fleet
    assert fleet is not None
    covered, work = work_by_hour(fleet, trace([2, 1, 1]))
    assert list(work) == [4000.0, 2000.0, 2000.0]
    assert covered == pytest.approx([1.0, 1.0, 2 / 3])


def test_metrics_need_above_utilization_limit() -> None:
    """Two of three machines work at a mean of 40 %: 0.8 of one, a third at 0.8 each; the last is idle."""
    samples_ = pl.DataFrame({"time": [samples.START] * 3, "machine": ["a", "b", "c"], "utilization": [0.4, 0.4, 0.005]})
    metrics = UtilizationMetrics(samples=samples_, machines=3, name="gpu", percent=False)
    fleet = samples.ledger(samples.pool([3.0] * 2)).fleet
    assert fleet is not None
    usage = usage_from_metrics(fleet, metrics, of_all_machines=True)
    assert usage is not None
    assert list(usage.known) == [True, False]
    assert usage.idle[0] == pytest.approx(1 / 3)
    assert usage.needed[0] == pytest.approx(0.8 / 3 / 0.8)
    assert (usage.confidence, usage.source) == ("high", "gpu of 3 machines")


def test_metrics_of_one_machine_less_certain() -> None:
    one = pl.DataFrame({"time": [samples.START], "machine": ["a"], "utilization": [0.4]})
    metrics = UtilizationMetrics(samples=one, machines=1, name="gpu", percent=False)
    fleet = samples.ledger(samples.pool([3.0])).fleet
    assert fleet is not None
    usage = usage_from_metrics(fleet, metrics, of_all_machines=False)
    assert usage is not None
    assert (usage.confidence, usage.source, usage.of_all_machines) == ("medium", "gpu of 1 machine", False)
    later = replace(metrics, samples=one.with_columns(pl.col("time") + pl.duration(hours=1)))
    assert usage_from_metrics(fleet, later, of_all_machines=False) is None


def test_metrics_at_the_edge_of_idle() -> None:
    """A machine whose highest sample is 1 % of an hour works, one below is idle; a mean of 4 % needs 5 % of one."""
    frame = pl.DataFrame(
        {
            "time": [samples.START] * 3,
            "machine": ["a", "a", "b"],
            "utilization": [0.07, 0.01, 0.0099],
        }
    )
    fleet = samples.ledger(samples.pool([2.0])).fleet
    assert fleet is not None
    metrics = UtilizationMetrics(samples=frame, machines=2, name="gpu", percent=False)
    usage = usage_from_metrics(fleet, metrics, of_all_machines=True)
    assert usage is not None
    assert usage.idle[0] == 0.5
    assert usage.needed[0] == pytest.approx(0.04 / 2 / 0.8)


def test_usage_from_trace_of_whole_hours(trace: MakeTrace) -> None:
    """The busiest hour shows the pace; half of its work needs half of the machines at 80 % utilization."""
    fleet = samples.ledger(samples.pool([4.0] * 5)).fleet
    assert fleet is not None
    usage = usage_from_trace(fleet, trace([4, 2, 0, 1]))
    assert usage is not None
    assert list(usage.known) == [True, True, True, False, False]
    assert list(usage.idle) == [0.0, 0.0, 1.0, 0.0, 0.0]
    assert usage.needed[:3] == pytest.approx([1.0, 0.5 / 0.8, 0.0])
    assert (usage.confidence, usage.guessed, usage.of_all_machines) == ("medium", False, False)


def test_undated_trace_shows_no_usage(trace: MakeTrace) -> None:
    fleet = samples.ledger(samples.pool([4.0] * 5)).fleet
    assert fleet is not None
    dated = trace([4, 4])
    assert usage_from_trace(fleet, dated) is not None
    assert usage_from_trace(fleet, trace([4, 4], dated=False)) is None
    assert usage_from_trace(fleet, replace(dated, report=replace(dated.report, session_clock=True))) is None
    assert usage_from_trace(fleet, replace(dated, epoch_s=0.0)) is None, "of other hours"


@pytest.mark.parametrize(("calls", "uncalled"), [(range(24), 1), (range(WEEKS - 7 * 24, WEEKS - 6 * 24), 0)])
def test_endpoint_is_forgotten_after_a_week(audited: Audited, calls: range, uncalled: int) -> None:
    rows = chain(
        endpoint(MONTH, name="e/chat"),
        traffic(MONTH, name="e/chat"),
        endpoint(MONTH, name="e/demo"),
        traffic(calls, name="e/demo"),
    )
    found = [finding for finding in audited(rows).findings if finding.kind == "idle_capacity"]
    assert len(found) == uncalled
