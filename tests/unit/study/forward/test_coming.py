"""Days to come, on histories whose next days are known by construction."""

import numpy as np
import pytest
from tests.samples.fleets import load
from tests.unit.study.forward.test_walk import DAY_S, machines, trace

from meritorder.study.fleet.load import TraceLoad
from meritorder.study.forward.coming import Coming, at_rate
from meritorder.study.forward.forecast import find_trend
from meritorder.study.forward.walk import UnseenDays, walk_forward
from meritorder.units import SECONDS_PER_DAY

MONDAY_S = 4 * SECONDS_PER_DAY  # 1970-01-05


def walked(asked: TraceLoad, days: int, **options: object) -> UnseenDays:
    result = walk_forward(asked, machines(asked)[:1], coming_days=days, **options)  # type: ignore[arg-type]
    assert result is not None
    return result


@pytest.fixture(scope="module")
def week() -> UnseenDays:
    """Nine days from a Monday, with a third of the traffic at the weekend."""
    counts = [900 if day % 7 < 5 else 300 for day in range(9)]
    return walked(trace(*counts), 7, epoch_s=MONDAY_S, holidays=frozenset({"1970-01-15"}))


def coming(result: UnseenDays) -> Coming:
    assert result.coming is not None
    return result.coming


def test_coming_week_has_its_weekend_and_holiday(week: UnseenDays) -> None:
    days = coming(week).days
    # Wednesday 14 to Tuesday 20; Thursday 15 is a holiday, 17 and 18 are the weekend.
    assert [day.index for day in days] == list(range(9, 16))
    quiet = [day.requests for day in days if day.index in {10, 12, 13}]
    busy = [day.requests for day in days if day.index not in {10, 12, 13}]
    assert max(quiet) < 0.7 * min(busy)
    assert np.mean(busy) == pytest.approx(900, rel=0.2)


def test_band_contains_what_is_expected(week: UnseenDays) -> None:
    for day in coming(week).days:
        expected, low, high = day.replicas
        assert low < expected < high
        usd, low_usd, high_usd = day.policy_usd
        assert low_usd <= usd <= high_usd
        assert day.kept
        assert usd <= 1.02 * day.baseline_usd


def test_floor_covers_the_coming_days(week: UnseenDays) -> None:
    slots = {len(day.floor) for day in coming(week).days}
    assert slots in ({0}, {96})
    assert len(week.floor) == sum(len(day.floor) for day in coming(week).days)


def test_nothing_to_come_by_default() -> None:
    asked = trace(300, 300)
    result = walk_forward(asked, machines(asked)[:1])
    assert result is not None
    assert result.coming is None


def test_rate_is_multiplied() -> None:
    asked = load(np.sort(np.random.default_rng(0).uniform(0, DAY_S, 4_000)), span_s=DAY_S)
    assert len(at_rate(asked, 0.25)) == pytest.approx(1_000, rel=0.1)
    assert len(at_rate(asked, 2.5)) == pytest.approx(10_000, rel=0.05)
    assert at_rate(asked, 1.0).arrived_s.tolist() == asked.arrived_s.tolist()


def test_weekends_are_no_shift_of_level() -> None:
    shape = 2 + np.sin(np.linspace(0, 2 * np.pi, 96, endpoint=False))
    kinds = [day % 7 for day in range(14)]
    levels = np.array([1.03**day * (0.5 if kind >= 5 else 1.0) for day, kind in enumerate(kinds)])
    trend = find_trend(levels[:, None] * shape, kinds)
    assert trend.shifted is None
    assert trend.growth == pytest.approx(1.03, abs=0.01)


def test_shift_of_level_is_found() -> None:
    kinds = [day % 7 for day in range(20)]
    levels = np.array([(0.5 if kind >= 5 else 1.0) * (1.6 if day >= 12 else 1.0) for day, kind in enumerate(kinds)])
    trend = find_trend(levels[:, None] * np.ones(96), kinds)
    assert trend.shifted == 12
    assert trend.shift == pytest.approx(1.6, rel=0.1)
