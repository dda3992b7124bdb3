"""A sweep as a page: its answer, its Pareto frontier, its table."""

import json
import re
from typing import Any

import polars as pl

from meritorder.report.compare import sweep_html

HOSTILE = "</script><script>alert(1)</script>"
FIGURES = {"utilization": None, "ttft_p99_s": 1.0, "slo_attainment": 1.0, "error": ""}


def _table(*points: tuple[str, bool, float, float]) -> pl.DataFrame:
    rows = [
        {"tp": HOSTILE, "arrangement": name, "keeps_promise": kept, "e2e_p50_s": e2e_s, "usd_per_request": usd / 1000}
        for name, kept, e2e_s, usd in points
    ]
    return pl.DataFrame([row | FIGURES | {"total_usd": 1.0} for row in rows])


def _frontier(page: str) -> list[tuple[float, float]]:
    charts: dict[str, Any] = json.loads(re.findall(r'id="charts">(.*?)</script>', page, re.DOTALL)[0])
    chart = charts["frontier"]
    return [(row["e2e"], row["usd"]) for row in chart["datasets"][chart["layer"][0]["data"]["name"]]]


def test_frontier_is_pareto_optimal() -> None:
    page = sweep_html.render(
        _table(
            ("a", True, 1.0, 9.0),
            ("b", True, 2.0, 5.0),
            ("c", True, 3.0, 6.0),
            ("d", True, 4.0, 1.0),
            ("e", False, 0.1, 0.1),
        ),
        ["tp"],
    )
    assert _frontier(page) == [(1.0, 9.0), (2.0, 5.0), (4.0, 1.0)]


def test_page_opens_with_the_cheapest_kept() -> None:
    page = sweep_html.render(_table(("batch", False, 9.0, 1.0), ("realtime_fixed", True, 1.0, 3.5)), ["tp"])
    heading = re.findall(r"<h1>(.*?)</h1>", page)[0]
    assert heading.startswith("Real time, always on with tp ")
    assert "$3.50 per 1,000 requests" in heading
    assert HOSTILE not in page


def test_tokens_promise_no_latency() -> None:
    """The cheapest way is no fleet: it is said apart, and has no point in the figure."""
    table = _table(("batch", True, 9.0, 2.0), ("api_standard", True, 0.0, 1.0))
    page = sweep_html.render(table.with_columns(e2e_p50_s=pl.col("e2e_p50_s").replace(0.0, None)), ["tp"])
    assert "<h1>Batch with tp " in page
    assert "as tokens, whose latency nobody promises, it costs $1.00 per 1,000 requests." in page
    assert "Token API, standard" in page
    assert _frontier(page) == [(9.0, 2.0)]


def test_page_says_that_nothing_is_kept() -> None:
    page = sweep_html.render(_table(("batch", False, 9.0, 1.0)), ["tp"])
    assert "<h1>No combination keeps every SLO and deadline.</h1>" in page


def test_page_names_points_without_answer() -> None:
    empty = {"arrangement": None, "keeps_promise": None, "e2e_p50_s": None, "usd_per_request": None, "total_usd": None}
    failed = pl.DataFrame([{"tp": "3", **empty, **FIGURES, "error": "it does not fit"}])
    assert "no answer at tp=3: it does not fit" in sweep_html.render(failed, ["tp"])
