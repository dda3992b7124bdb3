"""How a plan is judged, as rows and sentences: days that it had not seen, its saving, its policy, its backtest."""

from typing import Final, NamedTuple

from meritorder.records.planfile import Plan
from meritorder.report.wording import or_missing, usd_cells
from meritorder.units import format_count, format_share, format_usd

ADVICE: Final = "this advice"
"""The rule of a backtest that follows the plan."""

# A loss that is smaller is rounding.
_SMALLEST_SHARE: Final = 0.005
# A smaller growth is reported as none.
_STEADY: Final = 0.0005

DAY_HEADINGS: Final = ("day", "requests", "real time", "policy", "saved", "SLO kept", "late")
"""Headings of the days."""


COMING_HEADINGS: Final = ("day", "requests", "real time", "policy", "low", "high")
"""Headings of the days to come."""


class ComingRow(NamedTuple):
    """A day to come."""

    day: str
    requests: str
    baseline: str
    policy: str
    low: str
    high: str


def coming(plan: Plan) -> list[ComingRow]:
    """Return the days to come."""
    return [
        ComingRow(
            day=day.day + (" *" if day.holiday else ""),
            requests=f"{day.requests:,}",
            baseline=format_usd(day.baseline_usd),
            policy=format_usd(day.total_usd) + ("" if day.kept else " !"),
            low=format_usd(day.low_usd),
            high=format_usd(day.high_usd),
        )
        for day in (plan.coming.days if plan.coming else [])
    ]


def coming_notes(plan: Plan) -> list[str]:
    """Return how the days to come were forecast."""
    days = plan.coming
    if days is None:
        return []
    notes = ["Low and high bound eight in ten days, by the errors of the same forecast on past days."]
    if any(day.holiday for day in days.days):
        notes.append("Days marked * are holidays, forecast as Sundays.")
    if abs(days.growth_per_day - 1) >= _STEADY:
        verb = "grows" if days.growth_per_day > 1 else "falls"
        notes.append(f"The traffic {verb} by {format_share(abs(days.growth_per_day - 1), 1)} a day.")
    if days.level_shift_day and days.level_shift:
        notes.append(
            f"On {days.level_shift_day} the traffic changed to {format_share(days.level_shift)} of what it was; growth "
            "is counted from then on."
        )
    return notes


class DayRow(NamedTuple):
    """A day that the policy had not seen."""

    day: str
    requests: str
    baseline: str
    policy: str
    saved: str
    slo: str
    late: str


def days(plan: Plan) -> list[DayRow]:
    """Return the days that the policy had not seen."""
    judged = plan.walk_forward.days if plan.walk_forward else []
    return [
        DayRow(
            day=day.day,
            requests=f"{day.requests:,}",
            baseline=format_usd(day.baseline_usd),
            policy=format_usd(day.total_usd),
            saved=_share(day.saving_share),
            slo=or_missing(day.slo_attainment, lambda share: format_share(share, 2)) + ("" if day.slo_kept else " !"),
            late=f"{day.deadlines_missed:,}",
        )
        for day in judged
    ]


def _share(share: float) -> str:
    if -_SMALLEST_SHARE < share < 0:
        return format_share(0.0)
    return f"-{format_share(-share)}" if share < 0 else format_share(share)


def day_notes(plan: Plan) -> list[str]:
    """Return what is to be known about the days: regret, forecast, days left out."""
    forward = plan.walk_forward
    if forward is None:
        return []
    notes = []
    if forward.regret is not None:
        notes.append(
            f"Regret: {_share(forward.regret)} above the same kind of policy tuned to each day after it was over."
        )
    if forward.coverage_80 is not None and forward.pinball_loss is not None:
        notes.append(
            f"Forecast: {format_share(forward.coverage_80)} of the slots lay in its 80 % band; its pinball loss is "
            f"{format_share(forward.pinball_loss, 1)} of the mean load."
        )
    if forward.pinball_by_method:
        losses = ", ".join(f"{name} {format_share(loss, 1)}" for name, loss in forward.pinball_by_method.items())
        notes.append(f"Days to come are forecast by the {forward.forecast} method; pinball loss: {losses}.")
    return [*notes, *(f"Left out: {text}." for text in forward.left_out)]


def credited(plan: Plan) -> list[tuple[str, str]]:
    """Return each cause of the saving with hindsight, and what it saved."""
    return [(credit.cause, format_usd(credit.usd)) for credit in plan.credited]


def policy(plan: Plan) -> list[str]:
    """Return the policy in sentences."""
    rules = plan.policy
    if rules is None:
        return []
    lines = [
        f"{floor.pool}: {_machines(floor.machines)} at the least" for floor in rules.floor if max(floor.machines) > 0
    ]
    lines += [
        f"{rule.pool}: {format_count(max(1, round(rule.target_in_flight)), 'request')} in flight per replica, "
        f"{rule.minimum:,} to {format_count(rule.maximum, 'machine')}"
        for rule in rules.reactive
    ]
    lines += [
        f"{rule.pool}: up to {format_count(rule.maximum, 'machine')} when work would otherwise be late"
        for rule in rules.backlog
        if rules.defer
    ]
    if plan.policy_outcome is not None:
        kept = "keeps every promise" if plan.policy_outcome.kept else "breaks a promise"
        lines.append(f"On these requests it costs {format_usd(plan.policy_outcome.total_usd)} and {kept}.")
    return lines


def _machines(machines: list[int]) -> str:
    low, high = min(machines), max(machines)
    return format_count(low, "machine") if low == high else f"{low:,} to {format_count(high, 'machine')} by the slot"


def backtests(plan: Plan) -> list[tuple[str, str, str, str, str]]:
    """Return the backtest of every rule: commitment, rule, machines, cost, saving."""
    costs = usd_cells([test.usd for test in plan.backtest])
    savings = usd_cells([test.saving_usd for test in plan.backtest])
    return [
        (test.commitment, ADVICE if test.rule == "plan" else test.rule, f"{test.machines:,}", usd, saving)
        for test, usd, saving in zip(plan.backtest, costs, savings, strict=True)
    ]
