"""Figures of horizontal bars; titles stand above their bars, so that a telephone has room for both."""

from collections.abc import Collection
from typing import Final, Literal

import altair as alt

from meritorder.comparison import Comparison, Waterfall
from meritorder.planfile import Plan
from meritorder.report.figures.frame import Rows, colours, figure
from meritorder.report.metrics import (
    lane_title,
    pricing_title,
    usd_cells,
    waterfall_cells,
    waterfall_title,
)
from meritorder.report.palette import LIGHT, PRICING, Palette, pricing_kind
from meritorder.report.steps import walk
from meritorder.units import SECONDS_PER_HOUR, format_share, format_usd

_ROW_HEIGHT: Final = 46
_BAR_HEIGHT: Final = 14
_ROOM: Final = "width - 72"
"""Where a title is cut, for the amount stands to the right of it."""
PLANNED: Final = "This plan"
_LANES: Final = ("realtime", "deferrable")
_PAID: Final = {
    "realtime": "Real time",
    "deferrable": "Deferrable",
    "startup": "Starting",
    "lost": "Lost",
    "idle": "Idle",
}


def waterfall(fall: Waterfall, palette: Palette = LIGHT) -> alt.LayerChart:
    """Draw a waterfall whose ends are titles: each part hangs where the one before it ended."""
    titles = [fall.start, *(part.title for part in fall.parts), fall.end]
    why = ["", *(part.why for part in fall.parts), ""]
    rows: Rows = [
        {
            "row": place,
            "title": title,
            "amount": amount,
            "why": text,
            "kind": step.kind,
            "from": step.from_usd,
            "to": step.to_usd,
        }
        for place, (title, amount, text, step) in enumerate(
            zip(titles, waterfall_cells(fall), why, walk(fall), strict=True)
        )
    ]
    bars = (
        alt.Chart()
        .mark_bar(height=_BAR_HEIGHT, cornerRadius=1)
        .encode(
            x=alt.X("from:Q", axis=None, scale=alt.Scale(nice=False)),
            x2="to:Q",
            y=_row(),
            color=alt.Color("kind:N", scale=colours(("total", "saving", "extra"), palette), legend=None),
            tooltip=[alt.Tooltip(f"{field}:N") for field in ("title", "amount", "why")],
        )
    )
    return _labelled(bars, rows, palette, waterfall_title(fall))


def bounds(plan: Plan, palette: Palette = LIGHT) -> alt.LayerChart:
    """Draw what is paid today and what the plan costs, by pricing model, over what no plan can cost less than."""
    alone = {"Proven bound": plan.bound_usd, "Saturated machines at the lowest prices": plan.hard_bound_usd}
    if plan.baseline_usd is not None:
        alone = {"Real time": plan.baseline_usd, **alone}
    order = sorted([*alone, PLANNED], key=lambda name: -alone.get(name, plan.total_usd))
    amounts = dict(zip(order, usd_cells([alone.get(name, plan.total_usd) for name in order]), strict=True))
    parts = {name: [("total", name, usd)] for name, usd in alone.items()}
    parts[PLANNED] = [
        (pricing_kind(model), pricing_title(model), max(usd, 0.0)) for model, usd in plan.by_pricing_model.items()
    ]
    rows: Rows = [
        {
            "row": row,
            "title": title,
            "amount": amounts[title],
            "kind": kind,
            "name": name,
            "usd": usd,
            "cost": format_usd(usd),
        }
        for row, title in enumerate(order)
        for kind, name, usd in parts[title]
    ]
    tooltip = [alt.Tooltip(f"{field}:N") for field in ("title", "name", "cost")]
    kinds = ("total", *PRICING, "idle")
    return _stacked(rows, palette, "The plan, and how cheap it could be", amount="usd", kinds=kinds, tooltip=tooltip)


def lanes(comparison: Comparison, palette: Palette = LIGHT) -> alt.LayerChart:
    """Draw what every arrangement that keeps its promises costs, stacked by lane."""
    kept = [a for a in comparison.arrangements if a.feasible and a.lanes]
    totals = usd_cells([a.total_usd for a in kept])
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
        for row, arrangement in enumerate(kept)
        for lane in arrangement.lanes
    ]
    tooltip = [alt.Tooltip(f"{field}:N") for field in ("title", "name", "cost", "requests")]
    return _stacked(rows, palette, "Cost by lane", amount="usd", kinds=_LANES, tooltip=tooltip)


def paid_time(comparison: Comparison, palette: Palette = LIGHT) -> alt.LayerChart:
    """Draw where the paid replica time of every fleet went, as shares of it."""
    fleets = [(a, a.paid_time) for a in comparison.arrangements if a.paid_time]
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
    return _stacked(rows, palette, "Where the paid time went", amount="share", kinds=_PAID, tooltip=tooltip)


def _stacked(
    rows: Rows,
    palette: Palette,
    title: str,
    *,
    amount: str,
    kinds: Collection[str],
    tooltip: list[alt.Tooltip],
) -> alt.LayerChart:
    """Stack the amounts of each row by kind."""
    order = " : ".join(f"datum.kind === '{name}' ? {place}" for place, name in enumerate(kinds))
    bars = (
        alt.Chart()
        .transform_calculate(order=f"{order} : {len(kinds)}")
        .mark_bar(height=_BAR_HEIGHT, cornerRadius=1)
        .encode(
            x=alt.X(f"{amount}:Q", stack="zero", axis=None, scale=alt.Scale(nice=False)),
            y=_row(),
            color=alt.Color("kind:N", scale=colours(tuple(kinds), palette), legend=None),
            order="order:Q",
            tooltip=tooltip,
        )
    )
    return _labelled(bars, rows, palette, title)


def _labelled(bars: alt.Chart, rows: Rows, palette: Palette, description: str) -> alt.LayerChart:
    """Put the title of each row above its bar at the left, and its amount at the right."""
    titles, amounts = _text("title", "left", 0, palette, _ROOM), _text("amount", "right", "width", palette)
    count = len({row["row"] for row in rows})
    return figure(
        [bars, titles, amounts],
        rows,
        palette,
        height=_ROW_HEIGHT * max(count, 1),
        description=description,
    )


def _row() -> alt.Y:
    return alt.Y("row:O", axis=None, scale=alt.Scale(paddingInner=0, paddingOuter=0))


def _text(
    field: str, align: Literal["left", "right"], place: int | str, palette: Palette, limit: str = "width"
) -> alt.Chart:
    chart: alt.Chart = (
        alt.Chart()
        .transform_aggregate([alt.AggregatedFieldDef(op="min", field=field, **{"as": field})], groupby=["row"])
        .mark_text(align=align, baseline="bottom", dy=-9, color=palette.ink, limit=alt.ExprRef(limit))
        .encode(x=alt.value(place), y=_row(), text=f"{field}:N")
    )
    return chart
