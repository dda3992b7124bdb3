"""Deadlines: `4h` after arrival, the next `06:00`, or an instant."""

import datetime as dt
import re
from dataclasses import dataclass
from typing import Final

import polars as pl

from meritorder.errors import WorkloadsError
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_HOUR, SECONDS_PER_MINUTE, parse_duration_s, utc

_WAYS: Final = "write 30m, 4h or 2d after arrival, 06:00 for the next such time UTC, or ISO 8601"
_CLOCK_TIME: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """So long after arrival: deadline = arrival + wait."""

    text: str
    wait_s: float

    def deadline_s(self, arrived: pl.Expr, *, epoch_s: float | None) -> pl.Expr:
        """Return the deadline on the trace's clock."""
        del epoch_s
        return arrived + self.wait_s


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeOfDay:
    """The next such time UTC: deadline = arrival + (of_day - arrival) mod 1 d; a day where that is 0."""

    text: str
    of_day_s: float

    def deadline_s(self, arrived: pl.Expr, *, epoch_s: float | None) -> pl.Expr:
        """Return the deadline on the trace's clock."""
        wait = (self.of_day_s - arrived - _needed(epoch_s, self.text)) % SECONDS_PER_DAY
        return arrived + pl.when(wait > 0).then(wait).otherwise(SECONDS_PER_DAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """One instant for all requests: deadline = instant."""

    text: str
    epoch_s: float

    def deadline_s(self, arrived: pl.Expr, *, epoch_s: float | None) -> pl.Expr:
        """Return the deadline on the trace's clock."""
        return arrived * 0 + (self.epoch_s - _needed(epoch_s, self.text))


Deadline = Patience | TimeOfDay | Instant


def parse_deadline(text: str) -> Deadline:
    """Read a deadline.

    Raises:
        WorkloadsError: It is none of the three kinds, or no time at all.
    """
    stripped = text.strip()
    wait_s = parse_duration_s(stripped)
    if wait_s is not None:
        if wait_s <= 0:
            raise WorkloadsError(f"deadline {text!r} leaves no time", fix=_WAYS)
        return Patience(text=stripped, wait_s=wait_s)
    clock_time = _CLOCK_TIME.fullmatch(stripped)
    if clock_time:
        hours, minutes = map(int, clock_time.groups())
        return TimeOfDay(text=stripped, of_day_s=hours * SECONDS_PER_HOUR + minutes * SECONDS_PER_MINUTE)
    try:
        instant = dt.datetime.fromisoformat(stripped)
    except ValueError:
        raise WorkloadsError(f"{text!r} is not a deadline", fix=_WAYS) from None
    zoned = instant if instant.tzinfo else instant.replace(tzinfo=dt.UTC)
    return Instant(text=stripped, epoch_s=zoned.timestamp())


def resolve(deadline: Deadline, requests: pl.DataFrame, *, epoch_s: float | None, where: str) -> pl.Series:
    """Return the deadline of each request on the trace's clock.

    Args:
        deadline: What was promised.
        requests: Requests with `arrived_s`.
        epoch_s: UTC epoch of the trace's clock.
        where: Whose deadline it is, for the message.

    Raises:
        WorkloadsError: It needs the time of day, which the trace does not tell, or it is past when a request
            arrives.
    """
    try:
        due = requests.select(deadline.deadline_s(pl.col("arrived_s"), epoch_s=epoch_s).alias("deadline_s"))[
            "deadline_s"
        ]
    except WorkloadsError as error:
        raise WorkloadsError(error.what, where=where, fix=error.fix) from None
    late = int((due <= requests["arrived_s"]).sum())
    if late:
        last = float(requests["arrived_s"].max() or 0.0) + (epoch_s or 0.0)  # type: ignore[arg-type]
        raise WorkloadsError(
            f"deadline {deadline.text} is in the past for {late:,} of {requests.height:,} requests",
            where=where,
            fix=f"the last of them arrives {utc(last):%Y-%m-%dT%H:%M:%SZ}; give a later time",
        )
    return due


def _needed(epoch_s: float | None, text: str) -> float:
    if epoch_s is None:
        raise WorkloadsError(
            f"deadline {text} needs the time of day, but this trace only tells times since its start",
            fix="give a duration such as 4h",
        )
    return epoch_s
