"""Intervals of points whose truth is known."""

import numpy as np
import pytest
from bench.validate import published
from bench.validate.published import Point, coverage


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "SOURCE_SPREAD", 0.0)


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
    monkeypatch.setattr(published, "SOURCE_SPREAD", 1.0)
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
