"""A plan as one HTML file that opens without a network, today and in ten years."""

from collections.abc import Iterable, Sequence
from typing import Final

import altair as alt

from meritorder.planfile import Plan
from meritorder.report.figures import waterfall
from meritorder.report.page import fill, waterfall_view
from meritorder.report.palette import PRICING, THEMED, pricing_kind
from meritorder.report.plan import figures, rows
from meritorder.report.plan.check import facts, verdict
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
    """Return the whole page; all text of the user's is escaped."""
    fall = rows.waterfall(plan)
    return fill(
        _TEMPLATE,
        _charts(plan),
        plan=plan,
        schema=plan.schema,
        sentence=plan.sentence or f"This plan costs {format_usd(plan.total_usd)}.",
        models=rows.models(plan),
        span=rows.span(plan),
        lasts=format_duration(plan.slots * plan.slot_s),
        headline=_headline(plan),
        rentals=[(one, step_path(one.trend, width=_TREND[0], height=_TREND[1])) for one in rows.rentals(plan)],
        trend=_TREND,
        bought=rows.bought(plan),
        commitments=rows.commitments(plan),
        waiting=rows.waiting(plan),
        beside=rows.beside(plan),
        fall=waterfall_view(fall) if fall else None,
        paid_key=_key(plan.dispatch.paid_gpus if plan.dispatch else {}),
        cost_key=_key(plan.by_pricing_model),
        merit_key=_key(one.pricing_model for one in plan.merit_order),
        steps=_steps(plan),
        cost=rows.cost(plan),
        bounds=rows.bounds(plan),
        facts=facts(plan, plan.simulated) if plan.simulated else [],
        verdict=verdict(plan, plan.simulated) if plan.simulated else "",
        backtests=rows.backtests(plan),
        advice=rows.ADVICE,
        sure=[text for text in (rows.saving(plan), rows.regret(plan), *rows.spot(plan), *plan.performance) if text],
        promises=_promises(plan),
        missing=MISSING,
        kind=pricing_kind,
    )


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
    """Return the kinds that a figure shows, with their titles, in the order in which they are stacked."""
    shown = {pricing_kind(model) for model in pricing_models}
    return [(kind, _PRICING_TITLES[kind]) for kind in PRICING if kind in shown]


def _headline(plan: Plan) -> list[tuple[str, str, str]]:
    """Return the numbers that stand large: title, figure, and what it is."""
    lasts = format_duration(plan.slots * plan.slot_s)
    checked = plan.simulated
    told = [("Cost", format_usd(plan.total_usd), f"for {lasts}, {'as simulated' if checked else 'as planned'}")]
    if plan.saving_share is not None and plan.saving_usd is not None:
        against = f"{format_usd(plan.saving_usd)} against real time"
        told.append(("Saved", format_share(plan.saving_share), against))
    told.append(
        (
            "Above the proven bound",
            format_share(plan.gap, 1),
            f"no plan costs less than {format_usd(plan.bound_usd)}",
        )
    )
    if checked:
        kept = or_missing(checked.slo_attainment, lambda share: format_share(share, 2))
        late = f"{checked.deadlines_missed:,}" if checked.deadlines_missed else "no"
        told.append(("SLO kept", kept, f"{late} deadline{'' if checked.deadlines_missed == 1 else 's'} missed"))
    return told


def _steps(plan: Plan) -> list[dict[str, str]]:
    """Return the merit order as the rows of a table."""
    steps = figures.in_order(plan.merit_order)
    prices = usd_cells([one.usd_per_mtok for one in steps])
    return [
        {
            "rank": str(rank),
            "venue": one.venue,
            "kind": pricing_kind(one.pricing_model),
            "pricing": pricing_title(one.pricing_model),
            "price": price,
            "capacity": f"{one.capacity_mtok:,.0f}",
            "used": format_share(one.used_share),
        }
        for rank, (one, price) in enumerate(zip(steps, prices, strict=True), start=1)
    ]


def _promises(plan: Plan) -> list[tuple[str, str]]:
    """Return what was planned for: whose requests, and what they were promised."""
    told = [("Models", rows.models(plan)), ("Planned", rows.span(plan))]
    if plan.simulated:
        told.append(("Trace", plan.simulated.trace))
    promised = plan.promises
    if promised:
        slo = promised.slo
        limits = f"TTFT {format_duration(slo.ttft_s)}, TPOT {format_duration(slo.tpot_s)}"
        told += [
            ("Real time", f"{limits}, for {format_share(slo.attainment, 1)} of requests"),
            (
                "May wait",
                ", ".join(
                    [*promised.defer, *(f"{one.name} {one.deadline}" for one in promised.workloads if one.deadline)]
                ),
            ),
            ("May not run anywhere", "; ".join(rows.limits(plan))),
            ("Scale", f"{promised.scale:g}\N{MULTIPLICATION SIGN}" if promised.scale != 1 else ""),
        ]
    told.append(("Solved in", format_duration(plan.solve_s)))
    return [(name, text) for name, text in told if text]


def step_path(values: Sequence[float], *, width: float, height: float) -> str:
    """Return the area under values as the path of an SVG, one step a value, from zero to their greatest."""
    greatest = max(values, default=0) or 1
    path = [f"M0 {height:g}"]
    before: float | None = None
    for place, value in enumerate(values):
        if value != before:
            path.append(f"H{place * width / len(values):.4g}V{height * (1 - value / greatest):.4g}")
            before = value
    return " ".join([*path, f"H{width:g}V{height:g}Z"])
