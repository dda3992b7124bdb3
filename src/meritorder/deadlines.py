"""The grammar of a deadline: `4h` after arrival, the next `06:00` UTC, or an ISO 8601 instant.

Workloads files, `--defer`, the gateway's configuration, its keys, its header and the plan file share it.
"""

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from meritorder.errors import WorkloadsError
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_HOUR, SECONDS_PER_MINUTE, parse_duration_s

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_GRAMMAR: Final = "write 30m, 4h or 2d after arrival, 06:00 for the next such time UTC, or ISO 8601"
_CLOCK_TIME: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_Times = TypeVar("_Times", float, "NDArray[np.float64]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """A time after arrival: deadline = arrival + wait."""

    text: str
    wait_s: float

    def due_s(self, arrived_s: _Times, *, epoch_s: float | None = 0.0) -> _Times:
        """Return the deadline of requests that arrive then, on the same clock; `epoch_s` is its zero."""
        del epoch_s
        return arrived_s + self.wait_s


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeOfDay:
    """The next such time UTC: deadline = arrival + (time of day - arrival) mod 1 d; one day where that is 0."""

    text: str
    time_of_day_s: float

    def due_s(self, arrived_s: _Times, *, epoch_s: float | None = 0.0) -> _Times:
        """Return the deadline of requests that arrive then, on the same clock; `epoch_s` is its zero.

        Raises:
            WorkloadsError: The clock has no date.
        """
        wait_s = (self.time_of_day_s - arrived_s - _dated(epoch_s, self.text)) % SECONDS_PER_DAY
        due_s: _Times = arrived_s + wait_s + SECONDS_PER_DAY * (wait_s == 0)
        return due_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """One instant for all requests: deadline = instant."""

    text: str
    instant_s: float

    @property
    def has_time_zone(self) -> bool:
        """Whether the text names its time zone."""
        return dt.datetime.fromisoformat(self.text).tzinfo is not None

    def due_s(self, arrived_s: _Times, *, epoch_s: float | None = 0.0) -> _Times:
        """Return the deadline of requests that arrive then, on the same clock; `epoch_s` is its zero.

        Raises:
            WorkloadsError: The clock has no date.
        """
        return arrived_s * 0 + (self.instant_s - _dated(epoch_s, self.text))


Deadline = Patience | TimeOfDay | Instant


def parse_deadline(text: str) -> Deadline:
    """Read a deadline; an instant without a time zone is UTC.

    Raises:
        WorkloadsError: The text is not a deadline, or leaves no time.
    """
    stripped = text.strip()
    wait_s = parse_duration_s(stripped)
    if wait_s is not None:
        if wait_s <= 0:
            raise WorkloadsError(f"deadline {text!r} leaves no time", fix=_GRAMMAR)
        return Patience(text=stripped, wait_s=wait_s)
    clock_time = _CLOCK_TIME.fullmatch(stripped)
    if clock_time:
        hours, minutes = map(int, clock_time.groups())
        return TimeOfDay(text=stripped, time_of_day_s=hours * SECONDS_PER_HOUR + minutes * SECONDS_PER_MINUTE)
    try:
        instant = dt.datetime.fromisoformat(stripped)
    except ValueError:
        raise WorkloadsError(f"{text!r} is not a deadline", fix=_GRAMMAR) from None
    zoned = instant if instant.tzinfo else instant.replace(tzinfo=dt.UTC)
    return Instant(text=stripped, instant_s=zoned.timestamp())


def _dated(epoch_s: float | None, text: str) -> float:
    if epoch_s is None:
        raise WorkloadsError(
            f"deadline {text} needs the time of day, but the trace has only times since its start",
            fix="give a duration such as 4h",
        )
    return epoch_s
