"""Machines that were paid for and not needed."""

from itertools import chain

import pytest
from tests.samples.charges import machine, reservation
from tests.unit.study.audit.conftest import DAY, MONTH, Audited, MakeTrace, kinds, only


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
    answer = audited(machine(range(DAY), instance="g5.2xlarge", usd=1.0, count=4), trace=requests)
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
