"""The merit order: venues from the cheapest work to the dearest, each as wide as what it could do."""

from collections.abc import Sequence
from typing import Final

import altair as alt

from meritorder.planfile import Merit, Plan
from meritorder.report.figures.frame import Rows, colours, figure
from meritorder.report.metrics import pricing_title
from meritorder.report.palette import LIGHT, PRICING, Palette, pricing_kind
from meritorder.units import format_share, format_usd

_HEIGHT: Final = 260
_NARROWEST: Final = 0.02
"""Share of the width from which a step has room for its number."""


def in_order(steps: Sequence[Merit]) -> list[Merit]:
    """Return steps from the cheapest work to the dearest."""
    return sorted(steps, key=lambda one: one.usd_per_mtok)


def merit_order(plan: Plan, palette: Palette = LIGHT) -> alt.LayerChart:
    """Draw price against cumulative capacity; the part of each step that the plan uses is filled.

    A venue with more room than all the work is drawn as wide as all the work, for else no other would be seen.
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
    colour = alt.Color("kind:N", scale=colours((*PRICING, "idle"), palette), legend=None)
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
    room = (
        alt.Chart().mark_rect(opacity=0.28).encode(x=x, x2="to:Q", y=y, y2=alt.datum(0), color=colour, tooltip=tooltip)
    )
    used = alt.Chart().mark_rect().encode(x=x, x2="used:Q", y=y, y2=alt.datum(0), color=colour, tooltip=tooltip)
    edge = alt.Chart().mark_rule(strokeWidth=2).encode(x=x, x2="to:Q", y=y, color=colour)
    numbers = (
        alt.Chart()
        .transform_filter("datum.wide")
        .mark_text(baseline="bottom", dy=-5, color=palette.ink)
        .encode(x=alt.X("middle:Q"), y=y, text="rank:N")
    )
    return figure([room, used, edge, numbers], rows, palette, height=_HEIGHT, description="Merit order of the venues")


def _rows(steps: Sequence[Merit]) -> Rows:
    work = sum(one.capacity_mtok * one.used_share for one in steps)
    widths = [
        max(one.capacity_mtok * one.used_share, min(one.capacity_mtok, work or one.capacity_mtok)) for one in steps
    ]
    rows: Rows = []
    start = 0.0
    for rank, (one, width) in enumerate(zip(steps, widths, strict=True), start=1):
        rows.append(
            {
                "rank": str(rank),
                "venue": one.venue,
                "kind": pricing_kind(one.pricing_model),
                "pricing": pricing_title(one.pricing_model),
                "usd": one.usd_per_mtok,
                "price": format_usd(one.usd_per_mtok),
                "from": start,
                "middle": start + width / 2,
                "to": start + width,
                "used": start + min(width, one.capacity_mtok * one.used_share),
                "capacity": f"{one.capacity_mtok:,.4g} Mtok",
                "share": format_share(one.used_share),
                "wide": width >= _NARROWEST * sum(widths),
            }
        )
        start += width
    return rows
