"""A pointer over a figure of time: it marks a slot, and reads its numbers."""

from collections.abc import Sequence

import altair as alt

from meritorder.report.figures.clock import Clock
from meritorder.report.figures.frame import Rows
from meritorder.report.palette import Palette


def with_ends(rows: Rows, end: float) -> Rows:
    """Return rows of steps with the end of each as `until`, and the last once more at the end, so that it is drawn."""
    if not rows:
        return []
    ends = [*(row["t"] for row in rows[1:]), end]
    steps = [{**row, "until": until} for row, until in zip(rows, ends, strict=True)]
    return [*steps, {**steps[-1], "t": end}]


def pointer(clock: Clock, told: Sequence[alt.Tooltip], palette: Palette) -> alt.Chart:
    """Lay a pane over each step, from `t` until `until`, that is seen under the pointer.

    The nearest mark would do, but the text of its tooltip is lost: Vega-Lite reads only numbers through it.
    """
    hover = alt.selection_point(name="hover", on="pointerover", clear="pointerout", fields=["t"], empty=False)
    chart: alt.Chart = (
        alt.Chart()
        .mark_rect(color=palette.ink)
        .encode(
            x=alt.X(clock.field),
            x2="until",
            opacity=alt.condition(hover, alt.value(0.14), alt.value(0)),
            tooltip=[alt.Tooltip("when:N", title="time"), *told],
        )
        .add_params(hover)
    )
    return chart
