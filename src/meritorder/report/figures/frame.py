"""What all figures share: width, type, lines and the scale of colours."""

from collections.abc import Sequence
from typing import Any, Final

import altair as alt

from meritorder.report.palette import Palette

Rows = list[dict[str, Any]]
FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def colours(kinds: Sequence[str], palette: Palette) -> alt.Scale:
    """Return the scale that draws every kind in its colour of the palette."""
    return alt.Scale(domain=list(kinds), range=[getattr(palette, kind) for kind in kinds])


def figure(
    layers: Sequence[alt.Chart], rows: Rows, palette: Palette, *, height: int, description: str
) -> alt.LayerChart:
    """Put layers over one another, as wide as what holds them, in the type and lines of the report."""
    chart = alt.LayerChart(
        layer=list(layers),
        data=alt.InlineData(values=rows),
        width="container",
        height=height,
        description=description,
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
        background="transparent",
        padding=0,
    )
    chart.config = alt.Config(
        font=FONT,
        view=alt.ViewConfig(stroke=None),
        text=alt.MarkConfig(fontSize=13),
        axis=alt.AxisConfig(
            labelColor=palette.muted,
            titleColor=palette.muted,
            gridColor=palette.line,
            domainColor=palette.line,
            tickColor=palette.line,
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
        ),
    )
    return chart
