"""Load and capacity of a fleet over time."""

from typing import Final

import altair as alt

from meritorder.comparison import Arrangement, Comparison, Timeline
from meritorder.report.figures.clock import Clock
from meritorder.report.figures.frame import Rows, colours, figure
from meritorder.report.figures.pointer import pointer, with_ends
from meritorder.report.palette import LIGHT, Palette

_LANES: Final = ("realtime", "deferrable")
_HEIGHT: Final = 150
_NUMBERS: Final = (
    alt.Tooltip("capacity:Q", title="replicas paid for", format=".3~g"),
    alt.Tooltip("realtime:Q", title="real-time work", format=".2f"),
    alt.Tooltip("deferrable:Q", title="deferrable work", format=".2f"),
)


def load(comparison: Comparison, arrangement: Arrangement, palette: Palette = LIGHT) -> alt.LayerChart:
    """Draw what a fleet carries, stacked by lane, under what is paid for.

    Every fleet is drawn to one scale, so that two figures can be compared by eye.

    Raises:
        ValueError: The arrangement has no timeline.
    """
    timeline = arrangement.timeline
    if timeline is None:
        raise ValueError(f"{arrangement.name} has no timeline")
    clock = Clock(start_epoch_s=comparison.trace.start_epoch_s, span_s=comparison.trace.span_s)
    tops = [max(_heights(a.timeline), default=0.0) for a in comparison.arrangements if a.timeline]
    return figure(
        [
            _loads(clock.axis(), max(tops) or 1.0, palette),
            _capacity(clock, palette),
            pointer(clock, _NUMBERS, palette),
        ],
        _timeline_rows(clock, timeline),
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


def _capacity(clock: Clock, palette: Palette) -> alt.Chart:
    """Draw the line of what is paid for."""
    chart: alt.Chart = (
        alt.Chart()
        .mark_line(interpolate="step-after", strokeWidth=1.4, color=palette.ink)
        .encode(x=alt.X(clock.field), y="capacity:Q")
    )
    return chart


def _timeline_rows(clock: Clock, timeline: Timeline) -> Rows:
    """Return one row a bin, and the last once more where it ends, so that its step is drawn."""
    columns = zip(timeline.start_s, timeline.realtime_load, timeline.deferrable_load, timeline.capacity, strict=True)
    rows: Rows = [
        {
            "t": clock.value(at),
            "when": clock.written(at),
            "realtime": round(realtime, 3),
            "deferrable": round(deferrable, 3),
            "capacity": round(capacity, 3),
        }
        for at, realtime, deferrable, capacity in columns
    ]
    end_s = timeline.start_s[-1] + timeline.bin_s if rows else 0.0
    return with_ends(rows, clock.value(end_s))


def _heights(timeline: Timeline | None) -> list[float]:
    if timeline is None:
        return []
    loads = zip(timeline.realtime_load, timeline.deferrable_load, strict=True)
    return [*timeline.capacity, *(realtime + deferrable for realtime, deferrable in loads)]
