"""Days of a trace: where they begin, holes in the log, and days with more traffic."""

import numpy as np
import pytest
from tests.samples.fleets import load

from meritorder.domain import Lane
from meritorder.study.forward.days import split_days, surged, with_margin

DAY_S = 86_400.0
ARRIVED_S = np.arange(0, 3 * DAY_S, 60.0)


def test_days_without_dates_count_from_the_beginning() -> None:
    days = split_days(load(ARRIVED_S, span_s=3 * DAY_S))
    assert [day.index for day in days] == [0, 1, 2]
    assert all(len(day.load) == 1440 and day.load.span_s == DAY_S for day in days)
    assert days[1].load.arrived_s[0] == 0


def test_days_with_dates_begin_at_midnight() -> None:
    six = 6 * 3600.0
    days = split_days(load(ARRIVED_S, span_s=3 * DAY_S), epoch_s=10 * DAY_S + six)
    assert [day.index for day in days] == [1, 2]
    assert days[0].kind == 0  # 1970-01-12 was a Monday
    assert len(days[0].load) == 1440


def test_deadlines_reach_beyond_midnight() -> None:
    waiting = load(ARRIVED_S, waits=np.ones(len(ARRIVED_S), bool), patience_s=7200.0, span_s=3 * DAY_S)
    last = split_days(waiting)[0].load
    assert last.deadline_s[-1] == last.arrived_s[-1] + 7200.0 > DAY_S


def test_missing_log_is_a_hole() -> None:
    missing = ARRIVED_S[(ARRIVED_S < DAY_S + 30_000) | (ARRIVED_S > DAY_S + 33_600)]
    assert [day.hole_s for day in split_days(load(missing, span_s=3 * DAY_S))] == [0, pytest.approx(3660, abs=60), 0]


def test_day_without_requests_is_a_hole() -> None:
    missing = ARRIVED_S[(ARRIVED_S < DAY_S) | (ARRIVED_S >= 2 * DAY_S)]
    assert [day.hole_s for day in split_days(load(missing, span_s=3 * DAY_S))] == [0, DAY_S, 0]


def test_idle_nights_are_no_holes() -> None:
    office = ARRIVED_S[(ARRIVED_S % DAY_S > 30_000) & (ARRIVED_S % DAY_S < 60_000)]
    assert not any(day.hole_s for day in split_days(load(office, span_s=3 * DAY_S)))


def test_quiet_traffic_has_no_hole() -> None:
    hourly_s = np.arange(0, 3 * DAY_S, 3600.0)
    assert not any(day.hole_s for day in split_days(load(hourly_s, span_s=3 * DAY_S)))


def test_surged_day_has_more_of_the_same() -> None:
    asked = load(ARRIVED_S[:1440], waits=np.arange(1440) % 2 == 0, patience_s=600.0, span_s=DAY_S)
    busier = surged(asked, 2.5)
    assert len(busier) == pytest.approx(2.5 * 1440, rel=0.05)
    assert (np.diff(busier.arrived_s) >= 0).all()
    waits = busier.deferrable
    assert np.mean(waits) == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose((busier.deadline_s - busier.arrived_s)[waits], 600.0)


def test_margin_permits_half_of_the_misses() -> None:
    strict = with_margin(load(ARRIVED_S[:10]), 0.5)
    assert strict.attainment == pytest.approx(0.975)
    assert [workload.slo.attainment for workload in strict.workloads if workload.slo] == [pytest.approx(0.975)]
    assert strict.workloads[1].lane is Lane.DEFERRABLE
