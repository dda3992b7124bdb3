"""What another plan changes: its machines, its commitments and its cost against the plan in force."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from meritorder.records.planfile import Plan
from meritorder.report.wording import MISSING, usd_cells
from meritorder.units import SECONDS_PER_WEEK, format_usd

HEADINGS: Final = ("", "in force", "the other", "change")
_MACHINES: Final = "{:,.1f}"
_NEGLIGIBLE: Final = 0.05

Rows = list[tuple[str, ...]]


def sentence(plan: Plan, other: Plan) -> str:
    """Return in one sentence what the other plan costs more or less a week."""
    before_usd, after_usd = _weekly_usd(plan), _weekly_usd(other)
    if abs(after_usd - before_usd) < 0.005 * max(before_usd, 1e-9):
        return f"The other plan costs as much: {format_usd(after_usd)} a week."
    more = "more" if after_usd > before_usd else "less"
    return f"The other plan costs {format_usd(abs(after_usd - before_usd))} a week {more} than the one in force."


def costs(plan: Plan, other: Plan) -> Rows:
    """Return the cost of each a week, by pool and in all."""
    before, after = _pool_usd(plan), _pool_usd(other)
    names = [name for name in dict.fromkeys([*before, *after]) if before.get(name) or after.get(name)]
    pairs = [(name, before.get(name, 0.0), after.get(name, 0.0)) for name in names]
    pairs.append(("in all", _weekly_usd(plan), _weekly_usd(other)))
    cells = usd_cells([usd for _, old, new in pairs for usd in (old, new, new - old)])
    rows: Rows = [(name, *cells[3 * place : 3 * place + 3]) for place, (name, _, _) in enumerate(pairs)]
    return rows


def machines(plan: Plan, other: Plan) -> Rows:
    """Return the mean number of machines of each, by pool and payment."""
    return _numbers(_mean_machines(plan), _mean_machines(other))


def commitments(plan: Plan, other: Plan) -> Rows:
    """Return what each commits to, held or to be bought."""
    return _numbers(
        *({bought.name: bought.amount + bought.have for bought in shown.commitments} for shown in (plan, other))
    )


def _numbers(before: Mapping[str, float], after: Mapping[str, float]) -> Rows:
    rows: Rows = []
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name, 0.0), after.get(name, 0.0)
        if max(old, new) >= _NEGLIGIBLE:
            change = f"{new - old:+,.1f}" if abs(new - old) >= _NEGLIGIBLE else MISSING
            rows.append((name, _MACHINES.format(old), _MACHINES.format(new), change))
    return rows


def _mean_machines(plan: Plan) -> dict[str, float]:
    means: defaultdict[str, float] = defaultdict(float)
    for schedule in plan.schedule:
        means[f"{schedule.pool}, {schedule.payment}"] += sum(schedule.machines) / max(1, len(schedule.machines))
    return dict(means)


def _pool_usd(plan: Plan) -> dict[str, float]:
    """Return the hourly cost of the machines of each pool a week."""
    sums: defaultdict[str, float] = defaultdict(float)
    for schedule in plan.schedule:
        sums[schedule.pool] += schedule.usd * _weeks(plan)
    return dict(sums)


def _weekly_usd(plan: Plan) -> float:
    return plan.total_usd * _weeks(plan)


def _weeks(plan: Plan) -> float:
    return SECONDS_PER_WEEK / (plan.slots * plan.slot_s)
