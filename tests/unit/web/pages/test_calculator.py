"""The calculator: every amount on the page is one of a month."""

import pytest
from tests.samples.comparison import week

from meritorder.records.estimation import Estimate, TrafficSummary, Way
from meritorder.report.compare.rows import waterfalls
from meritorder.web.pages import calculator


def test_waterfalls_are_of_a_month() -> None:
    comparison, days = week(), 4.5
    ways = [
        Way(name=way.name, title=way.title, where="", usd=way.total_usd * days, usd_per_request=1.0)
        for way in comparison.arrangements
    ]
    traffic = TrafficSummary(requests=1.0, requests_per_day=1.0, input_tokens=1.0, output_tokens=1.0)
    estimate = Estimate(
        model="m", period="month", traffic=traffic, sentence="s", ways=ways, best=ways[0].name, comparison=comparison
    )
    of_week = waterfalls(comparison)
    bars = [bars for _, bars in calculator.view(estimate)["waterfalls"]]  # type: ignore[attr-defined]
    usd = {way.title: way.usd for way in ways}
    assert len(bars) == len(of_week) > 0
    for fall, drawn in zip(of_week, bars, strict=True):
        assert [float(bar.amount.strip("$").replace(",", "")) for bar in (drawn[0], drawn[-1])] == pytest.approx(
            [usd[fall.start], usd[fall.end]], rel=0.001
        )
