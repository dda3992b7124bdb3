"""Cost against latency, every simulated arrangement a point."""

from typing import Final, Literal

import altair as alt

from meritorder.comparison import Comparison
from meritorder.report.figures.frame import Rows, figure
from meritorder.report.metrics import MISSING, per_request, title_of, usd_cells
from meritorder.report.palette import LIGHT, Palette
from meritorder.units import (
    SECONDS_PER_DAY,
    SECONDS_PER_HOUR,
    SECONDS_PER_MINUTE,
    SECONDS_PER_WEEK,
    format_duration,
)

_HEIGHT: Final = 340
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
    """Draw cost against the median time to a whole answer; filled points keep the promise."""
    unit = per_request(comparison)
    prices = usd_cells([point.usd_per_request * unit.count for point in comparison.frontier])
    rows: Rows = [
        {
            "title": title_of(comparison, point.arrangement),
            "label": point.label,
            "e2e": point.e2e_p50_s,
            "usd": point.usd_per_request * unit.count,
            "price": price,
            "time": format_duration(point.e2e_p50_s),
            "ttft": MISSING if point.ttft_p99_s is None else format_duration(point.ttft_p99_s),
            "promise": "kept" if point.keeps_promise else "broken",
        }
        for point, price in zip(comparison.frontier, prices, strict=True)
        if point.e2e_p50_s > 0
    ]
    named = _named(comparison, rows)
    for place, row in enumerate(rows):
        row["named"] = place in named
    x = alt.X("e2e:Q", scale=alt.Scale(type="log", nice=False, padding=28), axis=_latency_axis(rows))
    y = alt.Y("usd:Q", scale=alt.Scale(zero=True), axis=alt.Axis(title=f"$ {unit.title}", tickCount=5, format="$~f"))
    edge = (
        alt.Chart(alt.InlineData(values=_undominated(rows)))
        .mark_line(interpolate="step-after", color=palette.muted, strokeDash=[3, 3], strokeWidth=1.2)
        .encode(x=x, y=y)
    )
    points = (
        alt.Chart()
        .mark_point(size=90, filled=True, opacity=1, strokeWidth=2)
        .encode(
            x=x,
            y=y,
            stroke=alt.value(palette.realtime),
            fill=alt.Color(
                "promise:N",
                scale=alt.Scale(domain=["kept", "broken"], range=[palette.realtime, palette.paper]),
                legend=None,
            ),
            tooltip=[
                alt.Tooltip("title:N"),
                alt.Tooltip("label:N"),
                alt.Tooltip("price:N", title=unit.title),
                alt.Tooltip("time:N", title="E2E p50"),
                alt.Tooltip("ttft:N", title="TTFT p99"),
                alt.Tooltip("promise:N", title="promise"),
            ],
        )
    )
    layers = [edge, points, *_point_labels(x, y, palette)]
    return figure(
        [*layers],
        rows,
        palette,
        height=_HEIGHT,
        description="Cost against latency, every simulated arrangement a point",
    )


def _undominated(rows: Rows) -> Rows:
    """Return the kept promises that no other beats both in cost and in time, fastest first."""
    edge: Rows = []
    for row in sorted((r for r in rows if r["promise"] == "kept"), key=lambda r: (r["e2e"], r["usd"])):
        if not edge or row["usd"] < edge[-1]["usd"]:
            edge.append({"e2e": row["e2e"], "usd": row["usd"]})
    return edge


def _named(comparison: Comparison, rows: Rows) -> set[int]:
    """Return the points that carry a name: for each arrangement the one that its row in the table is."""
    count = per_request(comparison).count
    named = set()
    for arrangement in comparison.arrangements:
        own = [place for place, row in enumerate(rows) if row["title"] == arrangement.title]
        usd = arrangement.usd_per_request * count
        if own:
            named.add(min(own, key=lambda place: abs(rows[place]["usd"] - usd)))
    return named


def _point_labels(x: alt.X, y: alt.Y, palette: Palette) -> list[alt.Chart]:
    """Name points where the dashed line is not: right and above in the left half, else to the left."""
    in_left_half = "datum.e2e * datum.e2e <= datum.low * datum.high"
    sides: tuple[tuple[str, Literal["left", "right"], int, int], ...] = (
        (in_left_half, "left", 9, -10),
        (f"!({in_left_half})", "right", -11, 0),
    )
    return [
        alt.Chart()
        .transform_joinaggregate(low="min(e2e)", high="max(e2e)")
        .transform_filter(f"datum.named && {side}")
        .mark_text(align=align, dx=dx, dy=dy, baseline="middle", color=palette.ink)
        .encode(x=x, y=y, text="title:N")
        for side, align, dx, dy in sides
    ]


def _latency_axis(rows: Rows) -> alt.Axis:
    times = [row["e2e"] for row in rows] or [1.0]
    low, high = min(times) / 2, max(times) * 2
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    expression = "datum.label"
    for tick in ticks:
        expression = f"abs(datum.value / {tick} - 1) < 1e-6 ? '{_TICKS[tick]}' : {expression}"
    return alt.Axis(title="median time to the whole answer", values=ticks, labelExpr=expression, grid=False)
