"""Figures of the pages as drawing instructions for SVG, in percent of the width or in units of a fixed box."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from meritorder.records.comparison import Waterfall
from meritorder.records.estimation import PatiencePoint
from meritorder.report.waterfall import walk, waterfall_cells
from meritorder.units import format_duration, format_usd

Series = tuple[str, str, Sequence[float | None]]
"""Color, title and the value at each time of a curve."""

WIDTH: Final = 560
HEIGHT: Final = 220
_LEFT: Final = 12
_RIGHT: Final = 12
_TOP: Final = 26
_BOTTOM: Final = 26
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
    """One point of a curve, in the box of the figure."""

    x: float
    y: float
    label: str
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
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)


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


def patience_curves(points: Sequence[PatiencePoint]) -> list[Curve]:
    """Return what a month costs by patience, one curve for each way that has amounts; zero is at the bottom."""
    series = (
        ("on_demand", "machines", [point.machines_usd for point in points]),
        ("tokens", "tokens", [point.tokens_usd for point in points]),
    )
    highest = max((usd for _, _, amounts in series for usd in amounts if usd is not None), default=0.0) or 1.0
    step = (WIDTH - _LEFT - _RIGHT) / max(1, len(points) - 1)
    curves = []
    for kind, title, amounts in series:
        placed = [
            Point(
                x=_LEFT + step * number,
                y=HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * usd / highest,
                label=format_duration(points[number].patience_s) if points[number].patience_s else "at once",
                amount=format_usd(usd),
            )
            for number, usd in enumerate(amounts)
            if usd is not None
        ]
        if placed:
            curves.append(Curve(kind=kind, title=title, points=placed))
    return curves


def time_curves(
    at_s: Sequence[float],
    series: Sequence[Series],
    highest: float,
    write: Callable[[float], str],
) -> list[Curve]:
    """Return curves over time on one scale from zero, the times from left to right; a curve of no values is left out.

    Args:
        at_s: The times, two or more, in order.
        series: The curves; a value that is None is passed over.
        highest: The top of the scale.
        write: Formats a value.
    """
    span_s = at_s[-1] - at_s[0] or 1.0
    curves = [
        Curve(
            kind=kind,
            title=title,
            points=[
                Point(
                    x=_LEFT + (WIDTH - _LEFT - _RIGHT) * (time_s - at_s[0]) / span_s,
                    y=HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * value / (highest or 1.0),
                    label="",
                    amount=write(value),
                )
                for time_s, value in zip(at_s, values, strict=True)
                if value is not None
            ],
        )
        for kind, title, values in series
    ]
    return [curve for curve in curves if curve.points]
