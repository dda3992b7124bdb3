"""Windows of time: a cron schedule of five fields, in UTC, and how long each window lasts."""

import datetime as dt
from dataclasses import dataclass
from typing import Final

from meritorder.errors import ConfigError
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_MINUTE

_FIELDS: Final = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_NAMES: Final = {
    "month": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "weekday": ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}
_ALIASES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}
MAX_DURATION_S: Final = 31 * SECONDS_PER_DAY
_FIX: Final = "write minute hour day month weekday in UTC, such as 0 9 * * mon-fri, or @daily"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Times that begin by a schedule and last for a while.

    Args:
        minutes: Minutes at which it begins.
        hours: Hours.
        days: Days of the month.
        months: Months.
        weekdays: Weekdays, Sunday 0.
        any_day: Whether day or weekday is `*`: then both must match, else one of them, as in cron.
        duration_s: How long it lasts.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    duration_s: float

    def contains(self, now: dt.datetime) -> bool:
        """Return whether a window is open at an instant."""
        latest = now.replace(second=0, microsecond=0)
        minutes = int(self.duration_s // SECONDS_PER_MINUTE) + 1
        begins = (latest - dt.timedelta(minutes=ago) for ago in range(minutes))
        return any(self._begins(begin) and (now - begin).total_seconds() < self.duration_s for begin in begins)

    def _begins(self, at: dt.datetime) -> bool:
        if at.minute not in self.minutes or at.hour not in self.hours or at.month not in self.months:
            return False
        by_day, by_weekday = at.day in self.days, at.isoweekday() % 7 in self.weekdays
        return (by_day and by_weekday) if self.any_day else (by_day or by_weekday)


def parse_window(schedule: str, duration_s: float, where: str) -> Window:
    """Return the window of a schedule.

    Raises:
        ConfigError: The schedule or the duration is invalid.
    """
    if not SECONDS_PER_MINUTE <= duration_s <= MAX_DURATION_S:
        raise ConfigError("is not from a minute to 31 days", where=f"{where}.duration", fix="write 8h")
    fields = _ALIASES.get(schedule.strip(), schedule).lower().split()
    if len(fields) != len(_FIELDS):
        raise ConfigError(f"{schedule!r} is no schedule", where=f"{where}.schedule", fix=_FIX)
    try:
        values = [_values(text, *field) for text, field in zip(fields, _FIELDS, strict=True)]
    except ValueError as error:
        raise ConfigError(f"{schedule!r}: {error}", where=f"{where}.schedule", fix=_FIX) from None
    minutes, hours, days, months, weekdays = values
    return Window(
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=frozenset(day % 7 for day in weekdays),
        any_day=fields[2].startswith("*") or fields[4].startswith("*"),
        duration_s=duration_s,
    )


def _values(text: str, name: str, low: int, high: int) -> frozenset[int]:
    """Return the values of a field: `*`, numbers, names, ranges, steps, and lists of them.

    Raises:
        ValueError: It is none of these.
    """
    values: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        begin = low if span == "*" else _number(first, name, low)
        end = high if span == "*" or (slash and not dash) else _number(last if dash else first, name, low)
        stride = int(step) if slash else 1
        if not (low <= begin <= end <= high and stride > 0):
            raise ValueError(f"{part!r} is no {name}")
        values |= set(range(begin, end + 1, stride))
    return frozenset(values)


def _number(text: str, name: str, low: int) -> int:
    names = _NAMES.get(name, ())
    if text in names:
        return names.index(text) + (low if name == "month" else 0)
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is no {name}")
    return int(text)
