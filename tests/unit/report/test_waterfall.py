from itertools import pairwise

import pytest
from tests.samples.comparison import week

from meritorder.records.comparison import Waterfall, WaterfallPart
from meritorder.report.waterfall import bars, walk, waterfall_cells, waterfall_title


@pytest.mark.parametrize("fall", week().waterfall)
def test_waterfall_adds_up(fall: Waterfall) -> None:
    walked = walk(fall)
    assert walked[-2].to_usd == pytest.approx(fall.to_usd, abs=0.005)
    assert all(later.from_usd == earlier.to_usd for earlier, later in pairwise(walked[:-1]))
    written = [float(cell.translate({0x2212: "-", 0x24: None, 0x2C: None})) for cell in waterfall_cells(fall)]
    assert sum(written[:-1]) == pytest.approx(written[-1], abs=len(written) / 2)


def test_bars_continue_and_stay_visible() -> None:
    def part(usd: float) -> WaterfallPart:
        return WaterfallPart(name="p", title="p", usd=usd, why="")

    fall = Waterfall(start="a", end="b", from_usd=100.0, to_usd=50.05, parts=[part(-50.0), part(0.05)])
    first, saving, extra, last = (bar.text for bar in bars(fall, 20))
    assert first == "█" * 20
    assert saving == " " * 10 + "▒" * 10
    assert extra.strip() == "▓"
    assert last == "█" * 10 + " " * 10


def test_zero_part_has_no_sign() -> None:
    parts = [WaterfallPart(name="p", title="p", usd=usd, why="") for usd in (-50.0, 1e-9, -1e-9, 0.0)]
    fall = Waterfall(start="a", end="b", from_usd=100.0, to_usd=50.0, parts=parts)
    first, saving, *zeros, last = waterfall_cells(fall)
    assert saving[0] == "\N{MINUS SIGN}"
    assert set(zeros) == {"$0.00"}
    assert (first, last) == ("$100.00", "$50.00")


@pytest.mark.parametrize(("to_usd", "compared"), [(5.0, "less than"), (20.0, "more than"), (10.0, "as much as")])
def test_title_compares_the_totals(to_usd: float, compared: str) -> None:
    fall = Waterfall(start="Batch", end="Mix", from_usd=10.0, to_usd=to_usd, parts=[])
    assert waterfall_title(fall) == f"Why mix costs {compared} batch"
