"""Intervals of points whose truth is known."""

import numpy as np
import polars as pl
import pytest
from bench.validate import intervals
from bench.validate.errors import Silicon, all_points
from bench.validate.intervals import Point, coverage, other_versions, per_month
from bench.validate.published import Published


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "SOURCE_SPREAD", 0.0)


def points(source: str, center: float, spread: float, corrected: str = "model", count: int = 400) -> list[Point]:
    generator = np.random.default_rng(len(source))
    return [Point(source, corrected, "h100", "vllm", float(e)) for e in generator.normal(center, spread, count)]


def test_like_sources_are_held_as_stated() -> None:
    rows = coverage([*points("a", 0.0, 0.1), *points("bb", 0.0, 0.1), *points("ccc", 0.0, 0.1)])
    assert [row.source for row in rows] == ["a", "bb", "ccc", "all"]
    assert rows[-1].points == 1200
    assert rows[-1].held == pytest.approx(0.8, abs=0.04)
    # An interval of the normal distribution that holds 80 %: 2.56 deviations wide, and about 1.0 for what lies beyond.
    assert rows[-1].score == pytest.approx(0.35, abs=0.03)


def test_sources_that_differ_widen_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [*points("a", -0.3, 0.01), *points("bb", 0.3, 0.01)]
    assert coverage(found)[-1].held == 0.0
    monkeypatch.setattr(intervals, "SOURCE_SPREAD", 1.0)
    assert coverage(found)[-1].held == 1.0


def test_specific_groups_score_better() -> None:
    """Two kinds of corrections with errors of their own: one constant interval must span both."""
    found = [
        point
        for source in ("a", "b")
        for center, corrected in ((-0.5, "model"), (0.5, "host"))
        for point in points(source, center, 0.05, corrected)
    ]
    pooled = coverage(found)[-1]
    assert pooled.held >= 0.75
    assert pooled.score < pooled.constant_score / 2


def moved(source: str, months: float, error: float, count: int = 20) -> list[Point]:
    return [Point(source, "model", "h100", "vllm", error, months) for _ in range(count)]


def test_widening_for_a_month_is_learned() -> None:
    """Engines that are about 0.09 slower a month, beside a range of a seventh of that."""
    found = [*points("a", 0.0, 0.01), *moved("b", 4, 0.35), *moved("c", 2, 0.18), *moved("d", -1, -0.09)]
    assert per_month(found) == pytest.approx(0.085, abs=0.005)
    rows = other_versions(found)
    assert [(row.source, row.months, row.plain_held, row.held) for row in rows] == [
        ("b", (4, 4), 0.0, 1.0),
        ("c", (2, 2), 0.0, 1.0),
        ("d", (-1, -1), 0.0, 1.0),
    ]


def test_few_points_of_other_versions_widen_nothing() -> None:
    assert per_month([*points("a", 0.0, 0.01), *moved("b", 4, 0.4, count=3)]) == 0.0


def test_too_fast_counts_as_more_time_measured() -> None:
    """Half as much throughput measured as simulated is twice the time."""
    fast = Published(
        source="a", label="", engine="vllm", hardware="h100", lengths="", measured=50.0, simulated=100.0, as_named=100.0
    )
    nothing = np.zeros((0, 2))
    rows = Silicon(
        judged=[],
        raw=nothing,
        engine=nothing,
        model=nothing,
        missing=pl.DataFrame(),
        total=0,
        distinct=0,
        corrections=[],
    )
    (point,) = all_points(rows, [], [fast])
    assert point.error == pytest.approx(np.log(2))
