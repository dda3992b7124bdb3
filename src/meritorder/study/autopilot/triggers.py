"""Why to plan again: what moved since the last decision, each by a stated measure."""

from collections.abc import Mapping, Sequence
from typing import Final

from meritorder.records.autopilot import Decision
from meritorder.records.planfile import Plan
from meritorder.study.autopilot.difference import Row
from meritorder.study.autopilot.observation import Observation
from meritorder.study.autopilot.options import AutopilotOptions
from meritorder.units import SECONDS_PER_HOUR

# A promise that is still broken, or a backlog that is still long, is a reason again after this time.
_AGAIN_S: Final = SECONDS_PER_HOUR


def find_reasons(
    options: AutopilotOptions,
    seen: Observation,
    past: Sequence[Decision],
    *,
    before_usd: Mapping[Row, float],
    now_usd: Mapping[Row, float],
    is_kept: bool,
    is_slower: bool,
) -> list[str]:
    """Return the reasons to plan again, by the measures that the settings state.

    Args:
        options: The settings.
        seen: The service.
        past: Earlier decisions.
        before_usd: Prices of the plan in force.
        now_usd: Its prices now.
        is_kept: Whether the plan in force kept its promises on the last day.
        is_slower: Whether engines have another speed than was planned with.
    """
    last, table = past[-1] if past else None, options.table
    known = last.inputs if last else None
    usd = known.usd_per_hour if known else {row_name(row): price for row, price in before_usd.items()}
    elapsed_s = seen.now_s - last.at_s if last else float("inf")
    is_due_again = elapsed_s >= _AGAIN_S
    measures = {
        "schedule": elapsed_s >= options.every_s,
        "demand": known is not None and _moved(known.tokens_per_day, seen.tokens_per_day) > table.demand,
        "prices": any(_moved(usd.get(row_name(row), price), price) > table.prices for row, price in now_usd.items()),
        "speed": is_slower,
        "backlog": is_due_again and seen.queued > table.backlog * max(1.0, seen.requests_per_day),
        "promises": is_due_again and not is_kept,
    }
    return [reason for reason, holds in measures.items() if holds]


def prices_of(plan: Plan) -> dict[Row, float]:
    """Return the hourly price of each row that a plan states."""
    return {(row.pool, row.payment): row.usd_per_hour for row in plan.schedule}


def row_name(row: Row) -> str:
    """Return the name of a pool under a payment."""
    return ", ".join(row)


def _moved(before: float, after: float) -> float:
    """Return by which share a figure moved."""
    return abs(after / before - 1) if before > 0 else float(after > 0)
