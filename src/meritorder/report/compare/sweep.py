"""A sweep as a table, a Parquet file, and a figure of cost against latency with its Pareto frontier."""

import io
from collections.abc import Sequence
from typing import Any, Final

import altair as alt
import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table

from meritorder.report.wording import MISSING
from meritorder.units import format_duration, format_share, format_usd

_MAX_ROWS: Final = 60
_LATENCY: Final = "e2e_p50_s"


def to_parquet(points: pl.DataFrame) -> bytes:
    """Return the table as a Parquet file."""
    buffer = io.BytesIO()
    points.write_parquet(buffer)
    return buffer.getvalue()


def render(points: pl.DataFrame, axes: Sequence[str], console: Console) -> None:
    """Print the points, feasible ones first, cheapest first."""
    answered = points.filter(pl.col("arrangement").is_not_null())
    table = Table(box=box.SIMPLE, header_style="bold", pad_edge=False)
    for name in (*axes, "arrangement"):
        table.add_column(name.replace("_", " "))
    for name in ("total", "per 1,000 requests", "utilization", "TTFT p99", "E2E p50", "SLO met"):
        table.add_column(name, justify="right")
    ordered = answered.sort("keeps_promise", "usd_per_request", descending=[True, False])
    for row in ordered.head(_MAX_ROWS).iter_rows(named=True):
        table.add_row(*(str(row[name]) for name in axes), *_cells(row), style="" if row["keeps_promise"] else "dim")
    console.print(table)
    if ordered.height > _MAX_ROWS:
        console.print(f"and {ordered.height - _MAX_ROWS:,} more rows in the table")
    for row in points.filter(pl.col("error") != "").iter_rows(named=True):
        point = ", ".join(f"{name}={row[name]}" for name in axes)
        console.print(f"no answer at {point}: {row['error']}", style="yellow", markup=False)


def _cells(row: dict[str, Any]) -> list[str]:
    def shown(name: str, form: Any) -> str:  # noqa: ANN401 - any formatter
        return MISSING if row[name] is None else form(row[name])

    return [
        str(row["arrangement"]).replace("_", " "),
        shown("total_usd", format_usd),
        format_usd(1000 * row["usd_per_request"]),
        shown("utilization", format_share),
        shown("ttft_p99_s", format_duration),
        shown(_LATENCY, format_duration),
        shown("slo_attainment", format_share),
    ]


def frontier(points: pl.DataFrame) -> pl.DataFrame:
    """Return the Pareto frontier of cost and latency over the feasible rows, fastest first."""
    feasible = points.filter(pl.col("keeps_promise") & pl.col(_LATENCY).is_not_null()).sort(_LATENCY, "usd_per_request")
    cheapest_before = feasible["usd_per_request"].cum_min().shift(1)
    return feasible.filter(cheapest_before.is_null() | (feasible["usd_per_request"] < cheapest_before))


def figure(points: pl.DataFrame, axes: Sequence[str]) -> alt.LayerChart | alt.FacetChart:
    """Draw cost against latency, a mark for each simulated arrangement and a line for the Pareto frontier."""
    shown = points.filter(pl.col(_LATENCY).is_not_null())
    x = alt.X(f"{_LATENCY}:Q", scale=alt.Scale(type="log"), title="E2E latency, median (s)")
    y = alt.Y("usd_per_request:Q", scale=alt.Scale(type="log"), title="USD per request")
    marks = (
        alt.Chart(shown)
        .mark_point(filled=True, size=60)
        .encode(
            x=x,
            y=y,
            color=alt.Color("arrangement:N", title=None),
            opacity=alt.condition("datum.keeps_promise", alt.value(0.9), alt.value(0.2)),
            tooltip=[f"{name}:N" for name in (*axes, "arrangement", "usd_per_request", _LATENCY, "slo_attainment")],
        )
    )
    line = (
        alt.Chart(frontier(points))
        .mark_line(interpolate="step-after", color="#555555", strokeDash=[4, 3])
        .encode(x=x, y=y)
    )
    title = "Cost against latency; the line is the Pareto frontier"
    return alt.layer(line, marks, width=720, height=420, title=title)


def to_html(points: pl.DataFrame, axes: Sequence[str]) -> str:
    """Return the figure as one HTML file that works offline."""
    page: str = figure(points, axes).to_html(inline=True, fullhtml=True)
    return page
