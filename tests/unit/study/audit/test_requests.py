"""Bills beside requests and metrics: idle hours, machines beyond the work, and dollars per request."""

import datetime as dt
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import polars as pl
import pytest
from tests.samples.charges import START, line, machine, reservation
from tests.unit.study.audit.conftest import only

from meritorder import traces
from meritorder.errors import BillError
from meritorder.findings import Audit
from meritorder.study.audit.context import AuditOptions

Audited = Callable[..., Audit]
DAY = 24


@pytest.fixture
def trace(tmp_path: Path) -> Callable[..., traces.Trace]:
    """Make a trace with so many requests in each hour after `START`, all alike, the first on the hour."""

    def make(counts: Iterable[int], *, dated: bool = True, tenants: tuple[str, ...] = ("a",)) -> traces.Trace:
        rows = []
        for hour, count in enumerate(counts):
            for i in range(count):
                at = START + dt.timedelta(hours=hour, seconds=3600 * i / count)
                rows.append(
                    {
                        "timestamp": at.isoformat() if dated else (at - START).total_seconds(),
                        "input_tokens": 1000,
                        "output_tokens": 250,
                        "model": "llama-3.1-8b",
                        "tenant": tenants[i % len(tenants)],
                    }
                )
        path = tmp_path / "requests.csv"
        pl.DataFrame(rows).write_csv(path)
        return traces.read(path)

    return make


def test_hours_without_requests_are_idle_and_hours_with_few_have_too_many_machines(
    audited: Audited, trace: Callable[..., traces.Trace]
) -> None:
    # Eight hours at the peak, eight at a quarter of it, eight without a request; four machines all the time.
    counts = [0] * 8 + [10] * 8 + [40] * 8
    requests = trace([*counts[8:], *counts[:8], 1])
    answer = audited(machine(range(DAY), instance="g5.2xlarge", usd=1.0, count=4), trace=requests)
    idle, spare = only(answer, "idle_capacity"), only(answer, "over_provisioned")
    assert idle.usd == pytest.approx(8 * 4 * 1.0)
    assert "--model llama-3.1-8b" in spare.fix
    # A quarter of the work of four machines takes one; at four fifths of what it can do, two.
    assert spare.usd == pytest.approx(8 * 2 * 1.0)
    assert "at its peak" in spare.evidence


def test_committed_hours_are_no_saving(audited: Audited, trace: Callable[..., traces.Trace]) -> None:
    requests = trace([10] * 12 + [0] * 12 + [1])
    covered = reservation(range(DAY), DAY, instance="g5.2xlarge", rate=0.7, listed=1.0)
    answer = audited(chain(covered, machine(range(DAY), instance="g5.2xlarge", usd=1.0)), trace=requests)
    idle = only(answer, "idle_capacity")
    assert idle.usd == pytest.approx(12 * 1.0)
    assert "commitments" in idle.evidence


def test_what_was_paid_is_charged_to_the_requests_to_the_cent(
    audited: Audited, trace: Callable[..., traces.Trace]
) -> None:
    requests = trace([10, 30] * 12, tenants=("a", "a", "b"))
    answer = audited(machine(range(DAY), usd=50.0), trace=requests)
    costs = answer.requests
    assert costs is not None
    assert costs.total.usd == pytest.approx(DAY * 50)
    assert costs.total.usd_per_request == pytest.approx(DAY * 50 / 480)
    assert costs.total.usd_per_mtok == pytest.approx(DAY * 50 / (480 * 1250) * 1e6)
    assert sum(each.usd for each in costs.by_tenant) == pytest.approx(costs.total.usd)
    assert {each.name: each.requests for each in costs.by_tenant} == {"a": 324, "b": 156}
    # At the pace of the busy hours the others are used for a third.
    assert costs.machine_hours_paid == pytest.approx(DAY)
    assert costs.machine_hours_used == pytest.approx(12 + 12 / 3)
    assert costs.total.idle_usd == pytest.approx(8 * 50)


def test_empty_hours_are_charged_to_all(audited: Audited, trace: Callable[..., traces.Trace]) -> None:
    requests = trace([10] * 6 + [0] * 12 + [10] * 6)
    costs = audited(machine(range(DAY), usd=50.0), trace=requests).requests
    assert costs is not None
    assert (costs.hours, costs.hours_without_requests) == (DAY, 12)
    assert costs.total.usd == pytest.approx(DAY * 50)


def test_only_machines_that_served_the_trace_are_charged(audited: Audited, trace: Callable[..., traces.Trace]) -> None:
    rows = chain(
        machine(range(DAY), usd=50.0, tags={"service": "chat"}),
        machine(range(DAY), usd=50.0, name="i-2", tags={"service": "other"}),
    )
    options = AuditOptions(serving=(("tag:service", "chat*"),))
    costs = audited(rows, options, trace=trace([10] * DAY)).requests
    assert costs is not None
    assert costs.total.usd == pytest.approx(DAY * 50)
    with pytest.raises(BillError, match="no charge for a machine matches"):
        audited(machine(range(DAY)), AuditOptions(serving=(("tag:service", "x"),)), trace=trace([10] * DAY))


def test_a_trace_without_dates_is_charged_the_mean_hour(audited: Audited, trace: Callable[..., traces.Trace]) -> None:
    answer = audited(machine(range(DAY), usd=50.0), trace=trace([10] * 6, dated=False))
    assert answer.requests is not None
    assert answer.requests.total.usd == pytest.approx(6 * 50)
    assert any("no dates" in text for text in answer.requests.basis)
    assert {finding.kind for finding in answer.findings}.isdisjoint({"idle_capacity", "over_provisioned"})


def test_a_part_of_an_hour_is_charged_a_part_of_it(audited: Audited, trace: Callable[..., traces.Trace]) -> None:
    half = trace([10] * 6, dated=True)
    half = replace(half, requests=half.requests.filter(pl.col("arrived_s") < 5.5 * 3600))
    answer = audited(machine(range(DAY), usd=50.0), trace=half)
    assert answer.requests is not None
    assert answer.requests.total.usd == pytest.approx(5.5 * 50)
    assert answer.requests.machine_hours_used == pytest.approx(5.5)
    assert {finding.kind for finding in answer.findings}.isdisjoint({"idle_capacity", "over_provisioned"})


def test_a_trace_of_another_time_is_refused(audited: Audited, trace: Callable[..., traces.Trace]) -> None:
    rows = [
        row | {"line_item_usage_start_date": "2026-09-01T00:00:00Z", "line_item_usage_end_date": "2026-09-01T01:00:00Z"}
        for row in machine([0])
    ]
    with pytest.raises(BillError, match="of another period"):
        audited(rows, trace=trace([10] * 6))


def test_a_bill_without_machines_has_nothing_to_charge(audited: Audited, trace: Callable[..., traces.Trace]) -> None:
    rows = [line("Usage", 0, 5.0, line_item_product_code="AmazonBedrock", line_item_usage_type="x-input-tokens")]
    with pytest.raises(BillError, match="no machine hours"):
        audited(rows, trace=trace([1]))


def test_metrics_tell_which_machines_did_nothing(audited: Audited, tmp_path: Path) -> None:
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


def test_a_range_query_of_prometheus_is_read(audited: Audited, tmp_path: Path) -> None:
    values = [[START.timestamp() + 3600 * hour, "0" if hour % 2 else "90"] for hour in range(DAY)]
    series = {"metric": {"__name__": "DCGM_FI_DEV_GPU_UTIL", "Hostname": "gpu-1"}, "values": values}
    path = tmp_path / "range.json"
    path.write_text(json.dumps({"status": "success", "data": {"resultType": "matrix", "result": [series]}}))
    answer = audited(machine(range(DAY), instance="g5.2xlarge", usd=1.0), AuditOptions(metrics=path))
    assert only(answer, "idle_capacity").usd == pytest.approx(12)


@pytest.mark.parametrize(
    ("content", "said"),
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
def test_metrics_that_make_no_sense_are_refused(audited: Audited, tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "metrics"
    path.write_text(content)
    with pytest.raises(BillError, match=said):
        audited(machine(range(DAY)), AuditOptions(metrics=path))
