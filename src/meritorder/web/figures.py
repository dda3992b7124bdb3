"""Figures of the pages as drawing instructions for SVG, in percent of the width and pixels of the height."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from meritorder.records.comparison import Waterfall
from meritorder.records.estimation import PatiencePoint
from meritorder.report.waterfall import walk, waterfall_cells
from meritorder.units import SECONDS_PER_MINUTE, format_duration, format_usd

Series = tuple[str, str, Sequence[float | None]]
"""Color, title and the value at each place of a curve; a value that is None is passed over."""

PLOT_HEIGHT: Final = 190
"""The height of a plot in pixels, between its highest level and zero; its width is that of the page."""
_TOPS: Final = (1, 2, 3, 4, 5, 6, 8, 10)  # times a power of ten: half of each is a number that people round to
_MIN_BAR_PERCENT: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class WaterfallBar:
    """One row of a waterfall: where its bar begins and how wide it is, in percent."""

    kind: str
    title: str
    why: str
    amount: str
    left: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point of a curve: percent of the width from the left, pixels from the top."""

    x: float
    y: float
    amount: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One curve."""

    kind: str
    title: str
    points: list[Point]

    @property
    def path(self) -> str:
        """The points as SVG takes them."""
        return " ".join(f"{point.x:.1f},{point.y:.0f}" for point in self.points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Curves on one scale from zero.

    Args:
        name: Its name in the page.
        title: What it shows.
        levels: Pixels from the top of each line across, with its amount.
        curves: The curves that have points.
        ticks: Percent from the left of each text below, with the text.
        has_marks: Whether each point is marked.
    """

    name: str
    title: str
    levels: list[tuple[float, str]]
    curves: list[Curve]
    ticks: list[tuple[float, str]] = field(default_factory=list)
    has_marks: bool = False


def waterfall_bars(fall: Waterfall) -> list[WaterfallBar]:
    """Return the rows of a waterfall on one scale from zero."""
    steps, cells = walk(fall), waterfall_cells(fall)
    highest = max(max(step.from_usd, step.to_usd) for step in steps) or 1.0
    texts = [(fall.start, ""), *((part.title, part.why) for part in fall.parts), (fall.end, "")]
    bars = []
    for step, amount, (title, why) in zip(steps, cells, texts, strict=True):
        low, high = sorted((step.from_usd, step.to_usd))
        bars.append(
            WaterfallBar(
                kind=step.kind,
                title=title,
                why=why,
                amount=amount,
                left=100 * low / highest,
                width=max(_MIN_BAR_PERCENT, 100 * (high - low) / highest) if high > low else 0.0,
            )
        )
    return bars


def patience_chart(points: Sequence[PatiencePoint]) -> Chart:
    """Return what a month costs by patience, one curve for each way that has amounts."""
    series: list[Series] = [
        ("on_demand", "machines", [point.machines_usd for point in points]),
        ("tokens", "tokens", [point.tokens_usd for point in points]),
    ]
    step = 100 / max(1, len(points) - 1)
    ticks = [
        (step * number, format_duration(point.patience_s) if point.patience_s else "at once")
        for number, point in enumerate(points)
    ]
    chart = _chart("patience", "Cost of a month by patience", [place for place, _ in ticks], series, format_usd)
    return replace(chart, ticks=ticks, has_marks=True)


def time_chart(
    name: str, title: str, at_s: Sequence[float], series: Sequence[Series], write: Callable[[float], str]
) -> Chart:
    """Return curves over the time until now, from left to right.

    Args:
        name: Its name in the page.
        title: What it shows.
        at_s: The times, two or more, in order.
        series: The curves.
        write: Formats a value.
    """
    span_s = at_s[-1] - at_s[0]
    ticks = [(0.0, f"{format_duration(_rounded(span_s))} ago"), (100.0, "now")]
    places = [100 * (time_s - at_s[0]) / (span_s or 1.0) for time_s in at_s]
    return replace(_chart(name, title, places, series, write), ticks=ticks)


def _chart(
    name: str, title: str, places: Sequence[float], series: Sequence[Series], write: Callable[[float], str]
) -> Chart:
    """Return curves through places in percent of the width, without texts below."""
    highest = _top(max((value for _, _, values in series for value in values if value is not None), default=0.0))

    def y(value: float) -> float:
        return PLOT_HEIGHT * (1 - value / highest)

    curves = [
        Curve(
            kind=kind,
            title=of,
            points=[
                Point(x=place, y=y(value), amount=write(value))
                for place, value in zip(places, values, strict=True)
                if value is not None
            ],
        )
        for kind, of, values in series
    ]
    return Chart(
        name=name,
        title=title,
        levels=[(y(level), write(level)) for level in (highest, highest / 2, 0.0)],
        curves=[curve for curve in curves if curve.points],
    )


def _top(highest: float) -> float:
    """Return the top of a scale: a round number, at least the highest value."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return power * next((top for top in _TOPS if top * power >= highest), 10)


def _rounded(span_s: float) -> float:
    """Return a span in whole seconds, or from two minutes on in whole minutes."""
    unit_s = SECONDS_PER_MINUTE if span_s >= 2 * SECONDS_PER_MINUTE else 1.0
    return round(span_s / unit_s) * unit_s
