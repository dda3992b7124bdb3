"""A sweep as a table in a terminal, and as a Parquet file."""

import io
from collections.abc import Sequence
from typing import Any, Final

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table

from meritorder.records.comparison import TITLES
from meritorder.report.wording import MISSING, capitalize, spaced
from meritorder.units import format_duration, format_share, format_usd

MAX_ROWS: Final = 60
FIGURES: Final = ("total", "per 1,000 requests", "utilization", "TTFT p99", "E2E p50", "SLO met")
LATENCY: Final = "e2e_p50_s"


def to_parquet(points: pl.DataFrame) -> bytes:
    """Return the table as a Parquet file."""
    buffer = io.BytesIO()
    points.write_parquet(buffer)
    return buffer.getvalue()


def render(points: pl.DataFrame, axes: Sequence[str], console: Console) -> None:
    """Print the points, feasible ones first, cheapest first."""
    table = Table(box=box.SIMPLE, header_style="bold", pad_edge=False)
    for name in headings(axes):
        table.add_column(name, justify="right" if name in FIGURES else "left")
    ordered = cheapest_first(points)
    for row in ordered.head(MAX_ROWS).iter_rows(named=True):
        table.add_row(*cells(row, axes), style="" if row["keeps_promise"] else "dim")
    console.print(table)
    if ordered.height > MAX_ROWS:
        console.print(f"and {ordered.height - MAX_ROWS:,} more rows in the table")
    for text in unanswered(points, axes):
        console.print(text, style="yellow", markup=False)


def headings(axes: Sequence[str]) -> list[str]:
    """Return the headings of the table."""
    return [*(spaced(name) for name in (*axes, "arrangement")), *FIGURES]


def cheapest_first(points: pl.DataFrame) -> pl.DataFrame:
    """Return the points that have an answer, those that keep every SLO and deadline first, then by cost."""
    answered = points.filter(pl.col("arrangement").is_not_null())
    return answered.sort("keeps_promise", "usd_per_request", descending=[True, False])


def unanswered(points: pl.DataFrame, axes: Sequence[str]) -> list[str]:
    """Return why some points have no answer."""
    rows = points.filter(pl.col("error") != "").iter_rows(named=True)
    return [f"no answer at {', '.join(f'{name}={row[name]}' for name in axes)}: {row['error']}" for row in rows]


def title(row: dict[str, Any]) -> str:
    """Return the title of the arrangement of a row."""
    name: str = row["arrangement"]
    tier = name.removeprefix("api_")
    return TITLES.get(name) or (capitalize(spaced(name)) if tier == name else f"Token API, {spaced(tier)}")


def cells(row: dict[str, Any], axes: Sequence[str]) -> list[str]:
    """Return a row of the table."""

    def shown(name: str, form: Any) -> str:  # noqa: ANN401 - any formatter
        return MISSING if row[name] is None else form(row[name])

    return [
        *(str(row[name]) for name in axes),
        title(row),
        shown("total_usd", format_usd),
        format_usd(1000 * row["usd_per_request"]),
        shown("utilization", format_share),
        shown("ttft_p99_s", format_duration),
        shown(LATENCY, format_duration),
        shown("slo_attainment", format_share),
    ]


def frontier(points: pl.DataFrame) -> pl.DataFrame:
    """Return the Pareto frontier of cost and latency over the feasible rows, fastest first."""
    feasible = points.filter(pl.col("keeps_promise") & pl.col(LATENCY).is_not_null()).sort(LATENCY, "usd_per_request")
    cheapest_before = feasible["usd_per_request"].cum_min().shift(1)
    return feasible.filter(cheapest_before.is_null() | (feasible["usd_per_request"] < cheapest_before))
