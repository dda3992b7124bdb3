"""A sweep in a terminal."""

import io

import polars as pl
from rich.console import Console

from meritorder.report.compare import sweep as report


def test_feasible_points_come_first() -> None:
    figures = {"utilization": None, "ttft_p99_s": 1.0, "e2e_p50_s": 2.0, "slo_attainment": 1.0, "error": ""}
    rows = [
        {"tp": "1", "arrangement": "batch", "keeps_promise": False, "total_usd": 1.0, "usd_per_request": 0.001},
        {"tp": "2", "arrangement": "mix", "keeps_promise": True, "total_usd": 9.0, "usd_per_request": 0.009},
    ]
    file = io.StringIO()
    report.render(pl.DataFrame([row | figures for row in rows]), ["tp"], Console(file=file, width=120))
    text = file.getvalue()
    assert text.index("Mix") < text.index("Batch")
    assert "$9.00" in text
