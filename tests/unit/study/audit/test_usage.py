"""How much of the paid machine hours was used."""

import datetime as dt
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.samples import audits as samples
from tests.samples.charges import endpoint, machine, tokens, traffic, write
from tests.unit.study.audit.conftest import MONTH, WEEKS, Audited, MakeTrace, kinds, only

from meritorder import bills
from meritorder.study.audit.context import AuditOptions, build_case
from meritorder.study.audit.pools import BilledFleet, BilledPool, PaidRates
from meritorder.study.audit.usage import (
    UncalledEndpoints,
    capacity_by_hour,
    never_scales,
    share_of_capacity,
    uncalled_endpoints,
    usage_from_shape,
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


WEEK = 7 * 24


def fleet_of(*pools: BilledPool, step_h: float = 1.0) -> BilledFleet:
    fleet = samples.ledger(*pools, step_h=step_h).fleet
    assert fleet is not None
    return fleet


def spend(loads: dict[int, float], **more: object) -> pl.DataFrame:
    """Return the cost of real-time tokens by hours after the start of the bill."""
    rows = [
        {"hour": samples.START + dt.timedelta(hours=hour), "amortised_usd": usd, "kind": "tokens", "may_wait": False}
        | {"tier": "standard"}
        | more
        for hour, usd in loads.items()
    ]
    types = {"hour": pl.Datetime("us", "UTC"), "amortised_usd": pl.Float64, "kind": pl.String, "may_wait": pl.Boolean}
    return pl.DataFrame(rows, schema=types | {"tier": pl.String})


CONSTANT = samples.pool([2.0] * WEEK)
UNEVEN = {hour: 3.0 if hour % 2 else 1.0 for hour in range(WEEK)}


def test_shape_of_realtime_tokens() -> None:
    """Half of the hours at 3, half at 1: a third of the peak at 80 %; nothing else counts."""
    by_hour = pl.concat(
        [
            spend(UNEVEN),
            spend({-1: 1000.0, WEEK: 1000.0}),
            spend(dict.fromkeys(range(0, WEEK, 2), 1000.0), tier="batch"),
            spend(dict.fromkeys(range(0, WEEK, 2), 1000.0), tier="flex"),
            spend(dict.fromkeys(range(0, WEEK, 2), 1000.0), tier=None),
            spend(dict.fromkeys(range(0, WEEK, 2), 1000.0), may_wait=True),
            spend(dict.fromkeys(range(0, WEEK, 2), 1000.0), kind="accelerator"),
        ]
    )
    usage = usage_from_shape(fleet_of(CONSTANT), by_hour)
    assert usage is not None
    assert list(usage.needed) == pytest.approx([1 / 3 / 0.8, 1.0] * (WEEK // 2))
    assert (usage.known.all(), usage.idle.any(), usage.guessed, usage.of_all_machines) == (True, False, True, False)
    assert usage.source == "the shape of the bill's real-time tokens"


def test_shape_without_load_is_hardly_zero() -> None:
    """An hour without load needs a millionth of the machines, so that it is not idle."""
    usage = usage_from_shape(fleet_of(CONSTANT), spend(dict.fromkeys(range(1, WEEK, 2), 3.0)))
    assert usage is not None
    assert list(usage.needed[:2]) == pytest.approx([1e-6 / 0.8, 1.0])


def test_shape_of_cents_is_that_of_dollars() -> None:
    usage = usage_from_shape(fleet_of(CONSTANT), spend({hour: usd / 100 for hour, usd in UNEVEN.items()}))
    assert usage is not None
    assert list(usage.needed[:2]) == pytest.approx([1 / 3 / 0.8, 1.0])


def test_even_or_short_loads_have_no_shape() -> None:
    """A peak of less than one and a half times the mean, a day less than a week, steps of two hours, no load."""
    even = {hour: 2.9 if hour % 2 else 1.0 for hour in range(WEEK)}
    short = samples.pool([2.0] * (WEEK - 1))
    assert usage_from_shape(fleet_of(CONSTANT), spend(even)) is None
    assert usage_from_shape(fleet_of(short), spend(UNEVEN)) is None
    assert usage_from_shape(fleet_of(CONSTANT, step_h=2.0), spend(UNEVEN)) is None
    assert usage_from_shape(fleet_of(samples.pool([1.0] * WEEK)), spend(UNEVEN)) is None
    assert usage_from_shape(fleet_of(CONSTANT), spend({})) is None


def test_shape_of_machines_that_scale() -> None:
    """Two pools that scale together, from 2 to 6; those that did not serve do not count."""
    scaling = samples.pool([1.0, 3.0] * (WEEK // 2))
    other = samples.pool([900.0, 1.0] * (WEEK // 2), served=False)
    usage = usage_from_shape(fleet_of(CONSTANT, scaling, scaling, other), spend({}))
    assert usage is not None
    assert list(usage.needed[:2]) == pytest.approx([1 / 3 / 0.8, 1.0])
    assert usage.source == "the shape of the bill's machines that scale"


def test_work_outside_the_bill_is_left_out(trace: MakeTrace) -> None:
    requests = trace([2, 1, 1])
    _, work = work_by_hour(fleet_of(samples.pool([1.0] * 2)), requests)
    assert list(work) == [4000.0, 2000.0]
    covered, longer = work_by_hour(fleet_of(samples.pool([1.0] * 5)), requests)
    assert (list(longer[3:]), list(covered[3:])) == ([0.0, 0.0], [0.0, 0.0])
    cached = replace(requests, requests=requests.requests.with_columns(cached_tokens=pl.lit(400)))
    assert list(work_by_hour(fleet_of(samples.pool([1.0] * 2)), cached)[1]) == [3200.0, 1600.0]


def test_hour_before_the_bill_is_left_out(trace: MakeTrace) -> None:
    """Of requests in hours -1, 0 and 2 a bill of two hours has those of its first hour."""
    later = trace([4, 1, 0, 1])
    assert later.epoch_s is not None
    covered, work = work_by_hour(fleet_of(samples.pool([1.0] * 2)), replace(later, epoch_s=later.epoch_s - 3600))
    assert (list(covered), list(work)) == ([1.0, 1.0], [2000.0, 0.0])


def test_one_moment_covers_no_hour(trace: MakeTrace) -> None:
    covered, work = work_by_hour(fleet_of(samples.pool([1.0])), trace([1]))
    assert (list(covered), list(work)) == ([0.0], [0.0])


def test_free_machines_have_capacity() -> None:
    """Machines without any price count one each."""
    assert list(capacity_by_hour(fleet_of(samples.pool([3.0], 0.0)))) == [3.0]


def test_unknown_hours_need_nothing(trace: MakeTrace) -> None:
    usage = usage_from_trace(fleet_of(samples.pool([4.0] * 5)), trace([4, 2, 0, 1]))
    assert usage is not None
    assert list(usage.needed) == pytest.approx([1.0, 0.5 / 0.8, 0.0, 0.0, 0.0])


@pytest.mark.parametrize(("calls", "uncalled_h"), [(32, 168), (33, 0)])
def test_endpoint_is_uncalled_from_its_last_call(tmp_path: Path, calls: int, uncalled_h: int) -> None:
    """Of 200 hours the last begins 168 hours after that of the 32nd; it is idle in the hours after that."""
    hours = range(200)
    rows = chain(
        endpoint(hours, name="e/chat"),
        traffic(hours, name="e/chat"),
        endpoint(hours, name="e/demo"),
        traffic(range(calls), name="e/demo"),
    )
    case = build_case(bills.read(write(tmp_path / "bill.csv", rows)), AuditOptions())
    assert case.fleet is not None
    found = uncalled_endpoints(case.bill, case.fleet)
    assert [list(machines) for machines in found.machines.values()] == [[0.0] * 32 + [1.0] * 168][: uncalled_h // 168]
    assert found.called == 2
    assert UncalledEndpoints().called == 0


def test_uncalled_hour_before_the_bill_is_left_out(tmp_path: Path) -> None:
    """Of 24 idle hours, 23 are those of the fleet: one machine in each of them."""
    rows = chain(
        endpoint(range(24), name="e/chat"), traffic(range(24), name="e/chat"), endpoint(range(24), name="e/demo")
    )
    case = build_case(bills.read(write(tmp_path / "bill.csv", rows)), AuditOptions())
    assert case.fleet is not None
    later = replace(case.fleet, start=case.fleet.start + dt.timedelta(hours=1), hours=23)
    assert [list(machines) for machines in uncalled_endpoints(case.bill, later).machines.values()] == [[1.0] * 23]


def test_storage_of_an_endpoint_is_no_call(tmp_path: Path) -> None:
    hours = range(24)
    volume = [
        row | {"line_item_usage_type": "USE1-Host:VolumeUsage.gp2", "line_item_operation": "RunInstance"}
        for row in traffic(hours, name="e/demo")
    ]
    rows = chain(endpoint(hours, name="e/chat"), traffic(hours, name="e/chat"), endpoint(hours, name="e/demo"), volume)
    case = build_case(bills.read(write(tmp_path / "bill.csv", rows)), AuditOptions())
    assert case.fleet is not None
    found = uncalled_endpoints(case.bill, case.fleet)
    assert (list(found.names.values()), found.called) == ([("e/demo",)], 1)


def test_nine_tenths_of_an_hour_are_known(trace: MakeTrace) -> None:
    """Nine requests, six minutes apart, cover 54 minutes."""
    ten = trace([10])
    nine = replace(ten, requests=ten.requests.head(9))
    usage = usage_from_trace(fleet_of(samples.pool([1.0])), nine)
    assert usage is not None
    assert list(usage.known) == [True]
    assert usage_from_trace(fleet_of(samples.pool([1.0])), replace(ten, requests=ten.requests.head(8))) is None
