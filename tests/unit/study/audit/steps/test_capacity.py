"""Machines that were paid for and not needed."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from tests.samples import audits as samples
from tests.samples.charges import machine, reservation
from tests.unit.study.audit.conftest import DAY, MONTH, Audited, MakeTrace, kinds, only

from meritorder.study.audit.context import AuditOptions
from meritorder.study.audit.ledger import Ledger
from meritorder.study.audit.steps.capacity import (
    find_non_production_hours,
    find_uncalled_endpoints,
    find_unneeded_machines,
)
from meritorder.study.audit.usage import MachineUsage, UncalledEndpoints


def test_staging_stops_at_night(audited: Audited) -> None:
    rows = machine(MONTH, instance="g5.2xlarge", usd=1.212, tags={"environment": "staging"})
    found = only(audited(rows), "non_production_hours")
    outside = sum(1 for hour in MONTH if not (hour // 24 % 7 < 5 and 8 <= hour % 24 < 20))
    assert found.usd == pytest.approx(outside * 1.212)


def test_staging_in_working_hours_is_fine(audited: Audited) -> None:
    working = [hour for hour in MONTH if hour // 24 % 7 < 5 and 7 <= hour % 24 < 21]
    rows = machine(working, instance="g5.2xlarge", usd=1.212, tags={"environment": "staging"})
    assert "non_production_hours" not in kinds(audited(rows))


def test_empty_hours_idle_quiet_hours_overprovisioned(audited: Audited, trace: MakeTrace) -> None:
    # Eight hours at the peak, eight at a quarter of it, eight without a request; four machines all the time.
    counts = [0] * 8 + [10] * 8 + [40] * 8
    requests = trace([*counts[8:], *counts[:8], 1])
    options = AuditOptions(bill=("bill.csv",), trace=("requests.csv",))
    answer = audited(machine(range(DAY), instance="g5.2xlarge", usd=1.0, count=4), options, trace=requests)
    idle, spare = only(answer, "idle_capacity"), only(answer, "over_provisioned")
    assert idle.usd == pytest.approx(8 * 4 * 1.0)
    assert "--model llama-3.1-8b" in spare.fix
    # A quarter of the work of four machines takes one; at four fifths of what it can do, two.
    assert spare.usd == pytest.approx(8 * 2 * 1.0)
    assert "at its peak" in spare.evidence


def test_committed_hours_cannot_be_saved(audited: Audited, trace: MakeTrace) -> None:
    requests = trace([10] * 12 + [0] * 12 + [1])
    covered = reservation(range(DAY), DAY, instance="g5.2xlarge", rate=0.7, listed=1.0)
    answer = audited(chain(covered, machine(range(DAY), instance="g5.2xlarge", usd=1.0)), trace=requests)
    idle = only(answer, "idle_capacity")
    assert idle.usd == pytest.approx(12 * 1.0)
    assert "commitments" in idle.evidence


def unneeded(paid: Ledger, usage: MachineUsage) -> tuple[list[float], dict[str, float]]:
    """Return the on-demand machines that are left in each hour, and dollars by kind of finding."""
    left, found = find_unneeded_machines(paid, samples.context(usage=usage))
    return list(left.pools[0].on_demand), {finding.kind: finding.usd for finding in found}


def test_idle_then_spare_machines() -> None:
    """Of 4 machines a quarter is idle; the others do the work of 1.2, which takes two: one idle, one spare."""
    left, found = unneeded(samples.ledger(samples.pool([4.0])), samples.usage([0.25], [0.3]))
    assert left == [2.0]
    assert found == {"idle_capacity": pytest.approx(10.0), "over_provisioned": pytest.approx(10.0)}


def test_work_needs_at_least_one_machine() -> None:
    left, found = unneeded(samples.ledger(samples.pool([3.0])), samples.usage([0.0], [0.001]))
    assert (left, found) == ([1.0], {"over_provisioned": pytest.approx(20.0)})


def test_exactly_needed_machines_stay() -> None:
    """Half of four machines are two, and not three by a rounding error."""
    left, found = unneeded(samples.ledger(samples.pool([4.0])), samples.usage([0.0], [0.5 + 1e-9]))
    assert (left, found) == ([2.0], {"over_provisioned": pytest.approx(20.0)})


def test_commitments_serve_first() -> None:
    """Three machines, two of them committed: of two unneeded ones only the one on demand is saved."""
    pool = samples.pool([1.0], committed=np.array([2.0]))
    left, found = unneeded(samples.ledger(pool), samples.usage([0.0], [1 / 3]))
    assert (left, found) == ([0.0], {"over_provisioned": pytest.approx(10.0)})


def test_unknown_hours_are_left_alone() -> None:
    usage = samples.usage([1.0, 1.0], [0.0, 0.0], known=np.array([True, False]))
    left, found = unneeded(samples.ledger(samples.pool([2.0, 2.0])), usage)
    assert (left, found) == ([0.0, 2.0], {"idle_capacity": pytest.approx(20.0)})


def test_daily_bill_has_no_idle_hours() -> None:
    paid = samples.ledger(samples.pool([4.0]), step_h=24.0)
    assert find_unneeded_machines(paid, samples.context(usage=samples.usage([1.0], [0.0]))) == (paid, [])


@pytest.mark.parametrize(("step_h", "confidence"), [(1.0, "high"), (24.0, "medium")])
def test_metrics_beside_a_daily_bill(step_h: float, confidence: str) -> None:
    """Metrics show hours without work, even if the bill spreads the machines of a day over it."""
    paid = samples.ledger(samples.pool([4.0]), step_h=step_h)
    _, (finding,) = find_unneeded_machines(paid, samples.context(usage=samples.usage([1.0], [0.0], measured=True)))
    assert (finding.kind, finding.usd, finding.confidence) == ("idle_capacity", 40.0, confidence)


def test_other_machines_are_left_alone() -> None:
    paid = samples.ledger(samples.pool([4.0], served=False))
    usage = samples.usage([1.0], [0.0], of_all_machines=False)
    left, found = find_unneeded_machines(paid, samples.context(usage=usage))
    assert (left.pools, found) == (paid.pools, [])


def test_uncalled_hours_are_taken_once() -> None:
    """Two uncalled endpoints in an hour: the first pool has one machine, the second gives the other."""
    uncalled = UncalledEndpoints(
        machines={samples.MACHINE: np.array([2.0, 0.0])}, names={samples.MACHINE: ("a/x", "a/y")}, called=1
    )
    paid = samples.ledger(samples.pool([1.0, 1.0]), samples.pool([3.0, 3.0]))
    left, found = find_uncalled_endpoints(paid, samples.context(uncalled=uncalled))
    assert [list(pool.on_demand) for pool in left.pools] == [[0.0, 1.0], [2.0, 3.0]]
    assert [finding.usd for finding in found] == [10.0, 10.0]
    assert found[0].title == "x, y are no longer called"
    assert found[0].evidence.endswith("which 1 other endpoint has")


WEEK = 7 * 24


def test_working_hours_are_sixty_a_week() -> None:
    """Of 168 hours twelve on each of five days are working hours: 108 are outside."""
    paid = samples.ledger(samples.pool([2.0] * WEEK, non_production=True))
    left, (finding,) = find_non_production_hours(paid, samples.context())
    assert finding.usd == pytest.approx(108 * 2 * 10.0)
    assert left.pools[0].on_demand.sum() == 60 * 2
    assert list(left.pools[0].on_demand[:24]) == [0.0] * 8 + [2.0] * 12 + [0.0] * 4
    assert left.pools[0].on_demand[5 * 24 :].sum() == 0


@pytest.mark.parametrize(("nights", "found"), [(54, 1), (53, 0)])
def test_only_machines_that_mostly_run(nights: int, found: int) -> None:
    """Outside working hours there are 108 hours; a machine on in half of them is always on."""
    hours = [0.0] * WEEK
    outside = [hour for hour in range(WEEK) if not (hour // 24 < 5 and 8 <= hour % 24 < 20)]
    for hour in outside[:nights]:
        hours[hour] = 1.0
    paid = samples.ledger(samples.pool(hours, non_production=True))
    assert len(find_non_production_hours(paid, samples.context())[1]) == found


@pytest.mark.parametrize("change", [{"non_production": False}, {"may_wait": True, "non_production": True}])
def test_production_runs_at_night(change: dict[str, object]) -> None:
    paid = samples.ledger(samples.pool([1.0] * WEEK, **change))
    assert find_non_production_hours(paid, samples.context())[1] == []


def test_tiny_work_needs_a_machine() -> None:
    left, found = unneeded(samples.ledger(samples.pool([3.0])), samples.usage([0.0], [1e-7]))
    assert (left, found) == ([1.0], {"over_provisioned": pytest.approx(20.0)})


def test_nothing_spare_is_no_finding() -> None:
    paid = samples.ledger(samples.pool([1.0, 1.0]))
    usage = samples.usage([0.0, 0.0], [0.8, 0.1], known=np.array([True, False]))
    assert unneeded(paid, usage) == ([1.0, 1.0], {})
    unknown = samples.usage([0.0], [0.1], known=np.array([False]))
    assert unneeded(samples.ledger(samples.pool([4.0])), unknown) == ([4.0], {})


def test_evidence_counts_machine_hours() -> None:
    """Of 4 machines 2.4 have work in the busier hour, three whole ones; a machine is idle in the other."""
    pool = samples.pool([4.0, 4.0], names=("chat",))
    _, found = find_unneeded_machines(
        samples.ledger(pool), samples.context(usage=samples.usage([0.0, 0.25], [0.6, 0.75]))
    )
    idle, spare = (finding.evidence for finding in found)
    assert idle.startswith("1 of 8 on-demand hours (chat) were without any work, by metrics in 2 hours; at most 4")
    assert spare.startswith("1 of 8 on-demand hours (chat) were more than the work of the hour needs")
    assert "the work needed 3 at its peak, at 80 % of what a machine can do" in spare
    assert not any("commitments" in text for text in (idle, spare))
    _, (finding,) = find_unneeded_machines(
        samples.ledger(pool), samples.context(usage=samples.usage([1.0] * 2, [0.0] * 2))
    )
    assert "the work needed 0 at its peak" in finding.evidence


def test_pools_after_a_skipped_one() -> None:
    """A pool without a finding is kept, and the next one is looked at."""
    other = replace(samples.MACHINE, instance="g5.2xlarge")
    first, second = samples.pool([2.0], served=False, machine=other), samples.pool([2.0])
    idle = samples.context(usage=samples.usage([1.0], [0.0], of_all_machines=False))
    uncalled = UncalledEndpoints(machines={samples.MACHINE: np.array([2.0])}, names={samples.MACHINE: ("e",)}, called=1)
    for find, context in (
        (find_unneeded_machines, idle),
        (find_uncalled_endpoints, samples.context(uncalled=uncalled)),
    ):
        left, found = find(samples.ledger(first, second), context)
        assert [pool.usd for pool in left.pools] == [20.0, 0.0]
        assert [finding.usd for finding in found] == [20.0]


def test_staging_after_skipped_pools() -> None:
    """A production pool and a free one come first."""
    pools = [
        samples.pool([1.0] * WEEK),
        samples.pool([1.0] * WEEK, 0.0, non_production=True),
        samples.pool([1.0] * WEEK, non_production=True),
    ]
    left, found = find_non_production_hours(samples.ledger(*pools), samples.context())
    assert [finding.usd for finding in found] == [pytest.approx(1080.0)]
    assert [pool.on_demand.sum() for pool in left.pools] == [168.0, 168.0, 60.0]
    assert "108 of 168 on-demand hours are outside 5 days of 12 hours" in found[0].evidence


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (("arn/endpoint/a",), "a is no longer called"),
        (("x/a", "b", "c"), "a, b, c are no longer called"),
        (("x/a", "b", "c", "d"), "a, b, c and 1 more are no longer called"),
    ],
)
def test_uncalled_endpoints_are_named(names: tuple[str, ...], title: str) -> None:
    uncalled = UncalledEndpoints(machines={samples.MACHINE: np.array([1.0])}, names={samples.MACHINE: names}, called=2)
    _, (finding,) = find_uncalled_endpoints(samples.ledger(samples.pool([1.0])), samples.context(uncalled=uncalled))
    assert finding.title == title
    assert finding.evidence.endswith("which 2 other endpoints have")


def test_bill_without_machines_has_no_waste() -> None:
    nothing, usage = samples.ledger(), samples.usage([1.0], [0.0])
    assert find_unneeded_machines(nothing, samples.context(usage=usage)) == (nothing, [])
    assert find_non_production_hours(nothing, samples.context()) == (nothing, [])
    paid = samples.ledger(samples.pool([1.0]))
    assert find_unneeded_machines(paid, samples.context()) == (paid, [])
