"""The figures of a plan: paid GPUs and work over time, the merit order, and the cost against its bounds."""

from collections.abc import Sequence
from typing import Final

import altair as alt

from meritorder.records.planfile import Dispatch, MeritStep, Plan
from meritorder.report.figures import (
    LIGHT,
    PRICING,
    Palette,
    Rows,
    TimeAxis,
    color_scale,
    figure,
    pricing_kind,
    stacked_bars,
    step_rows,
    time_pointer,
)
from meritorder.report.wording import pricing_title, usd_cells
from meritorder.units import format_share, format_usd

PLANNED: Final = "This plan"
_DISPATCH_HEIGHT: Final = 190
_MERIT_HEIGHT: Final = 260
_NARROWEST: Final = 0.02
"""Share of the width from which a step has space for its number."""


def paid(plan: Plan, dispatch: Dispatch, palette: Palette = LIGHT) -> alt.LayerChart:
    """Draw the GPUs paid for, stacked by pricing model, and the work that they do as a line."""
    columns: dict[str, list[float]] = {}
    for model, gpus in dispatch.paid_gpus.items():
        before = columns.get(pricing_kind(model), [0.0] * len(gpus))
        columns[pricing_kind(model)] = [a + b for a, b in zip(before, gpus, strict=True)]
    kinds = [kind for kind in (*PRICING, "idle") if kind in columns]
    work = [a + b for a, b in zip(dispatch.realtime_gpus, dispatch.deferrable_gpus, strict=True)]
    titles = {kind: kind.replace("_", " ") for kind in kinds} | {"line": "work done"}
    stacked = {kind: columns[kind] for kind in kinds}
    return _drawn(plan, stacked, work, titles, palette, top=_top(dispatch), title="GPUs paid for")


def work(plan: Plan, dispatch: Dispatch, palette: Palette = LIGHT) -> alt.LayerChart:
    """Draw work at the time it ran, stacked by lane, under a line of work at the time it arrived."""
    columns = {"realtime": dispatch.realtime_gpus, "deferrable": dispatch.deferrable_gpus}
    arrived = [a + b for a, b in zip(dispatch.realtime_gpus, dispatch.arrived_gpus, strict=True)]
    titles = {"realtime": "real time", "deferrable": "deferrable, where it ran", "line": "all, where it arrived"}
    return _drawn(plan, columns, arrived, titles, palette, top=_top(dispatch), title="GPUs at work")


def _drawn(
    plan: Plan,
    columns: dict[str, list[float]],
    line: Sequence[float],
    titles: dict[str, str],
    palette: Palette,
    *,
    top: float,
    title: str,
) -> alt.LayerChart:
    """Draw stacked columns and a line; both figures of a plan share one scale."""
    time = TimeAxis(start_epoch_s=plan.start_epoch_s, span_s=plan.slots * plan.slot_s)
    rows: Rows = [
        {
            "t": time.value(slot * plan.slot_s),
            "when": time.text(slot * plan.slot_s),
            "line": round(line[slot], 2),
            **{kind: round(values[slot], 2) for kind, values in columns.items()},
        }
        for slot in range(len(line))
    ]
    order = " : ".join(f"datum.kind === '{kind}' ? {place}" for place, kind in enumerate(columns))
    areas = (
        alt.Chart()
        .transform_fold(list(columns), as_=["kind", "gpus"])
        .transform_calculate(order=f"{order} : {len(columns)}" if order else "0")
        .mark_area(interpolate="step-after", line=False)
        .encode(
            x=time.x("plan"),
            y=alt.Y(
                "gpus:Q",
                stack="zero",
                scale=alt.Scale(domain=[0, top], nice=True),
                axis=alt.Axis(title=title, tickCount=4, tickMinStep=1),
            ),
            color=alt.Color("kind:N", scale=color_scale(tuple(columns), palette), legend=None),
            order="order:Q",
        )
    )
    numbers = [alt.Tooltip(f"{kind}:Q", title=text, format=".1f") for kind, text in titles.items()]
    layers = [areas, *_line(time, palette), time_pointer(time, numbers, palette)]
    return figure(
        layers,
        step_rows(rows, time.value(len(line) * plan.slot_s)),
        palette,
        height=_DISPATCH_HEIGHT,
        description=f"{title} over time",
    )


def _line(time: TimeAxis, palette: Palette) -> tuple[alt.Chart, alt.Chart]:
    """Draw the line, with an edge that separates it from the areas below."""
    edge = alt.Chart().mark_line(interpolate="step-after", strokeWidth=3.4, color=palette.paper)
    line = alt.Chart().mark_line(interpolate="step-after", strokeWidth=1.4, color=palette.ink)
    x = alt.X(time.field)
    return edge.encode(x=x, y="line:Q"), line.encode(x=x, y="line:Q")


def _top(dispatch: Dispatch) -> float:
    stacked = [
        *(sum(gpus) for gpus in zip(*dispatch.paid_gpus.values(), strict=True)),
        *(a + b for a, b in zip(dispatch.realtime_gpus, dispatch.deferrable_gpus, strict=True)),
        *(a + b for a, b in zip(dispatch.realtime_gpus, dispatch.arrived_gpus, strict=True)),
    ]
    return max(stacked, default=0.0) or 1.0


def in_order(steps: Sequence[MeritStep]) -> list[MeritStep]:
    """Return steps by cost of work, cheapest first."""
    return sorted(steps, key=lambda step: step.usd_per_mtok)


def merit_order(plan: Plan, palette: Palette = LIGHT) -> alt.LayerChart:
    """Draw price against cumulative capacity; the part of each step that the plan uses is filled.

    A venue with more capacity than all the work is drawn as wide as all the work, or no other would be visible.
    """
    rows = _rows(in_order(plan.merit_order))
    x = alt.X(
        "from:Q",
        scale=alt.Scale(nice=False, zero=True),
        axis=alt.Axis(
            title="million tokens that could be served, cheapest first", tickCount=6, format=",~r", grid=False
        ),
    )
    y = alt.Y(
        "usd:Q", scale=alt.Scale(zero=True, nice=True), axis=alt.Axis(title="$ per Mtok", tickCount=5, format="$~f")
    )
    color = alt.Color("kind:N", scale=color_scale((*PRICING, "idle"), palette), legend=None)
    tooltip = [
        alt.Tooltip(f"{field}:N", title=title)
        for field, title in (
            ("venue", "venue"),
            ("pricing", "paid"),
            ("price", "$ per Mtok"),
            ("capacity", "could serve"),
            ("share", "used"),
        )
    ]
    capacity = (
        alt.Chart().mark_rect(opacity=0.28).encode(x=x, x2="to:Q", y=y, y2=alt.datum(0), color=color, tooltip=tooltip)
    )
    used = alt.Chart().mark_rect().encode(x=x, x2="used:Q", y=y, y2=alt.datum(0), color=color, tooltip=tooltip)
    edge = alt.Chart().mark_rule(strokeWidth=2).encode(x=x, x2="to:Q", y=y, color=color)
    numbers = (
        alt.Chart()
        .transform_filter("datum.wide")
        .mark_text(baseline="bottom", dy=-5, color=palette.ink)
        .encode(x=alt.X("middle:Q"), y=y, text="rank:N")
    )
    return figure(
        [capacity, used, edge, numbers], rows, palette, height=_MERIT_HEIGHT, description="Merit order of the venues"
    )


def _rows(steps: Sequence[MeritStep]) -> Rows:
    work = sum(step.capacity_mtok * step.used_share for step in steps)
    widths = [
        max(step.capacity_mtok * step.used_share, min(step.capacity_mtok, work or step.capacity_mtok)) for step in steps
    ]
    rows: Rows = []
    start = 0.0
    for rank, (step, width) in enumerate(zip(steps, widths, strict=True), start=1):
        rows.append(
            {
                "rank": str(rank),
                "venue": step.venue,
                "kind": pricing_kind(step.pricing_model),
                "pricing": pricing_title(step.pricing_model),
                "usd": step.usd_per_mtok,
                "price": format_usd(step.usd_per_mtok),
                "from": start,
                "middle": start + width / 2,
                "to": start + width,
                "used": start + min(width, step.capacity_mtok * step.used_share),
                "capacity": f"{step.capacity_mtok:,.4g} Mtok",
                "share": format_share(step.used_share),
                "wide": width >= _NARROWEST * sum(widths),
            }
        )
        start += width
    return rows


def bounds(plan: Plan, palette: Palette = LIGHT) -> alt.LayerChart:
    """Draw the cost of real time, of the plan by pricing model, and of the lower bounds."""
    totals = {"Proven bound": plan.bound_usd, "Saturated machines at the lowest prices": plan.hard_bound_usd}
    if plan.baseline_usd is not None:
        totals = {"Real time": plan.baseline_usd, **totals}
    order = sorted([*totals, PLANNED], key=lambda name: -totals.get(name, plan.total_usd))
    amounts = dict(zip(order, usd_cells([totals.get(name, plan.total_usd) for name in order]), strict=True))
    parts = {name: [("total", name, usd)] for name, usd in totals.items()}
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
    return stacked_bars(
        rows, palette, "The plan, and how cheap it could be", amount="usd", kinds=kinds, tooltip=tooltip
    )
