"""A plan simulated on a trace, beside its outcome on the trace that it was made for."""

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.text import Text

from meritorder.records.planfile import Plan, PlanOutcome
from meritorder.report.plan.rows import facts, verdict
from meritorder.report.terminal import INDENT, READING_WIDTH, columns, narrow, plain, section, show, stack
from meritorder.report.wording import MISSING, or_missing, pricing_title, usd_cells
from meritorder.units import format_usd


def render(plan: Plan, outcome: PlanOutcome, trace_label: str, console: Console) -> None:
    """Print whether a plan holds on a trace, with each figure beside the plan's own.

    Args:
        plan: The plan.
        outcome: Its outcome on the trace.
        trace_label: Name of the trace.
        console: Where to print.
    """
    show(_blocks(plan, outcome, trace_label, console.width - INDENT), console)


def _blocks(plan: Plan, outcome: PlanOutcome, trace_label: str, width: int) -> Iterator[RenderableType]:
    reading = min(width, READING_WIDTH)
    holds = "holds" if outcome.kept else "does not hold"
    sentence = f"The plan {holds} on {trace_label}: {verdict(plan, outcome)}. It costs {format_usd(outcome.total_usd)}."
    yield narrow(plain(sentence, "bold" if outcome.kept else "bold red"), reading)
    yield _figures(plan, outcome)
    if outcome.usd_by_pool:
        yield _pools(plan, outcome)


def _own(plan: Plan) -> PlanOutcome | None:
    """Return the outcome of what the plan runs, on the trace that it was made for."""
    return plan.policy_outcome if plan.policy else plan.simulated


def _figures(plan: Plan, outcome: PlanOutcome) -> RenderableType:
    planned = _own(plan)
    own = dict(facts(plan, planned)) if planned else {}
    table = columns("", "where planned", "here", numbers=2)
    for name, value in facts(plan, outcome):
        before = own.get(name, MISSING)
        table.add_row(plain(name), plain(before), plain(value), style="" if before != value else "dim")
    if outcome.above_floor_usd is not None:
        planned_usd = planned.above_floor_usd if planned else None
        table.add_row(
            "machines above the floor", or_missing(planned_usd, format_usd), format_usd(outcome.above_floor_usd)
        )
    if not planned or not planned.trace:
        return table
    return stack(table, Text(), plain(f"It was planned on {planned.trace}.", "dim"))


def _pools(plan: Plan, outcome: PlanOutcome) -> RenderableType:
    planned = _own(plan)
    own = planned.usd_by_pool if planned else {}
    names = list(dict.fromkeys([*own, *outcome.usd_by_pool]))
    before = usd_cells([own.get(name) for name in names])
    here = usd_cells([outcome.usd_by_pool.get(name) for name in names])
    table = columns("", "where planned", "here", numbers=2)
    table.columns[0].no_wrap = False
    labels = {
        f"{schedule.pool}, {schedule.payment}": f"{schedule.pool} · {pricing_title(schedule.pricing_model)}"
        for schedule in plan.schedule
    }
    for name, *cells in zip(names, before, here, strict=True):
        table.add_row(*map(plain, (labels.get(name, name), *cells)))
    return section("Paid by the hour", "without prepaid machines", table)
