"""Where the marks of the figures stand."""

import pytest

from meritorder.records.comparison import Waterfall, WaterfallPart
from meritorder.records.estimation import PatiencePoint
from meritorder.web.figures import HEIGHT, WIDTH, patience_curves, waterfall_bars


def _fall(*parts: float) -> Waterfall:
    return Waterfall(
        start="Real time",
        end="Batch",
        from_usd=100.0,
        to_usd=100.0 + sum(parts),
        parts=[WaterfallPart(name=str(number), title="T", usd=usd, why="w") for number, usd in enumerate(parts)],
    )


def test_bars_continue_where_the_last_one_ended() -> None:
    bars = waterfall_bars(_fall(-60.0, 10.0, 0.0))
    assert [bar.left for bar in bars] == pytest.approx([0, 40, 40, 50, 0])
    assert [bar.width for bar in bars] == pytest.approx([100, 60, 10, 0, 50])
    assert [bar.kind for bar in bars] == ["total", "saving", "extra", "extra", "total"]


def test_small_parts_stay_visible() -> None:
    assert waterfall_bars(_fall(-0.001))[1].width == 0.5


def test_no_bar_leaves_the_page() -> None:
    for bar in waterfall_bars(_fall(50.0, -120.0)):
        assert 0 <= bar.left <= bar.left + bar.width <= 100 + 1e-9


def _points(*amounts: tuple[float | None, float | None]) -> list[PatiencePoint]:
    return [
        PatiencePoint(share=0.3, patience_s=3600.0 * number, machines_usd=machines, tokens_usd=tokens)
        for number, (machines, tokens) in enumerate(amounts)
    ]


def test_curves_share_one_scale_from_zero() -> None:
    machines, tokens = patience_curves(_points((200.0, 100.0), (100.0, 0.0)))
    top, middle, bottom = machines.points[0].y, machines.points[1].y, tokens.points[1].y
    assert top < middle < bottom
    assert middle - top == pytest.approx(bottom - middle)
    assert tokens.points[0].y == middle
    assert all(0 <= point.x <= WIDTH and 0 <= point.y <= HEIGHT for point in (*machines.points, *tokens.points))


def test_way_without_amounts_has_no_curve() -> None:
    assert [curve.title for curve in patience_curves(_points((None, 5.0), (None, 4.0)))] == ["tokens"]
    assert patience_curves([]) == []
