"""The shared parts of all figures: palette, frame, time axis, stacked bars, and the waterfall.

Figures are Vega-Lite charts: pure functions of an answer. Colors have a meaning, the same in every figure, and are
distinct for color-blind readers.

Source: blue, orange, green and vermilion after Okabe and Ito, https://jfly.uni-koeln.de/color/ (2008).
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import altair as alt

from meritorder.records.comparison import Waterfall
from meritorder.report.waterfall import walk, waterfall_cells, waterfall_title
from meritorder.units import (
    MS_PER_S,
    SECONDS_PER_DAY,
    SECONDS_PER_HOUR,
    SECONDS_PER_MINUTE,
    SECONDS_PER_WEEK,
    format_duration,
    utc,
)

Rows = list[dict[str, Any]]
FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_ROW_HEIGHT: Final = 46
_BAR_HEIGHT: Final = 14
_TITLE_LIMIT: Final = "width - 72"
"""Where a row's title is cut off, to leave space for the amount at its right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """The color of each kind of element."""

    paper: str
    panel: str
    ink: str
    muted: str
    line: str
    realtime: str
    deferrable: str
    startup: str
    idle: str
    lost: str
    total: str
    saving: str
    extra: str
    link: str
    owned: str
    committed: str
    savings: str
    block: str
    on_demand: str
    spot: str
    tokens: str


LIGHT: Final = Palette(
    paper="#fdfdfb",
    panel="#f4f4f0",
    ink="#1b1d21",
    muted="#5f646d",
    line="#dedfd9",
    realtime="#0072b2",
    deferrable="#e69f00",
    startup="#8b8f98",
    idle="#d3d5d2",
    lost="#c24a00",
    total="#565b66",
    saving="#00805d",
    extra="#c24a00",
    link="#005a8d",
    owned="#767b86",
    committed="#6651a3",
    savings="#a99bd0",
    block="#8a5a2b",
    on_demand="#bd5b90",
    spot="#2b9b77",
    tokens="#a39700",
)
DARK: Final = Palette(
    paper="#14161a",
    panel="#1c1f25",
    ink="#eceae4",
    muted="#a2a6ae",
    line="#31353d",
    realtime="#4ba6e0",
    deferrable="#f0b23c",
    startup="#7d828c",
    idle="#3d424b",
    lost="#ef7f45",
    total="#9da2ad",
    saving="#2cc197",
    extra="#ef7f45",
    link="#7cc0ee",
    owned="#8b909b",
    committed="#8a70cc",
    savings="#5f4f94",
    block="#b98b5c",
    on_demand="#d083ab",
    spot="#41b98f",
    tokens="#c4b93a",
)
THEMED: Final = Palette(**{name: f"var(--{name})" for name in asdict(LIGHT)})
"""Colors as CSS variables, so that figures follow the page between light and dark mode."""


_OF_PRICING: Final = {
    "owned": "owned",
    "reserved": "committed",
    "committed_use": "committed",
    "capacity_block": "block",
    "savings_plan": "savings",
    "on_demand": "on_demand",
    "spot": "spot",
    "provisioned_throughput": "tokens",
}
PRICING: Final = tuple(dict.fromkeys(_OF_PRICING.values()))
"""The kinds that pricing models are drawn as, in stacking order from the bottom."""


def pricing_kind(pricing_model: str) -> str:
    """Return the kind that a pricing model is drawn as."""
    if pricing_model.startswith("tokens"):
        return "tokens"
    return _OF_PRICING.get(pricing_model, "idle")


def css(palette: Palette) -> str:
    """Return a palette as CSS declarations."""
    return " ".join(f"--{name}: {color};" for name, color in asdict(palette).items())


def color_scale(kinds: Sequence[str], palette: Palette) -> alt.Scale:
    """Return the scale that maps each kind to its color in the palette."""
    return alt.Scale(domain=list(kinds), range=[getattr(palette, kind) for kind in kinds])


def figure(
    layers: Sequence[alt.Chart], rows: Rows, palette: Palette, *, height: int, description: str
) -> alt.LayerChart:
    """Return layers as one figure, as wide as its container, in the report's style."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeAxis:
    """The time axis of a figure: dates if the start is known, else the time since the start.

    Args:
        start_epoch_s: Time of the start, None if unknown.
        span_s: Length.
    """

    start_epoch_s: float | None
    span_s: float

    @property
    def field(self) -> str:
        """The field `t` of the rows, with its type."""
        return "t:Q" if self.start_epoch_s is None else "t:T"

    def value(self, at_s: float) -> float:
        """Return a time since the start in the unit of the axis."""
        if self.start_epoch_s is None:
            return at_s / self._unit()[0]
        return (self.start_epoch_s + at_s) * MS_PER_S

    def text(self, at_s: float) -> str:
        """Return a time since the start as text."""
        if self.start_epoch_s is None:
            return format_duration(at_s)
        return f"{utc(self.start_epoch_s + at_s):%a %d %b %H:%M}"

    def x(self, of: str = "trace") -> alt.X:
        """Return the axis; `of` names what begins at its start."""
        if self.start_epoch_s is None:
            title = f"{self._unit()[1]} from the start of the {of}"
            scale = alt.Scale(nice=False, zero=False)
            axis = alt.Axis(title=title, grid=False, tickCount=8, labelOverlap=True)
            return alt.X(self.field, axis=axis, scale=scale)
        by_day = 2 * SECONDS_PER_DAY < self.span_s <= 2 * SECONDS_PER_WEEK
        axis = alt.Axis(tickCount="day" if by_day else 6, format=self._tick_format())
        axis.title, axis.grid, axis.labelOverlap = None, False, True
        return alt.X(self.field, axis=axis, scale=alt.Scale(type="utc", nice=False))

    def _tick_format(self) -> str:
        """Return the form of the ticks: times by the clock of 24 hours, then days, then dates."""
        forms = ((SECONDS_PER_DAY, "%H:%M"), (2 * SECONDS_PER_DAY, "%a %H:%M"), (2 * SECONDS_PER_WEEK, "%a %d"))
        return next((form for longest_s, form in forms if self.span_s <= longest_s), "%d %b")

    def _unit(self) -> tuple[float, str]:
        if self.span_s > 2 * SECONDS_PER_DAY:
            return SECONDS_PER_DAY, "days"
        return (SECONDS_PER_HOUR, "hours") if self.span_s > 2 * SECONDS_PER_HOUR else (SECONDS_PER_MINUTE, "minutes")


def step_rows(rows: Rows, end: float) -> Rows:
    """Return rows with the end of each step as `until`, and the last row again at the end to draw its step."""
    if not rows:
        return []
    ends = [*(row["t"] for row in rows[1:]), end]
    steps = [{**row, "until": until} for row, until in zip(rows, ends, strict=True)]
    return [*steps, {**steps[-1], "t": end}]


def time_pointer(time: TimeAxis, tooltips: Sequence[alt.Tooltip], palette: Palette) -> alt.Chart:
    """Return an overlay of a pane for each step, from `t` to `until`, which shows while the pointer is over it.

    A selection of the nearest mark would not do: Vega-Lite passes only numbers to its tooltip, no text.
    """
    hover = alt.selection_point(name="hover", on="pointerover", clear="pointerout", fields=["t"], empty=False)
    chart: alt.Chart = (
        alt.Chart()
        .mark_rect(color=palette.ink)
        .encode(
            x=alt.X(time.field),
            x2="until",
            opacity=alt.condition(hover, alt.value(0.14), alt.value(0)),
            tooltip=[alt.Tooltip("when:N", title="time"), *tooltips],
        )
        .add_params(hover)
    )
    return chart


def waterfall(fall: Waterfall, palette: Palette = LIGHT) -> alt.LayerChart:
    """Draw a waterfall whose `start` and `end` are titles; each part starts where the previous one ended."""
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
            color=alt.Color("kind:N", scale=color_scale(("total", "saving", "extra"), palette), legend=None),
            tooltip=[alt.Tooltip(f"{field}:N") for field in ("title", "amount", "why")],
        )
    )
    return _labeled(bars, rows, palette, waterfall_title(fall))


def stacked_bars(
    rows: Rows,
    palette: Palette,
    title: str,
    *,
    amount: str,
    kinds: Collection[str],
    tooltip: list[alt.Tooltip],
) -> alt.LayerChart:
    """Draw rows of bars stacked by kind."""
    order = " : ".join(f"datum.kind === '{name}' ? {place}" for place, name in enumerate(kinds))
    bars = (
        alt.Chart()
        .transform_calculate(order=f"{order} : {len(kinds)}")
        .mark_bar(height=_BAR_HEIGHT, cornerRadius=1)
        .encode(
            x=alt.X(f"{amount}:Q", stack="zero", axis=None, scale=alt.Scale(nice=False)),
            y=_row(),
            color=alt.Color("kind:N", scale=color_scale(tuple(kinds), palette), legend=None),
            order="order:Q",
            tooltip=tooltip,
        )
    )
    return _labeled(bars, rows, palette, title)


def _labeled(bars: alt.Chart, rows: Rows, palette: Palette, description: str) -> alt.LayerChart:
    """Draw the title of each row above its bar at the left, and its amount at the right.

    Titles above the bars leave space for both on a narrow screen.
    """
    titles, amounts = _text("title", "left", 0, palette, _TITLE_LIMIT), _text("amount", "right", "width", palette)
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
