"""Pages: self-contained, and strict about what a template uses."""

import jinja2
import pytest

from meritorder.records.comparison import Waterfall, WaterfallPart
from meritorder.report.page import fill, waterfall_view


def test_missing_variable_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        fill("compare.html.j2", {})


def test_waterfall_shows_parts_between_totals() -> None:
    part = WaterfallPart(name="p", title="Part", usd=-25.0, why="because")
    view = waterfall_view(Waterfall(start="Real time", end="Batch", from_usd=100.0, to_usd=75.0, parts=[part]))
    assert view["title"] == "Why batch costs less than real time"
    assert view["explained"]
    assert view["parts"] == [(part, "\N{MINUS SIGN}$25.00")]
