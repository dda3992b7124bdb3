"""Decisions of the autopilot as text."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from meritorder.records.autopilot import Decision
from meritorder.units import format_share, format_usd

_COLUMNS = ("id", "time", "outcome", "reasons", "plan", "a day", "saves a day", "why")


def render_log(decisions: Sequence[Decision], console: Console) -> None:
    """Show decisions, the oldest first, a row each."""
    table = Table(*_COLUMNS, box=None)
    for decision in decisions:
        expected = decision.expected_usd_per_day
        table.add_row(
            decision.id,
            decision.at,
            decision.outcome,
            ", ".join(decision.reasons),
            decision.chosen,
            "" if expected is None else format_usd(expected),
            format_usd(decision.saves_usd_per_day) if decision.saves_usd_per_day else "",
            decision.why,
        )
    console.print(table)


def render_decision(decision: Decision, console: Console) -> None:
    """Show a decision: what was weighed, what changes, and why."""
    console.print(f"[bold]{decision.id}[/] {decision.at}: {decision.outcome}", highlight=False)
    console.print(f"  {decision.why}", highlight=False)
    if decision.reasons:
        console.print(f"  planned again because of: {', '.join(decision.reasons)}", highlight=False)
    if decision.inputs and decision.inputs.forecast:
        losses = ", ".join(
            f"{name} {format_share(loss, 1)}" for name, loss in decision.inputs.pinball_by_method.items()
        )
        console.print(f"  forecast: {decision.inputs.forecast}; pinball loss: {losses}", highlight=False)
    table = Table("weighed", "a day", "SLO met", "late", "machines", "at risk a day", "refused because", box=None)
    for plan in decision.alternatives:
        table.add_row(
            plan.name,
            format_usd(plan.usd_per_day),
            "" if plan.slo_attainment is None else format_share(plan.slo_attainment, 1),
            f"{plan.deadlines_missed:,}",
            f"{plan.machines:,}",
            format_usd(plan.at_risk_usd_per_day),
            plan.refused_because,
        )
    console.print(table)
    for change in decision.changes:
        console.print(f"  {change.what}: {change.before or 'nothing'} → {change.after or 'nothing'}", highlight=False)
    for rung in decision.commitments:
        console.print(
            f"  suggested: commit {rung.machines} x {rung.machine} for {rung.term}: used {format_share(rung.use)} of "
            f"the time, pays from {format_share(rung.break_even_use)}, saves {format_usd(rung.saves_usd_per_week)} a "
            f"week; {format_usd(rung.regret_usd_per_week)} a week lost if demand halves",
            highlight=False,
        )
