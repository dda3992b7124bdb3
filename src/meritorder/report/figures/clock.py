"""The axis of time that figures share: dates where a trace has them, else the time since its start."""

from dataclasses import dataclass

import altair as alt

from meritorder.units import (
    MS_PER_S,
    SECONDS_PER_DAY,
    SECONDS_PER_HOUR,
    SECONDS_PER_MINUTE,
    SECONDS_PER_WEEK,
    format_duration,
    utc,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """How a stretch of time is drawn.

    Args:
        start_epoch_s: When it began; None if nobody knows.
        span_s: How long it is.
    """

    start_epoch_s: float | None
    span_s: float

    @property
    def field(self) -> str:
        """The column `t` of the rows, with its type."""
        return "t:Q" if self.start_epoch_s is None else "t:T"

    def value(self, at_s: float) -> float:
        """Return a time since the start as the axis counts it."""
        if self.start_epoch_s is None:
            return at_s / self._unit()[0]
        return (self.start_epoch_s + at_s) * MS_PER_S

    def written(self, at_s: float) -> str:
        """Return a time since the start in words."""
        if self.start_epoch_s is None:
            return format_duration(at_s)
        return f"{utc(self.start_epoch_s + at_s):%a %d %b %H:%M}"

    def axis(self, of: str = "trace") -> alt.X:
        """Return the axis, named after what begins at its start."""
        if self.start_epoch_s is None:
            title = f"{self._unit()[1]} from the start of the {of}"
            scale = alt.Scale(nice=False, zero=False)
            return alt.X(self.field, axis=alt.Axis(title=title, grid=False), scale=scale)
        by_day = 2 * SECONDS_PER_DAY < self.span_s <= 2 * SECONDS_PER_WEEK
        axis = alt.Axis(tickCount="day", format="%a %d") if by_day else alt.Axis(tickCount=6)
        axis.title, axis.grid, axis.labelOverlap = None, False, True
        return alt.X(self.field, axis=axis, scale=alt.Scale(type="utc", nice=False))

    def _unit(self) -> tuple[float, str]:
        if self.span_s > 2 * SECONDS_PER_DAY:
            return SECONDS_PER_DAY, "days"
        return (SECONDS_PER_HOUR, "hours") if self.span_s > 2 * SECONDS_PER_HOUR else (SECONDS_PER_MINUTE, "minutes")
