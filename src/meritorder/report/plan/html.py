"""A plan as one self-contained HTML file."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import altair as alt

from meritorder.records.planfile import Plan
from meritorder.report.figures import PRICING, THEMED, pricing_kind, waterfall
from meritorder.report.page import fill, waterfall_view
from meritorder.report.plan import figures, judged, rows
from meritorder.report.wording import MISSING, or_missing, pricing_title, usd_cells
from meritorder.units import format_duration, format_share, format_usd

_TEMPLATE: Final = "plan.html.j2"
_PRICING_TITLES: Final = {
    "owned": "Owned",
    "committed": "Reserved or committed",
    "block": "Capacity block",
    "savings": "Savings plan",
    "on_demand": "On demand",
    "spot": "Spot",
    "tokens": "Tokens",
}
_TREND: Final = (168.0, 24.0)


def render(plan: Plan) -> str:
    """Return the page; all user text is escaped."""
    fall = rows.waterfall(plan)
    return fill(
        _TEMPLATE,
        _charts(plan),
        plan=plan,
        schema=plan.schema,
        **summary(plan),
        deferrable=rows.deferrable(plan),
        reduced_backfill=rows.reduced_backfill(plan),
        fall=waterfall_view(fall) if fall else None,
        paid_key=_key(plan.dispatch.paid_gpus if plan.dispatch else {}),
        cost_key=_key(plan.by_pricing_model),
        merit_key=_key(step.pricing_model for step in plan.merit_order),
        steps=_steps(plan),
        cost=rows.cost(plan),
        bounds=rows.bounds(plan),
        facts=rows.facts(plan, plan.simulated) if plan.simulated else [],
        verdict=rows.verdict(plan, plan.simulated) if plan.simulated else "",
        coming=judged.coming(plan),
        coming_headings=judged.COMING_HEADINGS,
        coming_notes=judged.coming_notes(plan),
        days=judged.days(plan),
        day_headings=judged.DAY_HEADINGS,
        day_notes=judged.day_notes(plan),
        credited=judged.credited(plan),
        policy=judged.policy(plan),
        backtests=judged.backtests(plan),
        advice=judged.ADVICE,
        certainty=rows.certainty(plan),
        promises=_promises(plan),
    )


def summary(plan: Plan) -> dict[str, Any]:
    """Return the first part of the page: the answer, what to rent, and what to commit to."""
    return {
        "sentence": plan.sentence or f"This plan costs {format_usd(plan.total_usd)}.",
        "models": rows.models(plan),
        "span": rows.span(plan),
        "lasts": format_duration(plan.slots * plan.slot_s),
        "headline": _headline(plan),
        "rentals": [(row, step_path(row.trend, width=_TREND[0], height=_TREND[1])) for row in rows.rentals(plan)],
        "trend": _TREND,
        "bought": rows.bought_tokens(plan),
        "commitments": rows.commitments(plan),
        "missing": MISSING,
        "kind": pricing_kind,
    }


def _charts(plan: Plan) -> dict[str, alt.LayerChart]:
    charts = {}
    if plan.dispatch and plan.dispatch.realtime_gpus:
        charts["paid"] = figures.paid(plan, plan.dispatch, THEMED)
        charts["work"] = figures.work(plan, plan.dispatch, THEMED)
    if plan.merit_order:
        charts["merit-order"] = figures.merit_order(plan, THEMED)
    if plan.by_pricing_model:
        charts["bounds"] = figures.bounds(plan, THEMED)
    if fall := rows.waterfall(plan):
        charts["waterfall"] = waterfall(fall, THEMED)
    return charts


def _key(pricing_models: Iterable[str]) -> list[tuple[str, str]]:
    """Return the pricing kinds of a figure with their titles, in stacking order."""
    shown = {pricing_kind(model) for model in pricing_models}
    return [(kind, _PRICING_TITLES[kind]) for kind in PRICING if kind in shown]


def _headline(plan: Plan) -> list[tuple[str, str, str]]:
    """Return the headline figures: title, figure, note."""
    span = format_duration(plan.slots * plan.slot_s)
    outcome = plan.simulated
    items = [("Cost", format_usd(plan.total_usd), f"for {span}, {'as simulated' if outcome else 'as planned'}")]
    if plan.saving_share is not None and plan.saving_usd is not None:
        against = f"{format_usd(plan.saving_usd)} against real time"
        items.append(("Saved", format_share(plan.saving_share), against))
    note = f"no plan of this program costs less than {format_usd(plan.bound_usd)}"
    items.append(("Above the proven bound", format_share(plan.gap, 1), note))
    if outcome:
        kept = or_missing(outcome.slo_attainment, lambda share: format_share(share, 2))
        missed = f"{outcome.deadlines_missed:,}" if outcome.deadlines_missed else "no"
        items.append(("SLO kept", kept, f"{missed} deadline{'' if outcome.deadlines_missed == 1 else 's'} missed"))
    return items


def _steps(plan: Plan) -> list[dict[str, str]]:
    """Return the merit order as the rows of a table."""
    steps = figures.in_order(plan.merit_order)
    prices = usd_cells([step.usd_per_mtok for step in steps])
    return [
        {
            "rank": str(rank),
            "venue": step.venue,
            "kind": pricing_kind(step.pricing_model),
            "pricing": pricing_title(step.pricing_model),
            "price": price,
            "capacity": f"{step.capacity_mtok:,.0f}",
            "used": format_share(step.used_share),
        }
        for rank, (step, price) in enumerate(zip(steps, prices, strict=True), start=1)
    ]


def _promises(plan: Plan) -> list[tuple[str, str]]:
    """Return what was planned: models, time, trace and promises."""
    items = [("Models", rows.models(plan)), ("Planned", rows.span(plan))]
    if plan.simulated:
        items.append(("Trace", plan.simulated.trace))
    promises = plan.promises
    if promises:
        slo = promises.slo
        limits = f"TTFT {format_duration(slo.ttft_s)}, TPOT {format_duration(slo.tpot_s)}"
        declared = [f"{workload.name} {workload.deadline}" for workload in promises.workloads if workload.deadline]
        items += [
            ("Real time", f"{limits}, for {format_share(slo.attainment, 1)} of requests"),
            ("Deferrable", ", ".join([*promises.defer, *declared])),
            ("Restricted to", "; ".join(rows.access(plan))),
            ("Scale", f"{promises.scale:g}\N{MULTIPLICATION SIGN}" if promises.scale != 1 else ""),
        ]
    items.append(("Solved in", format_duration(plan.solve_s)))
    return [(name, text) for name, text in items if text]


def step_path(values: Sequence[float], *, width: float, height: float) -> str:
    """Return the SVG path of the area under values, one step per value, scaled from zero to their maximum."""
    maximum = max(values, default=0) or 1
    path = [f"M0 {height:g}"]
    before: float | None = None
    for index, value in enumerate(values):
        if value != before:
            path.append(f"H{index * width / len(values):.4g}V{height * (1 - value / maximum):.4g}")
            before = value
    return " ".join([*path, f"H{width:g}V{height:g}Z"])
