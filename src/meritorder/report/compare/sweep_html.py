"""A sweep as one HTML file: the cheapest combination, cost against latency, and the table."""

from collections.abc import Sequence
from typing import Any, Final

import polars as pl

from meritorder.report.compare import sweep
from meritorder.report.compare.figures import cost_against_latency
from meritorder.report.figures import THEMED, Rows
from meritorder.report.page import fill
from meritorder.report.wording import spaced
from meritorder.units import format_count, format_duration, format_usd

_TEMPLATE: Final = "sweep.html.j2"
_SCHEMA: Final = "meritorder.sweep/1"
_UNIT: Final = "per 1,000 requests"
_COLORS: Final = ("realtime", "on_demand", "deferrable", "spot", "tokens", "committed", "block", "startup")
"""The colors of arrangements, in the order in which they come."""


def render(points: pl.DataFrame, axes: Sequence[str]) -> str:
    """Return the page; all text is escaped."""
    ordered = sweep.cheapest_first(points)
    rows = _rows(ordered, axes)
    tooltips = {**{name: spaced(name) for name in axes}, "title": "arrangement", "price": _UNIT, "time": "E2E p50"}
    kinds = {row["kind"]: row["title"] for row in rows}
    charts = {"frontier": cost_against_latency(rows, _UNIT, tooltips, THEMED, tuple(kinds))[0]} if rows else {}
    shown = ordered.head(sweep.MAX_ROWS).iter_rows(named=True)
    return fill(
        _TEMPLATE,
        charts,
        schema=_SCHEMA,
        asked=f"{format_count(points.select(axes).unique().height, 'combination')} of {', '.join(map(spaced, axes))}",
        sentence=_sentence(ordered, axes),
        kinds=kinds.items(),
        headings=sweep.headings(axes),
        figures=sweep.FIGURES,
        table=[(row["keeps_promise"], sweep.cells(row, axes)) for row in shown],
        rest=max(0, ordered.height - sweep.MAX_ROWS),
        warned=sweep.unanswered(points, axes),
    )


def _rows(ordered: pl.DataFrame, axes: Sequence[str]) -> Rows:
    """Return a row for each simulated arrangement."""
    names = ordered["arrangement"].unique().sort().to_list()
    return [
        {
            **{name: row[name] for name in axes},
            "title": sweep.title(row),
            "kind": _COLORS[names.index(row["arrangement"]) % len(_COLORS)],
            "e2e": row[sweep.LATENCY],
            "usd": 1000 * row["usd_per_request"],
            "price": format_usd(1000 * row["usd_per_request"]),
            "time": format_duration(row[sweep.LATENCY]),
            "promise": "met" if row["keeps_promise"] else "missed",
        }
        for row in ordered.iter_rows(named=True)
        if row[sweep.LATENCY]
    ]


def _sentence(ordered: pl.DataFrame, axes: Sequence[str]) -> str:
    """Return the cheapest fleet that keeps every SLO and deadline, and the cheapest tokens."""
    kept = [row for row in ordered.iter_rows(named=True) if row["keeps_promise"]]
    fleet = next((row for row in kept if row[sweep.LATENCY]), None)
    tokens = next((row for row in kept if not row[sweep.LATENCY]), None)
    text = "No combination keeps every SLO and deadline."
    if fleet is not None:
        values = ", ".join(f"{spaced(name)} {fleet[name]}" for name in axes)
        which = f"{sweep.title(fleet)} with {values}"
        text = f"{which} is the cheapest fleet that keeps every SLO and deadline: {_usd(fleet)}."
    if tokens is not None:
        text += f" Bought as tokens, whose latency nobody promises, it costs {_usd(tokens)}."
    return text


def _usd(row: dict[str, Any]) -> str:
    return f"{format_usd(1000 * row['usd_per_request'])} {_UNIT}"
