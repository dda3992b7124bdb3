"""How intervals hold the errors of sources left out, and what the time between versions of an engine adds to them."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from meritorder.perf.accuracy import SOURCE_SPREAD, drawn_together, log_range

_OUTSIDE: Final = 0.2
_ENOUGH: Final = 10
_PER_MONTH: Final = np.linspace(0.0, 0.2, 41)


class Point(NamedTuple):
    """An error that no fit has seen: log(measured / simulated) of the time of the work.

    Attributes:
        source: Who measured.
        corrected: What the profile was corrected by: "model", "engine" or "host".
        hardware: `Hardware.id`.
        engine: Engine.
        error: The error.
        months: Time by which the engine measured was older than that of the profile; 0 if unknown.
    """

    source: str
    corrected: str
    hardware: str
    engine: str
    error: float
    months: float = 0.0


class Coverage(NamedTuple):
    """How intervals of 80 % hold the points of sources that were left out, beside one constant interval for all.

    Scores are mean interval scores on the logarithm, the lower the better (Gneiting and Raftery, JASA 102, 2007).
    """

    source: str
    points: int
    held: float
    score: float
    constant_held: float
    constant_score: float


class OtherVersions(NamedTuple):
    """Points of one source and engine whose version is not that of the profile, held without and with widening.

    `per_month` is what was learned from all other sources, by which these points are held.
    """

    engine: str
    source: str
    months: tuple[float, float]
    points: int
    error: float
    plain_held: float
    held: float
    per_month: float


def coverage(points: Sequence[Point]) -> list[Coverage]:
    """Leave each source out once: intervals from all others, on its points; the last row pools all points."""
    outcomes: dict[str, list[tuple[float, ...]]] = {}
    for source in sorted({point.source for point in points}):
        others = [point for point in points if point.source != source]
        constant = log_range([point.error for point in others], 0.0)
        learned = per_month(others)
        outcomes[source] = [
            (*_score(point.error, *interval), *_score(point.error, *constant))
            for point, interval in _ranges([point for point in points if point.source == source], others, learned)
        ]
    pooled = {**outcomes, "all": [outcome for group in outcomes.values() for outcome in group]}
    return [
        Coverage(source, len(group), *(float(mean) for mean in np.mean(group, axis=0)))
        for source, group in pooled.items()
        if group
    ]


def per_month(points: Sequence[Point]) -> float:
    """Return the widening for a month between versions with the best score on points of other versions; 0 if few."""
    moved = [point for point in points if point.months]
    if len(moved) < _ENOUGH:
        return 0.0
    scores = [np.mean([_score(p.error, *r)[1] for p, r in _ranges(moved, points, step)]) for step in _PER_MONTH]
    return float(_PER_MONTH[int(np.argmin(scores))])


def other_versions(points: Sequence[Point]) -> list[OtherVersions]:
    """Return how points of other versions are held, by engine and source, with what the other sources teach."""
    moved: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        if point.months:
            moved.setdefault((point.engine, point.source), []).append(point)
    rows = []
    for (engine, source), group in sorted(moved.items()):
        others = [point for point in points if point.source != source]
        learned = per_month(others)
        plain, widened = (
            float(np.mean([_score(point.error, *interval)[0] for point, interval in _ranges(group, others, step)]))
            for step in (0.0, learned)
        )
        months = [point.months for point in group]
        error = float(np.median([point.error for point in group]))
        rows.append(
            OtherVersions(
                engine=engine,
                source=source,
                months=(min(months), max(months)),
                points=len(group),
                error=error,
                plain_held=plain,
                held=widened,
                per_month=learned,
            )
        )
    return rows


def _ranges(points: Sequence[Point], others: Sequence[Point], step: float) -> list[tuple[Point, tuple[float, float]]]:
    """Return each point with its interval from others, widened by a step for each month between versions."""
    intervals: dict[tuple[str, ...], tuple[float, float]] = {}
    found = []
    for point in points:
        group = point.corrected, point.hardware, point.engine
        low, high = intervals[group] = intervals.get(group) or _specific(others, point)
        wider = step * point.months
        found.append((point, (low + min(wider, 0.0), high + max(wider, 0.0))))
    return found


def _specific(others: Sequence[Point], point: Point) -> tuple[float, float]:
    """Return the interval of the most specific group with enough points, the less of its own the fewer it has."""
    alike = [other for other in others if other.corrected == point.corrected]
    of_engine = [other for other in alike if other.engine == point.engine]
    here = [other for other in of_engine if other.hardware == point.hardware]
    groups = [[other.error for other in group] for group in (here, of_engine, alike, others)]
    errors = next((group for group in groups if len(group) >= _ENOUGH), groups[-1])
    return drawn_together(log_range(errors, SOURCE_SPREAD), len(errors), log_range(groups[-1], 0.0))


def _score(error: float, low: float, high: float) -> tuple[float, float]:
    beyond = max(low - error, 0.0) + max(error - high, 0.0)
    return float(low <= error <= high), high - low + 2 / _OUTSIDE * beyond
