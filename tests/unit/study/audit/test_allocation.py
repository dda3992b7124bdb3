"""Dollars per request, from bills and traces whose split is plain arithmetic."""

from dataclasses import replace
from itertools import chain

import polars as pl
import pytest
from tests.samples.charges import line, machine
from tests.unit.study.audit.conftest import DAY, Audited, MakeTrace

from meritorder.errors import BillError
from meritorder.study.audit.context import AuditOptions


def test_paid_total_is_allocated_to_the_cent(audited: Audited, trace: MakeTrace) -> None:
    requests = trace([10, 30] * 12, tenants=("a", "a", "b"))
    answer = audited(machine(range(DAY), usd=50.0), trace=requests)
    costs = answer.requests
    assert costs is not None
    assert costs.total.usd == pytest.approx(DAY * 50)
    assert costs.total.usd_per_request == pytest.approx(DAY * 50 / 480)
    assert costs.total.usd_per_mtok == pytest.approx(DAY * 50 / (480 * 1250) * 1e6)
    assert sum(cost.usd for cost in costs.by_tenant) == pytest.approx(costs.total.usd)
    assert {cost.name: cost.requests for cost in costs.by_tenant} == {"a": 324, "b": 156}
    # At the pace of the busy hours the others are used for a third.
    assert costs.machine_hours_paid == pytest.approx(DAY)
    assert costs.machine_hours_used == pytest.approx(12 + 12 / 3)
    assert costs.total.idle_usd == pytest.approx(8 * 50)


def test_empty_hours_are_allocated_to_all(audited: Audited, trace: MakeTrace) -> None:
    requests = trace([10] * 6 + [0] * 12 + [10] * 6)
    costs = audited(machine(range(DAY), usd=50.0), trace=requests).requests
    assert costs is not None
    assert (costs.hours, costs.hours_without_requests) == (DAY, 12)
    assert costs.total.usd == pytest.approx(DAY * 50)


def test_only_serving_machines_are_allocated(audited: Audited, trace: MakeTrace) -> None:
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


def test_undated_trace_gets_mean_hour(audited: Audited, trace: MakeTrace) -> None:
    answer = audited(machine(range(DAY), usd=50.0), trace=trace([10] * 6, dated=False))
    assert answer.requests is not None
    assert answer.requests.total.usd == pytest.approx(6 * 50)
    assert any("no dates" in text for text in answer.requests.basis)
    assert {finding.kind for finding in answer.findings}.isdisjoint({"idle_capacity", "over_provisioned"})


def test_part_of_an_hour(audited: Audited, trace: MakeTrace) -> None:
    half = trace([10] * 6, dated=True)
    half = replace(half, requests=half.requests.filter(pl.col("arrived_s") < 5.5 * 3600))
    answer = audited(machine(range(DAY), usd=50.0), trace=half)
    assert answer.requests is not None
    assert answer.requests.total.usd == pytest.approx(5.5 * 50)
    assert answer.requests.machine_hours_used == pytest.approx(5.5)
    assert {finding.kind for finding in answer.findings}.isdisjoint({"idle_capacity", "over_provisioned"})


def test_trace_of_another_period(audited: Audited, trace: MakeTrace) -> None:
    rows = [
        row | {"line_item_usage_start_date": "2026-09-01T00:00:00Z", "line_item_usage_end_date": "2026-09-01T01:00:00Z"}
        for row in machine([0])
    ]
    with pytest.raises(BillError, match="of another period"):
        audited(rows, trace=trace([10] * 6))


def test_bill_without_machines(audited: Audited, trace: MakeTrace) -> None:
    rows = [line("Usage", 0, 5.0, line_item_product_code="AmazonBedrock", line_item_usage_type="x-input-tokens")]
    with pytest.raises(BillError, match="no machine hours"):
        audited(rows, trace=trace([1]))
