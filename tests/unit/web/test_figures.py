"""Where the marks of the figures stand."""

import pytest

from meritorder.records.comparison import Waterfall, WaterfallPart
from meritorder.records.estimation import PatiencePoint
from meritorder.web.figures import PLOT_HEIGHT, patience_chart, time_chart, waterfall_bars


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
    chart = patience_chart(_points((200.0, 100.0), (100.0, 0.0)))
    machines, tokens = chart.curves
    assert chart.levels == [(0.0, "$200.00"), (PLOT_HEIGHT / 2, "$100.00"), (PLOT_HEIGHT, "$0")]
    assert [point.y for point in machines.points] == [0.0, PLOT_HEIGHT / 2]
    assert [point.y for point in tokens.points] == [PLOT_HEIGHT / 2, PLOT_HEIGHT]
    assert [point.x for point in tokens.points] == [0.0, 100.0]


@pytest.mark.parametrize(
    ("highest", "top"), [(0.0, "1"), (1.0, "1"), (7.0, "8"), (9.0, "10"), (101.0, "200"), (0.00021, "0.0003")]
)
def test_scale_ends_at_round_number(highest: float, top: str) -> None:
    chart = time_chart("n", "t", [0.0, 61.0], [("realtime", "x", [0.0, highest])], "{:g}".format)
    assert chart.levels[0][1] == top
    assert all(0 <= point.y <= PLOT_HEIGHT for point in chart.curves[0].points)


@pytest.mark.parametrize(("span_s", "text"), [(4.24, "4 s ago"), (118.9, "119 s ago"), (863.0, "14 min ago")])
def test_span_is_rounded_to_its_unit(span_s: float, text: str) -> None:
    assert time_chart("n", "t", [5.0, 5.0 + span_s], [], "{:g}".format).ticks[0] == (0.0, text)


def test_way_without_amounts_has_no_curve() -> None:
    assert [curve.title for curve in patience_chart(_points((None, 5.0), (None, 4.0))).curves] == ["tokens"]
    assert patience_chart([]).curves == []
