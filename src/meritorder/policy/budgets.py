"""Budgets: when one renews, and which calls it permits. Money is in integer picodollars, so that sums are exact."""

import datetime as dt
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from meritorder.units import HOURS_PER_DAY, SECONDS_PER_HOUR

PERIODS: Final = ("hour", "day", "week", "month")
_DAYS_PER_WEEK: Final = 7
_MONTHS_PER_YEAR: Final = 12


def period_bounds(period: str, now: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    """Return start and end of the period that contains an instant, on the clock of its time zone.

    Args:
        period: One of `PERIODS`; a week begins on Monday. An hour in which the clocks are set by less ends there.
        now: The instant, with its time zone.
    """
    if period == "hour":
        return _hour_bounds(now)
    start = now.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if period == "day":
        return start, start + dt.timedelta(hours=HOURS_PER_DAY)
    if period == "week":
        start -= dt.timedelta(days=start.weekday())
        return start, start + dt.timedelta(days=_DAYS_PER_WEEK)
    start = start.replace(day=1)
    years, month = divmod(start.month, _MONTHS_PER_YEAR)
    return start, start.replace(year=start.year + years, month=month + 1)


def _hour_bounds(now: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    instant = now.astimezone(dt.UTC)
    start = instant - dt.timedelta(minutes=now.minute, seconds=now.second, microseconds=now.microsecond)
    end = start + dt.timedelta(hours=1)

    def offset(instant: dt.datetime) -> dt.timedelta | None:
        return instant.astimezone(now.tzinfo).utcoffset()

    if offset(start) != offset(end):
        seconds = range(int(SECONDS_PER_HOUR))
        after_s = bisect_left(
            seconds, 1, key=lambda second: offset(start + dt.timedelta(seconds=second)) == offset(end)
        )
        change = start + dt.timedelta(seconds=after_s)
        start, end = (start, change) if instant < change else (change, end)
    return start.astimezone(now.tzinfo), end.astimezone(now.tzinfo)


def calls_within_budget(costs: Sequence[int], *, budget: int, spent: int, reserved: int) -> int:
    """Return how many calls, in order, may start.

    A call may start while spent + reserved + cost ≤ budget. While nothing is reserved and something is left, one call
    may start whatever it could cost: so the budget is used up, and exceeded by at most one call.

    Args:
        costs: The most that each call is expected to cost.
        budget: The budget.
        spent: Cost of the calls that have ended.
        reserved: Expected cost of the calls in flight.
    """
    if spent >= budget:
        return 0
    total = spent + reserved
    for count, cost in enumerate(costs):
        if cost and total > spent and total + cost > budget:
            return count
        total += cost
    return len(costs)
