"""Holes in a log: times without any request, although other days have requests in the same hours.

Rows are probably missing there, so nothing may be paid or saved in these hours: they are cut out of the clock of the
requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.units import HOURS_PER_DAY, SECONDS_PER_DAY, SECONDS_PER_HOUR, SECONDS_PER_MINUTE, format_duration

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MIN_HOLE_S: Final = 3 * SECONDS_PER_HOUR
# Traffic around the clock has requests in this share of the hours, and at most a third of the like hours are missing.
_AROUND_THE_CLOCK: Final = 0.98
_MIN_PRESENT: Final = 2
# A log with more such times is no traffic around the clock.
_MAX_HOLES: Final = 200
_DAYS_PER_WEEK: Final = 7
_SATURDAY: Final = 5
# The first day of Unix time was a Thursday, Monday being 0.
_EPOCH_WEEKDAY: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """A time without requests, between two arrivals.

    Args:
        start_s: The last arrival before it.
        end_s: The first arrival after it.
    """

    start_s: float
    end_s: float

    @property
    def cut_s(self) -> float:
        """The time to cut out: whole minutes, or whole days if less than an hour remains."""
        length_s = self.end_s - self.start_s
        days_s = length_s // SECONDS_PER_DAY * SECONDS_PER_DAY
        if days_s and length_s - days_s < SECONDS_PER_HOUR:
            return days_s
        return length_s // SECONDS_PER_MINUTE * SECONDS_PER_MINUTE


def find_holes(arrived_s: Floats, epoch_s: float | None) -> tuple[Hole, ...]:
    """Return the holes of a log, in order.

    Weekdays and weekends are compared each with their own kind where the dates are known.

    Args:
        arrived_s: Sorted arrivals.
        epoch_s: Unix time of time 0; None if the trace has no dates.
    """
    places = np.flatnonzero(np.diff(arrived_s) >= _MIN_HOLE_S)
    if not len(places) or len(places) > _MAX_HOLES:
        return ()
    hours = np.unique((arrived_s + (epoch_s or 0.0)) // SECONDS_PER_HOUR).astype(np.int64)
    span = np.arange(hours[0], hours[-1] + 1)
    present = np.isin(span, hours)
    kind = _kind(span, dated=epoch_s is not None)
    missing = np.zeros(len(span), np.int64)
    empty = []
    for number, place in enumerate(places, start=1):
        first = int(np.searchsorted(span, (arrived_s[place] + (epoch_s or 0.0)) // SECONDS_PER_HOUR)) + 1
        last = int(np.searchsorted(span, (arrived_s[place + 1] + (epoch_s or 0.0)) // SECONDS_PER_HOUR))
        missing[first:last] = number
        empty.append((first, last))
    return tuple(
        Hole(start_s=float(arrived_s[place]), end_s=float(arrived_s[place + 1]))
        for number, (place, (first, last)) in enumerate(zip(places, empty, strict=True), start=1)
        if first < last and _is_hole(kind, present, missing, kind[first:last], number)
    )


def _is_hole(kind: Ints, present: NDArray[np.bool_], missing: Ints, own: Ints, number: int) -> bool:
    """Whether the like hours of other days have requests, but for a minority that is missing too."""
    like = np.isin(kind, own) & (missing != number)
    elsewhere = like & (missing == 0)
    others = int(elsewhere.sum())
    if others < max(len(own), _MIN_PRESENT * int((like & (missing > 0)).sum())):
        return False
    return int((elsewhere & present).sum()) >= _AROUND_THE_CLOCK * others


def _kind(hours: Ints, *, dated: bool) -> Ints:
    """Return the hour of the day, and another number for it at the weekend; shape (hours,)."""
    of_day = hours % HOURS_PER_DAY
    if not dated:
        return of_day
    weekend = (hours // HOURS_PER_DAY + _EPOCH_WEEKDAY) % _DAYS_PER_WEEK >= _SATURDAY
    return of_day + HOURS_PER_DAY * weekend


def cut_before(arrived_s: Floats, holes: Sequence[Hole]) -> Floats:
    """Return how much time is cut out before each arrival, shape (requests,)."""
    starts = np.array([hole.start_s for hole in holes])
    total = np.concatenate(([0.0], np.cumsum([hole.cut_s for hole in holes])))
    return np.asarray(total[np.searchsorted(starts, arrived_s, side="left")])


def describe_holes(holes: Sequence[Hole]) -> str:
    """Return the holes and what is made of them as a sentence; empty without any."""
    if not holes:
        return ""
    longest = max(holes, key=lambda hole: hole.end_s - hole.start_s)
    length, start = format_duration(longest.end_s - longest.start_s), format_duration(longest.start_s)
    several = f" ({len(holes)} such times, {format_duration(sum(hole.cut_s for hole in holes))} in all)"
    return (
        f"No request arrives for {length}, from {start} after the start{several if len(holes) > 1 else ''}, although "
        "other days have requests in the same hours: these hours are taken as missing from the log, and nothing is "
        "paid or saved in them."
    )
