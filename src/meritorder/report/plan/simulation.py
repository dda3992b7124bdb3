"""A plan carried out on another trace, beside what became of it where it was made."""

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.text import Text

from meritorder.planfile import Plan, PlanOutcome
from meritorder.report.plan.check import facts, verdict
from meritorder.report.terminal import INDENT, READING_WIDTH, columns, narrow, plain, section, show, stack
from meritorder.report.wording import MISSING, pricing_title, usd_cells
from meritorder.units import format_usd


def render(plan: Plan, simulated: PlanOutcome, trace_label: str, console: Console) -> None:
    """Print whether the plan holds on a trace, and every figure beside the plan's own.

    Args:
        plan: The plan.
        simulated: What became of it on the trace.
        trace_label: Name of the trace.
        console: Where to print.
    """
    show(_blocks(plan, simulated, trace_label, console.width - INDENT), console)


def _blocks(plan: Plan, simulated: PlanOutcome, trace_label: str, width: int) -> Iterator[RenderableType]:
    reading = min(width, READING_WIDTH)
    holds = "holds" if simulated.kept else "does not hold"
    sentence = (
        f"The plan {holds} on {trace_label}: {verdict(plan, simulated)}. It costs {format_usd(simulated.total_usd)}."
    )
    yield narrow(plain(sentence, "bold" if simulated.kept else "bold red"), reading)
    yield _beside(plan, simulated)
    if simulated.usd_by_pool:
        yield _pools(plan, simulated)


def _beside(plan: Plan, simulated: PlanOutcome) -> RenderableType:
    own = dict(facts(plan, plan.simulated)) if plan.simulated else {}
    table = columns("", "where planned", "here", numbers=2)
    for name, value in facts(plan, simulated):
        before = own.get(name, MISSING)
        table.add_row(plain(name), plain(before), plain(value), style="" if before != value else "dim")
    if not plan.simulated or not plan.simulated.trace:
        return table
    return stack(table, Text(), plain(f"It was planned on {plan.simulated.trace}.", "dim"))


def _pools(plan: Plan, simulated: PlanOutcome) -> RenderableType:
    own = plan.simulated.usd_by_pool if plan.simulated else {}
    names = list(dict.fromkeys([*own, *simulated.usd_by_pool]))
    before = usd_cells([own.get(name) for name in names])
    here = usd_cells([simulated.usd_by_pool.get(name) for name in names])
    table = columns("", "where planned", "here", numbers=2)
    table.columns[0].no_wrap = False
    short = {f"{one.pool}, {one.payment}": f"{one.pool} · {pricing_title(one.pricing_model)}" for one in plan.schedule}
    for name, *cells in zip(names, before, here, strict=True):
        table.add_row(*map(plain, (short.get(name, name), *cells)))
    return section("Paid by the hour", "what is paid ahead is not in it", table)
