"""A comparison as one HTML file that works offline."""

from collections import Counter
from typing import Final

import altair as alt

from meritorder.records.comparison import Comparison
from meritorder.report.compare import figures
from meritorder.report.compare.rows import Metric, metrics, per_request, ratio_text, saving_text, served, waterfalls
from meritorder.report.figures import THEMED, waterfall
from meritorder.report.page import fill, waterfall_view
from meritorder.report.wording import MISSING, lane_title, usd_cells
from meritorder.units import utc

_TEMPLATE: Final = "compare.html.j2"
_PAID_GROUPS: Final = {"Cost", "Capacity"}


def render(comparison: Comparison) -> str:
    """Return the page; all text is escaped."""
    return fill(
        _TEMPLATE,
        _charts(comparison),
        answer=comparison,
        served=served(comparison),
        schema=comparison.schema,
        tables=_tables(comparison),
        numbered=figures.numbered(comparison).values(),
        headline=_headline(comparison),
        fleets=[arrangement for arrangement in comparison.arrangements if arrangement.timeline],
        lanes=_lane_rows(comparison),
        falls=[waterfall_view(fall) for fall in waterfalls(comparison)],
        unit=per_request(comparison),
        saving=saving_text(comparison),
        ratio=ratio_text(comparison),
        start=_start(comparison),
    )


def _charts(comparison: Comparison) -> dict[str, alt.LayerChart]:
    charts = {
        f"load-{arrangement.name}": figures.load(comparison, arrangement, THEMED)
        for arrangement in comparison.arrangements
        if arrangement.timeline
    }
    for place, fall in enumerate(waterfalls(comparison)):
        charts[f"waterfall-{place}"] = waterfall(fall, THEMED)
    if any(arrangement.feasible and arrangement.lanes for arrangement in comparison.arrangements):
        charts["lanes"] = figures.lanes(comparison, THEMED)
    if any(arrangement.paid_time for arrangement in comparison.arrangements):
        charts["paid-time"] = figures.paid_time(comparison, THEMED)
    if any(point.e2e_p50_s > 0 for point in comparison.frontier):
        charts["frontier"] = figures.frontier(comparison, THEMED)
    return charts


def _tables(comparison: Comparison) -> list[tuple[str, list[tuple[str, int]], list[Metric]]]:
    """Return two tables that fit a page: the title of each, its groups with their sizes, and its columns."""
    columns = metrics(comparison)
    paid = [column for column in columns if column.group in _PAID_GROUPS]
    kept = [column for column in columns if column.group not in _PAID_GROUPS]
    return [
        (title, list(Counter(column.group for column in shown).items()), shown)
        for title, shown in (("Cost and capacity", paid), ("Latency, SLO and deadlines", kept))
    ]


def _headline(comparison: Comparison) -> list[dict[str, str]]:
    """Return the cost of a request in the baseline, in batch and in the best arrangement."""
    names = dict.fromkeys((comparison.baseline, "batch", comparison.best))
    shown = [arrangement for name in names for arrangement in comparison.arrangements if arrangement.name == name]
    count = per_request(comparison).count
    cells = usd_cells([arrangement.usd_per_request * count for arrangement in shown])
    return [
        {"title": arrangement.title, "usd": usd, "mark": _mark(comparison, arrangement.name)}
        for arrangement, usd in zip(shown, cells, strict=True)
    ]


def _mark(comparison: Comparison, name: str) -> str:
    if name == comparison.best:
        return "cheapest that meets every SLO and deadline"
    if name == comparison.baseline:
        return "baseline"
    return (
        ""
        if next(arrangement.feasible for arrangement in comparison.arrangements if arrangement.name == name)
        else "misses an SLO or deadline"
    )


def _lane_rows(comparison: Comparison) -> list[dict[str, str]]:
    rows = [
        (arrangement, lane)
        for arrangement in comparison.arrangements
        if arrangement.feasible
        for lane in arrangement.lanes
    ]
    count = per_request(comparison).count
    totals = usd_cells([lane.total_usd for _, lane in rows])
    charged = usd_cells([lane.usd_per_request and lane.usd_per_request * count for _, lane in rows])
    average = usd_cells([lane.average_usd_per_request and lane.average_usd_per_request * count for _, lane in rows])
    return [
        {
            "title": arrangement.title,
            "lane": lane.lane,
            "name": lane_title(lane.lane),
            "requests": f"{lane.requests:,}",
            "total": totals[row],
            "charged": charged[row],
            "average": average[row],
        }
        for row, (arrangement, lane) in enumerate(rows)
    ]


def _start(comparison: Comparison) -> str:
    start = comparison.trace.start_epoch_s
    return MISSING if start is None else f"{utc(start):%A %d %B %Y %H:%M} UTC"
