import datetime as dt
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
        # Clocks go back by half an hour on Lord Howe Island: an instant is within its hour.
        ("hour", "2026-04-04T15:10:00Z", LORD_HOWE, "2026-04-04T14:30:00Z", "2026-04-04T15:30:00Z"),
        ("hour", "2026-11-29T21:45:00Z", KOLKATA, "2026-11-29T21:30:00Z", "2026-11-29T22:30:00Z"),
    ],
)
def test_periods_follow_the_clock(period: str, now: str, zone: dt.tzinfo, start: str, end: str) -> None:
    bounds = period_bounds(period, utc(now).astimezone(zone))
    assert [bound.astimezone(dt.UTC) for bound in bounds] == [utc(start), utc(end)]


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
