"""Load and capacity of a fleet over time."""

from typing import Final

import altair as alt

from meritorder.comparison import Arrangement, Comparison, Timeline
from meritorder.report.figures.frame import Rows, colours, figure
from meritorder.report.palette import LIGHT, Palette
from meritorder.units import (
    MS_PER_S,
    SECONDS_PER_DAY,
    SECONDS_PER_HOUR,
    SECONDS_PER_MINUTE,
    SECONDS_PER_WEEK,
    format_duration,
    utc,
)

_LANES: Final = ("realtime", "deferrable")
_HEIGHT: Final = 150


def load(comparison: Comparison, arrangement: Arrangement, palette: Palette = LIGHT) -> alt.LayerChart:
    """Draw what a fleet carries, stacked by lane, under what is paid for.

    Every fleet is drawn to one scale, so that two figures can be compared by eye.

    Raises:
        ValueError: The arrangement has no timeline.
    """
    timeline = arrangement.timeline
    if timeline is None:
        raise ValueError(f"{arrangement.name} has no timeline")
    tops = [max(_heights(a.timeline), default=0.0) for a in comparison.arrangements if a.timeline]
    return figure(
        [
            _loads(_time_axis(comparison), max(tops) or 1.0, palette),
            *_capacity(comparison, palette),
        ],
        _timeline_rows(comparison, timeline),
        palette,
        height=_HEIGHT,
        description=f"Load and capacity over time: {arrangement.title}",
    )


def _loads(x: alt.X, top: float, palette: Palette) -> alt.Chart:
    """Stack the lanes; this layer alone sets the scales, for two that do so are taken for a conflict."""
    chart: alt.Chart = (
        alt.Chart()
        .transform_fold(list(_LANES), as_=["lane", "load"])
        .transform_calculate(order="datum.lane === 'realtime' ? 0 : 1")
        .mark_area(interpolate="step-after", line=False)
        .encode(
            x=x,
            y=alt.Y(
                "load:Q",
                stack="zero",
                scale=alt.Scale(domain=[0, top], nice=True),
                axis=alt.Axis(title="replicas", tickCount=4, tickMinStep=1),
            ),
            color=alt.Color("lane:N", scale=colours(_LANES, palette), legend=None),
            order="order:Q",
        )
    )
    return chart


def _capacity(comparison: Comparison, palette: Palette) -> tuple[alt.Chart, alt.Chart]:
    """Draw the line of what is paid for, and a pointer that reads all three numbers."""
    x = alt.X("t:Q" if comparison.trace.start_epoch_s is None else "t:T")
    hover = alt.selection_point(
        name="hover", nearest=True, on="pointermove", clear="pointerleave", fields=["t"], empty=False
    )
    line = alt.Chart().mark_line(interpolate="step-after", strokeWidth=1.4, color=palette.ink)
    pointer = alt.Chart().mark_rule(color=palette.muted).add_params(hover)
    return (
        line.encode(x=x, y="capacity:Q"),
        pointer.encode(
            x=x,
            opacity=alt.condition(hover, alt.value(0.8), alt.value(0)),
            tooltip=[
                alt.Tooltip("when:N", title="time"),
                alt.Tooltip("capacity:Q", title="replicas paid for", format=".3~g"),
                alt.Tooltip("realtime:Q", title="real-time work", format=".2f"),
                alt.Tooltip("deferrable:Q", title="deferrable work", format=".2f"),
            ],
        ),
    )


def _timeline_rows(comparison: Comparison, timeline: Timeline) -> Rows:
    """Return one row a bin, and the last once more where it ends, so that its step is drawn."""
    start = comparison.trace.start_epoch_s
    columns = zip(timeline.start_s, timeline.realtime_load, timeline.deferrable_load, timeline.capacity, strict=True)
    rows: Rows = [
        {
            "t": _time_value(comparison, at),
            "when": format_duration(at) if start is None else _written(start + at),
            "realtime": round(realtime, 3),
            "deferrable": round(deferrable, 3),
            "capacity": round(capacity, 3),
        }
        for at, realtime, deferrable, capacity in columns
    ]
    if rows:
        rows.append({**rows[-1], "t": _time_value(comparison, timeline.start_s[-1] + timeline.bin_s)})
    return rows


def _written(epoch_s: float) -> str:
    return f"{utc(epoch_s):%a %d %b %H:%M}"


def _time_value(comparison: Comparison, at_s: float) -> float:
    start = comparison.trace.start_epoch_s
    return at_s / _time_unit(comparison)[0] if start is None else (start + at_s) * MS_PER_S


def _time_unit(comparison: Comparison) -> tuple[float, str]:
    if comparison.trace.span_s > 2 * SECONDS_PER_DAY:
        return SECONDS_PER_DAY, "days"
    return (
        (SECONDS_PER_HOUR, "hours")
        if comparison.trace.span_s > 2 * SECONDS_PER_HOUR
        else (SECONDS_PER_MINUTE, "minutes")
    )


def _time_axis(comparison: Comparison) -> alt.X:
    trace = comparison.trace
    if trace.start_epoch_s is None:
        title = f"{_time_unit(comparison)[1]} from the start of the trace"
        scale = alt.Scale(nice=False, zero=False)
        return alt.X("t:Q", axis=alt.Axis(title=title, grid=False), scale=scale)
    by_day = 2 * SECONDS_PER_DAY < trace.span_s <= 2 * SECONDS_PER_WEEK
    axis = alt.Axis(tickCount="day", format="%a %d") if by_day else alt.Axis(tickCount=6)
    axis.title, axis.grid, axis.labelOverlap = None, False, True
    return alt.X(
        "t:T",
        axis=axis,
        scale=alt.Scale(type="utc", nice=False),
    )


def _heights(timeline: Timeline | None) -> list[float]:
    if timeline is None:
        return []
    loads = zip(timeline.realtime_load, timeline.deferrable_load, strict=True)
    return [*timeline.capacity, *(realtime + deferrable for realtime, deferrable in loads)]
