"""The figures of a comparison: cost against latency, load over time, cost by lane, and paid time."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import altair as alt

from meritorder.records.comparison import Arrangement, Comparison, FrontierPoint, Timeline
from meritorder.report.compare.rows import per_request, title_of
from meritorder.report.figures import (
    LIGHT,
    Palette,
    Rows,
    TimeAxis,
    color_scale,
    figure,
    stacked_bars,
    step_rows,
    time_pointer,
)
from meritorder.report.wording import MISSING, lane_title, usd_cells
from meritorder.units import (
    SECONDS_PER_DAY,
    SECONDS_PER_HOUR,
    SECONDS_PER_MINUTE,
    SECONDS_PER_WEEK,
    format_duration,
    format_share,
    format_usd,
)

_LANES: Final = ("realtime", "deferrable")
_LOAD_HEIGHT: Final = 150
_LOAD_TOOLTIP: Final = (
    alt.Tooltip("capacity:Q", title="replicas paid for", format=".3~g"),
    alt.Tooltip("realtime:Q", title="real-time work", format=".2f"),
    alt.Tooltip("deferrable:Q", title="deferrable work", format=".2f"),
)
_PAID: Final = {
    "realtime": "Real time",
    "deferrable": "Deferrable",
    "startup": "Starting",
    "lost": "Lost",
    "idle": "Idle",
}
_FRONTIER_HEIGHT: Final = 340
_TOUCHING: Final = 0.03
"""Points nearer than this share of both axes touch each other."""
_TICKS: Final = {
    0.1: "100 ms",
    1.0: "1 s",
    10.0: "10 s",
    SECONDS_PER_MINUTE: "1 min",
    10 * SECONDS_PER_MINUTE: "10 min",
    SECONDS_PER_HOUR: "1 h",
    6 * SECONDS_PER_HOUR: "6 h",
    SECONDS_PER_DAY: "1 d",
    SECONDS_PER_WEEK: "1 w",
}


def frontier(comparison: Comparison, palette: Palette = LIGHT) -> alt.LayerChart:
    """Draw cost against the median time to the last token; filled points meet every SLO and deadline.

    Raises:
        ValueError: No point has a time.
    """
    points = _timed(comparison)
    if not points:
        raise ValueError("no simulated fleet has a time to the last token")
    unit = per_request(comparison)
    prices = usd_cells([point.usd_per_request * unit.count for point in points])
    rows: Rows = [
        {
            "title": title_of(comparison, point.arrangement),
            "label": point.label,
            "kind": "realtime",
            "e2e": point.e2e_p50_s,
            "usd": point.usd_per_request * unit.count,
            "price": price,
            "time": format_duration(point.e2e_p50_s),
            "ttft": MISSING if point.ttft_p99_s is None else format_duration(point.ttft_p99_s),
            "promise": "met" if point.keeps_promise else "missed",
        }
        for point, price in zip(points, prices, strict=True)
    ]
    tooltips = {"title": "title", "label": "label", "price": unit.title, "time": "E2E p50", "ttft": "TTFT p99"}
    chart, x, y = cost_against_latency(rows, unit.title, tooltips, palette)
    chart.layer += _numbers(_numbered_rows(rows, numbered(comparison)), x, y, palette)
    return chart


def cost_against_latency(
    rows: Rows, unit: str, tooltips: Mapping[str, str], palette: Palette, kinds: Sequence[str] = ("realtime",)
) -> tuple[alt.LayerChart, alt.X, alt.Y]:
    """Draw points of `usd` against `e2e` over their Pareto frontier; filled points meet every SLO and deadline.

    Args:
        rows: The points, with `promise` met or missed, and `kind`, which colors them; at least one.
        unit: What the dollars are for.
        tooltips: Fields of the rows that the tooltip shows, each with its title.
        palette: The colors.
        kinds: The kinds that there are.

    Returns:
        The figure, and the axes for more layers.
    """
    x = alt.X("e2e:Q", scale=alt.Scale(type="log", nice=False, padding=28), axis=_latency_axis(rows))
    y = alt.Y("usd:Q", scale=alt.Scale(zero=True), axis=alt.Axis(title=f"$ {unit}", tickCount=5, format="$~f"))
    color = color_scale(kinds, palette)
    marks = (
        alt.Chart()
        .mark_point(size=90, filled=True, opacity=1, strokeWidth=2)
        .encode(
            x=x,
            y=y,
            stroke=alt.Stroke("kind:N", scale=color, legend=None),
            fill=alt.condition(
                "datum.promise === 'met'",
                alt.Fill("kind:N", scale=color, legend=None),
                alt.value(palette.paper),
            ),
            tooltip=[
                *(alt.Tooltip(f"{name}:N", title=title) for name, title in tooltips.items()),
                alt.Tooltip("promise:N", title="SLO and deadlines"),
            ],
        )
    )
    edge = _undominated(rows)
    layers = [_dashed(edge, x, y, palette), marks] if edge else [marks]
    description = "Cost against latency, a point for each simulated fleet"
    return figure(layers, rows, palette, height=_FRONTIER_HEIGHT, description=description), x, y


def numbered(comparison: Comparison) -> dict[int, str]:
    """Return the points that are numbered, in order: for each arrangement with its title, the fleet of its row."""
    points = _timed(comparison)
    titles = {}
    for arrangement in comparison.arrangements:
        own = [place for place, point in enumerate(points) if point.arrangement == arrangement.name]
        usd = arrangement.usd_per_request
        if own:
            titles[min(own, key=lambda place: abs(points[place].usd_per_request - usd))] = arrangement.title
    return titles


def _timed(comparison: Comparison) -> list[FrontierPoint]:
    return [point for point in comparison.frontier if point.e2e_p50_s > 0]


def _undominated(rows: Rows) -> Rows:
    """Return the Pareto frontier of the feasible points, fastest first."""
    edge: Rows = []
    for row in sorted((row for row in rows if row["promise"] == "met"), key=lambda row: (row["e2e"], row["usd"])):
        if not edge or row["usd"] < edge[-1]["usd"]:
            edge.append({"e2e": row["e2e"], "usd": row["usd"]})
    return edge


def _dashed(edge: Rows, x: alt.X, y: alt.Y, palette: Palette) -> alt.Chart:
    """Draw the Pareto frontier."""
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=edge))
        .mark_line(interpolate="step-after", color=palette.muted, strokeDash=[3, 3], strokeWidth=1.2)
        .encode(x=x, y=y)
    )
    return chart


def _numbered_rows(rows: Rows, numbered: Iterable[int]) -> Rows:
    """Return the numbers and their points; points that touch each other share one text."""
    times = [row["e2e"] for row in rows]
    touching_ratio = (max(times) / min(times)) ** _TOUCHING
    touching_usd = _TOUCHING * max(row["usd"] for row in rows)
    texts: Rows = []
    for number, place in enumerate(numbered, start=1):
        e2e, usd = rows[place]["e2e"], rows[place]["usd"]
        for text in texts:
            ratio = max(text["e2e"], e2e) / min(text["e2e"], e2e)
            if ratio <= touching_ratio and abs(text["usd"] - usd) <= touching_usd:
                text["number"] += f", {number}"
                break
        else:
            texts.append({"e2e": e2e, "usd": usd, "number": str(number)})
    return texts


def _numbers(texts: Rows, x: alt.X, y: alt.Y, palette: Palette) -> list[alt.Chart]:
    """Write each number right above its point, on an outline that keeps it apart from what lies below."""
    outline = {"stroke": palette.paper, "strokeWidth": 4, "color": palette.paper}
    return [
        alt.Chart(alt.InlineData(values=texts))
        .mark_text(align="left", dx=7, dy=-10, fontWeight="bold", **style)
        .encode(x=x, y=y, text="number:N")
        for style in (outline, {"color": palette.ink})
    ]


def _latency_axis(rows: Rows) -> alt.Axis:
    times = [row["e2e"] for row in rows] or [1.0]
    low, high = min(times) / 2, max(times) * 2
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    expression = "datum.label"
    for tick in ticks:
        expression = f"abs(datum.value / {tick} - 1) < 1e-6 ? '{_TICKS[tick]}' : {expression}"
    return alt.Axis(title="median time to the last token", values=ticks, labelExpr=expression, grid=False)


def load(comparison: Comparison, arrangement: Arrangement, palette: Palette = LIGHT) -> alt.LayerChart:
    """Draw the load of a fleet, stacked by lane, under its capacity.

    All fleets share one scale, so figures can be compared by eye.

    Raises:
        ValueError: The arrangement has no timeline.
    """
    timeline = arrangement.timeline
    if timeline is None:
        raise ValueError(f"{arrangement.name} has no timeline")
    time = TimeAxis(start_epoch_s=comparison.trace.start_epoch_s, span_s=comparison.trace.span_s)
    tops = [
        max(_heights(arrangement.timeline), default=0.0)
        for arrangement in comparison.arrangements
        if arrangement.timeline
    ]
    return figure(
        [
            _loads(time.x(), max(tops) or 1.0, palette),
            _capacity(time, palette),
            time_pointer(time, _LOAD_TOOLTIP, palette),
        ],
        _timeline_rows(time, timeline),
        palette,
        height=_LOAD_HEIGHT,
        description=f"Load and capacity over time: {arrangement.title}",
    )


def _loads(x: alt.X, top: float, palette: Palette) -> alt.Chart:
    """Stack the lanes; only this layer sets the scales, since Vega-Lite takes two that do for a conflict."""
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
            color=alt.Color("lane:N", scale=color_scale(_LANES, palette), legend=None),
            order="order:Q",
        )
    )
    return chart


def _capacity(time: TimeAxis, palette: Palette) -> alt.Chart:
    """Draw the line of capacity."""
    chart: alt.Chart = (
        alt.Chart()
        .mark_line(interpolate="step-after", strokeWidth=1.4, color=palette.ink)
        .encode(x=alt.X(time.field), y="capacity:Q")
    )
    return chart


def _timeline_rows(time: TimeAxis, timeline: Timeline) -> Rows:
    """Return one row per bin, and the last one again at its end, so that its step is drawn."""
    columns = zip(timeline.start_s, timeline.realtime_load, timeline.deferrable_load, timeline.capacity, strict=True)
    rows: Rows = [
        {
            "t": time.value(at),
            "when": time.text(at),
            "realtime": round(realtime, 3),
            "deferrable": round(deferrable, 3),
            "capacity": round(capacity, 3),
        }
        for at, realtime, deferrable, capacity in columns
    ]
    end_s = timeline.start_s[-1] + timeline.bin_s if rows else 0.0
    return step_rows(rows, time.value(end_s))


def _heights(timeline: Timeline | None) -> list[float]:
    if timeline is None:
        return []
    loads = zip(timeline.realtime_load, timeline.deferrable_load, strict=True)
    return [*timeline.capacity, *(realtime + deferrable for realtime, deferrable in loads)]


def lanes(comparison: Comparison, palette: Palette = LIGHT) -> alt.LayerChart:
    """Draw the cost of every feasible arrangement, stacked by lane."""
    feasible = [arrangement for arrangement in comparison.arrangements if arrangement.feasible and arrangement.lanes]
    totals = usd_cells([arrangement.total_usd for arrangement in feasible])
    rows: Rows = [
        {
            "row": row,
            "title": arrangement.title,
            "amount": totals[row],
            "kind": lane.lane,
            "name": lane_title(lane.lane),
            "usd": lane.total_usd,
            "cost": format_usd(lane.total_usd),
            "requests": f"{lane.requests:,}",
        }
        for row, arrangement in enumerate(feasible)
        for lane in arrangement.lanes
    ]
    tooltip = [alt.Tooltip(f"{field}:N") for field in ("title", "name", "cost", "requests")]
    return stacked_bars(rows, palette, "Cost by lane", amount="usd", kinds=_LANES, tooltip=tooltip)


def paid_time(comparison: Comparison, palette: Palette = LIGHT) -> alt.LayerChart:
    """Draw the paid replica time of every fleet, as shares by use."""
    fleets = [(arrangement, arrangement.paid_time) for arrangement in comparison.arrangements if arrangement.paid_time]
    rows: Rows = []
    for row, (arrangement, paid) in enumerate(fleets):
        seconds = {kind: getattr(paid, f"{kind}_s") for kind in _PAID}
        total = sum(seconds.values()) or 1.0
        rows += [
            {
                "row": row,
                "title": arrangement.title,
                "amount": f"{format_share(seconds['idle'] / total)} idle",
                "kind": kind,
                "name": _PAID[kind],
                "share": value / total,
                "written": format_share(value / total, 1),
                "hours": f"{value / SECONDS_PER_HOUR:,.1f}",
            }
            for kind, value in seconds.items()
        ]
    tooltip = [
        alt.Tooltip("title:N"),
        alt.Tooltip("name:N"),
        alt.Tooltip("written:N", title="share"),
        alt.Tooltip("hours:N", title="replica-hours"),
    ]
    return stacked_bars(rows, palette, "Where the paid time went", amount="share", kinds=_PAID, tooltip=tooltip)
