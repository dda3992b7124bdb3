"""Dollars per request, from bills and traces whose split is plain arithmetic."""

import datetime as dt
from dataclasses import replace
from itertools import chain

import polars as pl
import pytest
from tests.samples import audits as samples
from tests.samples.charges import line, machine, reservation, tokens
from tests.unit.study.audit.conftest import DAY, Audited, MakeTrace

from meritorder.errors import BillError
from meritorder.study.audit.allocation import _paid, _work_of_requests
from meritorder.study.audit.context import AuditOptions


def test_paid_total_is_allocated(audited: Audited, trace: MakeTrace) -> None:
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
    with pytest.raises(BillError, match=r"^--serving: no charge for a machine matches"):
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


def test_requests_pay_by_work(audited: Audited, trace: MakeTrace) -> None:
    """An hour of 50 is split over 1 request, the next over 4; both tenants pay what their hour costs."""
    requests = trace([1, 4, 0, 1], tenants=("a",))
    at = requests.requests["arrived_s"].to_numpy()
    tenants = pl.Series("tenant", ["a" if arrived < 3600 else "b" for arrived in at], dtype=pl.Categorical)
    dated = replace(requests, requests=requests.requests.with_columns(tenants))
    costs = audited(machine(range(4), usd=50.0), trace=dated).requests
    assert costs is not None
    by_tenant = {cost.name: cost for cost in costs.by_tenant}
    # The empty hour is split over all six requests; of the last one only a fifth is covered by the trace.
    covered = 6 / 5 * 3 - 3
    assert by_tenant["a"].usd == pytest.approx(50 + 50 / 6)
    assert by_tenant["b"].usd == pytest.approx(50 + covered * 50 + 5 * 50 / 6)
    assert costs.total.usd == pytest.approx(by_tenant["a"].usd + by_tenant["b"].usd)


def test_unused_commitments_are_allocated(audited: Audited, trace: MakeTrace) -> None:
    """A reservation of 24 hours at 2, ten of them used, costs 48; the unused part is charged in its first hour."""
    rows = reservation(range(DAY), DAY, instance="g5.12xlarge", rate=2.0, listed=4.0)
    costs = audited(rows, trace=trace([5] * DAY)).requests
    assert costs is not None
    assert costs.total.usd == pytest.approx(48.0)
    assert costs.machine_hours_paid == pytest.approx(DAY)


def test_tokens_and_taxes_are_not_allocated(audited: Audited, trace: MakeTrace) -> None:
    rows = chain(machine(range(DAY), usd=5.0), tokens(range(DAY), usd=9.0, thousands=1), [line("Tax", 0, 7.0)])
    costs = audited(rows, trace=trace([5] * DAY)).requests
    assert costs is not None
    assert costs.total.usd == pytest.approx(DAY * 5.0)


@pytest.mark.parametrize("counts", [[3, 0, 7, 1, 0, 2], [1] * 6, [0, 0, 5, 0, 0, 1]])
def test_allocations_sum_to_what_was_paid(audited: Audited, trace: MakeTrace, counts: list[int]) -> None:
    requests = trace(counts, tenants=("a", "b", "c"))
    costs = audited(machine(range(DAY), usd=10.0, count=3), trace=requests).requests
    assert costs is not None
    covered_h = requests.span_s / 3600
    assert costs.total.usd == pytest.approx(30.0 * covered_h)
    assert sum(cost.usd for cost in costs.by_tenant) == pytest.approx(costs.total.usd)
    assert sum(cost.requests for cost in costs.by_tenant) == sum(counts)
    assert costs.machine_hours_paid == pytest.approx(3 * covered_h)
    share_idle = 1 - costs.machine_hours_used / costs.machine_hours_paid
    assert costs.total.idle_usd == pytest.approx(costs.total.usd * share_idle)


def test_one_request_pays_a_minute(audited: Audited, trace: MakeTrace) -> None:
    """A trace of one moment counts as a minute; its request pays a sixtieth of a mean hour."""
    costs = audited(machine(range(DAY), usd=60.0), trace=trace([1], dated=False)).requests
    assert costs is not None
    assert (costs.total.usd, costs.total.usd_per_request) == pytest.approx((1.0, 1.0))
    assert (costs.hours, costs.machine_hours_paid) == (1, pytest.approx(1 / 60))


def test_undated_part_of_an_hour(audited: Audited, trace: MakeTrace) -> None:
    """An hour and a half at 50 an hour; ten requests in the first hour pay as much as five in the half."""
    whole = trace([10, 10], dated=False)
    half = replace(whole, requests=whole.requests.filter(pl.col("arrived_s") < 1.5 * 3600))
    costs = audited(machine(range(DAY), usd=50.0), trace=half).requests
    assert costs is not None
    assert (costs.total.usd, costs.total.requests, costs.hours) == (pytest.approx(75.0), 15, 2)
    assert costs.machine_hours_paid == pytest.approx(1.5)


@pytest.mark.parametrize(("billed", "served"), [(range(2, 6), 20), (range(2, 4), 10), (range(2, 9), 20)])
def test_only_hours_of_both_count(audited: Audited, trace: MakeTrace, billed: range, served: int) -> None:
    """Five requests in each of six hours, of which the bill has those from the third on."""
    costs = audited(machine(billed, usd=50.0), trace=trace([5] * 6)).requests
    assert costs is not None
    assert (costs.total.requests, costs.hours, costs.hours_without_requests) == (served, served // 5, 0)
    assert costs.total.usd == pytest.approx(10.0 * served)
    assert costs.machine_hours_paid == pytest.approx(served / 5)


def test_most_expensive_tenants_first(audited: Audited, trace: MakeTrace) -> None:
    """Of 22 tenants the 20 with the largest cost are listed, equal ones by name."""
    names = tuple(f"t{number:02}" for number in range(22))
    costs = audited(machine([0]), trace=trace([23], tenants=(*names, "t21"))).requests
    assert costs is not None
    assert [cost.name for cost in costs.by_tenant] == ["t21", *names[:19]]


def test_session_clock_is_undated(audited: Audited, trace: MakeTrace) -> None:
    dated = trace([10] * 6)
    costs = audited(
        machine(range(DAY), usd=50.0), trace=replace(dated, report=replace(dated.report, session_clock=True))
    ).requests
    assert costs is not None
    assert any("no dates" in text for text in costs.basis)


def test_cached_tokens_are_no_work(trace: MakeTrace) -> None:
    """Of 1,000 input tokens 400 are cached, and 250 output tokens are the work of 1,000: 1,600."""
    requests = trace([1, 1])
    cached = replace(requests, requests=requests.requests.with_columns(cached_tokens=pl.lit(400)))
    assert list(_work_of_requests(cached)) == [1600.0, 1600.0]


def test_paid_only_for_machines_of_the_bill() -> None:
    """Of two hours the second has 20 for two machines; hours outside, tokens and taxes do not count."""
    fleet = samples.ledger(samples.pool([1.0, 1.0])).fleet
    assert fleet is not None
    hours = [-1, 0, 1, 2, 0, 0, 1]
    charges = pl.DataFrame(
        {
            "hour": [fleet.start + dt.timedelta(hours=hour) for hour in hours],
            "kind": [*["accelerator"] * 4, "tokens", "accelerator", "commitment"],
            "purchase": [*["on_demand"] * 4, "on_demand", "tax", "savings_plan"],
            "amortised_usd": [100.0, None, 20.0, 300.0, 1000.0, 1000.0, 7.0],
            "quantity": [1.0, None, 2.0, 3.0, 9.0, 9.0, 9.0],
            "list_usd": [5.0] * 7,
            "unit": ["Hrs"] * 6 + [None],
            "instance_type": ["p5"] * 7,
            "unused": [False] * 6 + [True],
        }
    )
    paid, machine_h = _paid(charges, fleet, ())
    assert (list(paid), list(machine_h)) == ([0.0, 27.0], [0.0, 2.0])


def test_trace_of_the_first_hour_only(audited: Audited, trace: MakeTrace) -> None:
    """Five requests, twelve minutes apart, pay for an hour; the rest of the bill has nothing to do with them."""
    costs = audited(machine(range(DAY), usd=50.0), trace=trace([5])).requests
    assert costs is not None
    assert (costs.total.requests, costs.hours, costs.total.usd) == (5, 1, pytest.approx(50.0))


def test_one_token_is_work(audited: Audited, trace: MakeTrace) -> None:
    """An hour with a request of a single token is not without requests."""
    requests = trace([2, 1, 2])
    least = [pl.lit(1, pl.Int32).alias("input_tokens"), pl.lit(0, pl.Int32).alias("output_tokens")]
    costs = audited(
        machine(range(3), usd=50.0), trace=replace(requests, requests=requests.requests.with_columns(least))
    ).requests
    assert costs is not None
    assert (costs.hours, costs.hours_without_requests) == (3, 0)
    assert costs.total.usd == pytest.approx(50.0 * 3)
