import datetime as dt
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from meritorder.policy.budgets import calls_within_budget, period_bounds

NEW_YORK = ZoneInfo("America/New_York")
KOLKATA = ZoneInfo("Asia/Kolkata")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).astimezone(dt.UTC)


@pytest.mark.parametrize(
    ("period", "now", "zone", "start", "end"),
    [
        ("hour", "2026-11-29T21:59:59Z", dt.UTC, "2026-11-29T21:00:00Z", "2026-11-29T22:00:00Z"),
        ("hour", "2026-11-29T22:00:00Z", dt.UTC, "2026-11-29T22:00:00Z", "2026-11-29T23:00:00Z"),
        ("day", "2026-11-29T23:59:59Z", dt.UTC, "2026-11-29T00:00:00Z", "2026-11-30T00:00:00Z"),
        ("week", "2026-11-29T12:00:00Z", dt.UTC, "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),  # a Sunday
        ("month", "2026-12-31T12:00:00Z", dt.UTC, "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("month", "2028-02-29T12:00:00Z", dt.UTC, "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
        # Clocks go back on 1 November 2026 in New York: the day has 25 hours, the hour after one begins twice.
        ("day", "2026-11-01T12:00:00Z", NEW_YORK, "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"),
        ("hour", "2026-11-01T05:30:00Z", NEW_YORK, "2026-11-01T05:00:00Z", "2026-11-01T06:00:00Z"),
        ("hour", "2026-11-01T06:30:00Z", NEW_YORK, "2026-11-01T06:00:00Z", "2026-11-01T07:00:00Z"),
        # and forward on 8 March 2026: the day has 23 hours.
        ("day", "2026-03-08T12:00:00Z", NEW_YORK, "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"),
        ("hour", "2026-03-08T06:30:00Z", NEW_YORK, "2026-03-08T06:00:00Z", "2026-03-08T07:00:00Z"),
        # Clocks go back by half an hour on Lord Howe Island, at 2:00: the half hour after is an hour of its own.
        ("hour", "2026-04-04T14:59:59Z", LORD_HOWE, "2026-04-04T14:00:00Z", "2026-04-04T15:00:00Z"),
        ("hour", "2026-04-04T15:10:00Z", LORD_HOWE, "2026-04-04T15:00:00Z", "2026-04-04T15:30:00Z"),
        ("hour", "2026-11-29T21:45:00Z", KOLKATA, "2026-11-29T21:30:00Z", "2026-11-29T22:30:00Z"),
    ],
)
def test_periods_follow_the_clock(period: str, now: str, zone: dt.tzinfo, start: str, end: str) -> None:
    bounds = period_bounds(period, utc(now).astimezone(zone))
    assert [bound.astimezone(dt.UTC) for bound in bounds] == [utc(start), utc(end)]


@pytest.mark.parametrize("period", ["hour", "day"])
@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("America/New_York", "2026-11-01T06:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
        ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
        ("America/Caracas", "2007-12-09T07:00:00Z"),
        ("America/Caracas", "2016-05-01T07:00:00Z"),
        ("Asia/Pyongyang", "2015-08-14T15:00:00Z"),
        ("Asia/Kathmandu", "1985-12-31T18:30:00Z"),  # by a quarter of an hour
        ("America/Havana", "2026-11-01T05:00:00Z"),  # from 1:00 to midnight
        ("Pacific/Apia", "2011-12-30T10:00:00Z"),  # by a day
    ],
)
def test_periods_follow_each_other(period: str, zone: str, change: str) -> None:
    """Each instant is in one period, and where that ends the next begins, also around changes of the clock."""
    local = ZoneInfo(zone)
    instants = [utc(change) + dt.timedelta(minutes=7 * step) for step in range(-300, 300)]
    bounds = [period_bounds(period, instant.astimezone(local)) for instant in instants]
    spans = [(start.timestamp(), end.timestamp()) for start, end in bounds]
    assert all(start <= instant.timestamp() < end for instant, (start, end) in zip(instants, spans, strict=True))
    assert all(later in {earlier, (earlier[1], later[1])} for earlier, later in pairwise(spans))


@pytest.mark.parametrize(
    ("costs", "spent", "reserved", "count"),
    [
        ([4, 4, 4], 0, 0, 2),  # of 10
        ([4, 4, 2], 0, 0, 3),  # the last picodollar may be reserved
        ([4], 3, 4, 0),
        ([3], 3, 4, 1),
        ([99], 9, 0, 1),  # nothing is reserved: one call may exceed it
        ([99, 1], 9, 0, 1),
        ([99], 9, 1, 0),
        ([1], 10, 0, 0),
        ([0], 10, 0, 0),
        ([0, 0], 9, 5, 2),  # what costs nothing waits for nothing
        ([0, 99, 1], 9, 0, 2),
        ([], 0, 0, 0),
    ],
)
def test_budget_is_exceeded_by_one_call(costs: list[int], spent: int, reserved: int, count: int) -> None:
    assert calls_within_budget(costs, budget=10, spent=spent, reserved=reserved) == count
